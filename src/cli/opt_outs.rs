//! `recado opt-outs`: people who do not want to be written to.

use clap::ValueEnum;
use recado::proto::{CreateOptOutRequest, DeleteOptOutRequest, ListOptOutsRequest, OptOut, OptOutCategory};

use super::client::{Server, refused};
use super::output;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the people of a sender who do not want to be written to.
    List(List),
    /// Notes that somebody does not want to be written to.
    Add(Add),
    /// Notes that somebody wants to be written to again. Needs a key with the scope admin.
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Which sender
    #[arg(long, value_name = "ID", default_value = "sandbox")]
    sender: String,
    /// Only this person; repeat it for each
    #[arg(long, value_name = "NUMBER")]
    peer: Vec<String>,
    /// Print one line of JSON per person
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub struct Add {
    /// The person: a number, or a user id
    #[arg(value_name = "NUMBER")]
    peer: String,
    /// Which sender
    #[arg(long, value_name = "ID", default_value = "sandbox")]
    sender: String,
    /// What they do not want
    #[arg(long, value_enum, default_value = "all")]
    category: Category,
    /// Why, for people
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub struct Remove {
    /// The person: a number, or a user id
    #[arg(value_name = "NUMBER")]
    peer: String,
    /// Which sender
    #[arg(long, value_name = "ID", default_value = "sandbox")]
    sender: String,
    /// What they want again
    #[arg(long, value_enum, default_value = "all")]
    category: Category,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Category {
    /// Anything
    All,
    /// Marketing templates
    Marketing,
}

impl From<Category> for OptOutCategory {
    fn from(category: Category) -> Self {
        match category {
            Category::All => Self::All,
            Category::Marketing => Self::Marketing,
        }
    }
}

pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(args).await,
        Command::Add(args) => add(args).await,
        Command::Remove(args) => remove(args).await,
    }
}

async fn list(args: List) -> anyhow::Result<()> {
    let mut client = args.server.opt_outs().await?;
    let mut request =
        ListOptOutsRequest { sender: args.sender, peers: args.peer, page_size: 1000, ..Default::default() };
    let mut rows = vec![["PERSON", "CATEGORY", "SOURCE", "SINCE", "MESSAGE", "NOTE"].map(str::to_owned).to_vec()];
    loop {
        let page = client.list_opt_outs(request.clone()).await.map_err(refused)?.into_inner();
        for opt_out in page.opt_outs {
            if args.json {
                output::line(&output::json("OptOut", &opt_out)?)?;
            } else {
                rows.push(row(&opt_out));
            }
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    if args.json { Ok(()) } else { output::line(&output::table(&rows)) }
}

fn row(opt_out: &OptOut) -> Vec<String> {
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { output::safe(text) };
    vec![
        output::safe(&opt_out.peer),
        output::short(opt_out.category().as_str_name(), "OPT_OUT_CATEGORY_").to_owned(),
        output::short(opt_out.source().as_str_name(), "OPT_OUT_SOURCE_").to_owned(),
        output::time(opt_out.create_time.as_ref()),
        or_none(&opt_out.message_id),
        or_none(&opt_out.note),
    ]
}

async fn add(args: Add) -> anyhow::Result<()> {
    let category = OptOutCategory::from(args.category) as i32;
    let opt_out = OptOut { sender: args.sender, peer: args.peer, category, note: args.note, ..Default::default() };
    let request = CreateOptOutRequest { opt_out: Some(opt_out) };
    let answer = args.server.opt_outs().await?.create_opt_out(request).await.map_err(refused)?.into_inner();
    let since = answer.opt_out.and_then(|opt_out| opt_out.create_time);
    output::line(&format!("opted out since {}", output::time(since.as_ref())))
}

async fn remove(args: Remove) -> anyhow::Result<()> {
    let category = OptOutCategory::from(args.category) as i32;
    let request = DeleteOptOutRequest { sender: args.sender, peer: args.peer, category };
    args.server.opt_outs().await?.delete_opt_out(request).await.map_err(refused)?;
    output::line("removed")
}

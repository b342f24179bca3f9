//! `recado templates`: what a sender's provider has approved.

use recado::proto::{ListTemplatesRequest, RefreshTemplatesRequest, Template};

use super::client::{Server, refused};
use super::output;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the gateway's copies of a sender's templates, by name and language.
    List(List),
    /// Reads a sender's templates from its provider now.
    Refresh(Refresh),
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Which sender
    #[arg(long, value_name = "ID", default_value = "sandbox")]
    sender: String,
    /// Only in this language, in the provider's form, such as pt_BR
    #[arg(long, value_name = "CODE")]
    language: Option<String>,
    /// Print one line of JSON per template
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub struct Refresh {
    /// Which sender
    #[arg(long, value_name = "ID", default_value = "sandbox")]
    sender: String,
    #[command(flatten)]
    server: Server,
}

pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(args).await,
        Command::Refresh(args) => refresh(args).await,
    }
}

async fn list(args: List) -> anyhow::Result<()> {
    let mut client = args.server.templates().await?;
    let language_code = args.language.unwrap_or_default();
    let mut request =
        ListTemplatesRequest { sender: args.sender, page_size: 1000, language_code, ..Default::default() };
    let mut rows =
        vec![["TEMPLATE", "LANGUAGE", "STATUS", "CATEGORY", "VARIABLES", "TEXT"].map(str::to_owned).to_vec()];
    loop {
        let page = client.list_templates(request.clone()).await.map_err(refused)?.into_inner();
        for template in page.templates {
            if args.json {
                output::line(&output::json("Template", &template)?)?;
            } else {
                rows.push(row(&template));
            }
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    if args.json { Ok(()) } else { output::line(&output::table(&rows)) }
}

fn row(template: &Template) -> Vec<String> {
    let status = match output::short(template.status().as_str_name(), "TEMPLATE_STATUS_") {
        "UNSPECIFIED" => output::safe(&template.provider_status),
        word => word.to_owned(),
    };
    let category = match output::short(template.category().as_str_name(), "TEMPLATE_CATEGORY_") {
        "UNSPECIFIED" => "-",
        word => word,
    };
    let names: Vec<String> = template.parameters.iter().map(|parameter| output::safe(&parameter.name)).collect();
    vec![
        output::safe(&template.template),
        output::safe(&template.language_code),
        status,
        category.to_owned(),
        if names.is_empty() { "-".to_owned() } else { names.join(" ") },
        output::safe(&template.body),
    ]
}

async fn refresh(args: Refresh) -> anyhow::Result<()> {
    let mut client = args.server.templates().await?;
    let request = RefreshTemplatesRequest { sender: args.sender };
    let answer = client.refresh_templates(request).await.map_err(refused)?.into_inner();
    output::line(&format!("{} templates, {} new, changed or gone", answer.template_count, answer.changed_count))
}

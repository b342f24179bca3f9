//! `recado senders`: the WhatsApp identities, listed or made what a file says.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use recado::proto::admin_service_client::AdminServiceClient;
use recado::proto::{CreateSenderRequest, DeleteSenderRequest, ListSendersRequest, Sender, UpdateSenderRequest};

use super::client::{Link, Server, refused};
use super::senders_file::Wanted;
use super::senders_plan::{Options, Step, plan};
use super::{output, senders_file};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Makes the senders what a TOML file says. Run twice, it changes nothing the second time.
    #[command(long_about = APPLY)]
    Apply(Apply),
    /// Lists senders, without their secrets.
    List(List),
}

const APPLY: &str = "\
Makes the senders what a TOML file says. Run twice, it changes nothing the second time.

  [[sender]]
  sender = \"acme\"
  display_name = \"Acme Sales\"
  state = \"active\"
  limits = { in_flight = 8 }
  [sender.devino]
  api_key = \"env:ACME_DEVINO_KEY\"
  from = \"acme\"
  webhook_token = \"env:ACME_WEBHOOK_TOKEN\"

Keys are the fields of `Sender` in the contract; each sender has one table named after its provider. A secret may be \
written \"env:NAME\" and is then read from the environment. What the file leaves out keeps its value; what it names is \
created or changed. Senders that the file does not name are kept, unless --prune deletes them.

The gateway never shows a secret, so a stored one cannot be compared with the file's: it is sent when the gateway has \
none yet, or with --update-secrets.";

#[derive(Debug, clap::Args)]
pub struct Apply {
    /// The file; - for standard input
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Send the file's secrets also where the gateway has some already
    #[arg(long)]
    update_secrets: bool,
    /// Delete senders that the file does not name, with their secrets
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Print one line of JSON per sender
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Apply(args) => apply(args).await,
        Command::List(args) => list(args).await,
    }
}

async fn apply(args: Apply) -> anyhow::Result<()> {
    let wanted = read(&args.file)?;
    let mut client = args.server.admin().await?;
    let present = all(&mut client).await?;
    let options = Options { update_secrets: args.update_secrets, prune: args.prune };
    let steps = plan(&wanted, &present, &options).map_err(|problems| problems_of(&args.file, &problems))?;
    let mut done = BTreeMap::new();
    let mut failed = 0;
    for step in &steps {
        output::line(&step.to_string())?;
        match if args.dry_run { Ok(()) } else { carry_out(&mut client, step).await } {
            Ok(()) => *done.entry(step.word()).or_insert(0) += 1,
            // One bad sender does not cost the others.
            Err(error) => {
                failed += 1;
                eprintln!("error: {}: {error:#}", step.sender());
            }
        }
    }
    let counts: Vec<String> = done.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let what = if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") };
    output::line(&if args.dry_run { format!("with --dry-run nothing was done; it would be: {what}") } else { what })?;
    if failed > 0 {
        bail!("{failed} of {} senders could not be made what the file says", steps.len());
    }
    Ok(())
}

fn read(file: &PathBuf) -> anyhow::Result<Vec<Wanted>> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    }
    let variable = |name: &str| std::env::var(name).ok();
    senders_file::parse(&text, &variable).map_err(|problems| problems_of(file, &problems))
}

fn problems_of(file: &std::path::Path, problems: &[String]) -> anyhow::Error {
    anyhow::anyhow!("{} cannot be applied; nothing was changed\n  {}", file.display(), problems.join("\n  "))
}

async fn carry_out(client: &mut AdminServiceClient<Link>, step: &Step) -> anyhow::Result<()> {
    match step {
        Step::Create { wanted, .. } => {
            let request = CreateSenderRequest { sender: Some(wanted.message.transcode_to::<Sender>()?) };
            client.create_sender(request).await.map_err(refused)?;
        }
        Step::Update { wanted, changes } => {
            let paths: Vec<String> = changes.iter().map(|change| change.path.clone()).collect();
            let request = UpdateSenderRequest {
                sender: Some(wanted.with_secrets_of(&paths).transcode_to::<Sender>()?),
                update_mask: Some(prost_types::FieldMask { paths }),
            };
            client.update_sender(request).await.map_err(refused)?;
        }
        Step::Delete { sender } => {
            client.delete_sender(DeleteSenderRequest { sender: sender.clone() }).await.map_err(refused)?;
        }
        Step::Unchanged { .. } | Step::Kept { .. } => {}
    }
    Ok(())
}

async fn all(client: &mut AdminServiceClient<Link>) -> anyhow::Result<Vec<Sender>> {
    let mut request = ListSendersRequest { page_size: 1000, page_token: String::new() };
    let mut senders = Vec::new();
    loop {
        let page = client.list_senders(request.clone()).await.map_err(refused)?.into_inner();
        senders.extend(page.senders);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(senders);
        }
    }
}

async fn list(args: List) -> anyhow::Result<()> {
    let senders = all(&mut args.server.admin().await?).await?;
    if args.json {
        return senders.iter().try_for_each(|sender| output::line(&output::json("Sender", sender)?));
    }
    let heading = ["SENDER", "PROVIDER", "STATE", "HEALTH", "NUMBER", "NAME", "WEBHOOK"].map(str::to_owned).to_vec();
    let row = |sender: &Sender| {
        vec![
            sender.sender.clone(),
            sender.provider.clone(),
            output::short(sender.state().as_str_name(), "SENDER_STATE_").to_owned(),
            match output::short(sender.health().as_str_name(), "SENDER_HEALTH_") {
                "UNSPECIFIED" => "-".to_owned(),
                health => health.to_owned(),
            },
            output::safe(&sender.phone_number),
            output::safe(&sender.display_name),
            sender.webhook_url.clone(),
        ]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(senders.iter().map(row)).collect();
    output::line(&output::table(&rows))
}

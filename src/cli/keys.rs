//! `recado keys`: who may call.

use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use recado::proto::{ApiKey, ApiKeyScope, CreateApiKeyRequest, ListApiKeysRequest, RevokeApiKeyRequest};

use super::client::{Server, refused};
use super::output;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Creates a key and prints its secret, this once.
    Create(Create),
    /// Lists keys, newest first, without their secrets.
    List(List),
    /// Revokes a key: it is refused and its streams end within a second or two.
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
pub struct Create {
    /// A name for people
    #[arg(long)]
    name: String,
    /// What it allows; repeat it for each
    #[arg(long, required = true, value_enum)]
    scope: Vec<Scope>,
    /// The only sender that it may see and use; repeat it for each [default: all]
    #[arg(long, value_name = "ID")]
    sender: Vec<String>,
    /// How long it works, such as 90d [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
    /// Print the answer as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Also those that were revoked or have expired
    #[arg(long)]
    all: bool,
    /// Print one line of JSON per key
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// The key's id, as `recado keys list` shows it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scope {
    /// Send, plan and cancel
    Send,
    /// Get, list, stream and download
    Read,
    /// Senders, keys and what is under the surface
    Admin,
}

impl From<Scope> for ApiKeyScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Send => Self::Send,
            Scope::Read => Self::Read,
            Scope::Admin => Self::Admin,
        }
    }
}

pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create(args).await,
        Command::List(args) => list(args).await,
        Command::Revoke(args) => revoke(args).await,
    }
}

async fn create(args: Create) -> anyhow::Result<()> {
    let mut client = args.server.admin().await?;
    let api_key = ApiKey {
        display_name: args.name,
        scopes: args.scope.into_iter().map(|scope| ApiKeyScope::from(scope).into()).collect(),
        senders: args.sender,
        expire_time: args.expires_in.map(|duration| (SystemTime::now() + duration).into()),
        ..ApiKey::default()
    };
    let request = CreateApiKeyRequest { api_key: Some(api_key) };
    let response = client.create_api_key(request).await.map_err(refused)?.into_inner();
    if args.json {
        return output::line(&output::json("CreateApiKeyResponse", &response)?);
    }
    let key = response.api_key.unwrap_or_default();
    output::line(&format!("key    {} ({}; senders: {})", key.api_key_id, scopes(&key), senders(&key)))?;
    output::line(&format!("secret {}", response.secret))?;
    eprintln!("The secret is shown this once. Callers send it as `authorization: Bearer`.");
    Ok(())
}

async fn list(args: List) -> anyhow::Result<()> {
    let mut client = args.server.admin().await?;
    let mut request = ListApiKeysRequest { page_size: 1000, include_revoked: args.all, ..Default::default() };
    let mut rows =
        vec![["ID", "NAME", "SCOPES", "SENDERS", "CREATED", "EXPIRES", "REVOKED"].map(str::to_owned).to_vec()];
    loop {
        let page = client.list_api_keys(request.clone()).await.map_err(refused)?.into_inner();
        for key in page.api_keys {
            if args.json {
                output::line(&output::json("ApiKey", &key)?)?;
                continue;
            }
            rows.push(vec![
                key.api_key_id.clone(),
                output::safe(&key.display_name),
                scopes(&key),
                senders(&key),
                output::time(key.create_time.as_ref()),
                output::time(key.expire_time.as_ref()),
                output::time(key.revoke_time.as_ref()),
            ]);
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    if args.json { Ok(()) } else { output::line(&output::table(&rows)) }
}

async fn revoke(args: Revoke) -> anyhow::Result<()> {
    let mut client = args.server.admin().await?;
    let response = client.revoke_api_key(RevokeApiKeyRequest { api_key_id: args.id }).await.map_err(refused)?;
    let key = response.into_inner().api_key.unwrap_or_default();
    output::line(&format!("{} is revoked since {}", key.api_key_id, output::time(key.revoke_time.as_ref())))
}

fn scopes(key: &ApiKey) -> String {
    let names = key.scopes().map(|scope| output::short(scope.as_str_name(), "API_KEY_SCOPE_").to_lowercase());
    names.collect::<Vec<_>>().join(", ")
}

fn senders(key: &ApiKey) -> String {
    if key.senders.is_empty() { "all".to_owned() } else { key.senders.join(", ") }
}

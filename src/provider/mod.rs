//! The companies behind the senders. An adapter translates: it does not store, retry, sleep or spawn.
//!
//! Adding one is a folder with the same file names as the others, one line in [`adapters!`] below, its config message
//! in `sender.proto`, its fixtures and one word in `tests/contract`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use url::Url;

use crate::domain::content::MediaSource;
use crate::domain::template::CatalogueTemplate;
use crate::domain::{Content, DeliveryError, ErrorReason, MessageId, Millis, PhoneNumber, SenderId};
use crate::error::Violations;

pub mod address;
pub mod capabilities;
pub mod cards;
pub mod cloudhumans;
pub mod devino;
pub mod dialog360;
pub mod digivox;
pub mod http;
pub mod infobip;
pub mod lenient;
pub mod meta;
mod outcome;
mod report;
pub mod sandbox;
mod secret;
pub mod twilio;
mod upload;
pub mod whatsapp;

pub use capabilities::Capabilities;
pub use http::HttpClient;
pub use outcome::{Answer, Receipt, SendError, Usage};
pub use report::{IncomingReport, Product, Report, SenderReport, StatusReport, TemplateReport, Unreadable};
pub use secret::{Secret, Secrets};
pub use upload::{FileBytes, Upload, UploadInfo, Uploaded};

/// One sender at its provider: its settings are parsed when it is built, so [`Provider::send`] cannot find a missing token.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// What this sender can carry. Anything else is refused at the door, with the limit.
    fn capabilities(&self) -> &Capabilities;

    /// Hands over 1 to [`Capabilities::batch`] messages in one request, each in exactly one attempt. Answers one
    /// [`Answer`] per message, in their order. Dropping the future after the request was written leaves the outcome unknown.
    async fn send(&self, messages: &[Outgoing]) -> Vec<Answer>;

    /// Proves that the raw bytes came from the provider. Runs before the journal.
    ///
    /// # Errors
    /// [`Forged`] when they did not; the webhook is answered with 401 and kept nowhere.
    fn verify(&self, webhook: &Webhook) -> Result<(), Forged>;

    /// What the journal keeps of a webhook that was proven, and [`Provider::parse`] reads: its raw bytes. Where a provider
    /// says in the address what it does not repeat in the body, the adapter adds that here.
    fn journalled(&self, webhook: &Webhook) -> Bytes {
        webhook.body.clone()
    }

    /// Reads a journalled webhook. Pure: equal bytes give equal reports, each item on its own.
    fn parse(&self, webhook: &Webhook) -> Vec<Result<Report, Unreadable>>;

    /// Asks the provider whether the credentials work.
    async fn check(&self) -> CheckOutcome {
        CheckOutcome::NotSupported
    }

    /// Answers what a provider asks of an address (GET) before it posts there. `None`: this one asks nothing.
    fn challenge(&self, _webhook: &Webhook) -> Option<Result<String, Forged>> {
        None
    }

    /// Whom it speaks for at the provider, where one webhook may be about several. `None`: each webhook is about its sender.
    fn account(&self) -> Option<Account> {
        None
    }

    /// Reads the whole catalogue of templates.
    ///
    /// # Errors
    /// [`AskError::NotSupported`] where the provider publishes none.
    async fn templates(&self) -> Result<Vec<CatalogueTemplate>, AskError> {
        Err(AskError::NotSupported)
    }

    /// Finds where a file that a person sent can be fetched now, and with what.
    ///
    /// # Errors
    /// [`AskError::NotSupported`] for a source that the provider has no files by.
    async fn locate_media(&self, source: &MediaSource) -> Result<MediaAddress, AskError> {
        match source {
            MediaSource::Url(url) => MediaAddress::plain(url),
            MediaSource::MediaId(_) => Err(AskError::NotSupported),
        }
    }

    /// Hands a file to the provider, which keeps it for later sends. Dropping the future may leave a file there that nobody
    /// knows of; it has no effect on anybody.
    ///
    /// # Errors
    /// As of a send. [`SendError::InDoubt`] says no more than that there is no answer: the file may be handed over again.
    /// Refused with [`ErrorReason::NotSupported`] where [`Capabilities::media_upload`] is false.
    async fn upload_media(&self, _upload: Upload) -> Result<Uploaded, SendError> {
        let words = "the provider keeps no files for later sends";
        Err(SendError::Refused(DeliveryError::ours(ErrorReason::NotSupported, words, false)))
    }

    /// Asks what became of a message that was handed over, where webhooks alone would leave it open.
    ///
    /// # Errors
    /// [`AskError::NotSupported`] where [`Capabilities::look_up`] is false.
    async fn look_up(&self, _message: &HandedOver) -> Result<Vec<Report>, AskError> {
        Err(AskError::NotSupported)
    }

    /// Reads what people wrote since a time, where the provider keeps a list of it: a webhook that found nobody at home may
    /// not come again. Each is what the journal keeps of a webhook, for [`Provider::parse`] to read. Oldest first.
    ///
    /// # Errors
    /// [`AskError::NotSupported`] where [`Capabilities::history`] is false, or where these settings leave open which list.
    async fn history(&self, _since_ms: Millis) -> Result<Vec<Bytes>, AskError> {
        Err(AskError::NotSupported)
    }

    /// Asks, before a message is accepted, what only the provider knows and without which the hand-over must fail.
    ///
    /// # Errors
    /// Why it could not be handed over now, for the caller.
    async fn admits(&self, _to: &PhoneNumber, _content: &Content) -> Result<(), DeliveryError> {
        Ok(())
    }
}

/// Settings of one provider, as the operator gave them: what `config` of a sender holds.
pub trait Settings: fmt::Debug + Clone + Send + Sync {
    /// The message of the contract that holds them.
    type Proto;

    /// Reads them from the contract's message. Nothing is judged yet.
    fn from_proto(proto: Self::Proto) -> Self;

    /// The same again, with secrets or without.
    fn to_proto(&self, secrets: Secrets) -> Self::Proto;

    /// Names of the secrets that are there, as fields of the config (`api_key`).
    fn stored_secrets(&self) -> Vec<&'static str>;

    /// Notes all that is wrong with them; paths begin below the config (`base_url`).
    fn check(&self, violations: &mut Violations);
}

/// What an adapter is built with, beside its settings.
#[derive(Debug, Clone)]
pub struct Context {
    /// Which sender it speaks for.
    pub sender: SenderId,
    /// Where the provider reaches us for this sender: `…/webhooks/{provider}/{sender}`, without any token.
    pub webhook_url: Url,
    /// The one client.
    pub http: HttpClient,
    /// What the built-in provider runs on.
    pub sandbox: sandbox::Simulator,
}

/// Lists the adapters, once. From it come the sum of all settings, its way into and out of the contract and the store,
/// and the only place where an adapter is built.
macro_rules! adapters {
    ($($variant:ident($module:ident) is $name:literal in the contract as $proto:ident,)+) => {
        /// Settings of a sender's provider. Serialised only to be sealed.
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "provider", rename_all = "snake_case")]
        pub enum AnySettings {
            $(#[allow(missing_docs, reason = "the adapter's own docs say it")] $variant($module::config::Config),)+
        }

        /// Names of all adapters.
        pub const NAMES: &[&str] = &[$($name),+];

        impl AnySettings {
            /// The provider's name.
            pub fn provider(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// From the contract's `config`.
            pub fn from_proto(proto: crate::proto::sender::Config) -> Self {
                match proto {
                    $(crate::proto::sender::Config::$proto(config) => Self::$variant(Settings::from_proto(config)),)+
                }
            }

            /// The contract's `config`. Only an answer without secrets may leave the process.
            pub fn to_proto(&self, secrets: Secrets) -> crate::proto::sender::Config {
                use crate::proto::sender::Config;
                match self { $(Self::$variant(config) => Config::$proto(config.to_proto(secrets)),)+ }
            }

            /// Paths of the secrets that are there: `devino.api_key`.
            pub fn stored_secrets(&self) -> Vec<String> {
                match self {
                    $(Self::$variant(config) => {
                        config.stored_secrets().into_iter().map(|field| format!("{}.{field}", $name)).collect()
                    })+
                }
            }

            /// Notes all that is wrong.
            pub fn check(&self, violations: &mut Violations) {
                match self { $(Self::$variant(config) => config.check(violations),)+ }
            }
        }

        /// Builds a sender's adapter.
        pub fn build(settings: &AnySettings, context: Context) -> Arc<dyn Provider> {
            match settings {
                $(AnySettings::$variant(config) => Arc::new($module::Adapter::new(config.clone(), context)),)+
            }
        }
    };
}

adapters! {
    Sandbox(sandbox) is "sandbox" in the contract as Sandbox,
    Devino(devino) is "devino" in the contract as Devino,
    Digivox(digivox) is "digivox" in the contract as Digivox,
    CloudHumans(cloudhumans) is "cloudhumans" in the contract as Cloudhumans,
    Twilio(twilio) is "twilio" in the contract as Twilio,
    Infobip(infobip) is "infobip" in the contract as Infobip,
    Dialog360(dialog360) is "dialog360" in the contract as Dialog360,
    Meta(meta) is "meta" in the contract as Meta,
}

/// One message to hand over, in one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Ours; given to the provider wherever it takes one.
    pub message_id: MessageId,
    /// 1 is the first.
    pub attempt: i32,
    /// Who is written to.
    pub to: PhoneNumber,
    /// What is said.
    pub content: Content,
    /// The provider's id of the message quoted.
    pub reply_to: Option<String>,
    /// The provider's id of the message that a reaction goes to.
    pub reaction_to: Option<String>,
    /// How long the caller wants it to be deliverable; nothing when the caller did not say.
    pub validity: Option<Duration>,
}

/// A webhook as it came, with all that parsing may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Header names in lower case, and values; only for [`Provider::verify`], the journal keeps none.
    pub headers: Vec<(String, String)>,
    /// The query, as pairs; not kept either, it may hold a token.
    pub query: Vec<(String, String)>,
    /// What stood in the path behind the sender.
    pub path_token: Option<String>,
    /// The raw bytes.
    pub body: Bytes,
    /// When it reached us.
    pub receive_at_ms: Millis,
}

impl Webhook {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first query parameter of that name.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The webhook does not come from whom it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forged(pub &'static str);

impl Webhook {
    /// For providers that sign nothing: whoever knows the token is the provider. It may come in the query, in the path, or in
    /// a header, for those who can set one but no query.
    ///
    /// # Errors
    /// [`Forged`] when it carries no token, or another.
    pub fn carries(&self, token: &Secret) -> Result<(), Forged> {
        let given = [self.query("token"), self.path_token.as_deref(), self.header("x-webhook-token")];
        match given.iter().flatten().any(|given| token.matches(given)) {
            true => Ok(()),
            false if given.iter().all(Option::is_none) => Err(Forged("the webhook carries no token")),
            false => Err(Forged("the webhook's token is not this sender's")),
        }
    }
}

/// Whom an adapter speaks for at its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The provider's id of the sender, as reports name it.
    pub id: String,
    /// A digest of what proves webhooks. What comes for one sender is believed about another only where these are equal.
    pub proof: [u8; 32],
}

/// Where a file can be fetched now.
#[derive(Debug, Clone)]
pub struct MediaAddress {
    /// Its address; may be short-lived.
    pub url: Url,
    /// What opens it: never sent to another host than the address's.
    pub headers: Vec<(&'static str, Secret)>,
    /// The provider's SHA-256 of it, when it tells.
    pub sha256: Option<[u8; 32]>,
    /// MIME type, when the provider tells; may be empty.
    pub mime_type: String,
}

impl MediaAddress {
    /// A file that anybody may fetch.
    ///
    /// # Errors
    /// When it is no address of the web.
    pub fn plain(url: &str) -> Result<Self, AskError> {
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| {
            AskError::Refused(DeliveryError::ours(
                ErrorReason::InvalidRequest,
                "the provider's address of the file is none",
                false,
            ))
        })?;
        Ok(Self { url, headers: Vec::new(), sha256: None, mime_type: String::new() })
    }
}

/// A message that was handed over, and of which more is to be known.
#[derive(Debug, Clone, PartialEq)]
pub struct HandedOver {
    /// Ours.
    pub message_id: MessageId,
    /// The provider's, when it gave one.
    pub provider_message_id: Option<String>,
    /// Who was written to.
    pub to: PhoneNumber,
    /// What was said: where no id is known, the words tell which message it is.
    pub content: Content,
    /// When the last attempt began.
    pub attempt_start_at_ms: Millis,
}

/// Why a question to the provider has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It has no such question.
    #[error("the provider has no such question")]
    NotSupported,
    /// It said no.
    #[error("the provider refused: {}", .0.provider_message)]
    Refused(DeliveryError),
    /// It could not be asked, or said nothing that can be read; may pass.
    #[error("the provider could not be asked: {0}")]
    Unreachable(String),
}

/// What a provider said to a sender's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckOutcome {
    /// They work.
    Working {
        /// What the provider said beside that, for people; may be empty.
        detail: String,
    },
    /// They do not.
    Refused(DeliveryError),
    /// The provider could not be asked.
    Unreachable {
        /// What happened instead.
        detail: String,
    },
    /// The provider has no such question.
    NotSupported,
}

/// Providers' clocks: seconds where milliseconds are usual and the other way round are read to the same instant; what
/// lies before 2009 (WhatsApp's first year) or more than a day ahead is no time at all (S13).
pub fn plausible_time(value: i64, now: Millis) -> Option<Millis> {
    const FIRST: Millis = 1_230_768_000_000;
    const DAY: Millis = 86_400_000;
    let millis = if value.unsigned_abs() < 100_000_000_000 { value.checked_mul(1_000)? } else { value };
    (FIRST..now + DAY).contains(&millis).then_some(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s13_seconds_and_milliseconds_read_to_the_same_instant() {
        let now = 1_767_300_000_000;
        for (given, read) in [
            (1_767_225_600_123, Some(1_767_225_600_123)),
            (1_767_225_600, Some(1_767_225_600_000)),
            (0, None),
            (-1, None),
            (i64::MAX, None),
            (i64::MIN, None),
            (9_999_999_999_999, None),
            (1_000_000, None),
        ] {
            assert_eq!(plausible_time(given, now), read, "{given}");
        }
    }
}

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

use crate::domain::event::{ClientInfo, Pricing};
use crate::domain::message::Exchange;
use crate::domain::{
    Contact, Content, DeliveryError, IncomingContent, MessageId, MessageStatus, Millis, PhoneNumber, SenderId,
};
use crate::error::Violations;

pub mod capabilities;
pub mod devino;
pub mod http;
pub mod sandbox;
mod secret;

pub use capabilities::Capabilities;
pub use http::HttpClient;
pub use secret::{Secret, Secrets};

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

    /// Reads a journalled webhook. Pure: equal bytes give equal reports, each item on its own.
    fn parse(&self, webhook: &Webhook) -> Vec<Result<Report, Unreadable>>;

    /// Asks the provider whether the credentials work.
    async fn check(&self) -> CheckOutcome {
        CheckOutcome::NotSupported
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

            /// From the contract's `config`; `None` for a provider that this version has no adapter for.
            pub fn from_proto(proto: crate::proto::sender::Config) -> Option<Self> {
                match proto {
                    $(crate::proto::sender::Config::$proto(config) => Some(Self::$variant(Settings::from_proto(config))),)+
                    #[allow(unreachable_patterns, reason = "reached as long as the contract names more than there are")]
                    _ => None,
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

/// How the hand-over of one message ended.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What it came to.
    pub outcome: Result<Receipt, SendError>,
    /// What was said, redacted; shared by the messages of one request.
    pub exchange: Option<Arc<Exchange>>,
}

/// The provider took it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's id; nothing where it gives none.
    pub provider_message_id: Option<String>,
}

/// The three cases that change what happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// A no that stays a no.
    Refused(DeliveryError),
    /// Never written, throttled, or a no that may pass: certainly not taken.
    NotTaken {
        /// Why.
        error: DeliveryError,
        /// The provider's wish, when it has one.
        retry_after: Option<Duration>,
        /// How many retries make sense; `None`: as long as the message is valid.
        retries: Option<u32>,
    },
    /// Written, and no answer that can be relied on.
    InDoubt {
        /// What happened instead, for people.
        detail: String,
    },
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

/// One item of a webhook, read.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A status of a message of ours.
    Status(StatusReport),
    /// A person wrote.
    Incoming(IncomingReport),
}

/// A status of a message of ours.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StatusReport {
    /// Our id, when the provider gave it back.
    pub message_id: Option<MessageId>,
    /// The provider's id, canonical: equal ids are equal strings.
    pub provider_message_id: Option<String>,
    /// What it means to us; nothing for a word that we do not know (S10).
    pub status: Option<MessageStatus>,
    /// The provider's word, as it came.
    pub provider_status: String,
    /// The provider's clock; nothing when missing or absurd.
    pub occur_at_ms: Option<Millis>,
    /// Why it was not delivered.
    pub error: Option<DeliveryError>,
    /// What it costs.
    pub pricing: Option<Pricing>,
    /// Who opened a link.
    pub client_info: Option<ClientInfo>,
}

/// A person wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct IncomingReport {
    /// The provider's id: what duplicates are known by.
    pub provider_message_id: Option<String>,
    /// The provider's clock.
    pub occur_at_ms: Option<Millis>,
    /// Who wrote.
    pub contact: Contact,
    /// What the person calls itself; may be empty.
    pub profile_name: String,
    /// What was said.
    pub content: IncomingContent,
    /// The provider's id of the message quoted.
    pub reply_to: Option<String>,
}

/// One item that could not be read. The webhook stays in the journal, so nothing is lost by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("item {index}: {why}")]
pub struct Unreadable {
    /// Its place in the webhook, from 0.
    pub index: usize,
    /// What was wrong with it; holds no personal data.
    pub why: String,
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

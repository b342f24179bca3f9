//! What a caller can tell apart when a call fails.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Why a call was refused or failed. `grpc::status` gives each variant its code and details.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong; every violation is named at once.
    #[error("{}", Violations::summary(.0))]
    Invalid(Vec<Violation>),
    /// Bytes that are not the message they should be.
    #[error("the request could not be read: {0}")]
    Malformed(String),
    /// The thing named does not exist, or belongs to a sender that the caller may not see.
    #[error("{resource} {name:?} was not found")]
    NotFound {
        /// What kind of thing: `sender`, `message`, `subscription`, `api key`.
        resource: &'static str,
        /// The name that was asked for.
        name: String,
    },
    /// A thing of that name exists already.
    #[error("{resource} {name:?} exists already")]
    AlreadyExists {
        /// What kind of thing.
        resource: &'static str,
        /// Its name.
        name: String,
    },
    /// The idempotency key was used before, for other content.
    #[error(
        "idempotency key {key:?} was used before for message {message_id} with other content; these differ: {}",
        .fields.join(", ")
    )]
    KeyReused {
        /// The key.
        key: String,
        /// The message that the key made.
        message_id: String,
        /// Paths of the fields that differ.
        fields: Vec<String>,
    },
    /// The state of things forbids it.
    #[error("{message}")]
    Precondition {
        /// UPPER_SNAKE, for programs.
        reason: &'static str,
        /// For people: what stands against it and what would be right.
        message: String,
        /// For programs: what the reason speaks of.
        metadata: Vec<(&'static str, String)>,
    },
    /// The cursor's place was removed by retention.
    #[error("the cursor lies before the oldest event that is kept; the oldest cursor is {oldest}")]
    CursorCompacted {
        /// The oldest cursor that can be read from.
        oldest: String,
    },
    /// Another stream holds the subscription.
    #[error("another stream holds subscription {subscription:?}; `takeover` ends it")]
    SubscriptionHeld {
        /// Its name.
        subscription: String,
    },
    /// Another stream took the subscription, or it was moved or deleted.
    #[error("the subscription was taken over, moved or deleted; this stream ends at cursor {cursor}")]
    SubscriptionTakenOver {
        /// Up to where this stream was sent.
        cursor: String,
        /// Which of them: `TAKEN_OVER`, `MOVED`, `DELETED`.
        cause: &'static str,
    },
    /// A stream took nothing for too long.
    #[error("the stream took nothing for too long; it can go on from cursor {cursor}")]
    SlowConsumer {
        /// Up to where it was sent.
        cursor: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// The key of an open stream no longer works.
    #[error("the key was revoked or has expired")]
    KeyRevoked,
    /// No key, or a wrong one.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The key does not allow it.
    #[error("{0}")]
    Denied(String),
    /// Too much at once; nothing was stored.
    #[error("the gateway takes no more work for the moment: {what}; nothing was stored")]
    Overloaded {
        /// Which queue is full.
        what: &'static str,
        /// When to come back.
        retry_after: Duration,
    },
    /// A person's file is still being fetched.
    #[error("the file is still being fetched: {detail}")]
    MediaNotReady {
        /// Why it is not there yet.
        detail: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// The gateway stops in the middle of an answer.
    #[error("the gateway stops in the middle of this answer; ask again")]
    GoingAway {
        /// When to come back.
        retry_after: Duration,
    },
    /// A caller sends a file too slowly.
    #[error("{}", too_slow(.idle, *.whole))]
    TooSlow {
        /// How long nothing may come.
        idle: Duration,
        /// Whether it was the whole that took too long.
        whole: bool,
    },
    /// The database is away.
    #[error("the store is away; it is not known to hold this request")]
    Unavailable {
        /// When to come back.
        retry_after: Duration,
    },
    /// The provider was asked on the caller's behalf, and did not answer or refused.
    #[error("{message}")]
    ProviderUnavailable {
        /// For people: what it said instead.
        message: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// A part of the contract that the sender's provider has nothing for.
    #[error("provider {provider} {lacks}")]
    NotAtProvider {
        /// Its name.
        provider: &'static str,
        /// What it does not do: `publishes no templates`.
        lacks: &'static str,
    },
    /// A fault of ours. The cause is logged, not answered.
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

fn too_slow(idle: &Duration, whole: bool) -> String {
    match whole {
        true => "the file took longer than media.fetch_limit; nothing of it is kept".to_owned(),
        false => format!("nothing more of the file came for {} s; nothing of it is kept", idle.as_secs_f32()),
    }
}

/// Why one field is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// Not of the form that is asked for.
    Invalid,
    /// Over the limit.
    TooLong,
    /// Under the limit.
    TooShort,
    /// Missing.
    Required,
    /// The sender's provider cannot take it.
    NotSupported,
    /// Refers to something that is not there.
    NotAvailable,
}

impl Reason {
    /// The word that goes on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Invalid => "INVALID",
            Reason::TooLong => "TOO_LONG",
            Reason::TooShort => "TOO_SHORT",
            Reason::Required => "REQUIRED",
            Reason::NotSupported => "NOT_SUPPORTED",
            Reason::NotAvailable => "NOT_AVAILABLE",
        }
    }
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The field's path in the request: `entries[3].message.to`, `text.body`.
    pub field: String,
    /// What kind of wrong.
    pub reason: Reason,
    /// What would be right.
    pub description: String,
}

/// Collects violations, so that one answer names them all.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Notes one violation.
    pub fn add(&mut self, field: impl Into<String>, reason: Reason, description: impl fmt::Display) {
        self.0.push(Violation { field: field.into(), reason, description: description.to_string() });
    }

    /// Takes the value, or notes why there is none.
    pub fn check<T>(&mut self, field: impl Into<String>, value: Result<T, (Reason, String)>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err((reason, description)) => {
                self.add(field, reason, description);
                None
            }
        }
    }

    /// Adds another set under a path: `text.body` becomes `entries[3].message.text.body`.
    pub fn nest(&mut self, prefix: &str, inner: Violations) {
        for mut violation in inner.0 {
            violation.field = match violation.field.as_str() {
                "" => prefix.to_owned(),
                field => format!("{prefix}.{field}"),
            };
            self.0.push(violation);
        }
    }

    /// The violations so far.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The violations, in the order they were found.
    pub fn into_vec(self) -> Vec<Violation> {
        self.0
    }

    /// `Ok` when nothing is wrong.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all violations.
    pub fn into_result(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }

    /// The error, for a caller that knows there is one.
    pub fn into_error(self) -> Error {
        Error::Invalid(self.0)
    }

    fn summary(violations: &[Violation]) -> String {
        let shown = violations.iter().take(5).map(|v| match v.field.as_str() {
            "" => v.description.clone(),
            field => format!("{field}: {}", v.description),
        });
        let mut text = shown.collect::<Vec<_>>().join("; ");
        if violations.len() > 5 {
            text.push_str(&format!("; and {} more", violations.len() - 5));
        }
        text
    }
}

impl Error {
    /// One wrong field.
    pub fn invalid(field: &str, reason: Reason, description: impl fmt::Display) -> Self {
        let mut violations = Violations::default();
        violations.add(field, reason, description);
        violations.into_error()
    }

    /// A fault of ours, with its cause for the log.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Error::Internal(cause.into())
    }
}

impl From<Vec<Violation>> for Violations {
    fn from(violations: Vec<Violation>) -> Self {
        Self(violations)
    }
}

//! The rules, as plain values and pure functions. Nothing here waits, stores or speaks to anybody.

pub mod callback;
pub mod catalogue;
pub mod contact;
pub mod content;
pub mod cursor;
pub mod erasure;
pub mod event;
pub mod fallback;
pub mod ids;
pub mod judge;
pub mod known_failure;
pub mod media;
pub mod message;
pub mod opt_out;
pub mod pace;
pub mod phone;
pub mod plan;
pub mod progress;
pub mod retention;
pub mod sender;
pub mod status;
pub mod template;
pub mod window;

pub use contact::Contact;
pub use content::{Content, IncomingContent};
pub use cursor::Cursor;
pub use event::{Event, EventFilter, Payload};
pub use ids::{EventId, MediaId, MessageId, SenderId};
pub use message::{DeliveryError, ErrorReason, NewMessage};
pub use phone::PhoneNumber;
pub use sender::Sender;
pub use status::MessageStatus;

/// Unix time in milliseconds, as everything here counts it: whole numbers order and compare the same in both databases.
pub type Millis = i64;

/// The wall clock, now.
pub fn now_ms() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 is a broken machine; the epoch is as good an answer as any.
    let now = since.map(|elapsed| elapsed.as_millis() as Millis).unwrap_or_default();
    #[cfg(feature = "faults")]
    let now = crate::faults::clock(now);
    now
}

//! The rows, one file per table. Private to the store: its methods answer domain types.

pub mod api_keys;
pub mod attempts;
pub mod callback_attempts;
pub mod callbacks;
pub mod catalogues;
pub mod events;
pub mod incoming_messages;
pub mod journal;
pub mod log;
pub mod media;
pub mod messages;
pub mod parked_reports;
pub mod senders;
pub mod subscriptions;
pub mod templates;

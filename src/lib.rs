//! Recado: the gateway through which a company's services talk to people on WhatsApp.
//!
//! The way of a message: in at [`grpc`], through [`domain`], into [`store`], out through [`engine`] and a
//! [`provider`]; back in at [`webhook`], through [`intake`] into the event log, out to subscribers through [`events`].
//! Files that people send are fetched by [`media`], and events are posted by [`callback`], through the [`guarded`] client.
//! All events go to NATS as well, where there is one, by [`sink`].
//! [`gauges`] tells operators how much of it waits. What was kept long enough is removed by [`retention`], a person's content
//! by [`erasure`].
//! What providers have approved is read into [`catalogue`], and compared with what is to be sent.

pub mod access;
pub mod app;
pub mod callback;
pub mod catalogue;
pub mod config;
pub mod domain;
pub mod engine;
pub mod erasure;
pub mod error;
pub mod events;
pub mod fake;
#[cfg(feature = "faults")]
pub mod faults;
pub mod gauges;
pub mod grpc;
pub mod guarded;
pub mod intake;
pub mod media;
pub mod provider;
pub mod retention;
pub mod seal;
pub mod senders;
pub mod sink;
pub mod store;
pub mod telemetry;
pub mod webhook;

/// The contract, generated from `proto/recado/v1`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, reason = "generated; the proto files are the manual")]
pub mod proto {
    tonic::include_proto!("recado.v1");

    /// For reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/recado.v1.bin"));
}

//! The gateway as its callers meet it: real sockets, a real database, a fake provider over HTTP.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod access;
mod bad_input;
mod breaker;
mod callbacks;
mod cloudhumans;
mod database;
mod devino;
mod dialog360;
mod digivox;
mod erasure;
mod events;
mod fallback;
mod gateway;
mod in_doubt;
mod infobip;
mod journal;
mod known_failures;
mod leases;
mod main_job;
mod media;
mod meta;
mod nats;
mod numbers;
mod once;
mod opt_outs;
mod order;
mod pace;
mod pitfalls;
mod plan;
#[allow(dead_code, reason = "the contract suite uses the rest")]
mod provider;
mod refusal;
mod retention;
mod sandbox;
mod senders;
mod sending;
mod stats;
mod templates;
mod tools;
mod twilio;
mod upload;
mod waiting;
mod windows;

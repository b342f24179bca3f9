//! The gateway as its callers meet it: real sockets, a real database, a fake provider over HTTP.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod gateway;
mod sandbox;

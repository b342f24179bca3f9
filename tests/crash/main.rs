//! The real binary under every fault of the rules of delivery: nothing that was accepted is lost, and nothing is handed over
//! twice in silence. The fake provider lives in the test, outlives every kill, and is the judge.
//!
//! `./dev faults` runs it at length and prints a table (docs/faults.md). What sizes it: `FAULT_KILLS` is how often each of the
//! campaigns that kill does so (6 unless set), `FAULT_ROUNDS` how often each other fault comes (2), `FAULT_BATCH` how many
//! messages a caller sends at once, at most (2). `FAULT_SEED` repeats the choices of a run, whose seed is printed.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod black_hole;
mod cable;
mod callbacks;
mod campaign;
#[allow(dead_code, reason = "what the stories need of it")]
#[path = "../story/cast.rs"]
mod cast;
#[allow(dead_code, reason = "what the in-process tests need of it")]
#[path = "../it/database.rs"]
mod database;
mod database_away;
mod disk;
#[allow(dead_code, reason = "what the in-process tests need of it")]
#[path = "../it/callbacks/endpoint.rs"]
mod endpoint;
#[path = "../it/callbacks/failing.rs"]
mod failing;
mod fallback;
mod footprint;
#[allow(dead_code, reason = "what the in-process tests need of it")]
#[path = "../it/gateway.rs"]
mod gateway;
#[cfg(target_os = "linux")]
mod idle_streams;
mod judge;
mod judge_tests;
mod load;
mod metrics;
mod nats;
#[allow(dead_code, reason = "what the in-process tests need of it")]
#[path = "../it/nats/server.rs"]
mod nats_server;
mod outbox;
mod postgres;
mod process;
mod provider;
mod replicas;
mod restart;
mod resumed;
mod scene;
mod soak;
mod stop;
mod stopped_reader;
mod subscriber;
mod table;

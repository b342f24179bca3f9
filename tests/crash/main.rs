//! The real binary, killed at random moments under load, and stopped, and started again: nothing that was accepted is
//! lost, and nothing is handed over twice in silence. The fake provider lives in the test, outlives every kill, and is the
//! judge.
//!
//! `CRASH_KILLS` is how often each campaign kills (6 unless set); `./dev crash` runs 100. `CRASH_SEED` repeats the choices
//! of a run, whose seed is printed.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod balancer;
mod callbacks;
mod campaign;
#[allow(dead_code, reason = "what the in-process tests need of it")]
#[path = "../it/database.rs"]
mod database;
mod fallback;
#[allow(dead_code, reason = "what the in-process tests need of it")]
#[path = "../it/callbacks/endpoint.rs"]
mod endpoint;
#[allow(dead_code, reason = "what the in-process tests need of it")]
#[path = "../it/gateway.rs"]
mod gateway;
mod judge;
mod judge_tests;
mod load;
mod metrics;
mod process;
mod replicas;
mod restart;
mod scene;
mod stop;
mod subscriber;

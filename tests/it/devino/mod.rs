//! Devino from end to end, with the fake provider over HTTP on the other side.

mod direct;
mod faults;
mod incoming;
mod sending;
mod statuses;
mod webhooks;

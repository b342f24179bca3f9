//! Rows of the table of how peers broke (S: statuses, O: sending) that no other test here has in its name.

mod register;
mod sending;
mod statuses;

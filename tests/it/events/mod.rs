//! The event log as its readers meet it.

mod cursors;
mod filters;
pub mod objects;
mod order;
mod readers;
mod starts;
mod subscriptions;

use recado::proto;
use recado::proto::stream_events_request::Start;

/// A stream with the shortest heartbeat.
fn stream(start: Option<Start>) -> proto::StreamEventsRequest {
    let heartbeat_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    proto::StreamEventsRequest { start, heartbeat_interval, ..Default::default() }
}

fn from_beginning() -> Option<Start> {
    Some(Start::FromBeginning(true))
}

fn after_cursor(cursor: &str) -> Option<Start> {
    Some(Start::AfterCursor(cursor.into()))
}

fn cursors(events: &[proto::Event]) -> Vec<&str> {
    events.iter().map(|event| event.cursor.as_str()).collect()
}

/// Places in the log, which callers cannot see: a test may, to tell a gap from a silence.
fn positions(events: &[proto::Event]) -> Vec<i64> {
    events.iter().map(|event| event.cursor.parse::<recado::domain::Cursor>().unwrap().position).collect()
}

/// Removes the oldest events, as retention does.
pub async fn compact(database: &crate::database::TestDatabase, up_to: i64) -> anyhow::Result<()> {
    use sea_orm::ConnectionTrait as _;
    let connection = database.connect().await?;
    connection.execute_unprepared(&format!("DELETE FROM events WHERE position <= {up_to}")).await?;
    Ok(connection.close().await?)
}

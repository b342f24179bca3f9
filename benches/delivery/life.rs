//! The whole life of messages: accepted, handed over, reported, READ before a subscriber.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recado::proto::MessageStatus;
use tokio::sync::Semaphore;

use super::live;
use super::load::Load;
use super::server::Server;

/// Messages between acceptance and READ, at most: acceptance alone is faster, and would only fill the table.
const UNDER_WAY: usize = 2_000;

/// What whole lives cost.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    pub per_second: f64,
    /// The gateway's CPU time for each message.
    pub cpu: Duration,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s, {} µs of CPU each", self.per_second, self.cpu.as_micros())
    }
}

/// Sends `count` messages and waits until each is READ, having been ACCEPTED, SENT and DELIVERED.
pub async fn measure(server: &Server, load: &mut Load, count: usize) -> anyhow::Result<Life> {
    let mut stream = live::subscribe(server).await?;
    let gate = Arc::new(Semaphore::new(UNDER_WAY));
    let done = gate.clone();
    let (cpu, start) = (server.cpu()?, Instant::now());
    let watching = tokio::spawn(async move {
        let (mut events, mut read) = (0, 0);
        while read < count {
            let status = live::next_status(&mut stream).await?;
            // Others' messages, of a backlog, carry no number.
            if status.callback_data.is_empty() {
                continue;
            }
            events += 1;
            if status.status() == MessageStatus::Read {
                read += 1;
                done.add_permits(1);
            }
        }
        anyhow::ensure!(events == 4 * count, "{events} events of {count} messages");
        anyhow::Ok(start.elapsed())
    });
    load.gated(count, gate).await?;
    let elapsed = watching.await??;
    let cpu = server.cpu()? - cpu;
    Ok(Life { per_second: count as f64 / elapsed.as_secs_f64(), cpu: cpu.div_f64(count as f64) })
}

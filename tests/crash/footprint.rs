//! What a process uses, as Linux tells it in `/proc`. The benchmark reads it by the same file.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// Clock ticks a second in `/proc`: 100 on every Linux.
const TICKS: f64 = 100.0;

/// CPU time that a process has used so far, in user and kernel mode.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold blanks; utime and stime are the 12th and 13th after it.
    let (_, rest) = stat.rsplit_once(')').context("a stat without a name")?;
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / TICKS))
}

/// Memory that a process has resident, in kB.
pub fn resident_kb(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no resident memory")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

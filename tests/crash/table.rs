//! The table of a campaign: what was done, and what came of it. `FAULT_TABLE` names a file that rows are added to, for
//! `./dev faults` to print at the end.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;

use crate::judge::Verdict;

/// One line.
#[derive(Debug)]
pub struct Row<'a> {
    /// What went wrong.
    pub fault: &'a str,
    /// On which database, at which provider.
    pub on: &'a str,
    /// How often.
    pub times: usize,
    pub verdict: &'a Verdict,
    /// From a fault until a caller heard OK again, at the longest; nothing where no caller is kept waiting.
    pub recovery: Option<Duration>,
}

/// What stands over the numbers.
const HEADER: [&str; 12] = [
    "times",
    "messages",
    "lost",
    "twice",
    "in doubt",
    "by status",
    "by listing",
    "sent again",
    "got both",
    "given up",
    "events",
    "recovery",
];

impl Row<'_> {
    fn numbers(&self) -> [String; 12] {
        let v = self.verdict;
        let recovery = self.recovery.map_or("-".into(), |time| format!("{:.1}s", time.as_secs_f64()));
        // Of these providers none can be asked for a message; those that can are in tests/it/cloudhumans.
        let by_listing = 0;
        let numbers = [
            self.times,
            v.accepted,
            v.lost,
            v.twice,
            v.in_doubt(),
            v.by_status,
            by_listing,
            v.sent_again,
            v.got_both,
            v.given_up,
            v.events,
        ];
        let mut words = numbers.map(|number| number.to_string()).to_vec();
        words.push(recovery);
        words.try_into().unwrap_or_default()
    }

    /// Prints it under its header, and adds it to the file.
    pub fn report(&self) -> Result<()> {
        let (header, row) =
            (line("fault", "on", &HEADER.map(str::to_owned)), line(self.fault, self.on, &self.numbers()));
        println!("\n{header}\n{row}");
        if let Some(path) = std::env::var_os("FAULT_TABLE") {
            let mut file = File::options().append(true).create(true).open(path)?;
            if file.metadata()?.len() == 0 {
                file.write_all(format!("{header}\n").as_bytes())?;
            }
            file.write_all(format!("{row}\n").as_bytes())?;
        }
        Ok(())
    }
}

fn line(fault: &str, on: &str, numbers: &[String; 12]) -> String {
    let numbers: Vec<String> = numbers.iter().map(|number| format!("{number:>10}")).collect();
    format!("{fault:<34} {on:<22} {}", numbers.join(" "))
}

//! What follows, before a hand-over, from what is known of the person: one list of rules, each pure.

use super::known_failure::{self, KnownFailure};
use super::message::HoldReason;
use super::opt_out::{self, OptOut};
use super::window::Window;
use super::{Content, DeliveryError, Millis, NewMessage};

/// What the store knows about one person, as one sender knows them. A field for each judge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// The 24-hour window.
    pub window: Window,
    /// What they do not want.
    pub opt_outs: Vec<OptOut>,
    /// What the provider said of earlier messages to them, and will say again.
    pub failures: Vec<KnownFailure>,
}

/// One message that is about to be handed over.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The message.
    pub request: &'a NewMessage,
    /// What is known of whom it goes to.
    pub known: &'a Known,
    /// The clock.
    pub now: Millis,
}

/// What is to be done with a message that was taken in hand.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Hand it over.
    Go,
    /// It ends here: FAILED, and no provider is called.
    End(DeliveryError),
    /// HELD until what the reason names happens, or the validity ends.
    Hold(HoldReason),
    /// Hand this over in its place, under the same id.
    Instead(Box<Content>),
}

/// A rule. It must hold [`Verdict::Go`] for every message that it does not want judged.
type Judge = fn(&Case<'_>) -> Verdict;

/// All rules; the first that does not let a message go decides. What puts other content in place stands last, so that
/// whatever ends a message is asked before.
const JUDGES: &[Judge] = &[opt_out::judge, known_failure::judge];

/// Judges one message.
pub fn judge(case: &Case<'_>) -> Verdict {
    JUDGES.iter().map(|judge| judge(case)).find(|verdict| *verdict != Verdict::Go).unwrap_or(Verdict::Go)
}

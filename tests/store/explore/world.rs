//! The world: what is in the memories of replicas and of the provider, beside the database; and what can happen next.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use recado::domain::message::InDoubtPolicy;
use recado::domain::{MessageStatus, Millis};

use super::house::{Did, House, Op, Place};

/// How large a world is, and how much may go wrong in it.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Messages of one conversation, by what is to be done when they are in doubt.
    pub policies: Vec<InDoubtPolicy>,
    pub replicas: usize,
    /// Deaths of replicas.
    pub crashes: u8,
    /// Calls that do not end with a taken message and an answer that says so.
    pub troubles: u8,
    /// Webhooks that are posted again, since the answer got lost.
    pub repeats: u8,
    /// Jumps of the clock to whatever is due next.
    pub jumps: u8,
    /// Times that the caller wants the last message back.
    pub cancels: u8,
    /// Whether the provider's statuses name our id.
    pub echoes: bool,
    /// The statuses that the provider posts of what it took.
    pub words: &'static [Word],
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            policies: Vec::new(),
            replicas: 1,
            crashes: 0,
            troubles: 0,
            repeats: 0,
            jumps: 0,
            cancels: 0,
            echoes: true,
            words: &[Word::Read],
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policies, replicas, crashes, troubles, repeats, jumps, cancels, echoes, words } = self;
        write!(
            f,
            "{policies:?}, {replicas} replicas, {words:?}, {crashes} deaths, {troubles} troubles, {repeats} repeats, \
             {jumps} jumps, {cancels} cancels{}",
            if *echoes { "" } else { ", our id not echoed" }
        )
    }
}

/// A fault in the model of a replica or of the provider, planted to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    ProviderTakesTwice,
    ReplicaCallsAgainAfterALostAnswer,
    ReplicaSaysSentWithoutACall,
    /// And writes that nothing was taken when everything was, or nothing is known.
    ReplicaForgetsALostAnswer,
}

/// How a call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Taken, and said so.
    Taken,
    /// Taken; the answer got lost.
    Lost,
    /// Not taken; the connection closed without a word.
    Dropped,
    /// Not taken, and said so: come again.
    Throttled,
}

impl Answer {
    const ALL: [Answer; 4] = [Answer::Taken, Answer::Lost, Answer::Dropped, Answer::Throttled];

    fn word(self) -> &'static str {
        match self {
            Answer::Taken => "taken",
            Answer::Lost => "lost",
            Answer::Dropped => "dropped",
            Answer::Throttled => "throttled",
        }
    }
}

/// A message in a replica's hand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hand {
    pub message: usize,
    pub token: i64,
    pub attempt: i32,
    /// Nothing before the call.
    pub answer: Option<Answer>,
}

/// What a replica knows that is not on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Replica {
    pub hands: Vec<Hand>,
    /// A webhook that it read from the journal and has not taken in.
    pub reading: Option<i64>,
    /// Claims so far: each has a number of its own.
    claims: i64,
}

/// What the provider knows of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Taken {
    pub times: u8,
    /// Statuses that are still to be posted, of each time.
    pub unposted: Vec<(u8, Word)>,
}

/// A status word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    Delivered,
    Read,
}

impl Word {
    pub fn status(self) -> MessageStatus {
        match self {
            Word::Delivered => MessageStatus::Delivered,
            Word::Read => MessageStatus::Read,
        }
    }
}

/// How much may still go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Left {
    crashes: u8,
    troubles: u8,
    repeats: u8,
    jumps: u8,
    cancels: u8,
}

/// One state of the world.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub place: Place,
    pub now: Millis,
    pub replicas: Vec<Replica>,
    pub provider: Vec<Taken>,
    /// Which messages the caller heard that they are cancelled.
    pub cancelled: Vec<bool>,
    left: Left,
    words: &'static [Word],
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Claim { replica: usize },
    Call { replica: usize, hand: usize, answer: Answer },
    End { replica: usize, hand: usize },
    Die { replica: usize },
    Timers,
    Jump,
    Post { message: usize, nth: usize, again: bool },
    Read { replica: usize },
    TakeIn { replica: usize },
    Cancel,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Claim { replica } => write!(f, "r{replica}:claim"),
            Step::Call { replica, hand, answer } => write!(f, "r{replica}:call:{hand}:{}", answer.word()),
            Step::End { replica, hand } => write!(f, "r{replica}:end:{hand}"),
            Step::Die { replica } => write!(f, "r{replica}:die"),
            Step::Timers => write!(f, "timers"),
            Step::Jump => write!(f, "jump"),
            Step::Post { message, nth, again } => {
                write!(f, "post:{message}:{nth}{}", if *again { ":unanswered" } else { "" })
            }
            Step::Read { replica } => write!(f, "r{replica}:read"),
            Step::TakeIn { replica } => write!(f, "r{replica}:take-in"),
            Step::Cancel => write!(f, "cancel"),
        }
    }
}

pub const LEASE: Duration = Duration::from_secs(60);

impl World {
    /// All messages were accepted a moment ago.
    pub fn beginning(house: &House, bounds: &Bounds) -> Self {
        let Bounds { policies, replicas, crashes, troubles, repeats, jumps, cancels, .. } = bounds;
        Self {
            place: house.beginning(),
            now: super::house::BEGINNING,
            replicas: vec![Replica::default(); *replicas],
            provider: vec![Taken::default(); policies.len()],
            cancelled: vec![false; policies.len()],
            left: Left { crashes: *crashes, troubles: *troubles, repeats: *repeats, jumps: *jumps, cancels: *cancels },
            words: bounds.words,
        }
    }

    /// What can happen here.
    pub fn steps(&self, house: &House, flaw: Option<Flaw>) -> Vec<Step> {
        let facts = house.facts(self.place);
        let mut steps = Vec::new();
        for (replica, memory) in self.replicas.iter().enumerate() {
            if facts.ready {
                steps.push(Step::Claim { replica });
            }
            for (hand, held) in memory.hands.iter().enumerate() {
                let again = flaw == Some(Flaw::ReplicaCallsAgainAfterALostAnswer) && held.answer == Some(Answer::Lost);
                if held.answer.is_none() || again {
                    let possible = |answer: &Answer| *answer == Answer::Taken || self.left.troubles > 0;
                    let answers = Answer::ALL.into_iter().filter(possible);
                    steps.extend(answers.map(|answer| Step::Call { replica, hand, answer }));
                }
                if held.answer.is_some() || flaw == Some(Flaw::ReplicaSaysSentWithoutACall) {
                    steps.push(Step::End { replica, hand });
                }
            }
            match memory.reading {
                Some(_) => steps.push(Step::TakeIn { replica }),
                None if !facts.pending.is_empty() => steps.push(Step::Read { replica }),
                None => {}
            }
            // Who knows nothing that is not on disk, dies without a trace.
            if self.left.crashes > 0 && !(memory.hands.is_empty() && memory.reading.is_none()) {
                steps.push(Step::Die { replica });
            }
        }
        match facts.next_due {
            Some(due) if due <= self.now => steps.push(Step::Timers),
            Some(_) if self.left.jumps > 0 => steps.push(Step::Jump),
            _ => {}
        }
        for (message, taken) in self.provider.iter().enumerate() {
            for nth in 0..taken.unposted.len() {
                steps.push(Step::Post { message, nth, again: false });
                if self.left.repeats > 0 {
                    steps.push(Step::Post { message, nth, again: true });
                }
            }
        }
        if self.left.cancels > 0 {
            steps.push(Step::Cancel);
        }
        steps
    }

    /// The world after a step.
    pub async fn after(&self, step: Step, house: &mut House, flaw: Option<Flaw>) -> Result<Self> {
        let mut world = self.clone();
        match step {
            Step::Claim { replica } => {
                let token = 100 * (replica as i64 + 1) + self.replicas[replica].claims;
                let (place, did) = house.go(self.place, self.now, Op::Claim { token }).await?;
                world.place = place;
                let memory = &mut world.replicas[replica];
                if let Did::Claimed(claims) = did {
                    // A number is used once, unless the claim brought nothing.
                    memory.claims += i64::from(!claims.is_empty());
                    let hand = |(message, attempt)| Hand { message, token, attempt, answer: None };
                    memory.hands.extend(claims.into_iter().map(hand));
                }
            }
            Step::Call { replica, hand, answer } => world.call(replica, hand, answer, flaw),
            Step::End { replica, hand } => {
                let held = world.replicas[replica].hands.remove(hand);
                let forgets = flaw == Some(Flaw::ReplicaForgetsALostAnswer) && held.answer != Some(Answer::Taken);
                let answer = if forgets { Answer::Taken } else { held.answer.unwrap_or(Answer::Taken) };
                let time = world.provider[held.message].times;
                let op = Op::Ended { message: held.message, token: held.token, attempt: held.attempt, answer, time };
                world.place = house.go(self.place, self.now, op).await?.0;
            }
            Step::Die { replica } => {
                let claims = world.replicas[replica].claims;
                world.replicas[replica] = Replica { claims, ..Replica::default() };
                world.left.crashes -= 1;
            }
            Step::Timers => world.place = house.go(self.place, self.now, Op::Timers).await?.0,
            Step::Jump => {
                world.now = house.facts(self.place).next_due.unwrap_or(self.now);
                world.left.jumps -= 1;
            }
            Step::Post { message, nth, again } => {
                let unposted = &mut world.provider[message].unposted;
                let (time, word) = if again { unposted[nth] } else { unposted.remove(nth) };
                world.left.repeats -= u8::from(again);
                world.place = house.go(self.place, self.now, Op::Journal { message, time, word }).await?.0;
            }
            Step::Read { replica } => {
                world.replicas[replica].reading = house.facts(self.place).pending.first().copied();
            }
            Step::TakeIn { replica } => {
                if let Some(entry) = world.replicas[replica].reading.take() {
                    world.place = house.go(self.place, self.now, Op::TakeIn { entry }).await?.0;
                }
            }
            Step::Cancel => {
                let message = world.provider.len() - 1;
                let (place, did) = house.go(self.place, self.now, Op::Cancel { message }).await?;
                world.place = place;
                world.left.cancels -= 1;
                world.cancelled[message] |= matches!(did, Did::Cancelled(true));
            }
        }
        Ok(world)
    }

    fn call(&mut self, replica: usize, hand: usize, answer: Answer, flaw: Option<Flaw>) {
        let held = &mut self.replicas[replica].hands[hand];
        held.answer = Some(answer);
        if answer != Answer::Taken {
            self.left.troubles -= 1;
        }
        if matches!(answer, Answer::Taken | Answer::Lost) {
            let taken = &mut self.provider[held.message];
            for _ in 0..if flaw == Some(Flaw::ProviderTakesTwice) { 2 } else { 1 } {
                taken.times += 1;
                taken.unposted.extend(self.words.iter().map(|word| (taken.times, *word)));
            }
        }
    }

    /// The same with all replicas dead, one of them started anew, and nothing more to go wrong.
    pub fn after_all_died(&self) -> Self {
        let claims = 50;
        let left = Left { crashes: 0, troubles: 0, repeats: 0, jumps: u8::MAX, cancels: 0 };
        Self { replicas: vec![Replica { claims, ..Replica::default() }], left, ..self.clone() }
    }
}

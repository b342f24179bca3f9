//! What webhooks and look-ups report, matched to messages and folded into them; and what people wrote.

use std::collections::{HashMap, HashSet};

use super::{Batch, Op};
use crate::domain::message::HoldReason;
use crate::domain::opt_out::Wish;
use crate::domain::progress::{Next, Step};
use crate::domain::{Content, ErrorReason, Millis, Payload, SenderId};
use crate::provider::{Report, StatusReport};
use crate::store::changes::Loaded;
use crate::store::claims::EndedCall;
use crate::store::intake::{self, Incoming, Intake, Match, Parked, ProviderId};
use crate::store::log::NewEvent;
use crate::store::noted::Note;
use crate::store::opt_outs::{self, Said};
use crate::store::{StoreError, notices};

impl Batch<'_> {
    /// Webhooks that were parsed, and parked reports whose answer has come.
    pub(super) async fn intake(&mut self, ops: &[Op], matches: HashMap<ProviderId, Match>) -> Result<(), StoreError> {
        let intakes: Vec<&Intake> =
            ops.iter().filter_map(|op| if let Op::Intake(i) = op { Some(i) } else { None }).collect();
        let ids: Vec<i64> = intakes.iter().map(|intake| intake.journal_id).collect();
        let pending =
            if ids.is_empty() { HashSet::new() } else { intake::still_pending(self.transaction, ids).await? };
        let intakes: Vec<&Intake> = intakes.into_iter().filter(|intake| pending.contains(&intake.journal_id)).collect();
        let parked = self.answered(ops).await?;

        let fresh = intakes.iter().flat_map(|intake| {
            let journal_id = Some(intake.journal_id);
            status_reports(intake)
                .map(move |(sender, report)| (sender.clone(), intake.receive_at_ms, report, journal_id))
        });
        let answers = ops.iter().filter_map(|op| if let Op::LookedUp(answer) = op { Some(answer) } else { None });
        let asked = answers.flat_map(|answer| {
            answer.reports.iter().map(|report| (answer.sender.clone(), answer.receive_at_ms, report, None))
        });
        let waiting = parked.iter();
        let waiting = waiting.map(|one| (one.sender.clone(), one.receive_at_ms, &one.report, one.journal_id));
        let (mut matched, mut kept) = (Vec::new(), Vec::new());
        for (sender, receive_at_ms, report, journal_id) in waiting.chain(fresh).chain(asked) {
            match self.find(&sender, report, &matches) {
                Some((seq, number)) if self.withhold(seq, number) => {
                    let mut report = report.clone();
                    report.message_id = self.changes.get(seq).map(|loaded| loaded.id);
                    kept.push(Parked { sender, receive_at_ms, report, journal_id });
                }
                Some(found) => matched.push((found, sender, receive_at_ms, report, journal_id)),
                None => {
                    metrics::counter!("recado_reports_parked_total").increment(1);
                    kept.push(Parked { sender, receive_at_ms, report: report.clone(), journal_id });
                }
            }
        }
        let about = matched.iter().filter_map(|((seq, _), ..)| Some(self.changes.get(*seq)?.id));
        self.known.learn(self.transaction, about).await?;
        for (found, sender, receive_at_ms, report, journal_id) in matched {
            self.fold(found, &sender, report, receive_at_ms, journal_id);
        }
        intake::park(self.transaction, kept).await?;
        let incoming = intakes.iter().flat_map(|intake| {
            intake.parsed.reports.iter().filter_map(|item| match &item.report {
                Report::Incoming(report) => Some(Incoming::new(intake, item, report)),
                _ => None,
            })
        });
        let Self { told, windows, .. } = self;
        let incoming = intake::record_incoming(self.transaction, incoming.collect(), told, windows, self.now).await?;
        for (event, _) in &incoming {
            if let Payload::IncomingMessage(_) = event.payload {
                self.changes.tallies.incoming(event.sender.as_str(), event.receive_at_ms);
            }
        }
        self.hear(incoming).await?;
        self.release_held().await?;
        self.events.extend(notices::record(self.transaction, &intakes, &mut self.told, self.now).await?);
        intake::mark_parsed(self.transaction, &intakes, self.now).await
    }

    /// What people wrote, and what they said by it about being written to.
    async fn hear(&mut self, incoming: Vec<(NewEvent, Option<Wish>)>) -> Result<(), StoreError> {
        let mut said: Vec<Said<'_>> = incoming.iter().filter_map(|(event, wish)| Said::of(event, (*wish)?)).collect();
        // In one order of people, so that two replicas do not wait for each other; of one person in the order as it came.
        said.sort_by_key(|said| (said.sender, said.contact.peer()));
        let changes = opt_outs::hear(self.transaction, &said).await?;
        let out = said.iter().filter(|said| said.wish.out).map(|said| (Note::OptOut, said.sender.clone()));
        self.effects.noted.extend(out);
        let events: Vec<NewEvent> = incoming.into_iter().map(|(event, _)| event).collect();
        self.learn(&events);
        self.events.extend(events);
        self.events.extend(changes);
        Ok(())
    }

    /// Lets messages go that waited for somebody who has written now.
    async fn release_held(&mut self) -> Result<(), StoreError> {
        let opened = self.windows.opened(self.now);
        if opened.is_empty() {
            return Ok(());
        }
        for seq in self.changes.load_held(self.transaction, &opened).await? {
            self.changes.step(seq, self.now, None, |progress, _| {
                progress.unheld(HoldReason::WindowClosed);
                Step::default()
            });
            self.wake(seq);
        }
        Ok(())
    }

    /// Folds a report into its message. The first one that names both our id and the provider's, where the answer was lost
    /// or had none, is what later reports find the message by, which name only the provider's.
    pub(super) fn fold(
        &mut self,
        found: Match,
        sender: &SenderId,
        report: &StatusReport,
        receive_at_ms: Millis,
        journal_id: Option<i64>,
    ) {
        if report.error.as_ref().is_some_and(|error| error.reason == ErrorReason::OutsideWindow)
            && let Some(Loaded { terms, .. }) = self.changes.get(found.0)
            && !matches!(terms.request.content, Content::Template(_))
        {
            self.refusals.push(((sender.clone(), terms.request.to.peer()), terms.accept_at_ms));
        }
        let nameless = self.changes.get(found.0).is_some_and(|Loaded { progress, .. }| {
            progress.provider_message_id.is_none() || found.1 <= progress.passed_attempt
        });
        if let Some(id) = report.provider_message_id.clone().filter(|_| nameless) {
            self.learnt.push((found, id));
        }
        let event = self.known.fold(&mut self.changes, found, sender, report, receive_at_ms, self.now);
        if let Some(journal_id) = journal_id.filter(|_| event.is_some()) {
            self.told.add(journal_id, 1);
        }
        self.learn(event.as_slice());
        self.events.extend(event);
        self.wake(found.0);
    }

    /// Whether a report must wait until the attempt that it speaks of has ended; notes that one does.
    fn withhold(&mut self, seq: i64, number: i32) -> bool {
        let under_way = self.changes.get(seq).is_some_and(|loaded| loaded.progress.is_under_way(number));
        if under_way {
            self.changes.step(seq, self.now, None, |progress, _| {
                progress.withheld = true;
                Step::default()
            });
        }
        under_way
    }

    /// Parked reports that speak of ids which the answers of this batch bring.
    async fn answered(&self, ops: &[Op]) -> Result<Vec<Parked>, StoreError> {
        let mut ids: HashSet<String> = HashSet::new();
        for op in ops {
            match op {
                Op::Ended(EndedCall { next: Next::Sent(Some(id)), .. }) => drop(ids.insert(id.clone())),
                Op::Unpark(list) => ids.extend(list.iter().cloned()),
                _ => {}
            }
        }
        intake::unpark(self.transaction, ids.into_iter().collect()).await
    }

    /// The message and attempt that a report speaks of: by our id where the provider gave it back, else by its own. A
    /// message of another sender never matches, whatever id a webhook names.
    fn find(&self, sender: &SenderId, report: &StatusReport, matches: &HashMap<ProviderId, Match>) -> Option<Match> {
        let by_provider = report
            .provider_message_id
            .as_ref()
            .and_then(|id| matches.get(&(sender.clone(), id.clone())).copied())
            .filter(|(seq, _)| self.changes.get(*seq).is_some());
        let by_ours = || {
            let seq = self.changes.seq_of(report.message_id?)?;
            let Loaded { terms, progress, .. } = self.changes.get(seq)?;
            let turn = terms.request.turn_of(sender)?;
            if turn != progress.turn {
                return self.earlier.get(&(seq, turn)).map(|attempt| (seq, *attempt));
            }
            let attempt = progress.attempt_of(report.provider_message_id.as_deref());
            (turn == 0 || attempt > progress.passed_attempt).then_some((seq, attempt))
        };
        by_provider.or_else(by_ours)
    }

    pub(super) fn is_of(&self, seq: i64, sender: &SenderId) -> bool {
        self.changes.get(seq).is_some_and(|loaded| loaded.sender() == sender)
    }
}

pub(super) fn status_reports(intake: &Intake) -> impl Iterator<Item = (&SenderId, &StatusReport)> {
    intake.parsed.reports.iter().filter_map(|item| match &item.report {
        Report::Status(report) => Some((&item.sender, report)),
        _ => None,
    })
}

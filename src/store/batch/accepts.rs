//! New messages and repeated keys; and the places of all events of a batch.

use std::collections::HashMap;

use sea_orm::ConnectionTrait as _;

use super::{Batch, Done, NotAccepted, Op, Reused};
use crate::store::accept::{self, Accept, KeyUsed};
use crate::store::noted::Note;
use crate::store::{StoreError, heads, log, opt_outs, passing, rows};

impl Batch<'_> {
    /// Writes what moved, takes places for all events of the batch, and writes them with the messages that are accepted.
    pub(super) async fn accepts_and_events(&mut self, ops: &[Op], done: &mut [Option<Done>]) -> Result<(), StoreError> {
        let (new, repeats) = self.sort_accepts(ops, done).await?;
        let (new, repeats) = self.part_opted_out(new, repeats, done).await?;
        let events = std::mem::take(&mut self.events);
        let mut changes = std::mem::take(&mut self.changes);
        let touched = changes.touched();
        new.iter().for_each(|(_, accept)| accept.tally(&mut changes.tallies));
        let tallies = changes.write(self.transaction).await?;
        if new.is_empty() && events.is_empty() && touched.is_empty() {
            return tallies.write(self.transaction).await;
        }
        let count = new.len() + events.len();
        let places = log::take_places_and_count(self.transaction, count, self.now, tallies).await?;
        // Under the lock of the log, from here on.
        let found_by_insert = rows::is_one_statement(self.transaction.get_database_backend(), new.len());
        let joining = new.iter().filter_map(|(_, accept)| accept.line()).filter(|_| !found_by_insert);
        let mut lines = heads::settle(self.transaction, touched, joining).await?;
        self.effects.ready.extend(lines.ready.drain());
        self.effects.accepted = new.len() as u64;
        let mut messages = Vec::with_capacity(new.len());
        let mut next = Vec::new();
        let mut all = Vec::with_capacity(new.len() + events.len());
        for (position, (index, accept)) in (places.first..).zip(new) {
            if accept.is_ready() {
                self.effects.ready.insert(accept.terms.request.sender.clone());
            }
            next.extend(passing::next_of(&accept).map(|sender| (position, sender)));
            let first = accept.line().is_some_and(|line| lines.join(line));
            let (event, row, accepted) = accept.into_row(position, first);
            messages.push(row);
            all.push(event);
            done[index] = Some(Done::Accepted(Ok(accepted)));
        }
        for (index, first, accept) in repeats {
            let (Some(Done::Accepted(Ok(accepted))), Op::Accept(original)) = (done[first].clone(), &ops[first]) else {
                continue;
            };
            done[index] = Some(repeated(accept::same_or_other(&accept, &original.terms.request, accepted)));
        }
        all.extend(events);
        self.effects.callbacks = all.iter().any(|event| event.callback.is_some());
        let computed = found_by_insert.then_some(heads::OF_NEW);
        rows::insert_with(self.transaction, messages, computed).await?;
        passing::note_next(self.transaction, next).await?;
        self.effects.appended = log::append(self.transaction, places, all).await?;
        let lessons = std::mem::take(&mut self.lessons);
        self.effects.noted.extend(lessons.senders().into_iter().map(|sender| (Note::Failure, sender)));
        lessons.write(self.transaction).await
    }

    /// Answers those that somebody's opt-out stands against. Where nobody opted out, nothing is asked.
    #[allow(clippy::type_complexity, reason = "the two lists of sort_accepts")]
    async fn part_opted_out(
        &self,
        new: Vec<(usize, Accept)>,
        repeats: Vec<(usize, usize, Accept)>,
        done: &mut [Option<Done>],
    ) -> Result<(Vec<(usize, Accept)>, Vec<(usize, usize, Accept)>), StoreError> {
        let asked = new.iter().filter(|(_, accept)| self.memory.noted.has(Note::OptOut, &accept.terms.request.sender));
        let asked = asked.map(|(index, accept)| (*index, &accept.terms.request));
        let refused = opt_outs::against(self.transaction, asked).await?;
        if refused.is_empty() {
            return Ok((new, repeats));
        }
        for (index, opt_out) in &refused {
            done[*index] = Some(Done::Accepted(Err(NotAccepted::OptedOut(Box::new(opt_out.clone())))));
        }
        let (refused_repeats, repeats) = repeats.into_iter().partition(|(_, first, _)| refused.contains_key(first));
        let refused_repeats: Vec<(usize, usize, Accept)> = refused_repeats;
        for (index, first, _) in refused_repeats {
            done[index] = done[first].clone();
        }
        Ok((new.into_iter().filter(|(index, _)| !refused.contains_key(index)).collect(), repeats))
    }

    /// Parts new messages from repeated keys: those of earlier transactions are answered here, those of this batch wait
    /// for the first one's place.
    #[allow(clippy::type_complexity, reason = "two lists, named where they are used")]
    async fn sort_accepts(
        &self,
        ops: &[Op],
        done: &mut [Option<Done>],
    ) -> Result<(Vec<(usize, Accept)>, Vec<(usize, usize, Accept)>), StoreError> {
        let accepts: Vec<&Accept> = ops
            .iter()
            .filter_map(|op| if let Op::Accept(accept) = op { Some(accept.as_ref()) } else { None })
            .collect();
        let earlier = accept::earlier(self.transaction, &accepts).await?;
        let mut in_batch: HashMap<(String, String), usize> = HashMap::new();
        let (mut new, mut repeats) = (Vec::new(), Vec::new());
        for (index, op) in ops.iter().enumerate() {
            let Op::Accept(accept) = op else { continue };
            let key = accept.key.clone().map(|key| (accept.caller.clone(), key));
            if let Some(row) = key.as_ref().and_then(|key| earlier.get(key)) {
                done[index] = Some(repeated(accept::compare(accept, row)?));
            } else if let Some(first) = key.as_ref().and_then(|key| in_batch.get(key)) {
                repeats.push((index, *first, accept.as_ref().clone()));
            } else {
                in_batch.extend(key.map(|key| (key, index)));
                new.push((index, accept.as_ref().clone()));
            }
        }
        Ok((new, repeats))
    }
}

fn repeated(used: KeyUsed) -> Done {
    Done::Accepted(match used {
        KeyUsed::Same(accepted) => Ok(accepted),
        KeyUsed::Other { key, message_id, fields } => Err(NotAccepted::Reused(Reused { key, message_id, fields })),
    })
}

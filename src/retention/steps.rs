//! What a turn at each kind does.

use std::time::{Duration, Instant};

use super::{Retention, Work};
use crate::domain::media::Trouble;
use crate::domain::retention::{Limit, Size, cutoff};
use crate::domain::{Millis, now_ms};
use crate::store::{Kind, StoreError, Trimmed};

/// Webhooks have large bodies, and files are removed one by one: fewer of them make a step.
const LARGE_STEP: u64 = 64;

impl Retention {
    pub(super) async fn steps(&self, kind: Kind, work: &mut Work<'_>, now: Millis) -> Result<(), StoreError> {
        let kept = &self.kept;
        match kind {
            Kind::Events => self.events(work, now).await,
            Kind::Messages => {
                let size = async { self.store.messages_size().await };
                let mut limit = limit(kept.messages, kept.messages_bytes, size, now).await?;
                self.rows(work, &mut limit, kept.step, Kind::Messages).await
            }
            Kind::Journal => {
                let size = async { self.store.journal_size().await };
                let mut limit = limit(kept.journal, kept.journal_bytes, size, now).await?;
                self.rows(work, &mut limit, kept.step.min(LARGE_STEP), Kind::Journal).await
            }
            Kind::Incoming | Kind::Parked => self.by_age(work, kind, cutoff(kept.messages, now)).await,
            Kind::Media => self.media(work, now).await,
            Kind::Subscriptions => {
                if kept.subscriptions.is_some() {
                    work.removed += self.store.expire_subscriptions(cutoff(kept.subscriptions, now), now).await?;
                }
                Ok(())
            }
        }
    }

    /// Removes what was announced long enough ago, and announces what is to go next.
    async fn events(&self, work: &mut Work<'_>, now: Millis) -> Result<(), StoreError> {
        // Rows that somebody else removed are stepped over; without any, the place stays where it is.
        if let Some(first) = self.store.first_event().await? {
            work.turn.place = work.turn.place.max(first - 1);
        }
        let told = now - work.turn.announce_at_ms >= 2 * self.kept.interval.as_millis() as Millis;
        if told && !self.events_up_to(work, work.turn.announced).await? {
            return Ok(());
        }
        let mut last = work.turn.place;
        if self.kept.events.is_some() {
            last = last.max(self.store.place_before_time(cutoff(self.kept.events, now)).await?);
        }
        if self.kept.events_bytes > 0 {
            let surplus = self.store.events_size().await?.surplus(self.kept.events_bytes);
            last = last.max(work.turn.place + i64::try_from(surplus).unwrap_or_default());
        }
        if last > work.turn.announced && last > work.turn.place {
            self.store.announce_trim(last, now_ms()).await?;
            self.log.hear(self.store.announced().await?);
        }
        Ok(())
    }

    /// `false` when the time was too short.
    async fn events_up_to(&self, work: &mut Work<'_>, last: i64) -> Result<bool, StoreError> {
        while work.turn.place < last {
            let started = Instant::now();
            let up_to = last.min(work.turn.place + self.kept.step as i64);
            let removed = self.store.trim_events(work.turn.place, up_to).await?;
            work.turn.place = up_to;
            if !work.goes_on(removed, started.elapsed()).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Walks over rows by their places, removing what is old, up to the first that came too late.
    async fn rows(&self, work: &mut Work<'_>, limit: &mut Limit, step: u64, kind: Kind) -> Result<(), StoreError> {
        if limit.is_none() {
            return Ok(());
        }
        let (mut at, mut left) = (work.turn.place, None);
        loop {
            let started = Instant::now();
            let done = match kind {
                Kind::Journal => self.store.trim_journal(at, step, limit).await?,
                _ => self.store.trim_messages(at, step, limit).await?,
            };
            let Trimmed { removed, next, left: stays } = done;
            left = left.or(stays);
            let more = work.goes_on(removed, started.elapsed()).await;
            at = next.unwrap_or(at);
            // What is left stands between the place and where the walk is; the next one begins before it.
            work.turn.place = left.map_or(at, |left| left - 1);
            if next.is_none() || !more {
                return Ok(());
            }
        }
    }

    async fn by_age(&self, work: &mut Work<'_>, kind: Kind, before: Millis) -> Result<(), StoreError> {
        if before == Millis::MIN {
            return Ok(());
        }
        loop {
            let started = Instant::now();
            let removed = match kind {
                Kind::Parked => self.store.trim_orphans(before, self.kept.step).await?,
                _ => self.store.trim_incoming(before, self.kept.step).await?,
            };
            if !work.goes_on(removed, started.elapsed()).await || removed < self.kept.step {
                return Ok(());
            }
        }
    }

    /// Files go before their rows do, so that none is left without one; meanwhile their rows say that they are gone.
    async fn media(&self, work: &mut Work<'_>, now: Millis) -> Result<(), StoreError> {
        let before = cutoff(self.kept.media, now);
        let mut excess = match self.kept.media_bytes {
            0 => 0,
            bytes => self.store.media_bytes().await?.saturating_sub(bytes),
        };
        loop {
            let started = Instant::now();
            let mut ids = Vec::new();
            for (id, create_at_ms, bytes) in self.store.oldest_media(self.kept.step.min(LARGE_STEP)).await? {
                if create_at_ms >= before && excess == 0 {
                    break;
                }
                excess = excess.saturating_sub(bytes);
                ids.push(id);
            }
            if ids.is_empty() {
                return Ok(());
            }
            self.store.give_up_media(&ids, Trouble::Removed, now).await?;
            for id in &ids {
                if let Err(error) = self.shelf.remove(*id).await {
                    tracing::warn!(%error, media.id = %id, "a file could not be removed; trying again");
                    return Ok(());
                }
            }
            let removed = self.store.forget_media(&ids).await?;
            if !work.goes_on(removed, started.elapsed()).await {
                return Ok(());
            }
        }
    }
}

/// What goes now. The size is asked for only where it is limited: it is read from many rows.
async fn limit(
    kept: Option<Duration>,
    bytes: u64,
    size: impl Future<Output = Result<Size, StoreError>>,
    now: Millis,
) -> Result<Limit, StoreError> {
    let surplus = if bytes == 0 { 0 } else { size.await?.surplus(bytes) };
    Ok(Limit { before: cutoff(kept, now), surplus })
}

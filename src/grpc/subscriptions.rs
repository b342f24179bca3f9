//! Named subscriptions: whose they are, who holds them, how far behind they are.

use std::net::SocketAddr;
use std::time::Duration;

use uuid::Uuid;

use super::answer;
use super::events::Events;
use super::follow::Named;
use crate::access::{Caller, Scope};
use crate::domain::{Cursor, now_ms};
use crate::error::{Error, Reason, Violations};
use crate::proto;
use crate::store::{Hold, Lagging};

/// A stream's hold on a subscription outlives this many of its heartbeats.
const HOLD_BEATS: u32 = 3;

/// Who wants to hold a subscription, and how.
#[derive(Debug)]
pub(super) struct Held {
    pub name: String,
    pub beat: Duration,
    pub takeover: bool,
    pub client: Option<SocketAddr>,
}

/// Where a subscription stands that was taken hold of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub position: i64,
    /// Whether it was made by that.
    pub made: bool,
}

/// A subscription's name.
pub(super) fn name(name: &str, violations: &mut Violations) -> Option<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-');
    match name.len() {
        0 => violations.add("subscription", Reason::Required, "a subscription's name is needed"),
        1..=63 if name.chars().all(fits) => return Some(name.to_owned()),
        _ => {
            let description = "a subscription's name has 1 to 63 of a-z, 0-9, '_', '.', '-'";
            violations.add("subscription", Reason::Invalid, description);
        }
    }
    None
}

/// Whose subscription a request is about: the caller's own, or another key's for whoever may see all.
pub(super) fn owner<'a>(caller: &'a Caller, key: &'a str) -> Result<&'a str, Error> {
    match key {
        "" => Ok(caller.owner()),
        own if own == caller.owner() => Ok(own),
        // No key is called so, and PostgreSQL takes no NUL.
        other if other.chars().any(char::is_control) => {
            Err(Error::invalid("api_key_id", Reason::Invalid, "an id of a key has no control characters"))
        }
        other => sees_all(caller).map(|()| other),
    }
}

fn sees_all(caller: &Caller) -> Result<(), Error> {
    caller.needs(Scope::Admin)?;
    match caller.senders.is_empty() {
        true => Ok(()),
        false => Err(Error::Denied("a key that is limited to some senders sees its own subscriptions only".into())),
    }
}

impl Events {
    /// Takes hold of a subscription for a new stream; makes it at `now` on first use.
    pub(super) async fn hold(&self, caller: &Caller, held: Held, now: i64) -> Result<(Named, Place), Error> {
        let store = &self.0.store;
        let Held { name, beat, takeover, client } = held;
        let owner = caller.owner();
        let made = store.ensure_subscription(owner, &name, now, now_ms()).await?;
        let named = Named { owner: owner.to_owned(), name, stream: Uuid::new_v4(), hold_for: beat * HOLD_BEATS };
        let since_ms = now_ms();
        let hold = Hold {
            stream: named.stream,
            since_ms,
            until_ms: named.until(since_ms),
            key: caller.id.clone(),
            address: client.map(|client| client.to_string()).unwrap_or_default(),
        };
        let position = store.hold_subscription(owner, &named.name, hold, takeover).await?;
        let Some(position) = position else { return Err(Error::SubscriptionHeld { subscription: named.name }) };
        if let Err(error) = self.check_kept(position).await {
            // When the store is away, the hold runs out by itself.
            let _ = store.release_subscription(owner, &named.name, named.stream).await;
            return Err(error);
        }
        Ok((named, Place { position, made }))
    }

    /// One subscription, as it is answered.
    pub(super) async fn subscription(&self, owner: &str, name: &str) -> Result<proto::Subscription, Error> {
        let found = self.0.store.lagging(owner, name).await?;
        let found = found.ok_or_else(|| Error::NotFound { resource: "subscription", name: name.to_owned() })?;
        Ok(self.answer(found))
    }

    /// A page of subscriptions, the caller's own or those of all keys. The token is the last one seen, which may be gone
    /// by now.
    pub(super) async fn subscriptions(
        &self,
        caller: &Caller,
        all_keys: bool,
        token: &str,
        size: u64,
    ) -> Result<proto::ListSubscriptionsResponse, Error> {
        // No name has one, and PostgreSQL takes none.
        let token = token.replace('\0', "");
        let after = token.split_once('/').unwrap_or(("", &token));
        let owner = match all_keys {
            true => sees_all(caller).map(|()| None)?,
            false => Some(caller.owner()),
        };
        let mut found = self.0.store.lagging_page(owner, after, size + 1).await?;
        let more = found.len() as u64 > size;
        found.truncate(size as usize);
        let last = found.last().filter(|_| more).map(|last| &last.subscription);
        let next_page_token = last.map(|last| format!("{}/{}", last.owner, last.name)).unwrap_or_default();
        let subscriptions = found.into_iter().map(|found| self.answer(found)).collect();
        Ok(proto::ListSubscriptionsResponse { subscriptions, next_page_token })
    }

    fn answer(&self, found: Lagging) -> proto::Subscription {
        let Lagging { subscription, lag_events, next_record_at_ms, compacted } = found;
        let now = now_ms();
        let holder = subscription.holder.filter(|hold| hold.until_ms >= now);
        proto::Subscription {
            subscription: subscription.name,
            cursor: Cursor { epoch: self.0.store.epoch(), position: subscription.position }.to_string(),
            create_time: Some(answer::timestamp(subscription.create_at_ms)),
            ack_time: subscription.ack_at_ms.map(answer::timestamp),
            lag_events,
            lag: Some(answer::duration(next_record_at_ms.map_or(0, |recorded| (now - recorded).max(0)))),
            holder: holder.map(|hold| proto::SubscriptionHolder {
                address: hold.address,
                api_key_id: hold.key,
                attach_time: Some(answer::timestamp(hold.since_ms)),
            }),
            api_key_id: subscription.owner,
            compacted,
        }
    }
}

//! How far behind subscriptions are, for `/metrics`: written from the database when somebody asks, so that one that is gone
//! leaves no series behind, and every replica says the same.

use std::fmt::Write as _;

use crate::domain::now_ms;
use crate::store::{Lagging, Store};

/// Subscriptions that get series of their own: the furthest behind. Their names are the callers' choice, and each costs
/// whoever collects metrics.
const SHOWN: u64 = 100;

/// The metrics of subscriptions in the text format of Prometheus; empty while the store is away.
pub(super) async fn text(store: &Store) -> String {
    match store.furthest_behind(SHOWN).await {
        Ok((found, count)) => written(&found, count, now_ms()),
        Err(error) => {
            tracing::debug!(%error, "the subscriptions could not be counted");
            String::new()
        }
    }
}

fn written(found: &[Lagging], count: i64, now: i64) -> String {
    let mut text = format!("\n# TYPE recado_subscriptions gauge\nrecado_subscriptions {count}\n");
    let mut gauge = |name: &str, value: &dyn Fn(&Lagging) -> f64| {
        let _ = writeln!(text, "\n# TYPE {name} gauge");
        for one in found {
            // Names and ids of keys have no character that would have to be escaped.
            let (subscription, key) = (&one.subscription.name, &one.subscription.owner);
            let value = value(one);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}{{subscription=\"{subscription}\",key=\"{key}\"}} {value}");
        }
    };
    gauge("recado_subscription_lag_events", &|one| one.lag_events as f64);
    gauge("recado_subscription_lag_seconds", &|one| {
        one.next_record_at_ms.map_or(0.0, |recorded| (now - recorded).max(0) as f64 / 1_000.0)
    });
    gauge("recado_subscription_compacted", &|one| f64::from(u8::from(one.compacted)));
    gauge("recado_subscription_held", &|one| {
        f64::from(u8::from(one.subscription.holder.as_ref().is_some_and(|hold| hold.until_ms >= now)))
    });
    text
}

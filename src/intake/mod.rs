//! From the journal to messages and events: parsing is a later, repeatable step, so a webhook is answered before it is
//! understood, and one that no parser understands is not lost.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::domain::{PhoneNumber, SenderId, now_ms};
use crate::provider::{Report, Unreadable, Webhook};
use crate::senders::{Account, Senders};
use crate::store::{Intake, Item, JournalEntry, Parsed, Store, StoreError, Writer};

pub mod history;

/// Webhooks that one look brings.
const PAGE: u64 = 64;
/// How often the journal is looked at beside the wake-ups.
const LOOK: Duration = Duration::from_secs(1);
/// How often parked reports are looked at.
const PARKED_LOOK: Duration = Duration::from_secs(30);
/// Parked reports that one look brings.
const PARKED_PAGE: u64 = 500;

/// Wakes the intake: the journal has something new.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// The journal has something new.
    pub fn journalled(&self) {
        self.0.notify_one();
    }
}

/// Takes webhooks in, until `stop`.
pub async fn run(store: Store, writer: Writer, senders: Arc<Senders>, wake: Wake, stop: CancellationToken) {
    let work = async {
        loop {
            tokio::select! {
                () = wake.0.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            if let Err(error) = take_in_all(&store, &writer, &senders).await {
                tracing::warn!(%error, "the journal could not be taken in; trying again");
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = look_at_parked(&store, &writer) => {}
        () = stop.cancelled() => {}
    }
}

async fn take_in_all(store: &Store, writer: &Writer, senders: &Senders) -> Result<(), StoreError> {
    loop {
        // Always from the beginning: whatever is pending there was not taken in.
        let entries = store.pending_webhooks(0, PAGE).await?;
        let more = entries.len() as u64 == PAGE;
        let taken = entries.into_iter().map(|entry| async {
            let account = senders.find(&entry.sender).await?;
            take_in(writer, read(senders, account.as_deref(), entry)).await
        });
        join_all(taken).await.into_iter().collect::<Result<(), _>>()?;
        if !more {
            return Ok(());
        }
    }
}

/// Takes one webhook in. One that the database will not hold (a NUL in an id, for PostgreSQL) stays in the journal as not
/// understood: tried again for ever, it would stand before all that follow.
async fn take_in(writer: &Writer, intake: Intake) -> Result<(), StoreError> {
    let Intake { journal_id, receive_at_ms, .. } = intake;
    let parsed = unreadable("the database does not take what it says".into());
    let without = Intake { journal_id, receive_at_ms, parsed };
    match writer.intake(intake).await {
        Err(StoreError::Fault(error)) => {
            tracing::error!(journal_id, error, "a webhook could not be taken in and is left in the journal");
            writer.intake(without).await
        }
        taken => taken,
    }
}

/// What one webhook says. A parser that panics is a fault of ours and costs only its webhook, which stays in the journal.
fn read(senders: &Senders, account: Option<&Account>, entry: JournalEntry) -> Intake {
    let JournalEntry { id, sender, provider, receive_at_ms, body } = entry;
    let bytes = body.len();
    let webhook = |body| Webhook { headers: Vec::new(), query: Vec::new(), path_token: None, body, receive_at_ms };
    let parsed = match (account, senders.unseal_webhook(&sender, &body).map(webhook)) {
        (Some(account), Ok(webhook)) => {
            let parse = AssertUnwindSafe(|| account.provider.parse(&webhook));
            match std::panic::catch_unwind(parse) {
                Ok(items) => sort(senders, account, items),
                Err(_) => unreadable("the parser panicked".into()),
            }
        }
        (None, _) => unreadable(format!("sender {sender} was deleted")),
        (Some(_), Err(error)) => unreadable(error.to_string()),
    };
    if let Some(problem) = &parsed.problem {
        metrics::counter!("recado_webhook_items_unreadable_total", "provider" => provider)
            .increment(parsed.unreadable as u64);
        tracing::warn!(journal_id = id, %sender, bytes, %problem, "a webhook was not understood in full");
    }
    Intake { journal_id: id, receive_at_ms, parsed }
}

fn sort(senders: &Senders, account: &Account, items: Vec<Result<Report, Unreadable>>) -> Parsed {
    let mut parsed = Parsed::default();
    for (index, item) in items.into_iter().enumerate() {
        let sorted = item.and_then(|report| match addressee(senders, account, &report) {
            Some(sender) => Ok(Item { index, sender, report }),
            None => {
                Err(Unreadable { index, why: "it is about an account of the provider that no sender is of".into() })
            }
        });
        match sorted {
            Ok(Item { report: Report::Nothing, .. }) => {}
            Ok(item) => parsed.reports.push(item),
            Err(error) => {
                parsed.unreadable += 1;
                parsed.problem.get_or_insert_with(|| error.to_string());
            }
        }
    }
    parsed
}

/// The sender that a report is about. Where a provider posts for several numbers to one address, each report names its own;
/// it is believed about another sender only when that one's webhooks are proven by the same secret.
fn addressee(senders: &Senders, came_to: &Account, report: &Report) -> Option<SenderId> {
    let Some(own) = came_to.provider.account() else { return Some(came_to.sender.id.clone()) };
    let of_the_same = |account: &Arc<Account>| {
        account.sender.provider == came_to.sender.provider
            && account.provider.account().is_some_and(|other| other.proof == own.proof)
    };
    let find = |is_named: &dyn Fn(&Arc<Account>) -> bool| {
        let all = senders.all().into_iter();
        all.filter(of_the_same).find(is_named).map(|account| account.sender.id.clone())
    };
    if let Some(named) = report.account() {
        return match own.id == named {
            true => Some(came_to.sender.id.clone()),
            false => find(&|account| account.provider.account().is_some_and(|other| other.id == named)),
        };
    }
    let Some(number) = number_of(report) else { return Some(came_to.sender.id.clone()) };
    let has_number =
        |account: &Arc<Account>| PhoneNumber::digits_of(&account.sender.phone_number).as_ref() == Some(&number);
    // A sender whose own number nobody wrote down may be the one.
    find(&has_number).or_else(|| came_to.sender.phone_number.is_empty().then(|| came_to.sender.id.clone()))
}

/// The digits of the number that a report about a sender names instead of an account.
fn number_of(report: &Report) -> Option<String> {
    match report {
        Report::Sender(report) => PhoneNumber::digits_of(&report.phone_number),
        _ => None,
    }
}

fn unreadable(problem: String) -> Parsed {
    Parsed { reports: Vec::new(), unreadable: 1, problem: Some(problem) }
}

async fn look_at_parked(store: &Store, writer: &Writer) {
    loop {
        let looked = async {
            let ids = store.parked_that_match(PARKED_PAGE).await?;
            if !ids.is_empty() {
                writer.unpark(ids).await?;
            }
            store.orphan_parked(now_ms()).await
        };
        match looked.await {
            Ok(0) => {}
            Ok(orphans) => tracing::warn!(orphans, "reports matched no message for 30 days"),
            Err(error) => tracing::warn!(%error, "parked reports could not be looked at"),
        }
        tokio::time::sleep(PARKED_LOOK).await;
    }
}

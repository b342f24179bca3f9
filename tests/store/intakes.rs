//! The way back: webhooks taken in once, and reports that come before their time.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures::future::join_all;
use recado::domain::content::Text;
use recado::domain::event::Payload;
use recado::domain::progress::Next;
use recado::domain::{Contact, IncomingContent, MessageId, MessageStatus, SenderId, now_ms};
use recado::provider::{IncomingReport, Report, StatusReport};
use recado::store::{Claim, EndedCall, Intake, Item, NewJournalEntry, Parsed};
use sea_orm::ConnectionTrait as _;

use crate::{Bench, acme, on_both_databases, to};

fn status(provider_message_id: &str, status: MessageStatus) -> Report {
    Report::Status(StatusReport {
        provider_message_id: Some(provider_message_id.into()),
        status: Some(status),
        provider_status: status.as_str().into(),
        ..StatusReport::default()
    })
}

fn incoming(id: Option<&str>) -> Report {
    let content = IncomingContent::Text(Text { body: "ok".into(), preview_url: false });
    let report = IncomingReport::new(Contact::of_phone("351910000001"), content);
    Report::Incoming(IncomingReport { provider_message_id: id.map(str::to_owned), ..report })
}

impl Bench {
    /// Journals a webhook that says this; gives what is to be taken in.
    pub async fn journalled(&self, reports: Vec<Report>) -> Result<Intake> {
        let entry = NewJournalEntry {
            sender: acme(),
            provider: "devino".into(),
            receive_at_ms: now_ms(),
            headers: "{}".into(),
            body: Bytes::new(),
        };
        self.writer.journal(entry).await?;
        let last = self.store.pending_webhooks(0, 10_000).await?.pop().unwrap();
        let item = |(index, report)| Item { index, sender: acme(), report };
        let reports = reports.into_iter().enumerate().map(item).collect();
        let parsed = Parsed { reports, unreadable: 0, problem: None };
        Ok(Intake { journal_id: last.id, receive_at_ms: last.receive_at_ms, parsed })
    }

    pub async fn events(&self) -> Result<Vec<Payload>> {
        Ok(self.store.events_after(0, 10_000).await?.into_iter().map(|event| event.payload).collect())
    }

    /// What the log says of a message.
    async fn words(&self, message: MessageId) -> Result<Vec<&'static str>> {
        let statuses = self.events().await?.into_iter().filter_map(|payload| match payload {
            Payload::StatusChanged(status) if status.message_id == message => Some(status.status.unwrap().as_str()),
            _ => None,
        });
        Ok(statuses.collect())
    }
}

on_both_databases! {
    async fn a_webhook_is_taken_in_once_however_often_it_is_read(engine) {
        let bench = Bench::start(engine).await?;
        let intake = bench.journalled(vec![incoming(Some("a")), incoming(None), incoming(None)]).await?;
        let taken = join_all((0..50).map(|_| bench.writer.intake(intake.clone()))).await;
        taken.into_iter().collect::<Result<Vec<_>, _>>()?;
        bench.writer.intake(intake).await?;
        assert_eq!(bench.events().await?.len(), 3, "without an id of the provider's, the same words are two messages (I4)");
        assert!(bench.store.pending_webhooks(0, 10).await?.is_empty());
        bench.stop().await?;
        Ok(())
    }

    async fn i1_copies_of_an_incoming_message_are_one(engine) {
        let bench = Bench::start(engine).await?;
        let mut intakes = Vec::new();
        for _ in 0..40 {
            intakes.push(bench.journalled(vec![incoming(Some("a")), incoming(Some("a"))]).await?);
        }
        let taken = join_all(intakes.into_iter().map(|intake| bench.writer.intake(intake))).await;
        taken.into_iter().collect::<Result<Vec<_>, _>>()?;
        assert_eq!(bench.events().await?.len(), 1);
        bench.stop().await?;
        Ok(())
    }

    async fn i3_what_failed_behind_its_mark_is_taken_in_when_it_is_tried_again(engine) {
        let bench = Bench::start(engine).await?;
        let intake = bench.journalled(vec![incoming(Some("i-1"))]).await?;
        let database = bench.database.connect().await?;
        database.execute_unprepared("ALTER TABLE events RENAME TO events_away").await?;
        assert!(bench.writer.intake(intake.clone()).await.is_err());
        database.execute_unprepared("ALTER TABLE events_away RENAME TO events").await?;
        // The mark by which copies are known was not kept: it and the event are one transaction.
        assert!(bench.events().await?.is_empty());
        bench.writer.intake(intake.clone()).await?;
        bench.writer.intake(intake).await?;
        bench.writer.intake(bench.journalled(vec![incoming(Some("i-1"))]).await?).await?;
        assert_eq!(bench.events().await?.len(), 1);
        bench.stop().await?;
        Ok(())
    }

    async fn s7_a_report_before_its_answer_is_parked_and_matched_later(engine) {
        let bench = Bench::start(engine).await?;
        bench.accept(&to(1), "olá").await?;
        let claim = bench.claim(1, Duration::from_secs(60)).await?.remove(0);
        let reports = vec![status("p-1", MessageStatus::Delivered), status("p-2", MessageStatus::Delivered)];
        let intake = bench.journalled(reports).await?;
        bench.writer.intake(intake).await?;
        assert_eq!(bench.events().await?.len(), 1, "nothing matches yet");

        let next = Next::Sent(Some("p-1".into()));
        let call = EndedCall { seq: claim.seq, token: claim.token, attempt: claim.attempt, next, exchange: None };
        bench.writer.ended(call).await?;
        assert_eq!(bench.store.message(claim.message_id).await?.unwrap().status, MessageStatus::Delivered);
        assert_eq!(bench.words(claim.message_id).await?, ["ACCEPTED", "SENT", "DELIVERED"]);
        assert!(bench.store.parked_that_match(10).await?.is_empty());
        // The other one ends as an orphan after its thirty days, and not before.
        assert_eq!(bench.store.orphan_parked(now_ms()).await?, 0);
        let later = now_ms() + 31 * 24 * 3_600_000;
        assert_eq!((bench.store.orphan_parked(later).await?, bench.store.orphan_parked(later).await?), (1, 0));
        bench.stop().await?;
        Ok(())
    }

    async fn s4_a_report_during_the_call_waits_for_its_end_even_if_that_is_the_lease_s(engine) {
        let bench = Bench::start(engine).await?;
        bench.accept(&to(1), "olá").await?;
        bench.accept(&to(2), "olá").await?;
        // The lease of the first is over as soon as it begins.
        let mut claims = bench.claim(1, Duration::ZERO).await?;
        claims.extend(bench.claim(1, Duration::from_secs(60)).await?);
        let of = |claim: &Claim, sender: SenderId| {
            let Report::Status(report) = status("p-1", MessageStatus::Delivered) else { unreachable!() };
            (sender, vec![Report::Status(StatusReport { message_id: Some(claim.message_id), ..report })])
        };
        let other = SenderId::trusted("other".into());
        for (sender, reports) in [of(&claims[0], acme()), of(&claims[0], other.clone()), of(&claims[1], other)] {
            let mut intake = bench.journalled(reports).await?;
            intake.parsed.reports[0].sender = sender;
            bench.writer.intake(intake).await?;
        }
        assert_eq!(bench.events().await?.len(), 2, "both were accepted, and no more is known");
        assert_eq!(bench.writer.timers(100, Duration::from_secs(60)).await?, 1);
        assert_eq!(bench.words(claims[0].message_id).await?, ["ACCEPTED", "DELIVERED"], "and nothing in doubt");

        let next = Next::Sent(Some("p-2".into()));
        let Claim { seq, token, attempt, .. } = claims[1];
        bench.writer.ended(EndedCall { seq, token, attempt, next, exchange: None }).await?;
        assert_eq!(bench.words(claims[1].message_id).await?, ["ACCEPTED", "SENT"], "the other sender's word is not about it");
        let later = now_ms() + 31 * 24 * 3_600_000;
        assert_eq!(bench.store.orphan_parked(later).await?, 2, "both of the other sender's");
        bench.stop().await?;
        Ok(())
    }

    async fn s6_repeated_reports_in_one_webhook_are_recorded_once_each(engine) {
        let bench = Bench::start(engine).await?;
        bench.accept(&to(1), "olá").await?;
        let claim = bench.claim(1, Duration::from_secs(60)).await?.remove(0);
        let next = Next::Sent(Some("p-1".into()));
        let call = EndedCall { seq: claim.seq, token: claim.token, attempt: claim.attempt, next, exchange: None };
        bench.writer.ended(call).await?;
        let both = || vec![status("p-1", MessageStatus::Read), status("p-1", MessageStatus::Delivered)];
        let first = bench.journalled([both(), both()].concat()).await?;
        bench.writer.intake(first).await?;
        let second = bench.journalled(both()).await?;
        bench.writer.intake(second).await?;
        assert_eq!(bench.events().await?.len(), 4, "ACCEPTED, SENT, READ, and a late DELIVERED");
        assert_eq!(bench.store.message(claim.message_id).await?.unwrap().status, MessageStatus::Read);
        bench.stop().await?;
        Ok(())
    }
}

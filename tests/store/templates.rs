//! Copies of templates: readings and webhooks against what was known, each change once.

use anyhow::{Context as _, Result};
use futures::future::join_all;
use recado::domain::catalogue::AGAIN_MS;
use recado::domain::event::{Payload, SenderChange, TemplateChanged};
use recado::domain::sender::{Limits, Sender, SenderState};
use recado::domain::template::TemplateStatus::{Approved, Deleted, Paused, Pending};
use recado::domain::template::{CatalogueTemplate, Quality, TemplateCategory, TemplateStatus};
use recado::domain::{Millis, SenderId, now_ms};
use recado::provider::{Report, SenderReport, TemplateReport};
use recado::store::{Saved, StoredSender};

use crate::database::{Engine, TestDatabase};
use crate::{Bench, acme, on_both_databases};

/// The `update_at_ms` of the sender of these tests.
const OF: Millis = 7;
const HOUR: Millis = 3_600_000;

fn sender(id: &str, update_at_ms: Millis) -> StoredSender {
    let sender = Sender {
        id: SenderId::trusted(id.into()),
        provider: "devino",
        display_name: String::new(),
        phone_number: String::new(),
        state: SenderState::Active,
        limits: Limits::default(),
        default_language_code: String::new(),
        opt_out_words: Default::default(),
        incoming_callback_url: String::new(),
        create_at_ms: 1,
        update_at_ms,
    };
    StoredSender { sender, sealed_settings: Vec::new(), sealed_callback_secrets: None }
}

fn entry(template: &str, status: TemplateStatus) -> CatalogueTemplate {
    CatalogueTemplate {
        template: template.into(),
        template_id: format!("id-{template}"),
        language_code: "en".into(),
        status: Some(status),
        provider_status: status.as_str().into(),
        quality: Some(Quality::Green),
        ..CatalogueTemplate::default()
    }
}

fn report(template: &str, status: TemplateStatus, occur_at_ms: Option<Millis>) -> TemplateReport {
    TemplateReport {
        template: template.into(),
        language_code: "en".into(),
        status: Some(status),
        occur_at_ms,
        ..TemplateReport::default()
    }
}

fn quality(quality: Quality, occur_at_ms: Option<Millis>) -> Report {
    Report::Sender(SenderReport {
        account: None,
        phone_number: String::new(),
        change: SenderChange::Quality,
        occur_at_ms,
        quality: Some(quality),
        messaging_limit: "TIER_1K".into(),
        detail: "the quality of the number changed".into(),
        provider_code: String::new(),
    })
}

impl Bench {
    async fn with_sender(engine: Engine) -> Result<Self> {
        let bench = Self::start(engine).await?;
        bench.store.create_sender(&sender("acme", OF)).await?.context("acme was there")?;
        Ok(bench)
    }

    /// Writes a reading; tells how many templates there are, how many are new, changed or gone, and how many events came.
    async fn read(&self, reading: Vec<CatalogueTemplate>, read_at_ms: Millis) -> Result<(usize, usize, usize)> {
        match self.store.save_catalogue(&acme(), OF, reading, read_at_ms, read_at_ms + HOUR).await? {
            Saved::Written { count, changed, appended } => Ok((count, changed, appended.len())),
            Saved::SenderChanged => anyhow::bail!("the sender was changed"),
        }
    }

    /// Takes in a webhook that says this.
    async fn said(&self, reports: Vec<Report>) -> Result<()> {
        let intake = self.journalled(reports).await?;
        Ok(self.writer.intake(intake).await?)
    }

    async fn copies(&self) -> Result<Vec<CatalogueTemplate>> {
        let (_, mut copies) = self.store.catalogue(&acme()).await?.context("no catalogue")?;
        copies.sort_by(|a, b| a.template.cmp(&b.template));
        Ok(copies)
    }

    async fn copy(&self, template: &str) -> Result<CatalogueTemplate> {
        self.copies().await?.into_iter().find(|copy| copy.template == template).context("no such copy")
    }

    async fn template_events(&self) -> Result<Vec<TemplateChanged>> {
        let events = self.events().await?.into_iter();
        Ok(events
            .filter_map(|payload| if let Payload::TemplateChanged(c) = payload { Some(c) } else { None })
            .collect())
    }
}

/// What events say of a status: the template, before and after.
fn told(events: &[TemplateChanged]) -> Vec<(&str, Option<TemplateStatus>, Option<TemplateStatus>)> {
    events.iter().map(|event| (event.template.as_str(), event.previous_status, event.status)).collect()
}

on_both_databases! {
    async fn each_change_between_two_readings_is_one_event(engine) {
        let bench = Bench::with_sender(engine).await?;
        assert_eq!(bench.store.catalogue(&acme()).await?, None);
        let first = vec![entry("a", Approved), entry("b", Pending), entry("c", Approved)];
        assert_eq!(bench.read(first.clone(), 1_000).await?, (3, 3, 0), "the first reading changes nothing");
        assert_eq!(bench.copies().await?, [
            CatalogueTemplate { refresh_at_ms: 1_000, ..first[0].clone() },
            CatalogueTemplate { refresh_at_ms: 1_000, ..first[1].clone() },
            CatalogueTemplate { refresh_at_ms: 1_000, ..first[2].clone() },
        ]);
        assert_eq!(bench.read(first, 2_000).await?, (3, 0, 0));
        assert_eq!(bench.copy("a").await?.refresh_at_ms, 2_000, "it was read, though nothing changed");
        let second = vec![entry("a", Paused), entry("b", Pending), entry("d", Approved)];
        assert_eq!(bench.read(second, 3_000).await?, (3, 3, 3));
        let events = bench.template_events().await?;
        let mut expected = told(&events);
        expected.sort_by_key(|(template, ..)| *template);
        assert_eq!(expected, [
            ("a", Some(Approved), Some(Paused)), ("c", Some(Approved), Some(Deleted)), ("d", None, Some(Approved)),
        ]);
        assert_eq!(bench.copies().await?.iter().map(|copy| copy.template.clone()).collect::<Vec<_>>(), ["a", "b", "d"]);
        assert_eq!(bench.read(Vec::new(), 4_000).await?, (0, 3, 3), "all of them are gone");
        assert_eq!(bench.read(Vec::new(), 5_000).await?, (0, 0, 0));
        bench.stop().await?;
        Ok(())
    }

    async fn a_catalogue_of_hundreds_is_written_and_compared(engine) {
        let bench = Bench::with_sender(engine).await?;
        let all = |status: TemplateStatus| (0..300).map(|i| entry(&format!("t{i:03}"), status)).collect::<Vec<_>>();
        assert_eq!(bench.read(all(Approved), 1).await?, (300, 300, 0));
        assert_eq!(bench.read(all(Paused), 2).await?, (300, 300, 300));
        assert!(bench.copies().await?.iter().all(|copy| copy.status == Some(Paused)));
        assert_eq!(bench.read(all(Paused).split_off(150), 3).await?, (150, 150, 150));
        assert_eq!(bench.copies().await?.len(), 150);
        bench.stop().await?;
        Ok(())
    }

    async fn i1_a_redelivered_webhook_about_a_template_makes_no_second_event(engine) {
        let bench = Bench::with_sender(engine).await?;
        let now = now_ms();
        bench.read(vec![entry("a", Approved), entry("b", Approved)], now).await?;
        let paused = || Report::Template(report("a", Paused, Some(now)));
        let mut intakes = Vec::new();
        for _ in 0..30 {
            intakes.push(bench.journalled(vec![paused(), paused()]).await?);
        }
        let taken = join_all(intakes.into_iter().map(|intake| bench.writer.intake(intake))).await;
        taken.into_iter().collect::<Result<Vec<_>, _>>()?;
        let events = bench.template_events().await?;
        assert_eq!(told(&events), [("a", Some(Approved), Some(Paused))]);
        assert_eq!((events[0].template_id.as_str(), events[0].language_code.as_str()), ("id-a", "en"));
        assert_eq!(bench.copy("a").await?.status, Some(Paused));
        assert_eq!(bench.copy("b").await?, CatalogueTemplate { refresh_at_ms: now, ..entry("b", Approved) });

        // The first word comes once more after the second: it neither moves the copy back nor makes an event.
        bench.said(vec![Report::Template(report("a", Approved, Some(now + 1)))]).await?;
        bench.said(vec![paused()]).await?;
        // Nor does news that is none, or that came late.
        bench.said(vec![Report::Template(report("a", Approved, Some(now + 2)))]).await?;
        bench.said(vec![Report::Template(report("b", Paused, Some(now - HOUR)))]).await?;
        let events = bench.template_events().await?;
        assert_eq!(told(&events), [("a", Some(Approved), Some(Paused)), ("a", Some(Paused), Some(Approved))]);
        assert_eq!((bench.copy("a").await?.status, bench.copy("b").await?.status), (Some(Approved), Some(Approved)));
        bench.stop().await?;
        Ok(())
    }

    async fn a_webhook_fills_in_what_was_before(engine) {
        let bench = Bench::with_sender(engine).await?;
        let category = Some(TemplateCategory::Utility);
        bench.read(vec![CatalogueTemplate { category, ..entry("a", Approved) }], 1).await?;
        // No time at all: it counts as told when it came.
        let report = TemplateReport {
            template_id: "id-a".into(),
            category: Some(TemplateCategory::Marketing),
            quality: Some(Quality::Red),
            ..TemplateReport::default()
        };
        bench.said(vec![Report::Template(report.clone())]).await?;
        bench.said(vec![Report::Template(report)]).await?;
        let events = bench.template_events().await?;
        assert_eq!(events.len(), 1, "the second time it is known: {events:?}");
        assert_eq!((events[0].previous_category, events[0].category), (category, Some(TemplateCategory::Marketing)));
        assert_eq!((events[0].previous_quality, events[0].quality), (Some(Quality::Green), Some(Quality::Red)));
        assert_eq!((events[0].previous_status, events[0].status), (None, None), "it did not speak of the status");
        assert_eq!(events[0].template, "a");
        assert_eq!(bench.copy("a").await?.quality, Some(Quality::Red));
        bench.stop().await?;
        Ok(())
    }

    async fn a_webhook_about_what_was_never_read_is_an_event_and_asks_for_a_reading(engine) {
        let bench = Bench::with_sender(engine).await?;
        let now = now_ms();
        let approved = || Report::Template(report("new", Approved, Some(now)));
        bench.said(vec![approved()]).await?;
        bench.said(vec![approved()]).await?;
        assert_eq!(told(&bench.template_events().await?), [("new", None, Some(Approved))], "without any catalogue");
        bench.read(vec![entry("a", Approved)], now).await?;
        let due = async || anyhow::Ok(bench.store.catalogues().await?[0].due_at_ms);
        assert_eq!(due().await?, now + HOUR);
        bench.said(vec![Report::Template(report("a", Paused, Some(now)))]).await?;
        assert_eq!(due().await?, now + HOUR, "what is known needs no reading");
        bench.said(vec![Report::Template(report("other", Pending, Some(now)))]).await?;
        assert_eq!(due().await?, now + AGAIN_MS, "soon, and not at once: it was read just now");
        bench.stop().await?;
        Ok(())
    }

    async fn i1_a_redelivered_webhook_about_a_sender_makes_no_second_event(engine) {
        let database = TestDatabase::create(engine).await?;
        let one = Bench::start_on(database.clone()).await?;
        // On PostgreSQL a second replica takes half of them.
        let two = match engine {
            Engine::Postgres => Some(Bench::start_on(database).await?),
            Engine::Sqlite => None,
        };
        let at = |ms: Millis| Some(1_767_225_600_000 + ms);
        let mut intakes = Vec::new();
        for _ in 0..40 {
            intakes.push(one.journalled(vec![quality(Quality::Red, at(0)), quality(Quality::Yellow, at(1))]).await?);
        }
        let taken = join_all(intakes.into_iter().enumerate().map(|(i, intake)| {
            let bench = two.as_ref().filter(|_| i % 2 == 1).unwrap_or(&one);
            bench.writer.intake(intake)
        })).await;
        taken.into_iter().collect::<Result<Vec<_>, _>>()?;
        let qualities = async || anyhow::Ok(one.events().await?.into_iter().map(|payload| match payload {
            Payload::SenderChanged(changed) => changed.quality,
            other => panic!("{other:?}"),
        }).collect::<Vec<_>>());
        assert_eq!(qualities().await?, [Some(Quality::Red), Some(Quality::Yellow)]);
        // The same again at another time is news; without any time nobody can tell, so both are kept (I4).
        one.said(vec![quality(Quality::Red, at(2))]).await?;
        assert_eq!(qualities().await?.len(), 3);
        one.said(vec![quality(Quality::Red, None), quality(Quality::Red, None)]).await?;
        assert_eq!(qualities().await?.len(), 5);
        if let Some(two) = two {
            two.stop().await?;
        }
        one.stop().await?;
        Ok(())
    }

    async fn one_replica_reads_what_is_due_and_reads_again_when_the_sender_changed(engine) {
        let bench = Bench::with_sender(engine).await?;
        let (store, acme) = (&bench.store, acme());
        let claims = join_all((0..8).map(|_| store.claim_catalogue(&acme, OF, 100, 200))).await;
        let claims = claims.into_iter().collect::<Result<Vec<_>, _>>()?;
        assert_eq!(claims.into_iter().filter(|claimed| *claimed).count(), 1);
        assert!(!store.claim_catalogue(&acme, OF, 199, 300).await?, "it is being read");
        assert!(store.claim_catalogue(&acme, OF, 200, 300).await?, "who read it has died");
        assert!(store.claim_catalogue(&acme, OF + 1, 201, 300).await?, "the sender was changed");
        assert!(!store.claim_catalogue(&acme, OF + 1, 202, 300).await?);
        bench.stop().await?;
        Ok(())
    }

    async fn a_reading_that_failed_leaves_the_copies_and_has_its_time(engine) {
        let bench = Bench::with_sender(engine).await?;
        bench.read(vec![entry("a", Approved)], 1_000).await?;
        bench.store.catalogue_failed(&acme(), 5_000).await?;
        bench.store.catalogue_failed(&acme(), 6_000).await?;
        let state = bench.store.catalogues().await?.remove(0);
        assert_eq!((state.failures, state.due_at_ms, state.read_at_ms), (2, 6_000, Some(1_000)));
        assert!(!bench.store.want_catalogue(&acme(), 2_000, 9_000).await?, "it has its time");
        assert_eq!(bench.copies().await?.len(), 1);
        bench.read(vec![entry("a", Approved)], 7_000).await?;
        assert_eq!(bench.store.catalogues().await?[0].failures, 0);
        assert!(!bench.store.want_catalogue(&acme(), 8_000, 7_000).await?, "it is fresh");
        assert!(bench.store.want_catalogue(&acme(), 8_000, 7_001).await?);
        assert_eq!(bench.store.catalogues().await?[0].due_at_ms, 8_000);
        bench.stop().await?;
        Ok(())
    }

    async fn a_reading_of_a_sender_that_was_changed_or_deleted_meanwhile_is_not_written(engine) {
        let bench = Bench::with_sender(engine).await?;
        let acme = acme();
        let save = |of| bench.store.save_catalogue(&acme, of, vec![entry("a", Approved)], 1_000, 2_000);
        assert!(matches!(save(OF - 1).await?, Saved::SenderChanged));
        assert_eq!(bench.store.catalogue(&acme).await?, None);
        assert!(matches!(save(OF).await?, Saved::Written { .. }));
        bench.store.delete_sender(&acme).await?;
        assert_eq!(bench.store.catalogue(&acme).await?, None, "its copies went with it");
        assert!(matches!(save(OF).await?, Saved::SenderChanged));
        // Another sender of that id begins anew.
        bench.store.create_sender(&sender("acme", OF)).await?;
        assert_eq!(bench.read(vec![entry("b", Approved)], 3_000).await?, (1, 1, 0));
        bench.stop().await?;
        Ok(())
    }
}

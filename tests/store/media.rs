//! Files that people sent: whose they are while they are fetched.

use std::collections::HashSet;

use anyhow::Result;
use futures::future::join_all;
use recado::domain::content::{IncomingMedia, MediaKind, MediaSource};
use recado::domain::media::{Fetched, MediaState, Trouble};
use recado::domain::{Contact, IncomingContent, MediaId, Millis, Payload, now_ms};
use recado::provider::{IncomingReport, Report};
use recado::store::{MediaClaim, MediaOutcome};

use crate::{Bench, on_both_databases};

const MINUTE: Millis = 60_000;

fn sent(n: usize) -> Report {
    let media = IncomingMedia {
        kind: MediaKind::Document,
        source: MediaSource::MediaId(n.to_string()),
        mime_type: "application/pdf".into(),
        file_name: "a.pdf".into(),
        caption: String::new(),
    };
    Report::Incoming(IncomingReport::new(Contact::of_phone("351910000001"), IncomingContent::Media(media)))
}

fn ready() -> MediaOutcome {
    MediaOutcome::Ready { mime_type: "application/pdf".into(), fetched: Fetched { size_bytes: 7, sha256: [7; 32] } }
}

fn retry(at_ms: Millis) -> MediaOutcome {
    MediaOutcome::Retry { trouble: Trouble::Gone, detail: "HTTP 404\0".into(), at_ms }
}

impl Bench {
    /// Takes a webhook with so many files in; answers their ids.
    async fn files(&self, count: usize) -> Result<Vec<MediaId>> {
        let intake = self.journalled((0..count).map(sent).collect()).await?;
        self.writer.intake(intake).await?;
        let ids = self.events().await?.into_iter().filter_map(|payload| match payload {
            Payload::IncomingMessage(incoming) => incoming.media_id,
            _ => None,
        });
        Ok(ids.collect())
    }

    async fn one(&self, token: i64, now: Millis) -> Result<Option<MediaClaim>> {
        Ok(self.store.claim_media(1, token, now, now + MINUTE).await?.pop())
    }

    async fn state(&self, id: MediaId) -> Result<MediaState> {
        Ok(self.store.media(id).await?.unwrap().state)
    }
}

on_both_databases! {
    async fn files_are_taken_in_hand_by_one_worker_each(engine) {
        let bench = Bench::start(engine).await?;
        let ids: HashSet<MediaId> = bench.files(100).await?.into_iter().collect();
        assert_eq!(ids.len(), 100);
        let now = now_ms();
        let workers = (0..8).map(|token| bench.store.claim_media(20, token, now, now + MINUTE));
        let mut taken = Vec::new();
        for claims in join_all(workers).await {
            let claims = claims?;
            assert!(claims.len() <= 20, "{} were taken", claims.len());
            taken.extend(claims.into_iter().map(|claim| claim.file.id));
        }
        // SKIP LOCKED may leave some to nobody for now; none is anybody's twice.
        taken.extend(bench.store.claim_media(100, 9, now, now + MINUTE).await?.into_iter().map(|claim| claim.file.id));
        assert_eq!(taken.len(), 100);
        assert_eq!(taken.into_iter().collect::<HashSet<_>>(), ids);
        bench.stop().await?;
        Ok(())
    }

    async fn who_lost_a_file_writes_nothing_about_it(engine) {
        let bench = Bench::start(engine).await?;
        let id = bench.files(1).await?[0];
        let now = now_ms();
        assert_eq!(bench.one(1, now).await?.unwrap().file.tries, 1);
        assert_eq!(bench.state(id).await?, MediaState::Pending { next_try_at_ms: None });
        assert!(bench.one(2, now + MINUTE - 1).await?.is_none(), "it is in hand");
        // Held for longer, then for too long.
        bench.store.renew_media(&[(id, 1)], now + 2 * MINUTE).await?;
        assert!(bench.one(2, now + 2 * MINUTE - 1).await?.is_none());
        assert_eq!(bench.one(2, now + 2 * MINUTE).await?.unwrap().file.tries, 2);
        assert!(!bench.store.media_ended(id, 1, &ready(), now).await?);
        bench.store.renew_media(&[(id, 1)], now).await?;
        bench.store.release_media(&[(id, 1)], now).await?;
        assert!(bench.one(3, now).await?.is_none(), "the first cannot give away what is the second's");
        assert!(bench.store.media_ended(id, 2, &ready(), now).await?);
        let MediaOutcome::Ready { fetched, .. } = ready() else { unreachable!("a line above") };
        assert_eq!(bench.state(id).await?, MediaState::Ready(fetched));
        assert!(!bench.store.media_ended(id, 2, &retry(now), now).await?, "once is enough");
        assert!(bench.one(4, now + 100 * MINUTE).await?.is_none());
        bench.stop().await?;
        Ok(())
    }

    async fn a_file_is_due_again_when_its_wait_is_over_and_never_when_given_up(engine) {
        let bench = Bench::start(engine).await?;
        let id = bench.files(1).await?[0];
        let now = now_ms();
        bench.one(1, now).await?.unwrap();
        assert!(bench.store.media_ended(id, 1, &retry(now + 500), now).await?);
        assert_eq!(bench.state(id).await?, MediaState::Pending { next_try_at_ms: Some(now + 500) });
        assert!(bench.one(2, now + 499).await?.is_none());
        assert_eq!(bench.one(2, now + 500).await?.unwrap().file.tries, 2);
        let failed = MediaOutcome::Failed { trouble: Trouble::Gone, detail: "HTTP 404".into() };
        assert!(bench.store.media_ended(id, 2, &failed, now).await?);
        assert_eq!(bench.state(id).await?, MediaState::Failed { trouble: Trouble::Gone, detail: "HTTP 404".into() });
        assert!(bench.one(3, now + 100 * MINUTE).await?.is_none());
        bench.stop().await?;
        Ok(())
    }

    async fn what_is_given_back_is_due_at_once(engine) {
        let bench = Bench::start(engine).await?;
        let id = bench.files(1).await?[0];
        let now = now_ms();
        bench.one(1, now).await?.unwrap();
        bench.store.release_media(&[(id, 1)], now).await?;
        bench.one(2, now).await?.unwrap();
        // As a process does that has the database alone and finds what its predecessor had in hand.
        bench.store.end_predecessor(now).await?;
        assert_eq!(bench.one(3, now).await?.unwrap().file.tries, 3);
        bench.stop().await?;
        Ok(())
    }
}

#[test]
fn every_trouble_is_read_as_it_was_stored() {
    for trouble in Trouble::ALL {
        assert_eq!(Trouble::from_word(trouble.as_str()), Some(trouble));
    }
}

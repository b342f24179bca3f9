//! SIGTERM under load: what is under way is brought to its end.

use anyhow::ensure;
use recado::fake::{Action, Fault, Script};

use crate::gateway::TestDatabase;
use crate::on_both_databases;
use crate::process::{Setup, wait_for};
use crate::scene::{Plot, Scene, acquit, rounds};

on_both_databases! {
    async fn t14_sigterm_under_load_brings_calls_to_their_end(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup =
            Setup::new(&database.url, folder.path()).with("engine-call-limit", "20s").with("engine-lease", "60s");
        let mut process = setup.start().await?;
        let plot = Plot { at_least_once: 0.0, ..Plot::new("SIGTERM", format!("{engine:?}")) };
        let mut scene = Scene::begin(plot, setup.addresses.grpc).await?;
        // Some answers take long, so that a stop always meets calls under way.
        let slow = Fault::always(Action::Slow { ms: 500 }).with_probability(0.3);
        scene.play(Script { latency_ms: 50, faults: vec![slow], ..Script::default() })?;
        for round in 1..=rounds() as u64 {
            scene.working().await?;
            wait_for("a stream", async || Ok((scene.subscriber.attached() == round).then_some(()))).await?;
            scene.somebody_writes();
            scene.some_time(1_000).await;
            scene.faults += 1;
            scene.broken();
            let status = process.terminate().await?;
            ensure!(status.code() == Some(0), "it ended with {status}:\n{}", process.complaints());
            wait_for("going_away", async || Ok((scene.subscriber.going_away() == round).then_some(()))).await?;
            process = setup.start().await?;
        }
        scene.working().await?;
        let verdict = scene.end(vec![process], &setup).await?;
        acquit(&verdict, &setup.log)?;
        ensure!(verdict.in_doubt() == 0, "{} messages fell in doubt", verdict.in_doubt());
        let log = std::fs::read_to_string(&setup.log)?;
        for words in ["calls were cut off", "some parts did not end in time"] {
            ensure!(!log.contains(words), "the log says: {words}");
        }
        Ok(())
    }
}

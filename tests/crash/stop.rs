//! SIGTERM under load: what is under way is brought to its end.

use anyhow::ensure;
use recado::fake::{Action, Fault, Script};
use recado::proto;
use recado::proto::event_service_client::EventServiceClient;

use crate::gateway::{TestDatabase, held};
use crate::on_both_databases;
use crate::process::{Setup, channel, wait_for};
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

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_one_file_of_sqlite_has_everything() -> anyhow::Result<()> {
    let (first, copy) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let setup = Setup::new(&sqlite(first.path()), first.path());
    let mut process = setup.start().await?;
    let mut events = EventServiceClient::new(channel(setup.addresses.grpc));
    let mut stream = events.stream_events(proto::StreamEventsRequest::default()).await?.into_inner();
    let sent = setup.messaging().send_message(held("sandbox", "+351910000001", "keep me")).await?.into_inner();
    stream.message().await?;
    let status = process.terminate().await?;
    ensure!(status.code() == Some(0), "it ended with {status}:\n{}", process.complaints());
    let beside = std::fs::metadata(first.path().join("recado.db-wal")).map_or(0, |file| file.len());
    ensure!(beside == 0, "{beside} bytes are in the write-ahead log");
    for file in
        ["recado.db", "recado.db.key"].map(std::path::Path::new).iter().filter(|file| first.path().join(file).exists())
    {
        std::fs::copy(first.path().join(file), copy.path().join(file))?;
    }
    let setup = Setup::new(&sqlite(copy.path()), copy.path());
    let _process = setup.start().await?;
    let request = proto::GetMessageRequest { message_id: sent.message_id };
    setup.messaging().get_message(request).await?;
    Ok(())
}

fn sqlite(folder: &std::path::Path) -> String {
    format!("sqlite://{}", folder.join("recado.db").display())
}

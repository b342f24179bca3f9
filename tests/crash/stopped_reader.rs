//! Subscribers that stop reading: they are let go and told so, and nobody else notices.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use recado::proto;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::stream_events_request::Start;
use tonic::transport::Channel;

use crate::gateway::TestDatabase;
use crate::on_both_databases;
use crate::process::{Setup, channel, wait_for};
use crate::scene::{Plot, Scene, acquit, rounds};

const READERS: usize = 5;

on_both_databases! {
    async fn t4_subscribers_that_stop_reading_hold_up_nobody(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup =
            Setup::new(&database.url, folder.path()).with("events-slow-consumer", "1s").with("events-ring", "64");
        let process = setup.start().await?;
        let plot = Plot::new("subscribers that stop reading", format!("{engine:?}"));
        let mut scene = Scene::begin(plot, setup.addresses.grpc).await?;
        for round in 0..rounds() {
            scene.working().await?;
            scene.somebody_writes();
            let mut readers = Vec::new();
            for number in 0..READERS {
                readers.push(Stopped::open(setup.addresses.grpc, format!("stopped-{round}-{number}")).await?);
            }
            scene.faults += READERS;
            for reader in readers {
                reader.read_to_its_end(setup.addresses.grpc).await?;
            }
            scene.working().await?;
        }
        let verdict = scene.end(vec![process], &setup).await?;
        acquit(&verdict, &setup.log)?;
        ensure!(verdict.in_doubt() == 0, "{} messages fell in doubt", verdict.in_doubt());
        Ok(())
    }
}

/// A stream under a name of its own, of which nobody reads.
struct Stopped {
    name: String,
    stream: tonic::Streaming<proto::StreamEventsResponse>,
}

impl Stopped {
    /// It takes 64 KiB in advance, as little as HTTP/2 knows, on a connection of its own.
    async fn open(grpc: SocketAddr, name: String) -> Result<Self> {
        let narrow = Channel::from_shared(format!("http://{grpc}"))?.initial_stream_window_size(65_535).connect_lazy();
        let start = Some(Start::Subscription(name.clone()));
        let request = proto::StreamEventsRequest { start, ..Default::default() };
        let stream = EventServiceClient::new(narrow).stream_events(request).await?.into_inner();
        Ok(Self { name, stream })
    }

    /// Its subscription gets free; and what it reads at last ends with the word for it.
    async fn read_to_its_end(mut self, grpc: SocketAddr) -> Result<()> {
        let mut events = EventServiceClient::new(channel(grpc));
        wait_for("a stream that nobody reads to end", async || {
            let request = proto::GetSubscriptionRequest { subscription: self.name.clone(), ..Default::default() };
            let subscription = events.get_subscription(request).await?.into_inner().subscription;
            Ok(subscription.context("no subscription")?.holder.is_none().then_some(()))
        })
        .await?;
        let end = loop {
            match self.stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => anyhow::bail!("it ended as if it were whole"),
                Err(status) => break status,
            }
        };
        ensure!(end.code() == tonic::Code::ResourceExhausted, "it ended with {end:?}");
        Ok(())
    }
}

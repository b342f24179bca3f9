//! Refusals that would be larger than what clients read of headers: many read 8 KiB, as grpc-core and grpc-java do.

use anyhow::{Context as _, Result};
use recado::proto;
use recado::proto::admin_service_client::AdminServiceClient;
use recado::proto::event_service_client::EventServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::{FieldViolation, StatusExt as _};

use crate::database::Engine;
use crate::gateway::TestGateway;
use crate::refusal::refusal;

/// What a client of 8 KiB is told of a filter.
async fn told(
    events: &mut EventServiceClient<Channel>,
    filter: proto::EventFilter,
) -> Result<(Status, Vec<FieldViolation>)> {
    let request = proto::ListEventsRequest { filter: Some(filter), ..Default::default() };
    let status = events.list_events(request).await.err().context("it was not refused")?;
    assert_eq!(refusal(&status).is(), (Code::InvalidArgument, "INVALID_REQUEST"));
    let violations = status.get_details_bad_request().context("no BadRequest")?.field_violations;
    Ok((status, violations))
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_violations_are_told_to_clients_that_read_little() -> Result<()> {
    let gateway = TestGateway::start(Engine::Sqlite).await?;
    let channel = Channel::from_shared(gateway.grpc.clone())?.http2_max_header_list_size(8_192).connect().await?;
    let mut events = EventServiceClient::new(channel.clone());
    let filter = |count| proto::EventFilter { message_ids: vec!["x".into(); count], ..Default::default() };
    let (status, violations) = told(&mut events, filter(10_000)).await?;
    let (last, before) = violations.split_last().context("no violations")?;
    assert!((20..1_000).contains(&violations.len()), "{} of them", violations.len());
    assert!(before.iter().all(|violation| violation.description == before[0].description));
    assert!(last.description.contains(&format!("and {} more", 10_000 - violations.len())), "{last:?}");
    assert!(status.message().contains("and 9995 more"), "{}", status.message());
    // What there is room for is told whole.
    let (_, violations) = told(&mut events, filter(20)).await?;
    assert_eq!(violations.len(), 20);
    assert!(violations.iter().all(|violation| violation.description == before[0].description));
    // A name that says more than fits is cut.
    let api_key_id = "\u{e9}".repeat(100_000);
    let revoke = proto::RevokeApiKeyRequest { api_key_id };
    let status = AdminServiceClient::new(channel).revoke_api_key(revoke).await.err().context("no refusal")?;
    assert_eq!(refusal(&status).is(), (Code::NotFound, "NOT_FOUND"));
    assert!(status.message().ends_with('\u{2026}'), "{}", status.message());
    gateway.stop().await?;
    Ok(())
}

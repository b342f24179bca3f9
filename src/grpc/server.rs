//! The gRPC server: the contract's services behind authentication, health and reflection beside them.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use futures::TryStreamExt as _;
use tokio::net::{TcpListener, TcpStream};
use tonic::service::LayerExt as _;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tower::util::MapRequestLayer;

use super::admin::Admin;
use super::auth::Authenticate;
use super::events::Events;
use super::health::{Health, until_stopped};
use super::messaging::Messaging;
use super::opt_outs::OptOuts;
use super::stream::EventStreams;
use super::templates::Templates;
use super::{MAX_REQUEST, Services, WireLayer};
use crate::config::{Grpc, Tls};
use crate::proto::admin_service_server::AdminServiceServer;
use crate::proto::messaging_service_server::MessagingServiceServer;
use crate::proto::opt_out_service_server::OptOutServiceServer;
use crate::proto::template_service_server::TemplateServiceServer;

/// A server on an open socket, until the services' `stop`.
///
/// # Errors
/// When the certificates of `[tls]` cannot be read or do not fit.
pub fn serve(
    socket: TcpListener,
    services: Services,
    pings: &Grpc,
    tls: &Tls,
) -> anyhow::Result<(Health, impl Future<Output = anyhow::Result<&'static str>> + Send + 'static)> {
    let health = Health::default();
    let authenticate = Authenticate(services.access.clone());
    let stop = services.stop.clone();
    let messaging = MessagingServiceServer::new(Messaging(services.clone()));
    let events = EventStreams::new(Events(services.clone()));
    let templates = TemplateServiceServer::new(Templates(services.clone()));
    let opt_outs = OptOutServiceServer::new(OptOuts(services.clone()));
    let admin = AdminServiceServer::new(Admin(services));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(crate::proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // What errors carry: clients that go by reflection can show it.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(pings.ping_interval))
        .http2_keepalive_timeout(Some(pings.ping_limit));
    if let Some(tls) = tls_config(tls)? {
        server = server.tls_config(tls)?;
    }
    let until_stop = MapRequestLayer::new(until_stopped(stop.clone()));
    let routes = server
        .layer(WireLayer)
        .add_service(health.service(stop.clone()))
        .add_service(until_stop.named_layer(reflection().build_v1()?))
        .add_service(until_stop.named_layer(reflection().build_v1alpha()?))
        .add_service(InterceptedService::new(messaging.max_decoding_message_size(MAX_REQUEST), authenticate.clone()))
        .add_service(InterceptedService::new(events, authenticate.clone()))
        .add_service(InterceptedService::new(templates.max_decoding_message_size(MAX_REQUEST), authenticate.clone()))
        .add_service(InterceptedService::new(opt_outs.max_decoding_message_size(MAX_REQUEST), authenticate.clone()))
        .add_service(InterceptedService::new(admin.max_decoding_message_size(MAX_REQUEST), authenticate));
    // The server's own option does nothing for connections that it is given; without this one an event waits up to 40 ms
    // for the acknowledgement of the one before.
    let incoming = TcpIncoming::from(socket).with_nodelay(Some(true));
    let limit = pings.ping_interval + pings.ping_limit;
    let incoming = incoming.inspect_ok(move |socket| give_up_after(socket, limit));
    let serving = async move {
        routes.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await?;
        Ok("gRPC server")
    };
    Ok((health, serving))
}

/// Ends a connection on which nothing could be written for so long. A client that left a ping unanswered is given up by hyper,
/// which then waits, without a limit, until it has written what it still had for it (hyper 1.12, `abrupt_shutdown`): of a client
/// that takes nothing any more, the connection would stay.
#[cfg(target_os = "linux")]
fn give_up_after(socket: &TcpStream, limit: Duration) {
    if let Err(error) = socket2::SockRef::from(socket).set_tcp_user_timeout(Some(limit)) {
        tracing::warn!(%error, "a connection keeps the system's limit of its own");
    }
}

/// Elsewhere the system's own limit holds.
#[cfg(not(target_os = "linux"))]
fn give_up_after(_socket: &TcpStream, _limit: Duration) {}

fn tls_config(tls: &Tls) -> anyhow::Result<Option<ServerTlsConfig>> {
    let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else { return Ok(None) };
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {} (section [tls])", path.display()));
    let mut config = ServerTlsConfig::new().identity(Identity::from_pem(read(certificate)?, read(key)?));
    if let Some(client_ca) = &tls.client_ca {
        config = config.client_ca_root(Certificate::from_pem(read(client_ca)?));
    }
    Ok(Some(config))
}

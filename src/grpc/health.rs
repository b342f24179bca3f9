//! What health checks are told, and what ends with the gateway that is not ours: watches of health, and reflection.

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::Request;
use http_body_util::{BodyStream, StreamBody};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService as _;
use tonic::{Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

use super::SOON;
use super::admin::Admin;
use super::messaging::Messaging;
use super::opt_outs::OptOuts;
use super::stream::EventStreams;
use super::templates::Templates;
use crate::error::Error;
use crate::proto::admin_service_server::AdminServiceServer;
use crate::proto::messaging_service_server::MessagingServiceServer;
use crate::proto::opt_out_service_server::OptOutServiceServer;
use crate::proto::template_service_server::TemplateServiceServer;

/// What health checks are told: the server as a whole, and each service by name.
#[derive(Debug, Clone, Default)]
pub struct Health(HealthReporter);

impl Health {
    /// All is well.
    pub async fn set_serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// No new calls, please: the gateway stops.
    pub async fn set_not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        let names = [
            "",
            MessagingServiceServer::<Messaging>::NAME,
            EventStreams::NAME,
            TemplateServiceServer::<Templates>::NAME,
            OptOutServiceServer::<OptOuts>::NAME,
            AdminServiceServer::<Admin>::NAME,
        ];
        for name in names {
            self.0.set_service_status(name, status).await;
        }
    }

    /// The service that tells it, until `stop`.
    pub(super) fn service(&self, stop: CancellationToken) -> HealthServer<Watched> {
        HealthServer::new(Watched { health: HealthService::from_health_reporter(self.0.clone()), stop })
    }
}

/// Health, whose watches end when the gateway stops: tonic's own never end, and a server that stops waits for them.
#[derive(Debug)]
pub(super) struct Watched {
    health: HealthService,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl health_server::Health for Watched {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.health.check(request).await
    }

    async fn watch(&self, request: tonic::Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let told = self.health.watch(request).await?.into_inner();
        let watching = stream::unfold(Some((told, self.stop.clone())), async |watching| {
            let (mut told, stop) = watching?;
            tokio::select! {
                // NOT_SERVING was told before the stop, and is heard before it.
                biased;
                Some(status) = told.next() => Some((status, Some((told, stop)))),
                () = stop.cancelled() => Some((Err(Error::GoingAway { retry_after: SOON }.into()), None)),
            }
        });
        Ok(Response::new(watching.boxed()))
    }
}

/// Ends what a caller sends when the gateway stops. Reflection ends with its caller's questions, and a caller that leaves
/// them open would hold the server up.
pub(super) fn until_stopped(stop: CancellationToken) -> impl Fn(Request<Body>) -> Request<Body> + Clone {
    move |request| {
        let stop = stop.clone().cancelled_owned();
        request.map(|body| Body::new(StreamBody::new(BodyStream::new(body).take_until(stop))))
    }
}

//! StreamEvents on the wire. An event is encoded once, by the first stream that sends it, and the others copy its bytes; so its
//! answers are bytes, and not the messages of the generated method, in whose place this one stands (docs/decisions/0025).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes};
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic_prost::ProstCodec;
use tower::Service;

use super::MAX_REQUEST;
use super::events::Events;
use super::follow::Answers;
use crate::proto;
use crate::proto::event_service_server::EventServiceServer;

const PATH: &str = "/recado.v1.EventService/StreamEvents";
/// What an idle stream keeps ready to write into: it holds an answer or two, and grows when there are more.
const IDLE_BYTES: usize = 512;
/// Answers that are there are written together, up to so many bytes: tonic's default.
const TOGETHER_BYTES: usize = 32 * 1024;

/// EventService, with StreamEvents in the place of the generated one.
#[derive(Debug, Clone)]
pub struct EventStreams {
    events: Events,
    others: EventServiceServer<Events>,
}

impl EventStreams {
    /// The service.
    pub fn new(events: Events) -> Self {
        let others = EventServiceServer::new(events.clone()).max_decoding_message_size(MAX_REQUEST);
        Self { events, others }
    }
}

impl NamedService for EventStreams {
    const NAME: &'static str = EventServiceServer::<Events>::NAME;
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Service<Request<Body>> for EventStreams {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Later<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return self.others.call(request);
        }
        let open = Open(self.events.clone());
        Box::pin(async move {
            let mut grpc = Grpc::new(Encoded).apply_max_message_size_config(Some(MAX_REQUEST), None);
            Ok(grpc.server_streaming(open, request).await)
        })
    }
}

struct Open(Events);

impl ServerStreamingService<proto::StreamEventsRequest> for Open {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = Later<Result<tonic::Response<Answers>, Status>>;

    fn call(&mut self, request: tonic::Request<proto::StreamEventsRequest>) -> Self::Future {
        let events = self.0.clone();
        Box::pin(async move { events.open(request).await })
    }
}

/// Reads requests, and writes answers that are encoded already.
#[derive(Debug, Clone, Copy)]
struct Encoded;

type OfRequests = ProstCodec<proto::StreamEventsRequest, proto::StreamEventsRequest>;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = proto::StreamEventsRequest;
    type Encoder = Self;
    type Decoder = <OfRequests as Codec>::Decoder;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self::Decoder {
        OfRequests::raw_decoder(BufferSettings::default())
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, answer: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(answer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(IDLE_BYTES, TOGETHER_BYTES)
    }
}

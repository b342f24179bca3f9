//! The least that could be called a stream of events: raw tonic server streaming of events of the same size, through one channel
//! a subscriber. No log, no cursor, no filter, no keys. Asked for the beginning, it makes events as fast as they are taken;
//! otherwise all live subscribers get one event each millisecond.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::stream_events_request::Start;
use recado::proto::stream_events_response::Item;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Answers that wait for HTTP/2, as many as the gateway's.
const BUFFER: usize = 64;

type Answers = mpsc::Sender<Result<proto::StreamEventsResponse, Status>>;

/// Serves until the process is ended.
pub async fn serve(event_bytes: usize) -> anyhow::Result<()> {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", serde_json::json!({ "grpc_addr": socket.local_addr()?.to_string() }));
    let bare = BareStream { event: Arc::new(sized(event_bytes)), live: Arc::default() };
    let serving = tonic::transport::Server::builder()
        .add_service(bare.clone())
        .serve_with_incoming(TcpIncoming::from(socket).with_nodelay(Some(true)));
    tokio::select! {
        served = serving => Ok(served?),
        () = bare.tick() => Ok(()),
    }
}

/// A status of a message, of so many bytes on the wire.
fn sized(bytes: usize) -> proto::Event {
    let status = proto::MessageStatusChanged {
        message_id: "0197f1a0-0000-7000-8000-000000000000".into(),
        status: proto::MessageStatus::Accepted as i32,
        current_status: proto::MessageStatus::Accepted as i32,
        to: "+351910000001".into(),
        callback_data: format!("{:020}", 0),
        ..Default::default()
    };
    let time = Some(prost_types::Timestamp { seconds: 1_760_000_000, nanos: 123_000_000 });
    let mut event = proto::Event {
        cursor: "AAAAAAAAAAAAAAAAAAAAAAA".into(),
        event_id: "0197f1a0-0000-7000-8000-000000000001".into(),
        receive_time: time,
        record_time: time,
        sender: "bench".into(),
        payload: Some(Payload::StatusChanged(status)),
        ..Default::default()
    };
    while answer(event.clone()).encoded_len() < bytes {
        if let Some(Payload::StatusChanged(status)) = &mut event.payload {
            status.callback_data.push('x');
        }
    }
    event
}

fn answer(event: proto::Event) -> proto::StreamEventsResponse {
    proto::StreamEventsResponse { item: Some(Item::Event(event)) }
}

/// The service, by hand: it has one method.
#[derive(Clone)]
struct BareStream {
    event: Arc<proto::Event>,
    live: Arc<Mutex<Vec<Answers>>>,
}

impl BareStream {
    /// One event each millisecond, to everybody who is there, with the moment at which it was made.
    async fn tick(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        loop {
            ticks.tick().await;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
            let mut event = (*self.event).clone();
            if let Some(Payload::StatusChanged(status)) = &mut event.payload {
                status.callback_data.replace_range(..20, &format!("{now:020}"));
            }
            let mut live = self.live.lock().unwrap_or_else(|e| e.into_inner());
            live.retain(|answers| answers.try_send(Ok(answer(event.clone()))).is_ok());
        }
    }
}

impl tonic::server::NamedService for BareStream {
    const NAME: &'static str = "recado.v1.EventService";
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tower::Service<http::Request<Body>> for BareStream {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Later<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let bare = self.clone();
        Box::pin(
            async move { Ok(tonic::server::Grpc::new(ProstCodec::default()).server_streaming(bare, request).await) },
        )
    }
}

impl tonic::server::ServerStreamingService<proto::StreamEventsRequest> for BareStream {
    type Response = proto::StreamEventsResponse;
    type ResponseStream = ReceiverStream<Result<proto::StreamEventsResponse, Status>>;
    type Future = Later<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<proto::StreamEventsRequest>) -> Self::Future {
        let (answers, stream) = mpsc::channel(BUFFER);
        let event = self.event.clone();
        match request.into_inner().start {
            Some(Start::FromBeginning(_)) => {
                tokio::spawn(async move { while answers.send(Ok(answer((*event).clone()))).await.is_ok() {} });
            }
            _ => self.live.lock().unwrap_or_else(|e| e.into_inner()).push(answers),
        }
        Box::pin(async move { Ok(Response::new(ReceiverStream::new(stream))) })
    }
}

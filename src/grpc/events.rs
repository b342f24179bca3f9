//! EventService: the log, as streams and pages, and named places in it.

use std::time::Duration;

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::follow::{Answers, Follow};
use super::page::page_size;
use super::seen::{self, visible_senders};
use super::subscriptions::{Held, name, owner};
use super::{Services, answer, auth, convert};
use crate::access::{Caller, Scope};
use crate::domain::{Cursor, EventFilter, MessageId, Millis, now_ms};
use crate::error::{Error, Reason, Violations};
use crate::events::ReadError;
use crate::proto;
use crate::proto::event_service_server::EventService;

/// A stream without a wish gets a checkpoint this often.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(15);
/// The range of that wish.
const HEARTBEAT_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
/// How far a caller's clock may be ahead of ours.
const CLOCKS_MS: Millis = 60_000;
/// Answers that wait for HTTP/2 to take them.
const BUFFER: usize = 64;
/// Events on a page when the request does not say.
const PAGE_DEFAULT: i32 = 100;
/// Events on a page, at most.
const PAGE_MAX: i32 = 1_000;
/// Bytes of events in one answer, at most, but for a single event: clients read 4 MiB unless they are told otherwise.
const PAGE_BYTES: usize = 3 * 1024 * 1024;
/// Messages that one filter names, at most.
const IDS_MAX: usize = 10_000;

/// The service.
#[derive(Debug, Clone)]
pub struct Events(pub Services);

/// Where a reader begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Start {
    After(Cursor),
    Time(Millis),
    Beginning,
    Now,
    Subscription(String),
}

impl Events {
    /// A place in the log that can be read from. A subscription's is told when it is taken hold of.
    pub(super) async fn place(&self, start: Start) -> Result<i64, Error> {
        let store = &self.0.store;
        match start {
            Start::Now | Start::Subscription(_) => Ok(store.log_head().await?),
            Start::Beginning => Ok(store.log_oldest().await? - 1),
            Start::Time(time) => Ok(store.place_before_time(time).await?),
            Start::After(cursor) => self.check_cursor(cursor).await,
        }
    }

    /// A cursor's place, to read from: of this log, within it, and not removed. Never a silent jump.
    async fn check_cursor(&self, cursor: Cursor) -> Result<i64, Error> {
        let position = self.check_log(cursor).await?;
        self.check_kept(position).await
    }

    /// A cursor's place: of this log, and within it.
    pub(super) async fn check_log(&self, cursor: Cursor) -> Result<i64, Error> {
        let store = &self.0.store;
        let changed = |message: &str| Error::Precondition {
            reason: "LOG_EPOCH_CHANGED",
            message: message.to_owned(),
            metadata: Vec::new(),
        };
        if cursor.epoch != store.epoch() {
            return Err(changed("the cursor is of another database; start anew with from_time or from_beginning"));
        }
        if cursor.position > store.log_head().await? {
            return Err(changed(
                "the cursor lies beyond the end of the log: the database was put back to an older state",
            ));
        }
        Ok(cursor.position)
    }

    pub(super) async fn check_kept(&self, position: i64) -> Result<i64, Error> {
        let oldest = self.0.store.log_oldest().await?;
        match position + 1 < oldest {
            true => Err(self.compacted(oldest - 1)),
            false => Ok(position),
        }
    }

    fn compacted(&self, oldest: i64) -> Error {
        Error::CursorCompacted { oldest: Cursor { epoch: self.0.store.epoch(), position: oldest }.to_string() }
    }

    fn read_error(&self, error: ReadError) -> Error {
        match error {
            ReadError::Compacted { oldest } => self.compacted(oldest),
            ReadError::Store(error) => error.into(),
        }
    }

    /// The filter as it works for this caller.
    async fn filter(
        &self,
        caller: &Caller,
        filter: Option<proto::EventFilter>,
        violations: &mut Violations,
    ) -> Result<EventFilter, Error> {
        let filter = filter.unwrap_or_default();
        let mut types = Vec::with_capacity(filter.types.len());
        for (i, number) in filter.types.iter().enumerate() {
            match answer::event_type(*number) {
                Some(kind) => types.push(kind),
                None => {
                    violations.add(format!("filter.types[{i}]"), Reason::Invalid, format!("there is no type {number}"))
                }
            }
        }
        if filter.message_ids.len() > IDS_MAX {
            let description = format!("{} messages; {IDS_MAX} at most", filter.message_ids.len());
            violations.add("filter.message_ids", Reason::TooLong, description);
        }
        let ids = filter.message_ids.iter().enumerate().take(IDS_MAX);
        let message_ids = ids
            .filter_map(|(i, id)| violations.check(format!("filter.message_ids[{i}]"), id.parse::<MessageId>()))
            .collect();
        let senders = convert::sender_filter(filter.senders, "filter.senders", violations);
        Ok(EventFilter {
            types,
            message_ids,
            peers: convert::peer_filter(filter.peers, "filter.peers", violations),
            labels: convert::label_filter(filter.labels, "filter.labels", violations),
            senders: visible_senders(&self.0, caller, senders).await?,
        })
    }

    /// Opens a stream; its answers are encoded.
    pub(super) async fn open(&self, request: Request<proto::StreamEventsRequest>) -> Result<Response<Answers>, Status> {
        let caller = auth::caller(&request, Scope::Read)?;
        let remote = request.remote_addr();
        let request = request.into_inner();
        let mut violations = Violations::default();
        let start = stream_start(request.start, &mut violations);
        let beat = heartbeat(request.heartbeat_interval, &mut violations);
        let given = request.filter.clone();
        let filter = self.filter(&caller, request.filter, &mut violations).await?;
        if request.takeover && !matches!(start, Some(Start::Subscription(_))) {
            violations.add("takeover", Reason::Invalid, "only a named subscription can be taken over");
        }
        violations.into_result()?;
        let start = start.unwrap_or(Start::Now);
        let head = self.0.store.log_head().await.map_err(Error::from)?;
        let oldest = self.0.store.log_oldest().await.map_err(Error::from)? - 1;
        let mut position = self.place(start.clone()).await?;
        // Last of all that can fail: what fails after it would leave a hold behind.
        let held = match start {
            Start::Subscription(name) => {
                let held = Held { name, beat, takeover: request.takeover, client: remote };
                Some(self.hold(&caller, held, position).await?)
            }
            _ => None,
        };
        if let Some((_, place)) = &held {
            position = place.position;
        }
        let epoch = self.0.store.epoch();
        let at = |position| Cursor { epoch, position }.to_string();
        let attached = proto::Attached {
            head_cursor: at(head.max(position)),
            oldest_cursor: at(oldest),
            retention: self.0.retention.and_then(|kept| prost_types::Duration::try_from(kept).ok()),
            filter: Some(proto::EventFilter {
                senders: filter.senders.iter().map(ToString::to_string).collect(),
                ..given.unwrap_or_default()
            }),
            subscription: held.as_ref().map(|(named, _)| named.name.clone()).unwrap_or_default(),
            start_cursor: at(position),
            heartbeat_interval: prost_types::Duration::try_from(beat).ok(),
            subscription_made: held.as_ref().is_some_and(|(_, place)| place.made),
        };
        let named = held.map(|(named, _)| named);
        let (answers, end, stream) = Answers::channel(BUFFER);
        let services = self.0.clone();
        let follow = Follow { services, caller, filter, position, told: position, beat, named, answers, end };
        self.0.streams.spawn(follow.run(attached));
        Ok(Response::new(stream))
    }
}

fn cursor(text: &str, field: &str, violations: &mut Violations) -> Option<Cursor> {
    violations.check(field, text.parse())
}

fn time(time: prost_types::Timestamp, field: &str, violations: &mut Violations) -> Option<Millis> {
    let time = convert::millis(time).ok_or((Reason::Invalid, "not a time".to_owned()));
    // Clocks differ a little; but nothing can be said of a time that has not come.
    let past = time.and_then(|time| match time > now_ms() + CLOCKS_MS {
        true => Err((Reason::Invalid, "the time lies ahead".to_owned())),
        false => Ok(time),
    });
    violations.check(field, past)
}

fn beginning(given: bool, violations: &mut Violations) -> Option<Start> {
    if !given {
        violations.add("from_beginning", Reason::Invalid, "must be true; without a start the log is read from now on");
    }
    given.then_some(Start::Beginning)
}

fn stream_start(start: Option<proto::stream_events_request::Start>, violations: &mut Violations) -> Option<Start> {
    use proto::stream_events_request::Start as Given;
    match start {
        Some(Given::AfterCursor(text)) => cursor(&text, "after_cursor", violations).map(Start::After),
        Some(Given::FromTime(given)) => time(given, "from_time", violations).map(Start::Time),
        Some(Given::FromBeginning(given)) => beginning(given, violations),
        Some(Given::Subscription(given)) => name(&given, violations).map(Start::Subscription),
        None => Some(Start::Now),
    }
}

fn heartbeat(interval: Option<prost_types::Duration>, violations: &mut Violations) -> Duration {
    let Some(interval) = interval else { return HEARTBEAT_DEFAULT };
    match convert::duration(interval).filter(|interval| HEARTBEAT_RANGE.contains(interval)) {
        Some(interval) => interval,
        None => {
            violations.add("heartbeat_interval", Reason::Invalid, "a heartbeat comes every 1 s to 5 min");
            HEARTBEAT_DEFAULT
        }
    }
}

#[tonic::async_trait]
impl EventService for Events {
    type StreamEventsStream = futures::stream::Empty<Result<proto::StreamEventsResponse, Status>>;

    /// Answered by [`super::stream`], which never lets a call come here.
    async fn stream_events(
        &self,
        _request: Request<proto::StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        Err(Status::unimplemented("streams are served as encoded answers"))
    }

    async fn list_events(
        &self,
        request: Request<proto::ListEventsRequest>,
    ) -> Result<Response<proto::ListEventsResponse>, Status> {
        use proto::list_events_request::Start as Given;
        let caller = auth::caller(&request, Scope::Read)?;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let size = page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX, &mut violations) as usize;
        let start = match request.start {
            Some(Given::AfterCursor(text)) => cursor(&text, "after_cursor", &mut violations).map(Start::After),
            Some(Given::FromTime(given)) => time(given, "from_time", &mut violations).map(Start::Time),
            Some(Given::FromBeginning(given)) => beginning(given, &mut violations),
            None => Some(Start::Now),
        };
        let filter = self.filter(&caller, request.filter, &mut violations).await?;
        violations.into_result()?;
        let mut position = self.place(start.unwrap_or(Start::Now)).await?;
        // What other replicas wrote a moment ago is read as well: the page must not end before the head that is known.
        let head = self.0.store.log_head().await.map_err(Error::from)?;
        let epoch = self.0.store.epoch();
        let (mut events, mut bytes) = (Vec::with_capacity(size), 0);
        'page: while position < head && events.len() < size {
            self.0.log.wait_beyond(position).await;
            let read = self.0.log.read(position, &filter).await.map_err(|error| self.read_error(error))?;
            for event in &read.events {
                let seen = seen::event(&caller, answer::event(event, epoch));
                bytes += seen.encoded_len();
                if events.len() == size || (bytes > PAGE_BYTES && !events.is_empty()) {
                    break 'page;
                }
                events.push(seen);
                position = event.position;
            }
            position = read.position;
        }
        Ok(Response::new(proto::ListEventsResponse {
            events,
            next_cursor: Cursor { epoch, position }.to_string(),
            caught_up: position >= head,
        }))
    }

    async fn ack_events(
        &self,
        request: Request<proto::AckEventsRequest>,
    ) -> Result<Response<proto::AckEventsResponse>, Status> {
        let caller = auth::caller(&request, Scope::Read)?;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let name = name(&request.subscription, &mut violations);
        let cursor = cursor(&request.cursor, "cursor", &mut violations);
        violations.into_result()?;
        let (Some(name), Some(cursor)) = (name, cursor) else { unreachable!("without violations both are there") };
        let position = self.check_log(cursor).await?;
        let moved = self.0.store.ack_subscription(caller.owner(), &name, position, now_ms()).await;
        let position = moved.map_err(Error::from)?;
        let position = position.ok_or(Error::NotFound { resource: "subscription", name })?;
        let cursor = Cursor { epoch: self.0.store.epoch(), position }.to_string();
        Ok(Response::new(proto::AckEventsResponse { cursor }))
    }

    async fn get_subscription(
        &self,
        request: Request<proto::GetSubscriptionRequest>,
    ) -> Result<Response<proto::GetSubscriptionResponse>, Status> {
        let caller = auth::caller(&request, Scope::Read)?;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let name = name(&request.subscription, &mut violations).unwrap_or_default();
        violations.into_result()?;
        let subscription = Some(self.subscription(owner(&caller, &request.api_key_id)?, &name).await?);
        Ok(Response::new(proto::GetSubscriptionResponse { subscription }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<proto::ListSubscriptionsRequest>,
    ) -> Result<Response<proto::ListSubscriptionsResponse>, Status> {
        let caller = auth::caller(&request, Scope::Read)?;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let size = page_size(request.page_size, 50, 1_000, &mut violations);
        violations.into_result()?;
        Ok(Response::new(self.subscriptions(&caller, request.all_keys, &request.page_token, size).await?))
    }

    async fn seek_subscription(
        &self,
        request: Request<proto::SeekSubscriptionRequest>,
    ) -> Result<Response<proto::SeekSubscriptionResponse>, Status> {
        use proto::seek_subscription_request::To;
        let caller = auth::caller(&request, Scope::Read)?;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let name = name(&request.subscription, &mut violations).unwrap_or_default();
        let to = match request.to {
            Some(To::Cursor(text)) => cursor(&text, "cursor", &mut violations).map(Start::After),
            Some(To::Time(given)) => time(given, "time", &mut violations).map(Start::Time),
            Some(To::Beginning(true)) => Some(Start::Beginning),
            Some(To::End(true)) => Some(Start::Now),
            Some(To::Beginning(false) | To::End(false)) | None => {
                violations.add("to", Reason::Required, "one of cursor, time, beginning, end is needed");
                None
            }
        };
        violations.into_result()?;
        let owner = owner(&caller, &request.api_key_id)?;
        if owner == crate::sink::OWNER {
            return Err(Error::Precondition {
                reason: "SUBSCRIPTION_NOT_MOVABLE",
                message: "what NATS has already is where the sink goes on, so its subscription cannot be moved; \
                          docs/operations.md says how to publish again"
                    .into(),
                metadata: Vec::new(),
            }
            .into());
        }
        let position = self.place(to.unwrap_or(Start::Now)).await?;
        self.0.store.seek_subscription(owner, &name, position, now_ms()).await.map_err(Error::from)?;
        let subscription = Some(self.subscription(owner, &name).await?);
        Ok(Response::new(proto::SeekSubscriptionResponse { subscription }))
    }

    async fn delete_subscription(
        &self,
        request: Request<proto::DeleteSubscriptionRequest>,
    ) -> Result<Response<proto::DeleteSubscriptionResponse>, Status> {
        let caller = auth::caller(&request, Scope::Read)?;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let name = name(&request.subscription, &mut violations).unwrap_or_default();
        violations.into_result()?;
        let owner = owner(&caller, &request.api_key_id)?;
        match self.0.store.delete_subscription(owner, &name).await.map_err(Error::from)? {
            true => Ok(Response::new(proto::DeleteSubscriptionResponse {})),
            false => Err(Error::NotFound { resource: "subscription", name }.into()),
        }
    }
}

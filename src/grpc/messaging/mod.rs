//! MessagingService: sends, and where they stand.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::join_all;
use tonic::{Request, Response, Status, Streaming};

use super::page::{page_size, page_token};
use super::seen::{self, visible_senders};
use super::{Services, answer, auth, convert, download, upload};
use crate::access::{Caller, Scope};
use crate::domain::{Cursor, MessageId, MessageStatus};
use crate::error::{Error, Reason, Violations};
use crate::proto;
use crate::proto::messaging_service_server::MessagingService;
use crate::store::MessageFilter;

mod prepare;
mod send;

pub(super) use prepare::below;
use send::{batch_result, response};

/// Entries of a batch, at most.
const BATCH_MAX: usize = 1_000;
/// Entries of a batch that a provider is asked about at the same time.
const ASKED_AT_ONCE: usize = 32;
/// Messages on a page when the request does not say.
const PAGE_DEFAULT: i32 = 50;
/// Messages on a page, at most.
const PAGE_MAX: i32 = 1_000;

/// The service.
#[derive(Debug, Clone)]
pub struct Messaging(pub Services);

impl Messaging {
    /// A message that the caller may know of.
    async fn find(&self, caller: &Caller, id: &str) -> Result<crate::domain::message::Message, Error> {
        let mut violations = Violations::default();
        let parsed = violations.check("message_id", id.parse::<MessageId>());
        violations.into_result()?;
        let found = match parsed {
            Some(id) => self.0.store.message(id).await?,
            None => None,
        };
        found
            .filter(|message| caller.sees(&message.request.sender) || caller.sees(&message.sender))
            .ok_or_else(|| Error::NotFound { resource: "message", name: id.to_owned() })
    }
}

#[tonic::async_trait]
impl MessagingService for Messaging {
    type DownloadMediaStream = download::Download;

    async fn send_message(
        &self,
        request: Request<proto::SendMessageRequest>,
    ) -> Result<Response<proto::SendMessageResponse>, Status> {
        let caller = auth::caller(&request, Scope::Send)?;
        let now = self.0.store.now_ms();
        let request = request.into_inner();
        let read = |violations: &mut Violations| convert::message(request, now, violations);
        let prepared = self.prepare(&caller, now, self.asked_until(), read).await?;
        let answer = self.accept(prepared).await?;
        let id = answer.message_id.clone();
        Ok(response(answer.into(), &id))
    }

    async fn send_template(
        &self,
        request: Request<proto::SendTemplateRequest>,
    ) -> Result<Response<proto::SendTemplateResponse>, Status> {
        let caller = auth::caller(&request, Scope::Send)?;
        let now = self.0.store.now_ms();
        let request = request.into_inner();
        let read = |violations: &mut Violations| convert::template(request, now, violations);
        let prepared = self.prepare(&caller, now, self.asked_until(), read).await?;
        let answer = self.accept(prepared).await?;
        let id = answer.message_id.clone();
        Ok(response(answer.into(), &id))
    }

    async fn batch_send(
        &self,
        request: Request<proto::BatchSendRequest>,
    ) -> Result<Response<proto::BatchSendResponse>, Status> {
        let caller: Arc<Caller> = auth::caller(&request, Scope::Send)?;
        let entries = request.into_inner().entries;
        match entries.len() {
            1..=BATCH_MAX => {}
            0 => return Err(Error::invalid("entries", Reason::Required, "1 to 1,000 entries are needed").into()),
            count => {
                let description = format!("{count} entries; a batch has at most {BATCH_MAX}");
                return Err(Error::invalid("entries", Reason::TooLong, description).into());
            }
        }
        let now = self.0.store.now_ms();
        // Some at a time, since a provider may be asked about each; together no longer than about one.
        let asked_until = self.asked_until();
        let entries = entries.into_iter().enumerate().map(|entry| self.entry(&caller, now, asked_until, entry));
        let prepared: Vec<_> = futures::stream::iter(entries).buffered(ASKED_AT_ONCE).collect().await;
        // All at once, so that they share commits; each is queued when it is first polled, in their order.
        let accepted = prepared.into_iter().map(|prepared| async move { self.accept(prepared?).await });
        let results = join_all(accepted).await.into_iter().map(batch_result).collect();
        Ok(Response::new(proto::BatchSendResponse { results }))
    }

    async fn plan_send(
        &self,
        request: Request<proto::PlanSendRequest>,
    ) -> Result<Response<proto::PlanSendResponse>, Status> {
        let caller = auth::caller(&request, Scope::Send)?;
        Ok(Response::new(self.plan(&caller, request.into_inner()).await?))
    }

    async fn get_message(
        &self,
        request: Request<proto::GetMessageRequest>,
    ) -> Result<Response<proto::GetMessageResponse>, Status> {
        let caller = auth::caller(&request, Scope::Read)?;
        let message = self.find(&caller, &request.into_inner().message_id).await?;
        let attempts = self.0.store.attempts(&message).await.map_err(Error::from)?;
        Ok(Response::new(proto::GetMessageResponse {
            message: Some(seen::message(&caller, answer::message(&message))),
            attempts: seen::attempts(&caller, attempts.iter().map(answer::attempt)),
        }))
    }

    async fn list_messages(
        &self,
        request: Request<proto::ListMessagesRequest>,
    ) -> Result<Response<proto::ListMessagesResponse>, Status> {
        let caller = auth::caller(&request, Scope::Read)?;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let size = page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX, &mut violations);
        let before = page_token(&request.page_token, self.0.store.epoch(), &mut violations);
        let senders = convert::sender_filter(request.senders, "senders", &mut violations);
        let time = |time: Option<prost_types::Timestamp>, field: &str, violations: &mut Violations| {
            let time = time?;
            let millis = convert::millis(time).ok_or((Reason::Invalid, "not a time".to_owned()));
            violations.check(field, millis)
        };
        let mut filter = MessageFilter {
            statuses: statuses(&request.statuses, &mut violations),
            peers: convert::peer_filter(request.peers, "peers", &mut violations),
            labels: convert::label_filter(request.labels, "labels", &mut violations),
            accept_from_ms: time(request.start_accept_time, "start_accept_time", &mut violations),
            accept_before_ms: time(request.end_accept_time, "end_accept_time", &mut violations),
            before,
            senders: Vec::new(),
        };
        violations.into_result()?;
        filter.senders = visible_senders(&self.0, &caller, senders).await?;
        let mut messages = self.0.store.messages(&filter, size + 1).await.map_err(Error::from)?;
        let more = messages.len() as u64 > size;
        messages.truncate(size as usize);
        let next = messages.last().filter(|_| more).map(|last| last.seq);
        let token = |seq: i64| Cursor { epoch: self.0.store.epoch(), position: seq }.to_string();
        Ok(Response::new(proto::ListMessagesResponse {
            messages: messages.iter().map(|message| seen::message(&caller, answer::message(message))).collect(),
            next_page_token: next.map(token).unwrap_or_default(),
        }))
    }

    async fn cancel_message(
        &self,
        request: Request<proto::CancelMessageRequest>,
    ) -> Result<Response<proto::CancelMessageResponse>, Status> {
        let caller = auth::caller(&request, Scope::Send)?;
        let id = request.into_inner().message_id;
        let found = self.find(&caller, &id).await?;
        match self.0.writer.cancel(found.id).await.map_err(Error::from)? {
            Some(Ok(_)) => {}
            Some(Err(status)) => return Err(not_cancellable(status).into()),
            None => return Err(Error::NotFound { resource: "message", name: id }.into()),
        }
        let message = self.find(&caller, &id).await?;
        let message = seen::message(&caller, answer::message(&message));
        Ok(Response::new(proto::CancelMessageResponse { message: Some(message) }))
    }

    async fn download_media(
        &self,
        request: Request<proto::DownloadMediaRequest>,
    ) -> Result<Response<Self::DownloadMediaStream>, Status> {
        let caller = auth::caller(&request, Scope::Read)?;
        let id = request.into_inner().media_id;
        Ok(Response::new(download::open(&self.0, &caller, &id).await?))
    }

    async fn upload_media(
        &self,
        request: Request<Streaming<proto::UploadMediaRequest>>,
    ) -> Result<Response<proto::UploadMediaResponse>, Status> {
        let caller = auth::caller(&request, Scope::Send)?;
        Ok(Response::new(upload::take(&self.0, &caller, request.into_inner()).await?))
    }
}

fn not_cancellable(status: MessageStatus) -> Error {
    Error::Precondition {
        reason: "NOT_CANCELLABLE",
        message: format!("the message is {}: only one that waits to be handed over can be cancelled", status.as_str()),
        metadata: vec![("status", status.as_str().to_owned())],
    }
}

fn statuses(numbers: &[i32], violations: &mut Violations) -> Vec<MessageStatus> {
    let mut statuses = Vec::with_capacity(numbers.len());
    for (i, number) in numbers.iter().enumerate() {
        match i16::try_from(*number).ok().and_then(MessageStatus::from_number) {
            Some(status) => statuses.push(status),
            None => violations.add(format!("statuses[{i}]"), Reason::Invalid, format!("there is no status {number}")),
        }
    }
    statuses
}

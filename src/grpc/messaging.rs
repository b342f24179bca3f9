//! MessagingService: sends, and where they stand.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::join_all;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{self, ReadSend, SendParts, TEMPLATE};
use super::{Services, answer, auth, download, seen, status, upload};
use crate::access::{Caller, Scope};
use crate::catalogue::Judgement;
use crate::domain::message::WindowPolicy;
use crate::domain::{Content, Cursor, ErrorReason, MessageId, MessageStatus, Millis, NewMessage, SenderId};
use crate::error::{Error, Reason, Violations};
use crate::proto;
use crate::proto::messaging_service_server::MessagingService;
use crate::senders::Account;
use crate::store::{Accept, Accepted, MessageFilter};

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

/// What both sends answer.
#[derive(Default)]
struct Answer {
    message_id: String,
    status: i32,
    accept_time: Option<prost_types::Timestamp>,
    deduplicated: bool,
    cursor: String,
    template_unchecked: bool,
}

/// A send that was read and checked.
struct Prepared {
    /// What to accept; nothing when it was only to be checked.
    accept: Option<Accept>,
    /// A template that could not be compared with what the provider has approved.
    template_unchecked: bool,
}

impl From<Answer> for proto::SendMessageResponse {
    fn from(answer: Answer) -> Self {
        let Answer { message_id, status, accept_time, deduplicated, cursor, template_unchecked } = answer;
        Self { message_id, status, accept_time, deduplicated, cursor, template_unchecked }
    }
}

impl From<Answer> for proto::SendTemplateResponse {
    fn from(answer: Answer) -> Self {
        let Answer { message_id, status, accept_time, deduplicated, cursor, template_unchecked } = answer;
        Self { message_id, status, accept_time, deduplicated, cursor, template_unchecked }
    }
}

/// A message, marked with its id for the request's line in the log.
fn response<T>(message: T, id: &str) -> Response<T> {
    let mut response = Response::new(message);
    if let Ok(id) = id.parse::<MessageId>() {
        response.extensions_mut().insert(id);
    }
    response
}

impl Messaging {
    /// One send, read and checked: ready to be accepted.
    async fn prepare(
        &self,
        caller: &Caller,
        now: Millis,
        asked_until: Instant,
        read: impl FnOnce(&mut Violations) -> SendParts,
    ) -> Result<Prepared, Error> {
        let mut violations = Violations::default();
        let mut parts = read(&mut violations);
        if let Some(url) = parts.callback_url() {
            violations.check("options.callback_url", convert::allowed_url(url, &self.0.guarded));
        }
        let account = self.check_sender(caller, &parts, &mut violations).await?;
        let judgement = match (&account, &mut parts.content) {
            (Some(account), Some(Content::Template(template))) => self.0.catalogues.judge(account, template).await?,
            _ => Judgement::default(),
        };
        let instead = match &account {
            Some(account) => self.judge_instead(account, &mut parts, &mut violations).await?,
            None => Judgement::default(),
        };
        if !violations.is_empty() {
            judgement.add_to(&mut violations);
            instead.add_below(TEMPLATE, &mut violations);
            return Err(violations.into_error());
        }
        parts.template_category = judgement.category;
        let Some(ReadSend { request, key, validate_only }) = parts.build() else {
            return Err(Error::Internal(anyhow::anyhow!("a send without violations could not be built")));
        };
        self.check_quoted(caller, &request).await?;
        let template_unchecked = judgement.unchecked || instead.unchecked;
        let instead = instead.into_error().map(|error| below(error, TEMPLATE));
        if let Some(error) = judgement.into_error().or(instead)
            // What was accepted once is answered again, whatever became of its template.
            && !self.is_repeat(caller, key.as_deref(), &request).await?
        {
            return Err(error);
        }
        if let (true, Some(key)) = (validate_only, &key) {
            self.check_key(caller, key, &request).await?;
        }
        if validate_only && self.0.store.has_opt_outs(&request.sender) {
            self.check_opt_outs(caller, key.as_deref(), &request).await?;
        }
        self.ask_provider(caller, &request, key.as_deref(), asked_until).await?;
        let accept = if validate_only { None } else { Some(Accept::new(&caller.id, key, request, now)?) };
        Ok(Prepared { accept, template_unchecked })
    }

    /// Whether this very message was accepted under its key before.
    async fn is_repeat(&self, caller: &Caller, key: Option<&str>, request: &NewMessage) -> Result<bool, Error> {
        let Some(key) = key else { return Ok(false) };
        let first = self.0.store.message_of_key(&caller.id, key).await?;
        Ok(first.is_some_and(|first| request.differences(&first.request).is_empty()))
    }

    /// Accepts what was prepared. What was only to be checked is answered with nothing in it.
    async fn accept(&self, prepared: Prepared) -> Result<Answer, Error> {
        let Prepared { accept, template_unchecked } = prepared;
        let answer = match accept {
            Some(accept) => self.answer(self.0.writer.accept(accept).await?),
            None => Answer::default(),
        };
        Ok(Answer { template_unchecked, ..answer })
    }

    /// Whether the sender is there for this caller and can carry the content; answers it, when it could be read.
    pub(super) async fn check_sender(
        &self,
        caller: &Caller,
        parts: &SendParts,
        violations: &mut Violations,
    ) -> Result<Option<Arc<Account>>, Error> {
        let Some(sender) = &parts.sender else { return Ok(None) };
        let not_found = || Error::NotFound { resource: "sender", name: sender.to_string() };
        let account = self.0.senders.find(sender).await?.filter(|_| caller.sees(sender)).ok_or_else(not_found)?;
        if let Some(content) = &parts.content {
            account.check(content, parts.reply_to_message_id.is_some(), violations);
        }
        for fallback in parts.fallback_senders() {
            // Whether it can carry the content is asked when its turn comes: it is passed by if it cannot.
            if !caller.sees(fallback) || self.0.senders.find(fallback).await?.is_none() {
                return Err(Error::NotFound { resource: "sender", name: fallback.to_string() });
            }
        }
        Ok(Some(account))
    }

    /// Judges the template that is to go while the window is closed, as if it were to go at once.
    async fn judge_instead(
        &self,
        account: &Account,
        parts: &mut SendParts,
        violations: &mut Violations,
    ) -> Result<Judgement, Error> {
        let WindowPolicy::SendTemplate(template) = &mut parts.options.on_window_closed else {
            return Ok(Judgement::default());
        };
        let judgement = self.0.catalogues.judge(account, template).await?;
        let mut inner = Violations::default();
        let content = Content::Template(template.as_ref().clone());
        account.provider.capabilities().check(&content, account.sender.provider, &mut inner);
        violations.nest(TEMPLATE, inner);
        Ok(judgement)
    }

    /// Asks the provider, where only it knows whether the message can be handed over. One that goes out later, or that others
    /// would take over, is judged then; and one that was accepted before is answered as before, whatever has become of the
    /// conversation.
    async fn ask_provider(
        &self,
        caller: &Caller,
        request: &NewMessage,
        key: Option<&str>,
        until: Instant,
    ) -> Result<(), Error> {
        let Some(account) = self.0.senders.get(&request.sender) else { return Ok(()) };
        let judged_later =
            request.send_at_ms.is_some_and(|at| at > self.0.store.now_ms()) || !request.fallback_senders.is_empty();
        if !account.provider.capabilities().admits || judged_later {
            return Ok(());
        }
        if let Some(key) = key
            && self.0.store.message_of_key(&caller.id, key).await?.is_some()
        {
            return Ok(());
        }
        match tokio::time::timeout_at(until, account.provider.admits(&request.to, &request.content)).await {
            // What then, the caller has said.
            Ok(Err(error))
                if error.reason == ErrorReason::OutsideWindow && request.on_window_closed.has_another_way() =>
            {
                Ok(())
            }
            Ok(Err(error)) => Err(Error::Precondition {
                reason: error.reason.as_str(),
                message: format!("provider {} would not take it: {}", account.sender.provider, error.provider_message),
                metadata: vec![("sender", request.sender.to_string())],
            }),
            Ok(Ok(())) => Ok(()),
            Err(_) => {
                tracing::debug!(sender = %request.sender, "the provider did not say in time whether it takes a message");
                Ok(())
            }
        }
    }

    /// Until when providers are asked about a request that comes now.
    fn asked_until(&self) -> Instant {
        Instant::now() + self.0.admit_limit
    }

    /// Whether a key is new, or was used for the same content: what a send finds out when it is stored.
    pub(super) async fn check_key(&self, caller: &Caller, key: &str, request: &NewMessage) -> Result<(), Error> {
        let Some(first) = self.0.store.message_of_key(&caller.id, key).await? else { return Ok(()) };
        let fields = request.differences(&first.request);
        match fields.is_empty() {
            true => Ok(()),
            false => Err(Error::KeyReused { key: key.to_owned(), message_id: first.id.to_string(), fields }),
        }
    }

    /// Whether the person wants to be written to: what a send finds out when it is stored.
    async fn check_opt_outs(&self, caller: &Caller, key: Option<&str>, request: &NewMessage) -> Result<(), Error> {
        match self.0.store.opt_out_against(request).await? {
            Some(opt_out) if !self.is_repeat(caller, key, request).await? => Err(opt_out.refusal()),
            _ => Ok(()),
        }
    }

    /// Whether the messages that this one quotes or reacts to are this sender's.
    pub(super) async fn check_quoted(&self, caller: &Caller, request: &NewMessage) -> Result<(), Error> {
        let reaction = match &request.content {
            Content::Reaction(reaction) => reaction.message_id,
            _ => None,
        };
        for id in request.reply_to_message_id.into_iter().chain(reaction) {
            let found = self.0.store.find_message(id).await?;
            if found.is_none_or(|found| found.sender != request.sender || !caller.sees(&found.sender)) {
                return Err(Error::NotFound { resource: "message", name: id.to_string() });
            }
        }
        Ok(())
    }

    fn answer(&self, accepted: Accepted) -> Answer {
        // Just before the ACCEPTED event: a stream opened after it misses nothing about this message.
        let cursor = Cursor { epoch: self.0.store.epoch(), position: accepted.position - 1 };
        Answer {
            message_id: accepted.message_id.to_string(),
            status: i32::from(accepted.status as i16),
            accept_time: Some(answer::timestamp(accepted.accept_at_ms)),
            deduplicated: accepted.deduplicated,
            cursor: cursor.to_string(),
            template_unchecked: false,
        }
    }

    /// One entry of a batch, prepared; its errors name its place.
    async fn entry(
        &self,
        caller: &Caller,
        now: Millis,
        asked_until: Instant,
        (index, entry): (usize, proto::BatchSendEntry),
    ) -> Result<Prepared, Error> {
        use proto::batch_send_entry::Entry;
        let (path, prepared) = match entry.entry {
            Some(Entry::Message(request)) => {
                let read = |violations: &mut Violations| convert::message(request, now, violations);
                (format!("entries[{index}].message"), self.prepare(caller, now, asked_until, read).await)
            }
            Some(Entry::Template(request)) => {
                let read = |violations: &mut Violations| convert::template(request, now, violations);
                (format!("entries[{index}].template"), self.prepare(caller, now, asked_until, read).await)
            }
            None => {
                let needed = Error::invalid("", Reason::Required, "one of message, template is needed");
                (format!("entries[{index}]"), Err(needed))
            }
        };
        prepared.map_err(|error| below(error, &path))
    }

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

fn batch_result(sent: Result<Answer, Error>) -> proto::BatchSendResult {
    use proto::batch_send_result::Result as Outcome;
    let result = match sent {
        Ok(answer) => Outcome::Accepted(answer.into()),
        Err(error) => Outcome::Error(status::embedded(&error.into())),
    };
    proto::BatchSendResult { result: Some(result) }
}

/// The same error with its fields' paths below an entry.
pub(super) fn below(error: Error, path: &str) -> Error {
    match error {
        Error::Invalid(inner) => {
            let mut violations = Violations::default();
            violations.nest(path, inner.into());
            violations.into_error()
        }
        other => other,
    }
}

/// The senders of a filter, cut to those that the caller may know of; one that it may not know of is not there.
pub(super) async fn visible_senders(
    services: &Services,
    caller: &Caller,
    senders: Vec<SenderId>,
) -> Result<Vec<SenderId>, Error> {
    for sender in &senders {
        if !caller.sees(sender) || services.senders.find(sender).await?.is_none() {
            return Err(Error::NotFound { resource: "sender", name: sender.to_string() });
        }
    }
    Ok(if senders.is_empty() { caller.senders.clone() } else { senders })
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

/// A page's size: the default for 0, cut to the most that there is.
pub(super) fn page_size(given: i32, default: i32, most: i32, violations: &mut Violations) -> u64 {
    match given {
        0 => default as u64,
        1.. => given.min(most) as u64,
        _ => {
            violations.add("page_size", Reason::Invalid, format!("a page has 1 to {most}; 0 means {default}"));
            default as u64
        }
    }
}

/// Where a page goes on.
pub(super) fn page_token(token: &str, epoch: i64, violations: &mut Violations) -> Option<i64> {
    if token.is_empty() {
        return None;
    }
    let cursor = token.parse::<Cursor>().ok().filter(|cursor| cursor.epoch == epoch);
    let cursor = cursor.ok_or((Reason::Invalid, "not a page token of this list".to_owned()));
    violations.check("page_token", cursor).map(|cursor| cursor.position)
}

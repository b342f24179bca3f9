//! A send as it is accepted and answered, alone or in a batch.

use tokio::time::Instant;
use tonic::Response;

use super::Messaging;
use super::prepare::{Prepared, below};
use crate::access::Caller;
use crate::domain::{Cursor, MessageId, Millis};
use crate::error::{Error, Reason, Violations};
use crate::grpc::{answer, convert, status};
use crate::proto;
use crate::store::Accepted;

/// What both sends answer.
#[derive(Default)]
pub(super) struct Answer {
    pub message_id: String,
    status: i32,
    accept_time: Option<prost_types::Timestamp>,
    deduplicated: bool,
    cursor: String,
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
pub(super) fn response<T>(message: T, id: &str) -> Response<T> {
    let mut response = Response::new(message);
    if let Ok(id) = id.parse::<MessageId>() {
        response.extensions_mut().insert(id);
    }
    response
}

impl Messaging {
    /// Accepts what was prepared. What was only to be checked is answered with nothing in it.
    pub(super) async fn accept(&self, prepared: Prepared) -> Result<Answer, Error> {
        let Prepared { accept, template_unchecked } = prepared;
        let answer = match accept {
            Some(accept) => self.answer(self.0.writer.accept(accept).await?),
            None => Answer::default(),
        };
        Ok(Answer { template_unchecked, ..answer })
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
    pub(super) async fn entry(
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
}

pub(super) fn batch_result(sent: Result<Answer, Error>) -> proto::BatchSendResult {
    use proto::batch_send_result::Result as Outcome;
    let result = match sent {
        Ok(answer) => Outcome::Accepted(answer.into()),
        Err(error) => Outcome::Error(status::embedded(error)),
    };
    proto::BatchSendResult { result: Some(result) }
}

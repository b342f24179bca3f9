//! Handing messages over: one POST each, and what its answer means.

use reqwest::Method;
use serde_json::{Map, Value};

use super::door::Door;
use super::errors::Said;
use super::message;
use crate::provider::http::{Body, HttpAnswer};
use crate::provider::lenient::{list, text};
use crate::provider::{Answer, Outgoing, Receipt, SendError, whatsapp};

impl Door {
    /// Hands messages over, one after the other, by posting each to `path`.
    pub async fn hand_over(&self, path: &str, messages: &[Outgoing]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            answers.push(self.hand_over_one(path, message).await);
        }
        answers
    }

    async fn hand_over_one(&self, path: &str, message: &Outgoing) -> Answer {
        let unsent = |error| Answer { outcome: Err(error), exchange: None };
        let body = match message::body(self.provider, message) {
            Ok(body) => body.to_string().into_bytes(),
            Err(error) => return unsent(error),
        };
        let url = match self.url(path) {
            Ok(url) => url,
            Err(error) => return unsent(SendError::Refused(error)),
        };
        // Meta's descriptions quote what they speak of.
        let mut private = whatsapp::private_words(&message.content);
        private.push(&message.to.digits);
        let secrets = self.redacted(&private);
        let called = self.call(Method::POST, url, Body::Json(body), &private).await;
        let outcome = match called.result {
            Ok(answer) => judge(&answer, message.attempt, self.otherwise),
            Err(error) => Err(error.into()),
        };
        Answer { outcome: outcome.map_err(|error| error.without(&secrets)), exchange: Some(called.exchange) }
    }
}

/// What an answer means: an error object counts whatever the HTTP status; `otherwise` reads what has none.
fn judge(
    answer: &HttpAnswer,
    attempt: i32,
    otherwise: impl FnOnce(&HttpAnswer) -> SendError,
) -> Result<Receipt, SendError> {
    let body = serde_json::from_slice::<Map<String, Value>>(&answer.body).unwrap_or_default();
    if let Some(said) = Said::of_answer(&body) {
        return Err(said.outcome(answer, attempt));
    }
    if !answer.status.is_success() {
        return Err(otherwise(answer));
    }
    // `message_status` beside the id (held_for_quality_assessment, paused) is no no: `sent` or `failed` comes later.
    match list(&body, "messages").first().and_then(Value::as_object).and_then(|message| text(message, "id")) {
        Some(id) => Ok(Receipt { provider_message_id: Some(id) }),
        None => Err(SendError::in_doubt(format!("HTTP {} without a message's id", answer.status.as_u16()))),
    }
}

/// What an answer without an error object means at Meta: no more than its HTTP status.
pub(super) fn of_status(answer: &HttpAnswer) -> SendError {
    SendError::of_status(answer, "", "")
}

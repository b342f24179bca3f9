//! The way into the Cloud API: Meta's own, or that of a company that passes it on. Where it is and what opens it differ;
//! what is said there does not.

use reqwest::Method;
use serde_json::{Map, Value};
use url::Url;

use super::errors::Said;
use crate::domain::{DeliveryError, ErrorReason};
use crate::provider::http::{Body, Call, Called, HttpAnswer};
use crate::provider::{AskError, CheckOutcome, HttpClient, Secret, SendError, address};

/// Where the API is, and what opens it.
#[derive(Debug)]
pub(in crate::provider) struct Door {
    /// The provider's name, for refusals.
    pub provider: &'static str,
    /// The one client.
    pub http: HttpClient,
    /// Nothing when settings were stored that would not pass the check of today.
    pub base: Option<Url>,
    /// The header that opens it, and its value.
    pub key: (&'static str, Secret),
    /// What no trace may show.
    pub secrets: Vec<Secret>,
    /// What an answer without Meta's error object means.
    pub otherwise: fn(&HttpAnswer) -> SendError,
}

impl Door {
    /// An address below the base.
    pub fn url(&self, path: &str) -> Result<Url, DeliveryError> {
        let base = self.base.as_ref().ok_or_else(|| {
            DeliveryError::ours(ErrorReason::InvalidSender, "the sender's base_url is not an address", false)
        })?;
        Ok(address::below(base, path))
    }

    /// One request. `private`: what beside the secrets no trace may show.
    pub async fn call(&self, method: Method, url: Url, body: Body, private: &[&str]) -> Called {
        let (header, value) = &self.key;
        let headers = vec![(*header, value.expose().to_owned()), ("accept", "application/json".into())];
        let redact = self.redacted(private);
        self.http.call(Call { method, url, headers, body, redact }).await
    }

    /// All that no trace may show.
    pub fn redacted<'a>(&'a self, private: &[&'a str]) -> Vec<&'a str> {
        self.secrets.iter().map(Secret::expose).chain(private.iter().copied()).collect()
    }

    /// Asks for an object.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Map<String, Value>, AskError> {
        let mut url = self.url(path).map_err(AskError::Refused)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let secrets = self.redacted(&[]);
        let called = self.call(Method::GET, url, Body::None, &[]).await;
        let answer = called.result.map_err(|error| ask_error(SendError::from(error).without(&secrets)))?;
        let body = serde_json::from_slice::<Map<String, Value>>(&answer.body).ok();
        match (body.as_ref().and_then(Said::of_answer), body) {
            (Some(said), _) => Err(ask_error(said.outcome(&answer, 1).without(&secrets))),
            (None, Some(body)) if answer.status.is_success() => Ok(body),
            _ => Err(ask_error((self.otherwise)(&answer).without(&secrets))),
        }
    }

    /// Whether what opens it still does; `detail` says in words what was answered.
    pub async fn check(
        &self,
        path: &str,
        query: &[(&str, &str)],
        detail: impl FnOnce(&Map<String, Value>) -> String,
    ) -> CheckOutcome {
        match self.get(path, query).await {
            Ok(answer) => CheckOutcome::Working { detail: detail(&answer) },
            Err(AskError::Refused(error)) => CheckOutcome::Refused(error),
            Err(AskError::Unreachable(detail)) => CheckOutcome::Unreachable { detail },
            Err(AskError::NotSupported) => CheckOutcome::NotSupported,
        }
    }
}

/// What an outcome of a send would mean for a question.
fn ask_error(error: SendError) -> AskError {
    match error {
        SendError::Refused(error) => AskError::Refused(error),
        SendError::NotTaken { error, .. } => {
            let words = format!("{} {}", error.provider_code, error.provider_message);
            AskError::Unreachable(words.trim().to_owned())
        }
        SendError::InDoubt { detail } => AskError::Unreachable(detail),
    }
}

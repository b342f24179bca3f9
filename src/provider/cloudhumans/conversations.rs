//! Finding the conversation that a message goes into: the person by number, then the person's conversations.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Map, Value};
use url::Url;

use super::errors::{self, unanswered};
use super::{Adapter, wire};
use crate::domain::message::Exchange;
use crate::domain::phone::variants_of;
use crate::domain::{DeliveryError, ErrorReason, PhoneNumber};
use crate::provider::SendError;
use crate::provider::http::{Body, Call, CallError};
use crate::provider::lenient::{flag, integer, list, text};

/// A conversation of a person in this sender's inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conversation {
    /// Its number within the account.
    pub id: String,
    open: bool,
    /// Whether free text reaches the person now.
    can_reply: bool,
    last_activity_at: i64,
}

/// Why there is none to write into.
#[derive(Debug)]
pub(super) enum Unfound {
    /// CloudChat has answered, and there is none.
    Closed(DeliveryError),
    /// CloudChat could not be asked.
    Unanswered(SendError, Option<Arc<Exchange>>),
}

impl Adapter {
    /// The conversation with a person that free text can go into.
    pub(super) async fn open_conversation(&self, to: &PhoneNumber) -> Result<Conversation, Unfound> {
        let closed = |why: &str| {
            let words = format!("{why}; a template (SendTemplate) starts a conversation");
            Unfound::Closed(DeliveryError::ours(ErrorReason::OutsideWindow, words, true))
        };
        let Some(conversations) = self.conversations(to).await? else {
            return Err(closed("the person has never written: there is no such contact"));
        };
        let some = !conversations.is_empty();
        let mut open: Vec<Conversation> = conversations.into_iter().filter(|conversation| conversation.open).collect();
        // Newest first, so the first that can be written into is the one.
        if let Some(found) = open.iter().position(|conversation| conversation.can_reply) {
            return Ok(open.swap_remove(found));
        }
        Err(closed(match (some, open.is_empty()) {
            (_, false) => "the person's last message is older than 24 hours, so only templates reach them",
            (true, true) => "every conversation with the person is resolved",
            (false, _) => "there is no conversation with the person in this inbox",
        }))
    }

    /// The conversations with a person in this inbox, newest first; `None` for a person whom nobody knows.
    pub(super) async fn conversations(&self, to: &PhoneNumber) -> Result<Option<Vec<Conversation>>, Unfound> {
        let mut found = Vec::new();
        let mut known = false;
        // Brazil's mobiles with the ninth digit and without, and what else WhatsApp writes in its own way.
        for number in std::iter::once(to.digits.clone()).chain(variants_of(&to.digits)) {
            for contact in self.contacts(&number).await? {
                known = true;
                let path = format!("contacts/{contact}/conversations");
                let answer = self.ask(&path, &[], &to.digits).await?;
                let ours =
                    payload(&answer).iter().filter_map(Value::as_object).filter_map(|one| self.conversation(one));
                found.extend(ours);
            }
        }
        found.sort_by_key(|conversation| std::cmp::Reverse(conversation.last_activity_at));
        Ok(known.then_some(found))
    }

    fn conversation(&self, one: &Map<String, Value>) -> Option<Conversation> {
        if wire::id_of(one.get("inbox_id")).is_some_and(|inbox| inbox != self.config.inbox_id) {
            return None;
        }
        Some(Conversation {
            id: wire::id_of(one.get("id"))?,
            open: text(one, "status").is_none_or(|status| wire::OPEN.contains(&status.as_str())),
            can_reply: flag(one, "can_reply").unwrap_or(true),
            last_activity_at: integer(one, "last_activity_at").unwrap_or_default(),
        })
    }

    /// Contacts with exactly this number. The search itself looks for a part, in names too.
    async fn contacts(&self, digits: &str) -> Result<Vec<String>, Unfound> {
        let answer = self.ask(wire::SEARCH_PATH, &[("q", &format!("+{digits}"))], digits).await?;
        let same = |contact: &&Map<String, Value>| {
            text(contact, "phone_number").and_then(|number| PhoneNumber::digits_of(&number)).as_deref() == Some(digits)
        };
        let contacts = payload(&answer).iter().filter_map(Value::as_object).filter(same);
        Ok(contacts.filter_map(|contact| wire::id_of(contact.get("id"))).collect())
    }

    /// The address of something below the account.
    pub(super) fn url(&self, path: &str) -> Option<Url> {
        let base = self.base.as_ref()?;
        let path = format!("{}/{}/{path}", wire::ACCOUNTS_PATH, self.config.account_id);
        Some(crate::provider::address::below(base, &path))
    }

    /// One question (GET); its answer is an object. `digits`: the number that it is about, which no trace may show.
    pub(super) async fn ask(
        &self,
        path: &str,
        query: &[(&str, &str)],
        digits: &str,
    ) -> Result<Map<String, Value>, Unfound> {
        let mut url = self.url(path).ok_or_else(|| Unfound::Unanswered(super::send::no_base(), None))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut private = self.secrets();
        private.push(digits);
        let call =
            Call { method: Method::GET, url, headers: self.headers(), body: Body::None, redact: private.clone() };
        let called = self.http.call(call).await;
        let error = match called.result {
            Ok(answer) if answer.status.is_success() => match serde_json::from_slice(&answer.body) {
                Ok(answer) => return Ok(answer),
                // What it says instead may be about people.
                Err(_) => return Err(Unfound::Unanswered(unanswered("an answer that is not JSON"), None)),
            },
            Ok(answer) => errors::of_question(&answer).without(&private),
            Err(CallError::NotWritten(why) | CallError::NoAnswer(why)) => unanswered(why),
        };
        Err(Unfound::Unanswered(error, Some(called.exchange)))
    }
}

/// The items of an answer.
pub(super) fn payload(answer: &Map<String, Value>) -> &[Value] {
    list(answer, "payload")
}

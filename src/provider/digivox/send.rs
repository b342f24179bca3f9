//! Handing one message over: one POST, and what its answer means.

use reqwest::Method;
use serde_json::{Map, Value};

use super::webhook::find;
use super::{Adapter, errors, wire};
use crate::domain::content::Content;
use crate::domain::{DeliveryError, ErrorReason};
use crate::provider::http::{Body, Call, HttpAnswer};
use crate::provider::{Answer, Outgoing, Receipt, SendError, whatsapp};

impl Adapter {
    pub(super) async fn hand_over(&self, message: &Outgoing) -> Answer {
        let refused = |error| Answer { outcome: Err(error), exchange: None };
        let body = match self.form(message) {
            Ok(body) => Value::Object(body).to_string().into_bytes(),
            Err(error) => return refused(error),
        };
        let Some(url) = self.send_url.clone() else {
            let error =
                DeliveryError::ours(ErrorReason::InvalidSender, "the sender's base_url is not an address", false);
            return refused(SendError::Refused(error));
        };
        let mut secrets = vec![self.config.client_token.expose(), self.config.webhook_token.expose()];
        secrets.push(&message.to.digits);
        secrets.extend(whatsapp::private_words(&message.content));
        let call = Call {
            method: Method::POST,
            url,
            headers: vec![self.config.authorization(), ("accept", "application/json".into())],
            body: Body::Json(body),
            redact: secrets.clone(),
        };
        let called = self.http.call(call).await;
        let outcome = called.result.map_err(SendError::from).and_then(|answer| self.judge(&answer));
        Answer { outcome: outcome.map_err(|error| error.without(&secrets)), exchange: Some(called.exchange) }
    }

    /// The message in Digivox's form: Meta's message object, and whom it is from.
    pub(super) fn form(&self, message: &Outgoing) -> Result<Map<String, Value>, SendError> {
        let not_supported = |what: &str| SendError::not_supported("digivox", what);
        if message.reply_to.is_some() {
            return Err(not_supported("quotes"));
        }
        let (kind, mut part) = whatsapp::part(message, wire::DIALECT).map_err(|error| error.refused("digivox"))?;
        let rich = matches!(kind, "location" | "contacts" | "interactive") && !self.config.differs.rich_contents;
        if rich || kind == "sticker" {
            return Err(not_supported(message.content.kind()));
        }
        if let Content::Text(text) = &message.content
            && text.preview_url
        {
            part["preview_url"] = true.into();
        }
        let mut form = Map::new();
        form.insert(wire::FROM_FIELD.into(), self.config.whatsapp_from.as_str().into());
        form.insert(wire::TO_FIELD.into(), message.to.digits.as_str().into());
        form.insert("type".into(), kind.into());
        form.insert(kind.into(), part);
        if let Some(field) = self.config.message_id_field() {
            form.insert(field.into(), message.message_id.to_string().into());
        }
        let channel_field = &self.config.differs.forms.whatsapp_id_field;
        if !channel_field.is_empty() {
            form.insert(channel_field.clone(), self.config.whatsapp_id.as_str().into());
        }
        Ok(form)
    }

    /// Any 2xx is a yes, also without an id: then its statuses find it by ours alone. A page that no program reads is neither.
    pub(super) fn judge(&self, answer: &HttpAnswer) -> Result<Receipt, SendError> {
        use wire::places;
        let pointers = &self.config.differs.pointers;
        let read = serde_json::from_slice::<Value>(&answer.body);
        if answer.status.is_success() && answer.body.is_empty() {
            return Ok(Receipt { provider_message_id: None });
        }
        let said = match read {
            Ok(said) => said,
            Err(_) if answer.status.is_success() => {
                return Err(SendError::in_doubt(format!("HTTP {} and no JSON", answer.status.as_u16())));
            }
            Err(_) => Value::Null,
        };
        if answer.status.is_success() {
            let id = find(&said, &pointers.response_id_pointer, places::RESPONSE_ID);
            let refusal = places::RESPONSE_REFUSAL.iter().filter_map(|place| said.pointer(place));
            let refused = id.is_none() && refusal.into_iter().any(|no| no.is_object() || no.is_string());
            if !refused {
                return Ok(Receipt { provider_message_id: id.as_deref().and_then(wire::canonical_id) });
            }
        }
        let code = find(&said, &pointers.response_code_pointer, places::RESPONSE_CODE).unwrap_or_default();
        let words = find(&said, &pointers.response_error_pointer, places::RESPONSE_ERROR).unwrap_or_default();
        Err(errors::refusal(answer, &code, &words))
    }
}

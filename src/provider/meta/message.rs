//! The body of a send: what `POST …/messages` takes. Lengths were judged at the door, and Meta judges them again.

use serde_json::{Value, json};

use crate::domain::Content;
use crate::provider::whatsapp::{self, Dialect};
use crate::provider::{Outgoing, SendError};

/// All of WhatsApp's form; a template must have its language.
const DIALECT: Dialect = Dialect { language: "", whole: true };

/// The whole body. What has no form at all is refused, rather than sent in part.
pub(super) fn body(provider: &'static str, message: &Outgoing) -> Result<Value, SendError> {
    let (kind, mut part) = whatsapp::part(message, DIALECT).map_err(|error| error.refused(provider))?;
    if let Content::Text(text) = &message.content {
        part["preview_url"] = text.preview_url.into();
    }
    let mut body = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": message.to.digits,
        "type": kind,
        // Comes back in every status.
        "biz_opaque_callback_data": message.message_id.to_string(),
    });
    body[kind] = part;
    if let Some(quoted) = &message.reply_to {
        if matches!(message.content, Content::Reaction(_)) {
            return Err(SendError::not_supported(provider, "quotes in reactions"));
        }
        body["context"] = json!({ "message_id": quoted });
    }
    Ok(body)
}

//! What people wrote while nobody was at home: Twilio keeps it, and posts it once or twice only (I18).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Map, Value};
use url::form_urlencoded::Serializer;

use super::{Adapter, no_base, wire};
use crate::domain::Millis;
use crate::provider::lenient::{integer, list, text};
use crate::provider::{AskError, address};

type Message = Map<String, Value>;

impl Adapter {
    /// Reads the list of what came to this number, and writes each message as the form that its webhook would have been.
    /// Oldest first.
    pub(super) async fn read_history(&self, since_ms: Millis) -> Result<Vec<Bytes>, AskError> {
        let Some(base) = &self.base else { return Err(AskError::Refused(no_base())) };
        // Lists go by number, and a messaging service may have several, each of another sender.
        let Some(own) = self.config.from_address() else { return Err(AskError::NotSupported) };
        let mut url = address::below(base, &wire::messages_path(&self.config.account_sid));
        url.query_pairs_mut()
            .append_pair("To", &own)
            .append_pair(wire::SENT_SINCE, &day(since_ms))
            .append_pair("PageSize", wire::HISTORY_PAGE);
        let mut forms = Vec::new();
        for _ in 0..wire::HISTORY_PAGES_MAX {
            let page = self.ask(url.clone()).await?;
            for message in list(&page, "messages").iter().filter_map(Value::as_object) {
                if let Some(sent_at_ms) = incoming_since(message, since_ms) {
                    forms.push(self.form(message, sent_at_ms).await?);
                }
            }
            let next = text(&page, "next_page_uri").and_then(|next| super::next_page(&url, &next));
            match next.filter(|next| *next != url) {
                Some(next) => url = next,
                None => break,
            }
        }
        forms.reverse();
        Ok(forms)
    }

    /// The list does not say where files are, nor what a tapped button stood for.
    async fn form(&self, message: &Message, sent_at_ms: Millis) -> Result<Bytes, AskError> {
        let sid = text(message, "sid").unwrap_or_default();
        let has_files = integer(message, "num_media").unwrap_or_default() > 0;
        let files = if has_files { self.files(&sid).await? } else { Vec::new() };
        let said = |name: &str| text(message, name).unwrap_or_default();
        let mut form = Serializer::new(String::new());
        form.append_pair("MessageSid", &sid)
            .append_pair("SmsStatus", "received")
            .append_pair("From", &said("from"))
            .append_pair("To", &said("to"))
            .append_pair("Body", &said("body"))
            .append_pair("NumMedia", &files.len().to_string())
            .append_pair(wire::JOURNALLED_SENT_AT, &sent_at_ms.to_string());
        for (n, (url, mime_type)) in files.iter().enumerate() {
            form.append_pair(&format!("MediaUrl{n}"), url).append_pair(&format!("MediaContentType{n}"), mime_type);
        }
        Ok(form.finish().into())
    }

    async fn files(&self, sid: &str) -> Result<Vec<(String, String)>, AskError> {
        let Some(base) = &self.base else { return Err(AskError::Refused(no_base())) };
        let account = &self.config.account_sid;
        let said = self.ask(address::below(base, &wire::files_path(account, sid))).await?;
        let file = |file: &Message| {
            let path = wire::file_path(account, sid, &text(file, "sid")?);
            Some((address::below(base, &path).into(), text(file, "content_type").unwrap_or_default()))
        };
        Ok(list(&said, "media_list").iter().filter_map(Value::as_object).filter_map(file).collect())
    }
}

/// When a person sent it; nothing for a message of ours, an earlier one, or one without an id to know it by.
fn incoming_since(message: &Message, since_ms: Millis) -> Option<Millis> {
    text(message, "sid")?;
    let sent_at_ms = wire::sent_at(&text(message, "date_sent")?)?;
    // Their times are whole seconds.
    (text(message, "direction")? == "inbound" && sent_at_ms >= since_ms - 999).then_some(sent_at_ms)
}

/// The day in UTC, `2025-12-11`.
fn day(at_ms: Millis) -> String {
    let at: SystemTime = UNIX_EPOCH + Duration::from_millis(at_ms.max(0).unsigned_abs());
    let mut day = humantime::format_rfc3339_seconds(at).to_string();
    day.truncate("2025-12-11".len());
    day
}

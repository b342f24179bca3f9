//! One event as one line for people. Programs take `--json`.

use recado::proto::event::Payload;
use recado::proto::incoming_message::Content;
use recado::proto::{
    Contact, ContactChanged, Event, IncomingMessage, MessageStatusChanged, SenderChanged, TemplateChanged,
};

use super::output::{quoted, safe, short, time};

/// When, which sender, what.
pub fn readable(event: &Event) -> String {
    let what = match &event.payload {
        Some(Payload::StatusChanged(status)) => status_changed(status),
        Some(Payload::IncomingMessage(message)) => incoming(message),
        Some(Payload::TemplateChanged(template)) => template_changed(template),
        Some(Payload::SenderChanged(sender)) => sender_changed(sender),
        Some(Payload::ContactChanged(contact)) => contact_changed(contact),
        None => "an event of a kind that this version does not know".to_owned(),
    };
    format!("{}  {}  {what}", time(event.record_time.as_ref()), event.sender)
}

fn status_changed(event: &MessageStatusChanged) -> String {
    let status = |name: &'static str| short(name, "MESSAGE_STATUS_");
    let mut line = format!("{}  to {}  {}", status(event.status().as_str_name()), safe(&event.to), event.message_id);
    if event.attempt > 1 {
        line.push_str(&format!("  attempt {}", event.attempt));
    }
    for (word, sender) in [("by", &event.via_sender), ("goes on to", &event.next_sender)] {
        if !sender.is_empty() {
            line.push_str(&format!("  {word} {}", safe(sender)));
        }
    }
    let flags = [(event.late, "late"), (event.duplicate, "duplicate"), (event.contradicts_final, "contradicts final")];
    for (_, flag) in flags.iter().filter(|(set, _)| *set) {
        line.push_str(&format!("  [{flag}: still {}]", status(event.current_status().as_str_name())));
    }
    if let Some(error) = &event.error {
        line.push_str(&format!("  {}", short(error.reason().as_str_name(), "DELIVERY_ERROR_REASON_")));
        for detail in [&error.provider_code, &error.provider_message].into_iter().filter(|detail| !detail.is_empty()) {
            line.push_str(&format!(" {}", safe(detail)));
        }
    }
    line
}

fn incoming(message: &IncomingMessage) -> String {
    let content = match &message.content {
        Some(Content::Text(text)) => quoted(&text.body),
        Some(Content::Media(media)) => {
            let kind = short(media.kind().as_str_name(), "MEDIA_KIND_").to_lowercase();
            let caption = if media.caption.is_empty() { String::new() } else { format!(" {}", quoted(&media.caption)) };
            format!("{kind} {}{caption}", media.media_id)
        }
        Some(Content::Location(place)) => {
            format!("place {}, {} {}", place.latitude, place.longitude, safe(&place.name))
        }
        Some(Content::ContactCards(cards)) => format!("{} contact cards", cards.cards.len()),
        Some(Content::Reaction(reaction)) if reaction.emoji.is_empty() => {
            format!("reaction taken back from {}", reaction.message_id)
        }
        Some(Content::Reaction(reaction)) => format!("reaction {} on {}", safe(&reaction.emoji), reaction.message_id),
        Some(Content::ButtonReply(reply)) => format!("button {} {}", safe(&reply.id), quoted(&reply.title)),
        Some(Content::ListReply(reply)) => format!("row {} {}", safe(&reply.id), quoted(&reply.title)),
        Some(Content::Order(order)) => format!("order of {} items {}", order.items.len(), quoted(&order.text)),
        Some(Content::System(notice)) => format!("notice {} {}", safe(&notice.r#type), quoted(&notice.body)),
        Some(Content::Unsupported(other)) => format!("unsupported {}", safe(&other.r#type)),
        None => "something that this version does not know".to_owned(),
    };
    let name =
        if message.profile_name.is_empty() { String::new() } else { format!(" {}", quoted(&message.profile_name)) };
    format!("INCOMING  from {}{name}  {content}  {}", person(message.contact.as_ref()), message.message_id)
}

/// The first identifier that is known.
fn person(contact: Option<&Contact>) -> String {
    let known = contact.map(|contact| [&contact.phone_number, &contact.wa_id, &contact.user_id, &contact.username]);
    let first = known.into_iter().flatten().find(|id| !id.is_empty());
    first.map_or_else(|| "unknown".to_owned(), |id| safe(id))
}

fn template_changed(event: &TemplateChanged) -> String {
    let status = short(event.status().as_str_name(), "TEMPLATE_STATUS_");
    let reason = if event.reason.is_empty() { String::new() } else { format!("  {}", safe(&event.reason)) };
    format!("TEMPLATE {}  {} {status}{reason}", safe(&event.template), safe(&event.language_code))
}

fn sender_changed(event: &SenderChanged) -> String {
    let detail = if event.detail.is_empty() { String::new() } else { format!("  {}", safe(&event.detail)) };
    let code = if event.provider_code.is_empty() { String::new() } else { format!("  {}", safe(&event.provider_code)) };
    format!("SENDER {}{detail}{code}", short(event.kind().as_str_name(), "SENDER_CHANGE_KIND_"))
}

fn contact_changed(event: &ContactChanged) -> String {
    let opt_out = event.opt_out.clone().unwrap_or_default();
    let category = short(opt_out.category().as_str_name(), "OPT_OUT_CATEGORY_");
    let source = short(event.source().as_str_name(), "OPT_OUT_SOURCE_");
    let kind = short(event.kind().as_str_name(), "CONTACT_CHANGE_KIND_");
    let message = if event.message_id.is_empty() { String::new() } else { format!("  {}", event.message_id) };
    format!("{kind}  {}  {category}  by {source}{message}", safe(&opt_out.peer))
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use recado::proto::{DeliveryError, MessageStatus, Text};

    use super::*;

    fn line(payload: Payload) -> String {
        let record_time = Some(Timestamp { seconds: 1, nanos: 5_000_000 });
        let event = Event { sender: "acme".into(), record_time, payload: Some(payload), ..Event::default() };
        let line = readable(&event);
        line.strip_prefix("1970-01-01T00:00:01.005Z  acme  ").unwrap().to_owned()
    }

    #[test]
    fn an_event_is_one_line() {
        let delivered = MessageStatusChanged {
            message_id: "m1".into(),
            status: MessageStatus::Delivered.into(),
            current_status: MessageStatus::Read.into(),
            late: true,
            to: "+551".into(),
            attempt: 1,
            ..Default::default()
        };
        assert_eq!(line(Payload::StatusChanged(delivered)), "DELIVERED  to +551  m1  [late: still READ]");
        let failed = MessageStatusChanged {
            message_id: "m1".into(),
            status: MessageStatus::Failed.into(),
            to: "+551".into(),
            attempt: 2,
            error: Some(DeliveryError { provider_code: "131026".into(), ..Default::default() }),
            ..Default::default()
        };
        let text = line(Payload::StatusChanged(failed));
        assert!(text.starts_with("FAILED  to +551  m1  attempt 2") && text.ends_with(" 131026"), "{text}");
        let hello = IncomingMessage {
            message_id: "i1".into(),
            profile_name: "Ana\u{1b}".into(),
            contact: Some(Contact { wa_id: "551".into(), ..Default::default() }),
            content: Some(Content::Text(Text { body: "two\nlines".into(), preview_url: false })),
            ..Default::default()
        };
        assert_eq!(line(Payload::IncomingMessage(hello)), r#"INCOMING  from 551 "Ana\u{1b}"  "two\nlines"  i1"#);
    }
}

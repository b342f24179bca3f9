//! How an event looks as a message.

use prost::Message as _;

use crate::domain::event::EventType;
use crate::domain::{Cursor, Event};
use crate::grpc;

/// The header with the event's cursor: StreamEvents goes on after it.
pub(super) const CURSOR: &str = "Recado-Cursor";
/// The header of an event whose payload is left out since the message would be larger than NATS takes: its bytes.
pub(super) const LEFT_OUT: &str = "Recado-Payload-Left-Out";
/// What headers and subject take beside the payload, at most.
const ENVELOPE: usize = 1_024;

/// An event as it is published.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub position: i64,
    pub event_id: String,
    pub cursor: String,
    pub subject: String,
    pub payload: Vec<u8>,
    /// Bytes that it had, when its payload is left out.
    pub left_out: Option<usize>,
}

/// The subject of an event: one token for the sender, whose id has nothing that means something to NATS, one for the type.
pub(super) fn subject(prefix: &str, event: &Event) -> String {
    let kind = match event.payload.event_type() {
        EventType::StatusChanged => "status_changed",
        EventType::IncomingMessage => "incoming_message",
        EventType::TemplateChanged => "template_changed",
        EventType::SenderChanged => "sender_changed",
        EventType::ContactChanged => "contact_changed",
    };
    format!("{prefix}.{}.{kind}", event.sender)
}

/// An event as a message of at most so many bytes.
pub(super) fn outgoing(prefix: &str, event: &Event, epoch: i64, bytes_max: usize) -> Outgoing {
    let mut message = grpc::event(event, epoch);
    let mut payload = message.encode_to_vec();
    let left_out = (payload.len() + ENVELOPE > bytes_max).then_some(payload.len());
    if left_out.is_some() {
        message.payload = None;
        payload = message.encode_to_vec();
    }
    Outgoing {
        position: event.position,
        event_id: event.id.to_string(),
        cursor: Cursor { epoch, position: event.position }.to_string(),
        subject: subject(prefix, event),
        payload,
        left_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{SenderChange, SenderChanged};
    use crate::domain::{EventId, Payload, SenderId};
    use crate::proto;

    fn event(sender: &str, detail: &str) -> Event {
        Event {
            position: 4,
            id: EventId::generate(),
            occur_at_ms: None,
            receive_at_ms: 1,
            record_at_ms: 2,
            sender: sender.parse::<SenderId>().unwrap(),
            payload: Payload::SenderChanged(SenderChanged::ours(SenderChange::Updated, detail)),
            erase_at_ms: None,
        }
    }

    #[test]
    fn every_sender_id_is_one_token_of_a_subject() {
        let longest = format!("{}{}", "abcdefghijklmnopqrstuvwxyz-0123456789", "-".repeat(26));
        assert_eq!(subject("recado.events", &event(&longest, "")), format!("recado.events.{longest}.sender_changed"));
        for means_something in ["a.b", "a*", ">", "a b", "", "$sys"] {
            assert!(means_something.parse::<SenderId>().is_err(), "{means_something:?}");
        }
    }

    #[test]
    fn what_is_too_large_keeps_its_place_without_its_payload() {
        let large = event("acme", &"x".repeat(5_000));
        let whole = outgoing("p", &large, 7, 10_000);
        assert_eq!(whole.left_out, None);
        assert_eq!(proto::Event::decode(&*whole.payload).unwrap(), grpc::event(&large, 7));
        let part = outgoing("p", &large, 7, 5_500);
        assert_eq!(part.left_out, Some(whole.payload.len()));
        let expected = proto::Event { payload: None, ..grpc::event(&large, 7) };
        assert_eq!(proto::Event::decode(&*part.payload).unwrap(), expected);
        assert_eq!((part.subject, part.event_id), (whole.subject, whole.event_id));
    }
}

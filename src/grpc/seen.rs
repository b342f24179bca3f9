//! What a key that is limited to some senders may ask for, and what it is told of a message that others have had, too: no name
//! of theirs, and nothing that they did.

use super::Services;
use crate::access::Caller;
use crate::domain::SenderId;
use crate::error::Error;
use crate::proto;
use crate::proto::event::Payload;

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

fn sees(caller: &Caller, sender: &str) -> bool {
    caller.senders.is_empty() || caller.senders.iter().any(|id| id.as_str() == sender)
}

/// Takes the name out that is not to be told; tells whether it did.
fn hide(caller: &Caller, sender: &mut String) -> bool {
    let hidden = !sender.is_empty() && !sees(caller, sender);
    if hidden {
        sender.clear();
    }
    hidden
}

/// A message of which the caller sees the sender that was asked for, or the one that has it now.
pub(super) fn message(caller: &Caller, mut message: proto::Message) -> proto::Message {
    if caller.senders.is_empty() {
        return message;
    }
    if hide(caller, &mut message.sender) {
        // To this caller it is a message of the sender that has it.
        message.sender.clone_from(&message.current_sender);
    }
    if hide(caller, &mut message.current_sender) {
        message.provider_message_id.clear();
    }
    if let Some(options) = &mut message.options {
        options.fallback_senders.retain(|sender| sees(caller, sender));
    }
    message
}

/// The attempts that the caller's senders made.
pub(super) fn attempts(caller: &Caller, all: impl Iterator<Item = proto::Attempt>) -> Vec<proto::Attempt> {
    let seen = all.filter(|attempt| sees(caller, &attempt.sender));
    seen.map(|mut attempt| {
        hide(caller, &mut attempt.next_sender);
        attempt
    })
    .collect()
}

/// An event that the caller's filter let through.
pub(super) fn event(caller: &Caller, mut event: proto::Event) -> proto::Event {
    if caller.senders.is_empty() {
        return event;
    }
    if let Some(Payload::StatusChanged(status)) = &mut event.payload {
        if hide(caller, &mut event.sender) {
            event.sender = std::mem::take(&mut status.via_sender);
        } else if hide(caller, &mut status.via_sender) {
            status.provider_message_id.clear();
        }
        hide(caller, &mut status.next_sender);
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(sender: &str) -> Caller {
        Caller::of_senders(&[sender])
    }

    fn at_b() -> proto::Message {
        let fallback_senders = vec!["b".to_owned(), "c".to_owned()];
        proto::Message {
            sender: "a".into(),
            current_sender: "b".into(),
            provider_message_id: "p".into(),
            options: Some(proto::SendOptions { fallback_senders, ..Default::default() }),
            ..Default::default()
        }
    }

    fn names(message: proto::Message) -> (String, String, Vec<String>, String) {
        let proto::Message { sender, current_sender, options, provider_message_id, .. } = message;
        (sender, current_sender, options.unwrap_or_default().fallback_senders, provider_message_id)
    }

    #[test]
    fn a_limited_key_reads_no_name_of_another_sender() {
        let everybody = Caller::of_senders(&[]);
        assert_eq!(message(&everybody, at_b()), at_b());
        assert_eq!(names(message(&limited("a"), at_b())), ("a".into(), "".into(), vec![], "".into()));
        let b = ("b".into(), "b".into(), vec!["b".to_owned()], "p".into());
        assert_eq!(names(message(&limited("b"), at_b())), b);
    }

    #[test]
    fn attempts_of_others_are_left_out() {
        let attempt = |sender: &str, next: &str| proto::Attempt {
            sender: sender.into(),
            next_sender: next.into(),
            ..Default::default()
        };
        let all = || [attempt("a", "b"), attempt("b", "")].into_iter();
        assert_eq!(attempts(&limited("a"), all()), [attempt("a", "")]);
        assert_eq!(attempts(&limited("b"), all()), [attempt("b", "")]);
    }

    #[test]
    fn an_event_at_a_fallback_is_its_own_to_whoever_sees_only_that() {
        let status = proto::MessageStatusChanged {
            via_sender: "b".into(),
            next_sender: "c".into(),
            provider_message_id: "p".into(),
            ..Default::default()
        };
        let given =
            proto::Event { sender: "a".into(), payload: Some(Payload::StatusChanged(status)), ..Default::default() };
        let told = |sender: &str| {
            let event = event(&limited(sender), given.clone());
            let Some(Payload::StatusChanged(status)) = event.payload else { panic!("another payload") };
            [event.sender, status.via_sender, status.next_sender, status.provider_message_id]
        };
        assert_eq!(told("a"), ["a", "", "", ""]);
        assert_eq!(told("b"), ["b", "", "", "p"]);
    }
}

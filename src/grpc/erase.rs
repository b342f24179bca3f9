//! EraseContact: who is meant, and how much went.

use super::seen::visible_senders;
use super::{Services, convert};
use crate::access::Caller;
use crate::domain::erasure::Person;
use crate::erasure::{EraseError, Erased, Erasure};
use crate::error::{Error, Reason, Violations};
use crate::proto;

/// Numbers and ids of one person, at most.
const CONTACTS: usize = 20;

impl From<EraseError> for Error {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::Store(error) => error.into(),
            other => Error::internal(other),
        }
    }
}

/// Erases a person at the senders that the caller may see. It goes on when the caller goes.
pub(super) async fn erase(
    services: &Services,
    caller: &Caller,
    request: proto::EraseContactRequest,
) -> Result<proto::EraseContactResponse, Error> {
    let mut violations = Violations::default();
    match request.contacts.len() {
        1..=CONTACTS => {}
        0 => violations.add("contacts", Reason::Required, "a number or a user id is needed"),
        count => {
            let description = format!("{count} numbers and ids; a person has at most {CONTACTS}");
            violations.add("contacts", Reason::TooLong, description);
        }
    }
    let names = convert::peer_filter(request.contacts, "contacts", &mut violations);
    let senders = convert::sender_filter(request.senders, "senders", &mut violations);
    violations.into_result()?;
    let erasure = Erasure {
        store: services.store.clone(),
        writer: services.writer.clone(),
        log: services.log.clone(),
        shelf: services.shelf.clone(),
        accounts: services.senders.clone(),
        person: Person::new(names),
        senders: visible_senders(services, caller, senders).await?,
    };
    let running = services.streams.spawn(erasure.run());
    let erased = running.await.map_err(Error::internal)??;
    let Erased { messages, incoming, events, media, webhooks, .. } = erased;
    tracing::info!(key = %caller.id, messages, incoming, events, media, webhooks, "a person was erased");
    Ok(answer(erased))
}

fn answer(erased: Erased) -> proto::EraseContactResponse {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    proto::EraseContactResponse {
        contacts: erased.names,
        message_count: number(erased.messages),
        cancelled_message_count: number(erased.cancelled),
        left_message_count: number(erased.left),
        incoming_message_count: number(erased.incoming),
        event_count: number(erased.events),
        media_count: number(erased.media),
        webhook_delivery_count: number(erased.webhooks),
        left_webhook_delivery_count: number(erased.left_webhooks),
        parked_report_count: number(erased.parked),
    }
}

//! The domain into answers.

use prost_types::Timestamp;

use crate::domain::content::{
    ContactCard, Content, IncomingContent, IncomingMedia, Interactive, InteractiveAction, InteractiveHeader, Location,
    Media, MediaKind, MediaSource, Order, OrderItem, Reaction, SystemNotice, Template, TemplateButtonKind,
    TemplateHeader,
};
use crate::domain::event::{
    self, ClientInfo, ContactChanged, Event, IncomingMessage, Pricing, Referral, SenderChange, StatusChanged,
    TemplateChanged,
};
use crate::domain::message::{
    Attempt, AttemptOutcome, DEFAULT_VALIDITY_MS, InDoubtPolicy, Message, Priority, WindowPolicy,
};
use crate::domain::opt_out::OptOut;
use crate::domain::template::{Quality, TemplateCategory, TemplateStatus};
use crate::domain::{Contact, Cursor, DeliveryError, MediaId, Millis, NewMessage, Payload};
use crate::proto;

pub(super) fn timestamp(millis: Millis) -> Timestamp {
    let seconds = millis.div_euclid(1_000);
    let nanos = millis.rem_euclid(1_000) as i32 * 1_000_000;
    Timestamp { seconds, nanos }
}

pub(super) fn duration(millis: Millis) -> prost_types::Duration {
    prost_types::Duration { seconds: millis / 1_000, nanos: (millis % 1_000) as i32 * 1_000_000 }
}

/// An event as a key that may read all of it is told.
pub(crate) fn event(event: &Event, epoch: i64) -> proto::Event {
    use proto::event::Payload as Answer;
    let payload = match &event.payload {
        Payload::StatusChanged(status) => Answer::StatusChanged(status_changed(status)),
        Payload::IncomingMessage(incoming) => Answer::IncomingMessage(incoming_message(incoming)),
        Payload::TemplateChanged(changed) => Answer::TemplateChanged(template_changed(changed)),
        Payload::SenderChanged(changed) => Answer::SenderChanged(proto::SenderChanged {
            kind: sender_change(changed.change) as i32,
            health: changed.health.map_or(0, |health| health as i32),
            quality: changed.quality.map_or(0, |quality| quality as i32),
            messaging_limit: changed.messaging_limit.clone(),
            detail: changed.detail.clone(),
            provider_code: changed.provider_code.clone(),
            ..Default::default()
        }),
        Payload::ContactChanged(changed) => Answer::ContactChanged(contact_changed(changed)),
    };
    proto::Event {
        cursor: Cursor { epoch, position: event.position }.to_string(),
        event_id: event.id.to_string(),
        occur_time: Some(timestamp(event.occur_at_ms.unwrap_or(event.receive_at_ms))),
        receive_time: Some(timestamp(event.receive_at_ms)),
        record_time: Some(timestamp(event.record_at_ms)),
        sender: event.sender.to_string(),
        payload: Some(payload),
        erase_time: event.erase_at_ms.map(timestamp),
    }
}

fn contact_changed(changed: &ContactChanged) -> proto::ContactChanged {
    proto::ContactChanged {
        kind: changed.kind as i32,
        opt_out: Some(opt_out(&changed.opt_out)),
        source: changed.source as i32,
        message_id: changed.message_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}

pub(super) fn opt_out(opt_out: &OptOut) -> proto::OptOut {
    proto::OptOut {
        sender: opt_out.sender.to_string(),
        peer: opt_out.peer.clone(),
        category: opt_out.category as i32,
        note: opt_out.note.clone(),
        source: opt_out.source as i32,
        create_time: Some(timestamp(opt_out.create_at_ms)),
        message_id: opt_out.message_id.map(|id| id.to_string()).unwrap_or_default(),
        contact: Some(contact(&opt_out.contact)),
    }
}

fn sender_change(change: SenderChange) -> proto::SenderChangeKind {
    match change {
        SenderChange::Created => proto::SenderChangeKind::Created,
        SenderChange::Updated => proto::SenderChangeKind::Updated,
        SenderChange::Paused => proto::SenderChangeKind::Paused,
        SenderChange::Resumed => proto::SenderChangeKind::Resumed,
        SenderChange::Deleted => proto::SenderChangeKind::Deleted,
        SenderChange::Quality => proto::SenderChangeKind::Quality,
        SenderChange::Limits => proto::SenderChangeKind::Limits,
        SenderChange::CredentialsRefused => proto::SenderChangeKind::CredentialsRefused,
        SenderChange::Unreachable => proto::SenderChangeKind::Unreachable,
        SenderChange::Recovered => proto::SenderChangeKind::Recovered,
        SenderChange::Blocked => proto::SenderChangeKind::Blocked,
        SenderChange::CallbacksDisabled => proto::SenderChangeKind::CallbacksDisabled,
        SenderChange::CallbacksEnabled => proto::SenderChangeKind::CallbacksEnabled,
    }
}

fn template_changed(changed: &TemplateChanged) -> proto::TemplateChanged {
    let status = |status: Option<TemplateStatus>| status.map_or(0, |status| status as i32);
    let category = |category: Option<TemplateCategory>| category.map_or(0, |category| category as i32);
    let quality = |quality: Option<Quality>| quality.map_or(0, |quality| quality as i32);
    proto::TemplateChanged {
        template: changed.template.clone(),
        template_id: changed.template_id.clone(),
        language_code: changed.language_code.clone(),
        status: status(changed.status),
        previous_status: status(changed.previous_status),
        category: category(changed.category),
        previous_category: category(changed.previous_category),
        quality: quality(changed.quality),
        previous_quality: quality(changed.previous_quality),
        reason: changed.reason.clone(),
    }
}

fn status_changed(status: &StatusChanged) -> proto::MessageStatusChanged {
    proto::MessageStatusChanged {
        message_id: status.message_id.to_string(),
        status: status.status.map_or(0, |status| i32::from(status as i16)),
        current_status: i32::from(status.current_status as i16),
        late: status.late,
        duplicate: status.duplicate,
        contradicts_final: status.contradicts_final,
        to: status.to.clone(),
        provider_message_id: status.provider_message_id.clone().unwrap_or_default(),
        attempt: status.attempt,
        error: status.error.as_ref().map(delivery_error),
        callback_data: status.callback_data.clone(),
        labels: status.labels.clone().into_iter().collect(),
        pricing: status.pricing.as_ref().map(pricing),
        client_info: status.client_info.as_ref().map(client_info),
        contact: status.contact.as_ref().map(contact),
        provider_status: status.provider_status.clone(),
        via_sender: status.via_sender.as_ref().map(ToString::to_string).unwrap_or_default(),
        next_sender: status.next_sender.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn pricing(pricing: &Pricing) -> proto::Pricing {
    proto::Pricing {
        billable: Some(pricing.billable),
        model: pricing.pricing_model.clone(),
        category: pricing.category.clone(),
        r#type: pricing.r#type.clone(),
        ..Default::default()
    }
}

fn client_info(info: &ClientInfo) -> proto::ClientInfo {
    proto::ClientInfo {
        ip: info.ip.clone(),
        browser: info.browser.clone(),
        os: info.os.clone(),
        user_agent: info.user_agent.clone(),
    }
}

pub(super) fn delivery_error(error: &DeliveryError) -> proto::DeliveryError {
    proto::DeliveryError {
        reason: error.reason as i32,
        provider_code: error.provider_code.clone(),
        provider_message: error.provider_message.clone(),
        retryable: error.retryable,
    }
}

fn contact(contact: &Contact) -> proto::Contact {
    proto::Contact {
        phone_number: contact.phone_number.clone().unwrap_or_default(),
        wa_id: contact.wa_id.clone().unwrap_or_default(),
        user_id: contact.user_id.clone().unwrap_or_default(),
        number_variants: contact.number_variants(),
        username: contact.username.clone().unwrap_or_default(),
    }
}

fn incoming_message(incoming: &IncomingMessage) -> proto::IncomingMessage {
    proto::IncomingMessage {
        message_id: incoming.message_id.to_string(),
        provider_message_id: incoming.provider_message_id.clone().unwrap_or_default(),
        contact: Some(contact(&incoming.contact)),
        profile_name: incoming.profile_name.clone(),
        content: Some(incoming_content(&incoming.content, incoming.media_id)),
        reply_to: incoming.reply_to.as_ref().map(|quoted| proto::ReplyTo {
            message_id: quoted.message_id.map(|id| id.to_string()).unwrap_or_default(),
            provider_message_id: quoted.provider_message_id.clone(),
            catalog_id: quoted.catalog_id.clone(),
            product_id: quoted.product_id.clone(),
        }),
        referral: incoming.referral.as_ref().map(referral),
        window_expire_time: incoming.window_expire_at_ms.map(timestamp),
        forwarded: incoming.forwarded,
        frequently_forwarded: incoming.frequently_forwarded,
        backfilled: incoming.backfilled,
    }
}

fn referral(referral: &Referral) -> proto::Referral {
    proto::Referral {
        source_url: referral.source_url.clone(),
        source_id: referral.source_id.clone(),
        source_type: referral.source_type.clone(),
        headline: referral.headline.clone(),
        body: referral.body.clone(),
        media_type: referral.media_type.clone(),
        image_url: referral.image_url.clone(),
        video_url: referral.video_url.clone(),
        thumbnail_url: referral.thumbnail_url.clone(),
        click_id: referral.click_id.clone(),
        welcome_message: referral.welcome_message.clone(),
    }
}

fn order(order: &Order) -> proto::Order {
    let item = |item: &OrderItem| proto::OrderItem {
        product_id: item.product_id.clone(),
        quantity: item.quantity,
        price: item.price.clone(),
        currency_code: item.currency_code.clone(),
    };
    proto::Order {
        catalog_id: order.catalog_id.clone(),
        text: order.text.clone(),
        items: order.items.iter().map(item).collect(),
    }
}

fn system_notice(notice: &SystemNotice) -> proto::SystemNotice {
    proto::SystemNotice {
        r#type: notice.r#type.clone(),
        body: notice.body.clone(),
        new_wa_id: notice.new_wa_id.clone(),
        new_user_id: notice.new_user_id.clone(),
    }
}

fn incoming_content(content: &IncomingContent, media_id: Option<MediaId>) -> proto::incoming_message::Content {
    use proto::incoming_message::Content as Answer;
    match content {
        IncomingContent::Text(text) => {
            Answer::Text(proto::Text { body: text.body.clone(), preview_url: text.preview_url })
        }
        IncomingContent::Media(media) => Answer::Media(incoming_media(media, media_id)),
        IncomingContent::Location(place) => Answer::Location(location(place)),
        IncomingContent::ContactCards(cards) => Answer::ContactCards(contact_cards(cards)),
        IncomingContent::Reaction(reaction) => Answer::Reaction(proto::Reaction {
            message_id: reaction.message_id.map(|id| id.to_string()).unwrap_or_default(),
            emoji: reaction.emoji.clone(),
            provider_message_id: reaction.provider_message_id.clone(),
        }),
        IncomingContent::ButtonReply { id, title } => {
            Answer::ButtonReply(proto::ButtonReply { id: id.clone(), title: title.clone() })
        }
        IncomingContent::ListReply { id, title, description } => Answer::ListReply(proto::ListReply {
            id: id.clone(),
            title: title.clone(),
            description: description.clone(),
        }),
        IncomingContent::Order(value) => Answer::Order(order(value)),
        IncomingContent::System(notice) => Answer::System(system_notice(notice)),
        IncomingContent::Unsupported { r#type, raw } => {
            Answer::Unsupported(proto::Unsupported { r#type: r#type.clone(), raw: raw.clone() })
        }
    }
}

/// Where the provider keeps a file is not told: its addresses may hold tokens, and only the gateway fetches from there.
fn incoming_media(media: &IncomingMedia, media_id: Option<MediaId>) -> proto::IncomingMedia {
    proto::IncomingMedia {
        kind: media_kind(media.kind) as i32,
        media_id: media_id.map(|id| id.to_string()).unwrap_or_default(),
        state: proto::MediaState::Pending as i32,
        mime_type: media.mime_type.clone(),
        file_name: media.file_name.clone(),
        caption: media.caption.clone(),
        ..Default::default()
    }
}

fn media_kind(kind: MediaKind) -> proto::MediaKind {
    match kind {
        MediaKind::Image => proto::MediaKind::Image,
        MediaKind::Audio => proto::MediaKind::Audio,
        MediaKind::Voice => proto::MediaKind::Voice,
        MediaKind::Video => proto::MediaKind::Video,
        MediaKind::Document => proto::MediaKind::Document,
        MediaKind::Sticker => proto::MediaKind::Sticker,
    }
}

fn media(media: &Media) -> proto::Media {
    use proto::media::Source;
    let source = match &media.source {
        MediaSource::Url(url) => Source::Url(url.clone()),
        MediaSource::MediaId(id) => Source::MediaId(id.clone()),
    };
    proto::Media {
        kind: media_kind(media.kind) as i32,
        source: Some(source),
        mime_type: media.mime_type.clone(),
        file_name: media.file_name.clone(),
        caption: media.caption.clone(),
    }
}

fn location(location: &Location) -> proto::Location {
    proto::Location {
        latitude: location.latitude,
        longitude: location.longitude,
        name: location.name.clone(),
        address: location.address.clone(),
        url: location.url.clone(),
    }
}

fn contact_cards(cards: &[ContactCard]) -> proto::ContactCards {
    proto::ContactCards { cards: cards.iter().cloned().map(contact_card).collect() }
}

fn contact_card(card: ContactCard) -> proto::ContactCard {
    let name = card.name;
    let organization = card.organization.map(|o| proto::CardOrganization {
        company: o.company,
        department: o.department,
        title: o.title,
    });
    let address = |a: crate::domain::content::CardAddress| proto::CardAddress {
        street: a.street,
        city: a.city,
        state: a.state,
        zip: a.zip,
        country: a.country,
        country_code: a.country_code,
        r#type: a.r#type,
    };
    let phones = card.phones.into_iter();
    proto::ContactCard {
        name: Some(proto::CardName {
            formatted_name: name.formatted_name,
            first_name: name.first_name,
            last_name: name.last_name,
            middle_name: name.middle_name,
            prefix: name.prefix,
            suffix: name.suffix,
        }),
        phones: phones.map(|p| proto::CardPhone { phone: p.phone, r#type: p.r#type, wa_id: p.wa_id }).collect(),
        emails: card.emails.into_iter().map(|e| proto::CardEmail { email: e.email, r#type: e.r#type }).collect(),
        addresses: card.addresses.into_iter().map(address).collect(),
        organization,
        urls: card.urls.into_iter().map(|u| proto::CardUrl { url: u.url, r#type: u.r#type }).collect(),
        birthday: card.birthday,
    }
}

fn interactive(value: &Interactive) -> proto::Interactive {
    use proto::interactive::Action;
    let header = value.header.as_ref().map(|header| proto::InteractiveHeader {
        content: Some(match header {
            InteractiveHeader::Text(text) => proto::interactive_header::Content::Text(text.clone()),
            InteractiveHeader::Media(file) => proto::interactive_header::Content::Media(media(file)),
        }),
    });
    let action = match &value.action {
        InteractiveAction::ReplyButtons(buttons) => Action::ReplyButtons(proto::ReplyButtons {
            buttons: buttons
                .iter()
                .map(|button| proto::ReplyButton { id: button.id.clone(), title: button.title.clone() })
                .collect(),
        }),
        InteractiveAction::List(list) => Action::List(self::list(list)),
        InteractiveAction::UrlButton { text, url } => {
            Action::UrlButton(proto::UrlButton { text: text.clone(), url: url.clone() })
        }
    };
    proto::Interactive { body: value.body.clone(), header, footer: value.footer.clone(), action: Some(action) }
}

fn list(list: &crate::domain::content::List) -> proto::List {
    let row = |row: &crate::domain::content::ListRow| proto::ListRow {
        id: row.id.clone(),
        title: row.title.clone(),
        description: row.description.clone(),
    };
    let section = |section: &crate::domain::content::ListSection| proto::ListSection {
        title: section.title.clone(),
        rows: section.rows.iter().map(row).collect(),
    };
    proto::List { button: list.button.clone(), sections: list.sections.iter().map(section).collect() }
}

fn reaction(reaction: &Reaction) -> proto::Reaction {
    proto::Reaction {
        message_id: reaction.message_id.map(|id| id.to_string()).unwrap_or_default(),
        emoji: reaction.emoji.clone(),
        ..Default::default()
    }
}

fn template(template: &Template) -> proto::TemplateContent {
    use proto::template_header::Content as Header;
    let header = template.header.as_ref().map(|header| proto::TemplateHeader {
        content: Some(match header {
            TemplateHeader::Text(text) => Header::Text(text.clone()),
            TemplateHeader::Media(file) => Header::Media(media(file)),
            TemplateHeader::Location(place) => Header::Location(location(place)),
        }),
    });
    let buttons = template.buttons.iter().map(|button| proto::TemplateButton {
        index: button.index as i32,
        parameter: button.parameter.clone(),
        kind: template_button_kind(button.kind).into(),
    });
    proto::TemplateContent {
        template: template.template.clone(),
        language_code: template.language_code.clone(),
        parameters: template.parameters.clone().into_iter().collect(),
        header,
        buttons: buttons.collect(),
    }
}

fn template_button_kind(kind: TemplateButtonKind) -> proto::TemplateButtonKind {
    match kind {
        TemplateButtonKind::Url => proto::TemplateButtonKind::Url,
        TemplateButtonKind::QuickReply => proto::TemplateButtonKind::QuickReply,
        TemplateButtonKind::CopyCode => proto::TemplateButtonKind::CopyCode,
    }
}

fn content(content: &Content) -> proto::message::Content {
    use proto::message::Content as Answer;
    match content {
        Content::Text(text) => Answer::Text(proto::Text { body: text.body.clone(), preview_url: text.preview_url }),
        Content::Media(file) => Answer::Media(media(file)),
        Content::Location(place) => Answer::Location(location(place)),
        Content::ContactCards(cards) => Answer::ContactCards(contact_cards(cards)),
        Content::Interactive(value) => Answer::Interactive(interactive(value)),
        Content::Reaction(value) => Answer::Reaction(reaction(value)),
        Content::Template(value) => Answer::Template(template(value)),
    }
}

pub(super) fn message(message: &Message) -> proto::Message {
    let request = &message.request;
    let options = proto::SendOptions {
        idempotency_key: message.idempotency_key.clone().unwrap_or_default(),
        send_time: request.send_at_ms.map(timestamp),
        validity: Some(duration(request.validity_ms.unwrap_or(DEFAULT_VALIDITY_MS))),
        callback_url: request.callback_url.clone(),
        callback_data: request.callback_data.clone(),
        labels: request.labels.clone().into_iter().collect(),
        priority: priority(request.priority) as i32,
        in_doubt_policy: in_doubt_policy(request.in_doubt_policy) as i32,
        ignore_opt_out: request.ignore_opt_out,
        ignore_known_failures: request.ignore_known_failures,
        fallback_senders: request.fallback_senders.iter().map(ToString::to_string).collect(),
        on_window_closed: window_policy(request),
        ..Default::default()
    };
    let waits = message.status.is_waiting() && message.due_at_ms != Some(message.expire_at_ms);
    proto::Message {
        message_id: message.id.to_string(),
        sender: request.sender.to_string(),
        to: request.to.given.clone(),
        content: Some(content(&request.content)),
        reply_to_message_id: request.reply_to_message_id.map(|id| id.to_string()).unwrap_or_default(),
        options: Some(options),
        status: i32::from(message.status as i16),
        error: message.error.as_ref().map(delivery_error),
        hold_reason: message.hold.map_or(0, |reason| i32::from(reason as i16)),
        current_sender: message.sender.to_string(),
        provider_message_id: message.provider_message_id.clone().unwrap_or_default(),
        accept_time: Some(timestamp(message.accept_at_ms)),
        status_time: Some(timestamp(message.status_at_ms)),
        next_attempt_time: message.due_at_ms.filter(|_| waits).map(timestamp),
        expire_time: Some(timestamp(message.expire_at_ms)),
        attempt_count: message.attempt,
        erase_time: message.erase_at_ms.map(timestamp),
        ..Default::default()
    }
}

fn priority(priority: Priority) -> proto::Priority {
    match priority {
        Priority::Urgent => proto::Priority::Urgent,
        Priority::Normal => proto::Priority::Normal,
        Priority::Bulk => proto::Priority::Bulk,
    }
}

/// Templates have none.
fn window_policy(request: &NewMessage) -> Option<proto::WindowPolicy> {
    if matches!(request.content, Content::Template(_)) {
        return None;
    }
    let instead = match &request.on_window_closed {
        WindowPolicy::SendTemplate(content) => Some(template(content)),
        _ => None,
    };
    Some(proto::WindowPolicy { action: window_action(&request.on_window_closed) as i32, template: instead })
}

pub(super) fn window_action(policy: &WindowPolicy) -> proto::window_policy::Action {
    use proto::window_policy::Action;
    match policy {
        WindowPolicy::Fail => Action::Fail,
        WindowPolicy::SendAnyway => Action::SendAnyway,
        WindowPolicy::HoldUntilIncoming => Action::HoldUntilIncoming,
        WindowPolicy::SendTemplate(_) => Action::SendTemplate,
    }
}

fn in_doubt_policy(policy: InDoubtPolicy) -> proto::InDoubtPolicy {
    match policy {
        InDoubtPolicy::AtMostOnce => proto::InDoubtPolicy::AtMostOnce,
        InDoubtPolicy::AtLeastOnce => proto::InDoubtPolicy::AtLeastOnce,
    }
}

pub(super) fn attempt(attempt: &Attempt) -> proto::Attempt {
    let outcome = match attempt.outcome {
        None => proto::AttemptOutcome::Started,
        Some(AttemptOutcome::Taken) => proto::AttemptOutcome::Taken,
        Some(AttemptOutcome::Refused) => proto::AttemptOutcome::Refused,
        Some(AttemptOutcome::NotTaken) => proto::AttemptOutcome::NotTaken,
        Some(AttemptOutcome::InDoubt) => proto::AttemptOutcome::InDoubt,
        Some(AttemptOutcome::Skipped) => proto::AttemptOutcome::Skipped,
    };
    let exchange = attempt.exchange.iter().map(|exchange| proto::Exchange {
        method: exchange.method.clone(),
        path: exchange.path.clone(),
        http_status: exchange.http_status.map_or(0, i32::from),
        answer: exchange.answer.clone(),
        elapsed: Some(duration(exchange.elapsed_ms)),
    });
    proto::Attempt {
        number: attempt.number,
        sender: attempt.sender.to_string(),
        outcome: outcome as i32,
        start_time: Some(timestamp(attempt.start_at_ms)),
        end_time: attempt.end_at_ms.map(timestamp),
        provider_message_id: attempt.provider_message_id.clone().unwrap_or_default(),
        error: attempt.error.as_ref().map(delivery_error),
        exchanges: exchange.collect(),
        next_sender: attempt.passed.as_ref().map(|(sender, _)| sender.to_string()).unwrap_or_default(),
        next_sender_error: attempt.passed.as_ref().map(|(_, error)| delivery_error(error)),
        window_template: attempt.instead,
    }
}

/// The contract's number of an event type.
pub(super) fn event_type(number: i32) -> Option<event::EventType> {
    use event::EventType;
    match proto::EventType::try_from(number) {
        Ok(proto::EventType::StatusChanged) => Some(EventType::StatusChanged),
        Ok(proto::EventType::IncomingMessage) => Some(EventType::IncomingMessage),
        Ok(proto::EventType::TemplateChanged) => Some(EventType::TemplateChanged),
        Ok(proto::EventType::SenderChanged) => Some(EventType::SenderChanged),
        Ok(proto::EventType::ContactChanged) => Some(EventType::ContactChanged),
        Ok(proto::EventType::Unspecified) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::MessageStatus;
    use crate::domain::message::ErrorReason;

    #[test]
    fn our_numbers_are_the_contracts() {
        for status in MessageStatus::ALL {
            let proto = proto::MessageStatus::try_from(i32::from(status as i16)).unwrap();
            assert_eq!(proto.as_str_name(), format!("MESSAGE_STATUS_{}", status.as_str()));
        }
        for number in 1.. {
            let Ok(proto) = proto::DeliveryErrorReason::try_from(number) else { break };
            let word = proto.as_str_name().trim_start_matches("DELIVERY_ERROR_REASON_");
            let ours: ErrorReason = serde_json::from_value(word.into()).unwrap();
            assert_eq!(ours as i32, number, "{word}");
        }
    }

    #[test]
    fn times_before_1970_round_down() {
        assert_eq!(timestamp(-1), Timestamp { seconds: -1, nanos: 999_000_000 });
    }
}

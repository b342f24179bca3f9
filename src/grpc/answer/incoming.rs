//! Messages of people into answers.

use super::content::{contact_cards, location, media_kind};
use super::{contact, timestamp};
use crate::domain::MediaId;
use crate::domain::content::{IncomingContent, IncomingMedia, Order, OrderItem, SystemNotice};
use crate::domain::event::{IncomingMessage, Referral};
use crate::proto;

pub(super) fn incoming_message(incoming: &IncomingMessage) -> proto::IncomingMessage {
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

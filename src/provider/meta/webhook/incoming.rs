//! What people write.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Change, inside, people};
use crate::domain::IncomingContent;
use crate::domain::content::{
    IncomingMedia, IncomingReaction, Location, MediaKind, MediaSource, Order, OrderItem, SystemNotice, Text,
};
use crate::domain::event::Referral;
use crate::domain::opt_out::{OptOutCategory, OptOutSource, Wish};
use crate::provider::lenient::{decimal, flag, integer, list, object, text};
use crate::provider::meta::cards;
use crate::provider::{IncomingReport, Product};

type Item = Map<String, Value>;

pub(super) fn report(change: &Change, item: &Item, raw: &RawValue) -> IncomingReport {
    let (contact, profile_name) = people::author(change, item);
    let context = object(item, "context");
    let product = context.and_then(|context| object(context, "referred_product")).map(|product| Product {
        catalog_id: text(product, "catalog_id").unwrap_or_default(),
        product_id: text(product, "product_retailer_id").unwrap_or_default(),
    });
    let is = |member: &str| context.and_then(|context| flag(context, member)).unwrap_or(false);
    IncomingReport {
        account: change.account.clone(),
        provider_message_id: text(item, "id").map(|id| id.trim().to_owned()),
        occur_at_ms: change.time(item),
        profile_name,
        reply_to: context.and_then(|context| text(context, "id")),
        product: product.filter(|product| *product != Product::default()),
        referral: object(item, "referral").map(referral),
        forwarded: is("forwarded") || is("frequently_forwarded"),
        frequently_forwarded: is("frequently_forwarded"),
        ..IncomingReport::new(contact, content(item, raw))
    }
}

/// A person's word on marketing messages, as a notice about it. [assumed] Meta gives it no id: one is made of what it says,
/// so that a repeated webhook is known.
pub(super) fn preference(change: &Change, item: &Item, raw: &RawValue) -> IncomingReport {
    let said = |member: &str| text(item, member).unwrap_or_default();
    let contact = people::contact([text(item, "wa_id"), text(item, "user_id")]);
    let (category, value) = (said("category"), said("value"));
    let id = |time: String| format!("preference.{}.{category}.{value}.{time}", contact.peer());
    let provider_message_id = text(item, "timestamp").map(id);
    let content = match category.is_empty() && value.is_empty() {
        true => unsupported("user_preferences", raw),
        false => IncomingContent::System(SystemNotice {
            r#type: "user_preferences".into(),
            body: format!("{category}: {value}"),
            ..SystemNotice::default()
        }),
    };
    IncomingReport {
        account: change.account.clone(),
        provider_message_id,
        occur_at_ms: change.time(item),
        wish: wish(&category, &value),
        ..IncomingReport::new(contact, content)
    }
}

/// What a person chose in WhatsApp's settings. Meta has one category so far [assumed].
fn wish(category: &str, value: &str) -> Option<Wish> {
    let out = match value.to_ascii_lowercase().as_str() {
        "stop" => true,
        "resume" => false,
        _ => return None,
    };
    let is_marketing = category.eq_ignore_ascii_case("marketing_messages");
    is_marketing.then_some(Wish { out, category: OptOutCategory::Marketing, source: OptOutSource::Provider })
}

fn unsupported(kind: &str, raw: &RawValue) -> IncomingContent {
    IncomingContent::Unsupported { r#type: kind.to_owned(), raw: raw.get().to_owned() }
}

/// By its type, or by the member that is there when the type is not. What is not as the type promises is kept raw.
fn content(item: &Item, raw: &RawValue) -> IncomingContent {
    const TYPES: [&str; 14] = [
        "text",
        "image",
        "video",
        "audio",
        "document",
        "sticker",
        "location",
        "contacts",
        "button",
        "interactive",
        "reaction",
        "order",
        "system",
        "unsupported",
    ];
    let guessed = || TYPES.into_iter().find(|kind| item.contains_key(*kind)).unwrap_or_default().to_owned();
    let kind = text(item, "type").unwrap_or_else(guessed);
    // It was said to a group, and not to the business alone.
    if item.contains_key("group_id") {
        return unsupported("group", raw);
    }
    let read = match kind.as_str() {
        "contacts" => Some(cards::read(list(item, "contacts")))
            .filter(|cards| !cards.is_empty())
            .map(IncomingContent::ContactCards),
        kind => object(item, kind).and_then(|part| of_type(kind, part)),
    };
    // nfm_reply, call_permission_reply, poll_creation: the inner word says more.
    let inner = || object(item, &kind).and_then(|part| text(part, "type"));
    let kind = match kind.as_str() {
        "interactive" | "unsupported" => inner().unwrap_or(kind),
        _ => kind,
    };
    read.unwrap_or_else(|| unsupported(&kind, raw))
}

fn of_type(kind: &str, part: &Item) -> Option<IncomingContent> {
    let said = |member: &str| text(part, member).unwrap_or_default();
    Some(match kind {
        "text" => IncomingContent::Text(Text { body: text(part, "body")?, preview_url: false }),
        "image" => IncomingContent::Media(media(MediaKind::Image, part)?),
        "video" => IncomingContent::Media(media(MediaKind::Video, part)?),
        "document" => IncomingContent::Media(media(MediaKind::Document, part)?),
        "sticker" => IncomingContent::Media(media(MediaKind::Sticker, part)?),
        "audio" | "voice" => {
            let recorded = kind == "voice" || flag(part, "voice").unwrap_or(false);
            IncomingContent::Media(media(if recorded { MediaKind::Voice } else { MediaKind::Audio }, part)?)
        }
        "location" => IncomingContent::Location(Location {
            latitude: decimal(part, "latitude")?,
            longitude: decimal(part, "longitude")?,
            name: said("name"),
            address: said("address"),
            url: said("url"),
        }),
        "button" if part.contains_key("payload") || part.contains_key("text") => {
            IncomingContent::ButtonReply { id: said("payload"), title: said("text") }
        }
        "interactive" => return interactive(part),
        "reaction" => IncomingContent::Reaction(IncomingReaction {
            provider_message_id: text(part, "message_id")?,
            message_id: None,
            // Missing or empty: it was taken back.
            emoji: said("emoji"),
        }),
        "order" => IncomingContent::Order(order(part)),
        "system" => IncomingContent::System(notice(part)),
        _ => return None,
    })
}

/// A file by its id, which can be looked up for a week; by its address, which lives for minutes, only without one.
fn media(kind: MediaKind, part: &Item) -> Option<IncomingMedia> {
    let said = |member: &str| text(part, member).unwrap_or_default();
    let source = match text(part, "id") {
        Some(id) => MediaSource::MediaId(id),
        None => MediaSource::Url(text(part, "url").or_else(|| text(part, "link"))?),
    };
    Some(IncomingMedia {
        kind,
        source,
        mime_type: said("mime_type"),
        file_name: said("filename"),
        caption: said("caption"),
    })
}

fn interactive(part: &Item) -> Option<IncomingContent> {
    if let Some(reply) = object(part, "button_reply") {
        let said = |member: &str| text(reply, member).unwrap_or_default();
        return Some(IncomingContent::ButtonReply { id: said("id"), title: said("title") });
    }
    let reply = object(part, "list_reply")?;
    let said = |member: &str| text(reply, member).unwrap_or_default();
    Some(IncomingContent::ListReply { id: said("id"), title: said("title"), description: said("description") })
}

fn order(part: &Item) -> Order {
    let line = |line: &Item| OrderItem {
        product_id: text(line, "product_retailer_id").unwrap_or_default(),
        quantity: integer(line, "quantity").and_then(|quantity| i32::try_from(quantity).ok()).unwrap_or_default(),
        price: text(line, "item_price").unwrap_or_default(),
        currency_code: text(line, "currency").unwrap_or_default(),
    };
    Order {
        catalog_id: text(part, "catalog_id").unwrap_or_default(),
        text: text(part, "text").unwrap_or_default(),
        items: list(part, "product_items").iter().filter_map(Value::as_object).map(line).collect(),
    }
}

/// [assumed] `user_id` is the new id when it is the id that changed.
fn notice(part: &Item) -> SystemNotice {
    let said = |member: &str| text(part, member).unwrap_or_default();
    SystemNotice {
        r#type: said("type"),
        body: said("body"),
        new_wa_id: text(part, "wa_id").or_else(|| text(part, "new_wa_id")).unwrap_or_default(),
        new_user_id: said("user_id"),
    }
}

fn referral(part: &Item) -> Referral {
    let said = |member: &str| text(part, member).unwrap_or_default();
    Referral {
        source_url: said("source_url"),
        source_id: said("source_id"),
        source_type: said("source_type"),
        headline: said("headline"),
        body: said("body"),
        media_type: said("media_type"),
        image_url: said("image_url"),
        video_url: said("video_url"),
        thumbnail_url: said("thumbnail_url"),
        click_id: said("ctwa_clid"),
        welcome_message: inside(part, "welcome_message", "text"),
    }
}

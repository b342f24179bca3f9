//! What people write.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Change, inside, people};
use crate::domain::IncomingContent;
use crate::domain::content::SystemNotice;
use crate::domain::event::Referral;
use crate::provider::lenient::{flag, object, text};
use crate::provider::whatsapp::{self, Files};
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
        reply_to: whatsapp::reply_to(item),
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
        ..IncomingReport::new(contact, content)
    }
}

fn unsupported(kind: &str, raw: &RawValue) -> IncomingContent {
    IncomingContent::Unsupported { r#type: kind.to_owned(), raw: raw.get().to_owned() }
}

fn content(item: &Item, raw: &RawValue) -> IncomingContent {
    // It was said to a group, and not to the business alone.
    match item.contains_key("group_id") {
        true => unsupported("group", raw),
        false => whatsapp::content(item, raw.get(), Files::ById),
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

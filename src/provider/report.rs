//! What webhooks say, once they are read.

use serde::{Deserialize, Serialize};

use crate::domain::event::{ClientInfo, Pricing, Referral, SenderChange};
use crate::domain::template::{Quality, TemplateCategory, TemplateStatus};
use crate::domain::{Contact, DeliveryError, IncomingContent, MessageId, MessageStatus, Millis};

/// One item of a webhook, read.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A status of a message of ours.
    Status(StatusReport),
    /// A person wrote.
    Incoming(IncomingReport),
    /// The provider changed something about a template.
    Template(TemplateReport),
    /// The provider changed something about the sender.
    Sender(SenderReport),
    /// Understood, and of no interest: notes of agents, echoes, signs of typing.
    Nothing,
}

impl Report {
    /// The provider's id of the sender that it is about, where it names one.
    pub fn account(&self) -> Option<&str> {
        match self {
            Report::Status(report) => report.account.as_deref(),
            Report::Incoming(report) => report.account.as_deref(),
            Report::Sender(report) => report.account.as_deref(),
            Report::Template(_) | Report::Nothing => None,
        }
    }
}

/// A status of a message of ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusReport {
    /// The provider's id of the sender that it is about, where a webhook may speak of several ([`super::Account`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Our id, when the provider gave it back.
    pub message_id: Option<MessageId>,
    /// The provider's id, canonical: equal ids are equal strings.
    pub provider_message_id: Option<String>,
    /// What it means to us; nothing for a word that we do not know (S10).
    pub status: Option<MessageStatus>,
    /// The provider's word, as it came.
    pub provider_status: String,
    /// The provider's clock; nothing when missing or absurd.
    pub occur_at_ms: Option<Millis>,
    /// Why it was not delivered.
    pub error: Option<DeliveryError>,
    /// What it costs.
    pub pricing: Option<Pricing>,
    /// Who opened a link.
    pub client_info: Option<ClientInfo>,
    /// The recipient, as the provider names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<Contact>,
}

/// A person wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct IncomingReport {
    /// The provider's id of the sender that it is for, where a webhook may speak of several ([`super::Account`]).
    pub account: Option<String>,
    /// The provider's id: what duplicates are known by.
    pub provider_message_id: Option<String>,
    /// The provider's clock.
    pub occur_at_ms: Option<Millis>,
    /// Who wrote.
    pub contact: Contact,
    /// What the person calls itself; may be empty.
    pub profile_name: String,
    /// What was said.
    pub content: IncomingContent,
    /// The provider's id of the message quoted.
    pub reply_to: Option<String>,
    /// The product that was answered.
    pub product: Option<Product>,
    /// The ad or post that brought the person.
    pub referral: Option<Referral>,
    /// It was forwarded from another chat.
    pub forwarded: bool,
    /// It was forwarded many times before.
    pub frequently_forwarded: bool,
    /// No webhook brought it: it was read from the provider's list.
    pub backfilled: bool,
}

impl IncomingReport {
    /// Of somebody, and nothing beside.
    pub fn new(contact: Contact, content: IncomingContent) -> Self {
        Self {
            account: None,
            provider_message_id: None,
            occur_at_ms: None,
            contact,
            profile_name: String::new(),
            content,
            reply_to: None,
            product: None,
            referral: None,
            forwarded: false,
            frequently_forwarded: false,
            backfilled: false,
        }
    }
}

/// A product of a catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Product {
    /// The provider's id of the catalog.
    pub catalog_id: String,
    /// The seller's id of the product.
    pub product_id: String,
}

/// The provider changed something about a template. What it did not say is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateReport {
    /// The provider's name of it.
    pub template: String,
    /// The provider's id of it.
    pub template_id: String,
    /// Its language, in the provider's form.
    pub language_code: String,
    /// The provider's clock.
    pub occur_at_ms: Option<Millis>,
    /// The status now.
    pub status: Option<TemplateStatus>,
    /// The category now.
    pub category: Option<TemplateCategory>,
    /// The category before.
    pub previous_category: Option<TemplateCategory>,
    /// The quality now.
    pub quality: Option<Quality>,
    /// The quality before.
    pub previous_quality: Option<Quality>,
    /// Why, in the provider's words.
    pub reason: String,
}

/// The provider changed something about the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderReport {
    /// The provider's id of the sender that it is about, where a webhook may speak of several ([`super::Account`]).
    pub account: Option<String>,
    /// The sender's own number, where that is all that it is named by; empty otherwise.
    pub phone_number: String,
    /// What.
    pub change: SenderChange,
    /// The provider's clock.
    pub occur_at_ms: Option<Millis>,
    /// The quality now.
    pub quality: Option<Quality>,
    /// The provider's word for how many people it may write to in 24 hours; may be empty.
    pub messaging_limit: String,
    /// What happened, in a sentence.
    pub detail: String,
    /// The provider's own code; may be empty.
    pub provider_code: String,
}

/// One item that could not be read. The webhook stays in the journal, so nothing is lost by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("item {index}: {why}")]
pub struct Unreadable {
    /// Its place in the webhook, from 0.
    pub index: usize,
    /// What was wrong with it; holds no personal data.
    pub why: String,
}

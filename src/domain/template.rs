//! Templates, as a provider has them.

use serde::{Deserialize, Serialize};

use super::Millis;

/// Whether a template can be sent. The numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i16)]
pub enum TemplateStatus {
    /// It can be sent.
    Approved = 1,
    /// Waits for approval.
    Pending = 2,
    /// Was not approved.
    Rejected = 3,
    /// Paused for its quality.
    Paused = 4,
    /// Disabled for its quality or by rule.
    Disabled = 5,
    /// Its rejection is being looked at again.
    InAppeal = 6,
    /// Put aside by the business.
    Archived = 7,
    /// Deleted, or about to be.
    Deleted = 8,
}

impl TemplateStatus {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Approved,
        Self::Pending,
        Self::Rejected,
        Self::Paused,
        Self::Disabled,
        Self::InAppeal,
        Self::Archived,
        Self::Deleted,
    ];

    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "APPROVED",
            Self::Pending => "PENDING",
            Self::Rejected => "REJECTED",
            Self::Paused => "PAUSED",
            Self::Disabled => "DISABLED",
            Self::InAppeal => "IN_APPEAL",
            Self::Archived => "ARCHIVED",
            Self::Deleted => "DELETED",
        }
    }
}

/// What a template is for. The numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i16)]
pub enum TemplateCategory {
    /// Offers and news.
    Marketing = 1,
    /// Orders, bills, appointments.
    Utility = 2,
    /// One-time codes.
    Authentication = 3,
}

/// How people receive a sender or a template. The numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i16)]
pub enum Quality {
    /// Good.
    Green = 1,
    /// Complaints are rising.
    Yellow = 2,
    /// Poor.
    Red = 3,
}

/// How the variables of a template are called. The numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i16)]
pub enum ParameterFormat {
    /// `1`, `2`, …
    Positional = 1,
    /// By name.
    Named = 2,
}

/// What the header of a template takes. The numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i16)]
pub enum HeaderFormat {
    /// Text, with at most one variable.
    Text = 1,
    /// An image.
    Image = 2,
    /// A video.
    Video = 3,
    /// A document.
    Document = 4,
    /// A place.
    Location = 5,
}

/// A template in one language: an entry of a provider's catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CatalogueTemplate {
    /// The provider's name of it; where it has only ids, the id.
    pub template: String,
    /// The provider's id of it.
    pub template_id: String,
    /// Its language, in the provider's form.
    pub language_code: String,
    /// Whether it can be sent; nothing for a word that we do not know.
    pub status: Option<TemplateStatus>,
    /// The provider's word for the status.
    pub provider_status: String,
    /// What it is for.
    pub category: Option<TemplateCategory>,
    /// How people receive it.
    pub quality: Option<Quality>,
    /// Why it was rejected, in the provider's words.
    pub rejected_reason: String,
    /// How its variables are called.
    pub parameter_format: Option<ParameterFormat>,
    /// What the header takes; nothing: there is none.
    pub header_format: Option<HeaderFormat>,
    /// The text of a text header, with its variable as `{{1}}` or `{{name}}`; without one it is fixed.
    pub header_text: String,
    /// The text, with its variables. Empty where the provider does not tell it: then its variables are not known either,
    /// and not checked.
    pub body: String,
    /// The small text below.
    pub footer: String,
    /// The variables of the text, in their order.
    pub parameters: Vec<TemplateParameter>,
    /// The buttons, in their order.
    pub buttons: Vec<CatalogueButton>,
    /// Why the gateway cannot send it although it is approved; empty when it can.
    pub unsupported_reason: String,
    /// When it was read from the provider; set by the gateway.
    pub refresh_at_ms: Millis,
}

/// A variable of a template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TemplateParameter {
    /// Its name, or its position as a number.
    pub name: String,
    /// The example that it was approved with.
    pub example: String,
}

/// A button of a template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CatalogueButton {
    /// The provider's word for its kind: `URL`, `QUICK_REPLY`, `COPY_CODE`. One that reads `URL` or `PHONE_NUMBER` and
    /// requires no parameter takes none.
    pub r#type: String,
    /// What it says.
    pub text: String,
    /// The address of a URL button, with its variable.
    pub url: String,
    /// Whether a send must give its parameter.
    pub parameter_required: bool,
}

//! Texts with buttons or lists.

use serde::{Deserialize, Serialize};

use super::Media;

/// Text with buttons or a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interactive {
    /// The text.
    pub body: String,
    /// What stands above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<InteractiveHeader>,
    /// What stands below it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub footer: String,
    /// What can be tapped.
    pub action: InteractiveAction,
}

/// What stands above an interactive message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InteractiveHeader {
    /// A line of text.
    Text(String),
    /// A file.
    Media(Media),
}

/// What can be tapped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InteractiveAction {
    /// Buttons that answer.
    ReplyButtons(Vec<ReplyButton>),
    /// A list to choose from.
    List(List),
    /// A button that opens a page.
    UrlButton {
        /// What the button says.
        text: String,
        /// What it opens.
        url: String,
    },
}

/// A button that answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplyButton {
    /// Comes back when tapped.
    pub id: String,
    /// What it says.
    pub title: String,
}

/// A list to choose from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// What the button that opens it says.
    pub button: String,
    /// Its sections.
    pub sections: Vec<ListSection>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListSection {
    /// Its heading.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Its rows.
    pub rows: Vec<ListRow>,
}

/// A row of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListRow {
    /// Comes back when chosen.
    pub id: String,
    /// What it says.
    pub title: String,
    /// Small print under it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

//! What a sender can carry, as data: the check at the door and the docs read the same rows.

use crate::domain::Content;
use crate::domain::content::{
    ContactCard, Interactive, InteractiveAction, Location, Media, MediaKind, MediaSource, Template, TemplateHeader,
    Text,
};
use crate::domain::pace::Rate;
use crate::error::{Reason, Violations};
use crate::provider::UploadInfo;

/// What an adapter can carry.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// Messages in one request, at most.
    pub batch: usize,
    /// Requests under way at the same time when the sender's limits do not say; each may carry a batch.
    pub in_flight: u32,
    /// How fast, when the sender's limits do not say.
    pub rate: Rate,
    /// Characters (Unicode scalars) of a text; `None`: no texts.
    pub text_max: Option<usize>,
    /// Kinds of files; a kind without a row is not carried.
    pub media: Vec<MediaRule>,
    /// Whether files can be handed to the provider before they are sent ([`super::Provider::upload_media`]).
    pub media_upload: bool,
    /// Whether places are carried.
    pub location: bool,
    /// Whether the page about a place is carried with it.
    pub location_url: bool,
    /// Cards in one message; `None`: none.
    pub contact_cards_max: Option<usize>,
    /// Buttons and lists; `None`: none.
    pub interactive: Option<InteractiveRule>,
    /// Whether an emoji can be put on a message.
    pub reaction: bool,
    /// Whether a message can quote another.
    pub reply: bool,
    /// Templates; `None`: none.
    pub template: Option<TemplateRule>,
    /// Names that a template's parameters must not have, since the provider puts both in one place. A `#` at the end
    /// stands for digits: `button_param_#`.
    pub reserved_parameters: &'static [&'static str],
    /// Files of template headers, where those take other files than messages do and neither texts nor places; `None`: as
    /// in [`Capabilities::media`].
    pub header_media: Option<Vec<MediaRule>>,
    /// Whether a template's language can be chosen.
    pub template_language: bool,
    /// Whether [`super::Provider::check`] asks the provider.
    pub check: bool,
    /// Whether the provider gives our message id back in its statuses.
    pub echoes_message_id: bool,
    /// Whether the provider publishes a catalogue of templates ([`super::Provider::templates`]).
    pub catalogue: bool,
    /// Whether messages must be asked after, since webhooks do not tell all ([`super::Provider::look_up`]).
    pub look_up: bool,
    /// Whether the provider keeps a list of what people wrote ([`super::Provider::history`]).
    pub history: bool,
    /// Whether the provider is asked before a message is accepted ([`super::Provider::admits`]).
    pub admits: bool,
    /// Whether only templates reach people who have not written within 24 hours. That is WhatsApp's own rule.
    pub windows: bool,
}

impl Default for Capabilities {
    /// Carries nothing, one message a request.
    fn default() -> Self {
        Self {
            batch: 1,
            in_flight: 8,
            rate: Rate::default(),
            text_max: None,
            media: Vec::new(),
            media_upload: false,
            location: false,
            location_url: false,
            contact_cards_max: None,
            interactive: None,
            reaction: false,
            reply: false,
            template: None,
            reserved_parameters: &[],
            header_media: None,
            template_language: true,
            check: false,
            echoes_message_id: false,
            catalogue: false,
            look_up: false,
            history: false,
            admits: false,
            windows: true,
        }
    }
}

/// What files of one kind may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaRule {
    /// The kind.
    pub kind: MediaKind,
    /// MIME types without parameters; empty: any.
    pub mime_types: &'static [&'static str],
    /// Bytes at most. Of an address known only once the provider has fetched it, so there it is documented and not checked;
    /// checked of what is uploaded.
    pub bytes_max: u64,
    /// Characters of a caption; `None`: no caption.
    pub caption_max: Option<usize>,
    /// Characters of a file name; `None`: no file name.
    pub file_name_max: Option<usize>,
    /// Whether a file can be named by the provider's id instead of an address.
    pub by_media_id: bool,
}

/// What buttons and lists may be. Characters are Unicode scalars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InteractiveRule {
    /// Characters of the body.
    pub body_max: usize,
    /// Characters of a text header; `None`: no header.
    pub header_max: Option<usize>,
    /// Characters of the footer; `None`: no footer.
    pub footer_max: Option<usize>,
    /// Reply buttons; 0: none.
    pub buttons_max: usize,
    /// Characters of a button's title.
    pub button_title_max: usize,
    /// Rows of a list in all; 0: no lists.
    pub rows_max: usize,
    /// Characters of a row's title.
    pub row_title_max: usize,
    /// Characters of a row's description.
    pub row_description_max: usize,
    /// Whether a button can open a page.
    pub url_button: bool,
}

/// What templates may be filled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateRule {
    /// Parameters by position.
    pub positional: bool,
    /// Parameters by name.
    pub named: bool,
    /// Whether a header can be filled.
    pub header: bool,
    /// Whether buttons can be filled.
    pub buttons: bool,
}

impl Capabilities {
    /// Notes what of the content this sender cannot carry. Paths are those of the request that the content came in:
    /// `text.body` in SendMessage, `parameters` in SendTemplate.
    pub fn check(&self, content: &Content, provider: &str, violations: &mut Violations) {
        let mut check = Check { capabilities: self, provider, violations };
        match content {
            Content::Text(text) => check.text(text),
            Content::Media(media) => check.media("media", media),
            Content::Location(location) => check.location("location", location),
            Content::ContactCards(cards) => check.contact_cards(cards),
            Content::Interactive(interactive) => check.interactive(interactive),
            Content::Reaction(_) if !self.reaction => check.unsupported("reaction", "no reactions"),
            Content::Reaction(_) => {}
            Content::Template(template) => check.template(template),
        }
    }

    /// Notes what stands against a file that is to be uploaded. Answers how many bytes it may have; nothing for a kind that
    /// is not carried.
    pub fn check_upload(&self, info: &UploadInfo, provider: &str, violations: &mut Violations) -> Option<u64> {
        let rule = self.media_rule(info.kind);
        let media = Media {
            kind: info.kind,
            source: MediaSource::MediaId(String::new()),
            mime_type: info.mime_type.clone(),
            // Names and captions are a message's.
            file_name: String::new(),
            caption: String::new(),
        };
        Check { capabilities: self, provider, violations }.media("info", &media);
        let most = rule?.bytes_max;
        if let Some(size) = info.size_bytes.filter(|size| *size > most) {
            violations.add("info.size_bytes", Reason::TooLong, too_large(size, most, info.kind, provider));
        }
        Some(most)
    }

    /// Whether the provider has another meaning for a parameter of this name.
    pub fn is_reserved(&self, parameter: &str) -> bool {
        let numbered = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
        self.reserved_parameters.iter().any(|reserved| match reserved.strip_suffix('#') {
            Some(prefix) => parameter.strip_prefix(prefix).is_some_and(numbered),
            None => parameter == *reserved,
        })
    }

    /// The rule for a kind of file.
    pub fn media_rule(&self, kind: MediaKind) -> Option<&MediaRule> {
        self.media.iter().find(|rule| rule.kind == kind)
    }
}

/// What is said of a file of `size` bytes, or of more than that.
pub fn too_large(size: u64, most: u64, kind: MediaKind, provider: &str) -> String {
    format!("{size} bytes; provider {provider} takes at most {most} of kind {}", kind.as_str())
}

/// A MIME type without its parameters, in lower case.
pub fn mime_essence(mime_type: &str) -> String {
    mime_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

struct Check<'a> {
    capabilities: &'a Capabilities,
    provider: &'a str,
    violations: &'a mut Violations,
}

impl Check<'_> {
    fn unsupported(&mut self, field: &str, what: &str) {
        self.violations.add(field, Reason::NotSupported, format!("provider {} carries {what}", self.provider));
    }

    fn length(&mut self, field: &str, text: &str, max: usize) {
        let length = text.chars().count();
        if length > max {
            let description = format!("{length} characters; provider {} takes at most {max}", self.provider);
            self.violations.add(field, Reason::TooLong, description);
        }
    }

    /// A text that may not be carried at all.
    fn optional(&mut self, field: &str, text: &str, max: Option<usize>, none: &str) {
        match max {
            _ if text.is_empty() => {}
            Some(max) => self.length(field, text, max),
            None => self.unsupported(field, none),
        }
    }

    fn text(&mut self, text: &Text) {
        match self.capabilities.text_max {
            Some(max) => self.length("text.body", &text.body, max),
            None => self.unsupported("text", "no texts"),
        }
    }

    fn media(&mut self, path: &str, media: &Media) {
        self.media_of(&self.capabilities.media, path, media);
    }

    fn media_of(&mut self, rules: &[MediaRule], path: &str, media: &Media) {
        let Some(rule) = rules.iter().find(|rule| rule.kind == media.kind) else {
            let what = format!("no media of kind {}", media.kind.as_str());
            return self.unsupported(&format!("{path}.kind"), &what);
        };
        if matches!(media.source, MediaSource::MediaId(_)) && !rule.by_media_id {
            self.unsupported(&format!("{path}.media_id"), "no media by id; give a url");
        }
        let essence = mime_essence(&media.mime_type);
        if !essence.is_empty() && !rule.mime_types.is_empty() && !rule.mime_types.contains(&essence.as_str()) {
            let description = format!(
                "provider {} takes {} only as {}",
                self.provider,
                media.kind.as_str(),
                rule.mime_types.join(", ")
            );
            self.violations.add(format!("{path}.mime_type"), Reason::NotSupported, description);
        }
        let kind = media.kind.as_str();
        self.optional(&format!("{path}.caption"), &media.caption, rule.caption_max, &format!("no captions of {kind}"));
        self.optional(
            &format!("{path}.file_name"),
            &media.file_name,
            rule.file_name_max,
            &format!("no file names of {kind}"),
        );
    }

    fn location(&mut self, path: &str, location: &Location) {
        if !self.capabilities.location {
            self.unsupported(path, "no locations");
        } else {
            self.page(path, location);
        }
    }

    /// Also of a place in a template's header, which a provider may carry that carries none by itself.
    fn page(&mut self, path: &str, location: &Location) {
        if !location.url.is_empty() && !self.capabilities.location_url {
            self.unsupported(&format!("{path}.url"), "no pages about places");
        }
    }

    fn contact_cards(&mut self, cards: &[ContactCard]) {
        match self.capabilities.contact_cards_max {
            None => self.unsupported("contact_cards", "no contact cards"),
            Some(max) if cards.len() > max => {
                let description = format!("{} cards; provider {} takes at most {max}", cards.len(), self.provider);
                self.violations.add("contact_cards.cards", Reason::TooLong, description);
            }
            Some(_) => {}
        }
    }

    fn interactive(&mut self, interactive: &Interactive) {
        let Some(rule) = self.capabilities.interactive.clone() else {
            return self.unsupported("interactive", "no interactive messages");
        };
        self.length("interactive.body", &interactive.body, rule.body_max);
        self.optional("interactive.footer", &interactive.footer, rule.footer_max, "no footers");
        match &interactive.header {
            None => {}
            Some(_) if rule.header_max.is_none() => self.unsupported("interactive.header", "no headers"),
            Some(crate::domain::content::InteractiveHeader::Text(text)) => {
                self.optional("interactive.header.text", text, rule.header_max, "no headers");
            }
            Some(crate::domain::content::InteractiveHeader::Media(media)) => {
                self.media("interactive.header.media", media);
            }
        }
        match &interactive.action {
            InteractiveAction::ReplyButtons(buttons) => {
                let field = "interactive.reply_buttons.buttons";
                self.count(field, buttons.len(), rule.buttons_max, "buttons");
                for (i, button) in buttons.iter().enumerate() {
                    self.length(&format!("{field}[{i}].title"), &button.title, rule.button_title_max);
                }
            }
            InteractiveAction::List(list) => {
                let rows: usize = list.sections.iter().map(|section| section.rows.len()).sum();
                self.count("interactive.list.sections", rows, rule.rows_max, "rows in all");
                self.length("interactive.list.button", &list.button, rule.button_title_max);
                for (s, section) in list.sections.iter().enumerate() {
                    for (r, row) in section.rows.iter().enumerate() {
                        let path = format!("interactive.list.sections[{s}].rows[{r}]");
                        self.length(&format!("{path}.title"), &row.title, rule.row_title_max);
                        self.length(&format!("{path}.description"), &row.description, rule.row_description_max);
                    }
                }
            }
            InteractiveAction::UrlButton { text, .. } if rule.url_button => {
                self.length("interactive.url_button.text", text, rule.button_title_max);
            }
            InteractiveAction::UrlButton { .. } => self.unsupported("interactive.url_button", "no url buttons"),
        }
    }

    fn count(&mut self, field: &str, count: usize, max: usize, what: &str) {
        if count > max {
            let description = format!("{count} {what}; provider {} takes at most {max}", self.provider);
            self.violations.add(field, Reason::TooLong, description);
        }
    }

    fn template(&mut self, template: &Template) {
        let Some(rule) = self.capabilities.template.clone() else {
            return self.unsupported("template", "no templates");
        };
        for key in template.parameters.keys() {
            let positional = key.parse::<u32>().is_ok();
            if positional && !rule.positional || !positional && !rule.named {
                let form = if rule.named { "by name" } else { "by position: \"1\", \"2\", …" };
                let description = format!("provider {} takes parameters {form}", self.provider);
                self.violations.add(format!("parameters[{key:?}]"), Reason::NotSupported, description);
            }
        }
        self.reserved(template);
        self.positions(template);
        if !self.capabilities.template_language && !template.language_code.is_empty() {
            self.unsupported("language_code", "no choice of a template's language; leave it out");
        }
        match (&template.header, &self.capabilities.header_media) {
            (None, _) => {}
            (Some(_), _) if !rule.header => self.unsupported("header", "no template headers"),
            (Some(TemplateHeader::Media(media)), Some(rules)) => self.media_of(rules, "header.media", media),
            (Some(TemplateHeader::Text(_)), Some(_)) => self.unsupported("header.text", "no texts in template headers"),
            (Some(TemplateHeader::Location(_)), Some(_)) => {
                self.unsupported("header.location", "no places in template headers");
            }
            (Some(TemplateHeader::Media(media)), None) => self.media("header.media", media),
            (Some(TemplateHeader::Location(place)), None) => self.page("header.location", place),
            (Some(TemplateHeader::Text(_)), None) => {}
        }
        if !template.buttons.is_empty() && !rule.buttons {
            self.unsupported("buttons", "no template buttons");
        }
    }

    /// Each name that is taken is named, with all of them: whoever renames one wants to know the others.
    fn reserved(&mut self, template: &Template) {
        for key in template.parameters.keys().filter(|key| self.capabilities.is_reserved(key)) {
            let description = format!(
                "provider {} has another meaning for this name; reserved are {}",
                self.provider,
                self.capabilities.reserved_parameters.join(", ")
            );
            self.violations.add(format!("parameters[{key:?}]"), Reason::Invalid, description);
        }
    }

    /// Positions begin at 1 and leave none out: a hole would shift every later value.
    fn positions(&mut self, template: &Template) {
        let mut positions: Vec<u32> = template.parameters.keys().filter_map(|key| key.parse().ok()).collect();
        positions.sort_unstable();
        let whole = positions.iter().zip(1..).all(|(position, expected)| *position == expected);
        if !whole {
            let description = "positions begin at \"1\" and leave none out";
            self.violations.add("parameters", Reason::Invalid, description);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(capabilities: &Capabilities, template: Template) -> Vec<(String, Reason)> {
        let mut violations = Violations::default();
        capabilities.check(&Content::Template(template), "acme", &mut violations);
        violations.into_vec().into_iter().map(|violation| (violation.field, violation.reason)).collect()
    }

    fn template(parameters: &[&str], header: Option<TemplateHeader>) -> Template {
        let parameters = parameters.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        Template { template: "t".into(), parameters, header, ..Default::default() }
    }

    fn capabilities() -> Capabilities {
        Capabilities {
            template: Some(TemplateRule { positional: true, named: true, header: true, buttons: true }),
            reserved_parameters: &["inbox_id", "button_param_#"],
            ..Capabilities::default()
        }
    }

    #[test]
    fn reserved_names_are_refused_all_at_once() {
        let names =
            ["inbox_id", "button_param_0", "button_param_17", "button_param_", "button_param_x", "Inbox_id", "name"];
        let expected =
            [r#"parameters["button_param_0"]"#, r#"parameters["button_param_17"]"#, r#"parameters["inbox_id"]"#];
        assert_eq!(
            violations(&capabilities(), template(&names, None)),
            expected.map(|field| (field.to_owned(), Reason::Invalid))
        );
    }

    #[test]
    fn headers_may_have_rules_of_their_own() {
        let file = |kind| {
            let source = MediaSource::Url("https://files.example.test/a".into());
            let (mime_type, file_name, caption) = Default::default();
            TemplateHeader::Media(Media { kind, source, mime_type, file_name, caption })
        };
        let rule = |kind| MediaRule {
            kind,
            mime_types: &[],
            bytes_max: 1,
            caption_max: None,
            file_name_max: None,
            by_media_id: false,
        };
        let as_messages = Capabilities { media: vec![rule(MediaKind::Video)], ..capabilities() };
        let own = Capabilities { header_media: Some(vec![rule(MediaKind::Image)]), ..as_messages.clone() };
        let text = || TemplateHeader::Text("x".into());
        let place = || TemplateHeader::Location(Location::default());
        for (capabilities, header, field) in [
            (&as_messages, file(MediaKind::Video), None),
            (&as_messages, file(MediaKind::Image), Some("header.media.kind")),
            (&as_messages, text(), None),
            (&own, file(MediaKind::Video), Some("header.media.kind")),
            (&own, file(MediaKind::Image), None),
            (&own, text(), Some("header.text")),
            (&own, place(), Some("header.location")),
        ] {
            let found = violations(capabilities, template(&[], Some(header.clone())));
            let expected: Vec<_> = field.map(|field| (field.to_owned(), Reason::NotSupported)).into_iter().collect();
            assert_eq!(found, expected, "{header:?}");
        }
    }

    #[test]
    fn a_language_that_cannot_be_chosen_is_refused() {
        let fixed = Capabilities { template_language: false, ..capabilities() };
        let spoken = || Template { language_code: "pt_BR".into(), ..template(&[], None) };
        assert_eq!(violations(&capabilities(), spoken()), []);
        assert_eq!(violations(&fixed, spoken()), [("language_code".to_owned(), Reason::NotSupported)]);
        assert_eq!(violations(&fixed, template(&[], None)), []);
    }
}

//! Requests into the domain: parsed once, all violations in one answer.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use crate::domain::content::{
    CardAddress, CardEmail, CardName, CardOrganization, CardPhone, CardUrl, ContactCard, Content, Interactive,
    InteractiveAction, InteractiveHeader, List, ListRow, ListSection, Location, Media, MediaKind, MediaSource,
    Reaction, ReplyButton, Template, TemplateButton, TemplateHeader, Text,
};
use crate::domain::message::{InDoubtPolicy, MAX_AHEAD_MS, NewMessage, Priority};
use crate::domain::{MessageId, Millis, PhoneNumber, SenderId};
use crate::error::{Error, Reason, Violations};
use crate::proto;

/// Bytes of `callback_data`, at most.
const CALLBACK_DATA_MAX: usize = 4_096;
/// Labels of a message, at most.
const LABELS_MAX: usize = 16;
/// Characters of an idempotency key, at most.
const KEY_MAX: usize = 256;
/// What no provider needs more of: a bound for texts whose own limit the capabilities know.
const TEXT_MAX: usize = 65_536;
/// Characters of each text of a contact card, at most.
const CARD_TEXT_MAX: usize = 1_024;
/// Bytes of an address, at most.
const URL_MAX: usize = 2_048;

/// A send that was read: what to store, and under which key.
#[derive(Debug)]
pub(super) struct ReadSend {
    pub request: NewMessage,
    pub key: Option<String>,
    pub validate_only: bool,
}

/// A send as far as it could be read; all that is wrong is in the violations.
pub(super) struct SendParts {
    pub sender: Option<SenderId>,
    pub content: Option<Content>,
    to: Option<PhoneNumber>,
    pub reply_to_message_id: Option<MessageId>,
    options: Options,
}

#[derive(Default)]
struct Options {
    key: Option<String>,
    send_at_ms: Option<Millis>,
    validity_ms: Option<Millis>,
    callback_data: String,
    labels: BTreeMap<String, String>,
    priority: Priority,
    in_doubt_policy: InDoubtPolicy,
    validate_only: bool,
}

impl SendParts {
    /// The whole, once nothing is wrong.
    pub fn build(self) -> Option<ReadSend> {
        let options = self.options;
        let request = NewMessage {
            sender: self.sender?,
            to: self.to?,
            content: self.content?,
            reply_to_message_id: self.reply_to_message_id,
            send_at_ms: options.send_at_ms,
            validity_ms: options.validity_ms,
            callback_data: options.callback_data,
            labels: options.labels,
            priority: options.priority,
            in_doubt_policy: options.in_doubt_policy,
        };
        Some(ReadSend { request, key: options.key, validate_only: options.validate_only })
    }
}

/// Reads a SendMessageRequest.
///
/// # Errors
/// [`Error::NotImplemented`] for an option that this version does not carry out.
pub(super) fn message(
    request: proto::SendMessageRequest,
    now: Millis,
    violations: &mut Violations,
) -> Result<SendParts, Error> {
    let sender = violations.check("sender", request.sender.parse());
    let to = violations.check("to", request.to.parse());
    let content = match request.content {
        Some(content) => message_content(content, violations),
        None => {
            let kinds = "one of text, media, location, contact_cards, interactive, reaction is needed";
            violations.add("content", Reason::Required, kinds);
            None
        }
    };
    let reply_to_message_id = match request.reply_to_message_id.as_str() {
        "" => None,
        id => violations.check("reply_to_message_id", id.parse()),
    };
    if reply_to_message_id.is_some() && matches!(content, Some(Content::Reaction(_))) {
        violations.add("reply_to_message_id", Reason::NotSupported, "a reaction cannot quote a message");
    }
    let options = read_options(request.options, now, violations)?;
    Ok(SendParts { sender, content, to, reply_to_message_id, options })
}

/// Reads a SendTemplateRequest.
///
/// # Errors
/// As [`message`].
pub(super) fn template(
    request: proto::SendTemplateRequest,
    now: Millis,
    violations: &mut Violations,
) -> Result<SendParts, Error> {
    let sender = violations.check("sender", request.sender.parse());
    let to = violations.check("to", request.to.parse());
    let name = violations.check("template", text(request.template, 1, 512, "a template's name or id"));
    let language_code = violations.check("language_code", language(request.language_code));
    for (key, value) in &request.parameters {
        let path = format!("parameters[{key:?}]");
        if key.is_empty() || key.chars().count() > 100 {
            violations.add(&path, Reason::Invalid, "a parameter's name has 1 to 100 characters");
        }
        violations.check(&path, text(value.clone(), 1, 4_096, "a parameter's value"));
    }
    let positions = request.parameters.keys().filter(|key| key.parse::<u32>().is_ok()).count();
    if positions != 0 && positions != request.parameters.len() {
        violations.add("parameters", Reason::Invalid, "parameters go by position or by name, not by both");
    }
    let header = request.header.and_then(|header| template_header(header, violations));
    let buttons = template_buttons(request.buttons, violations);
    let content = name.zip(language_code).map(|(template, language_code)| {
        let parameters = request.parameters.into_iter().collect();
        Content::Template(Template { template, language_code, parameters, header, buttons })
    });
    let options = read_options(request.options, now, violations)?;
    Ok(SendParts { sender, content, to, reply_to_message_id: None, options })
}

fn language(code: String) -> Result<String, (Reason, String)> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match code.len() {
        0 => Ok(code),
        2..=20 if code.chars().all(fits) => Ok(code),
        _ => Err((Reason::Invalid, "a language code is BCP 47 (`pt-BR`) or the provider's form (`pt_BR`)".into())),
    }
}

fn template_header(header: proto::TemplateHeader, violations: &mut Violations) -> Option<TemplateHeader> {
    use proto::template_header::Content as Header;
    match header.content {
        Some(Header::Text(value)) => {
            let value = violations.check("header.text", text(value, 1, TEXT_MAX, "a header's text"));
            value.map(TemplateHeader::Text)
        }
        Some(Header::Media(value)) => media(value, "header.media", violations).map(TemplateHeader::Media),
        Some(Header::Location(value)) => location(value, "header.location", violations).map(TemplateHeader::Location),
        None => {
            violations.add("header", Reason::Required, "one of text, media, location is needed");
            None
        }
    }
}

fn template_buttons(buttons: Vec<proto::TemplateButton>, violations: &mut Violations) -> Vec<TemplateButton> {
    let mut read: Vec<TemplateButton> = Vec::with_capacity(buttons.len());
    for (i, button) in buttons.into_iter().enumerate() {
        let path = format!("buttons[{i}]");
        let index = u32::try_from(button.index).ok().filter(|index| *index < 10);
        match index {
            Some(index) if read.iter().any(|other| other.index == index) => {
                violations.add(format!("{path}.index"), Reason::Invalid, format!("index {index} is there twice"));
            }
            Some(index) => {
                let parameter = text(button.parameter, 1, 2_000, "a button's parameter");
                let parameter = violations.check(format!("{path}.parameter"), parameter);
                read.extend(parameter.map(|parameter| TemplateButton { index, parameter }));
            }
            None => violations.add(format!("{path}.index"), Reason::Invalid, "an index is 0 to 9"),
        }
    }
    read
}

fn message_content(content: proto::send_message_request::Content, violations: &mut Violations) -> Option<Content> {
    use proto::send_message_request::Content as Sent;
    match content {
        Sent::Text(value) => {
            let body = violations.check("text.body", text(value.body, 1, TEXT_MAX, "a text"))?;
            Some(Content::Text(Text { body, preview_url: value.preview_url }))
        }
        Sent::Media(value) => media(value, "media", violations).map(Content::Media),
        Sent::Location(value) => location(value, "location", violations).map(Content::Location),
        Sent::ContactCards(value) => cards(value.cards, violations).map(Content::ContactCards),
        Sent::Interactive(value) => interactive(value, violations).map(Content::Interactive),
        Sent::Reaction(value) => {
            let message_id = violations.check("reaction.message_id", value.message_id.parse());
            // Emoji are sequences of up to some ten scalars, none of them a letter or a blank.
            let symbols = !value.emoji.chars().any(|c| c.is_alphabetic() || c.is_whitespace() || c.is_control());
            let emoji = match value.emoji.chars().count() {
                0..=16 if symbols => Some(value.emoji),
                _ => {
                    violations.add("reaction.emoji", Reason::Invalid, "one emoji, or empty to take it back");
                    None
                }
            };
            let (message_id, emoji) = message_id.zip(emoji)?;
            Some(Content::Reaction(Reaction { message_id: Some(message_id), emoji }))
        }
    }
}

/// A text between two lengths, in characters. Control characters other than line breaks and tabs are no text.
fn text(value: String, min: usize, max: usize, what: &str) -> Result<String, (Reason, String)> {
    let length = value.chars().count();
    if min > 0 && value.trim().is_empty() {
        return Err((Reason::Required, format!("{what} is needed; blanks are none")));
    }
    if length < min {
        return Err((Reason::TooShort, format!("{length} characters; {what} has at least {min}")));
    }
    if length > max {
        return Err((Reason::TooLong, format!("{length} characters; {what} has at most {max}")));
    }
    if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err((Reason::Invalid, format!("{what} holds a control character")));
    }
    Ok(value)
}

/// An http or https address without credentials in it.
pub(super) fn http_url(value: &str) -> Result<Url, (Reason, String)> {
    if value.is_empty() {
        return Err((Reason::Required, "an address is needed".into()));
    }
    if value.len() > URL_MAX {
        return Err((Reason::TooLong, format!("{} bytes; an address has at most {URL_MAX}", value.len())));
    }
    let url = Url::parse(value).map_err(|error| (Reason::Invalid, format!("not an address: {error}")))?;
    match url.scheme() {
        "http" | "https" if url.username().is_empty() && url.password().is_none() => Ok(url),
        "http" | "https" => Err((Reason::Invalid, "an address must not hold a user or a password".into())),
        other => Err((Reason::Invalid, format!("an address begins with http:// or https://, not {other}:"))),
    }
}

fn media(media: proto::Media, path: &str, violations: &mut Violations) -> Option<Media> {
    use proto::media::Source;
    let kind = match proto::MediaKind::try_from(media.kind) {
        Ok(proto::MediaKind::Image) => Some(MediaKind::Image),
        Ok(proto::MediaKind::Audio) => Some(MediaKind::Audio),
        Ok(proto::MediaKind::Voice) => Some(MediaKind::Voice),
        Ok(proto::MediaKind::Video) => Some(MediaKind::Video),
        Ok(proto::MediaKind::Document) => Some(MediaKind::Document),
        Ok(proto::MediaKind::Sticker) => Some(MediaKind::Sticker),
        Ok(proto::MediaKind::Unspecified) => {
            violations.add(format!("{path}.kind"), Reason::Required, "a kind is needed: IMAGE, AUDIO, …");
            None
        }
        Err(_) => {
            violations.add(format!("{path}.kind"), Reason::Invalid, format!("there is no kind {}", media.kind));
            None
        }
    };
    let source = match media.source {
        Some(Source::Url(url)) => {
            violations.check(format!("{path}.url"), http_url(&url)).map(|_| MediaSource::Url(url))
        }
        Some(Source::MediaId(id)) => {
            let id = text(id, 1, 512, "a media id");
            violations.check(format!("{path}.media_id"), id).map(MediaSource::MediaId)
        }
        None => {
            violations.add(format!("{path}.url"), Reason::Required, "a url or a media_id is needed");
            None
        }
    };
    let mime_type = match media.mime_type {
        given if given.is_empty() || is_mime(&given) => Ok(given),
        _ => Err((Reason::Invalid, "a MIME type reads `image/jpeg`, with parameters or without".to_owned())),
    };
    let mime_type = violations.check(format!("{path}.mime_type"), mime_type);
    let file_name = violations.check(format!("{path}.file_name"), text(media.file_name, 0, 1_024, "a file name"));
    let caption = violations.check(format!("{path}.caption"), text(media.caption, 0, TEXT_MAX, "a caption"));
    Some(Media { kind: kind?, source: source?, mime_type: mime_type?, file_name: file_name?, caption: caption? })
}

fn is_mime(value: &str) -> bool {
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"/;,\"()<>@".contains(&b));
    let essence = value.split(';').next().unwrap_or_default().trim();
    value.len() <= 255 && essence.split_once('/').is_some_and(|(kind, name)| token(kind) && token(name))
}

fn location(location: proto::Location, path: &str, violations: &mut Violations) -> Option<Location> {
    let mut degrees = |field: &str, value: f64, most: f64| {
        let fits = value.is_finite() && value.abs() <= most;
        if !fits {
            violations.add(format!("{path}.{field}"), Reason::Invalid, format!("degrees from -{most} to {most}"));
        }
        fits
    };
    let latitude = degrees("latitude", location.latitude, 90.0);
    let longitude = degrees("longitude", location.longitude, 180.0);
    let name = violations.check(format!("{path}.name"), text(location.name, 0, 1_024, "a place's name"));
    let address = violations.check(format!("{path}.address"), text(location.address, 0, 1_024, "an address"));
    if !location.url.is_empty() {
        violations.check(format!("{path}.url"), http_url(&location.url));
    }
    let (name, address) = (name?, address?);
    (latitude && longitude).then_some(Location {
        latitude: location.latitude,
        longitude: location.longitude,
        name,
        address,
        url: location.url,
    })
}

fn cards(cards: Vec<proto::ContactCard>, violations: &mut Violations) -> Option<Vec<ContactCard>> {
    if cards.is_empty() {
        violations.add("contact_cards.cards", Reason::Required, "at least one card is needed");
        return None;
    }
    let read = cards.into_iter().enumerate().map(|(i, card)| self::card(card, i, violations)).collect::<Vec<_>>();
    Some(read)
}

fn card(card: proto::ContactCard, index: usize, violations: &mut Violations) -> ContactCard {
    let path = format!("contact_cards.cards[{index}]");
    let name = card.name.clone().unwrap_or_default();
    if name.formatted_name.trim().is_empty() {
        violations.add(format!("{path}.name.formatted_name"), Reason::Required, "the whole name is needed");
    }
    for (i, phone) in card.phones.iter().enumerate().filter(|(_, phone)| phone.phone.trim().is_empty()) {
        let _ = phone;
        violations.add(format!("{path}.phones[{i}].phone"), Reason::Required, "a number is needed");
    }
    card_texts(&card, &name, &path, violations);
    if !card.birthday.is_empty() && !is_date(&card.birthday) {
        violations.add(format!("{path}.birthday"), Reason::Invalid, "a birthday reads YYYY-MM-DD");
    }
    let organization =
        card.organization.map(|o| CardOrganization { company: o.company, department: o.department, title: o.title });
    ContactCard {
        name: CardName {
            formatted_name: name.formatted_name,
            first_name: name.first_name,
            last_name: name.last_name,
            middle_name: name.middle_name,
            prefix: name.prefix,
            suffix: name.suffix,
        },
        phones: card
            .phones
            .into_iter()
            .map(|p| CardPhone { phone: p.phone, r#type: p.r#type, wa_id: p.wa_id })
            .collect(),
        emails: card.emails.into_iter().map(|e| CardEmail { email: e.email, r#type: e.r#type }).collect(),
        addresses: card
            .addresses
            .into_iter()
            .map(|a| CardAddress {
                street: a.street,
                city: a.city,
                state: a.state,
                zip: a.zip,
                country: a.country,
                country_code: a.country_code,
                r#type: a.r#type,
            })
            .collect(),
        organization,
        urls: card.urls.into_iter().map(|u| CardUrl { url: u.url, r#type: u.r#type }).collect(),
        birthday: card.birthday,
    }
}

/// Every text of a card: none is long, and none holds what is no text.
fn card_texts(card: &proto::ContactCard, name: &proto::CardName, path: &str, violations: &mut Violations) {
    let mut check = |part: String, fields: &[(&str, &String)]| {
        for (field, value) in fields {
            let plain = text((*value).clone(), 0, CARD_TEXT_MAX, "a text of a card");
            violations.check(format!("{path}.{part}.{field}"), plain);
        }
    };
    let names = [
        ("formatted_name", &name.formatted_name),
        ("first_name", &name.first_name),
        ("last_name", &name.last_name),
        ("middle_name", &name.middle_name),
        ("prefix", &name.prefix),
        ("suffix", &name.suffix),
    ];
    check("name".into(), &names);
    for (i, p) in card.phones.iter().enumerate() {
        check(format!("phones[{i}]"), &[("phone", &p.phone), ("type", &p.r#type), ("wa_id", &p.wa_id)]);
    }
    for (i, e) in card.emails.iter().enumerate() {
        check(format!("emails[{i}]"), &[("email", &e.email), ("type", &e.r#type)]);
    }
    for (i, a) in card.addresses.iter().enumerate() {
        let lines = [("street", &a.street), ("city", &a.city), ("state", &a.state), ("zip", &a.zip)];
        check(format!("addresses[{i}]"), &lines);
        let rest = [("country", &a.country), ("country_code", &a.country_code), ("type", &a.r#type)];
        check(format!("addresses[{i}]"), &rest);
    }
    for (i, u) in card.urls.iter().enumerate() {
        check(format!("urls[{i}]"), &[("url", &u.url), ("type", &u.r#type)]);
    }
    if let Some(o) = &card.organization {
        check("organization".into(), &[("company", &o.company), ("department", &o.department), ("title", &o.title)]);
    }
}

fn is_date(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let number = |part: &str, length: usize| {
        (part.len() == length && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u32>().ok()).flatten()
    };
    match parts.as_slice() {
        [year, month, day] => match (number(year, 4), number(month, 2), number(day, 2)) {
            (Some(year), Some(month @ 1..=12), Some(day)) => (1..=days(year, month)).contains(&day),
            _ => false,
        },
        _ => false,
    }
}

fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn interactive(value: proto::Interactive, violations: &mut Violations) -> Option<Interactive> {
    use proto::interactive::Action;
    let body = violations.check("interactive.body", text(value.body, 1, TEXT_MAX, "a body"));
    let footer = violations.check("interactive.footer", text(value.footer, 0, TEXT_MAX, "a footer"));
    let header = value.header.and_then(|header| interactive_header(header, violations));
    let action = match value.action {
        Some(Action::ReplyButtons(buttons)) => reply_buttons(buttons.buttons, violations),
        Some(Action::List(list)) => self::list(list, violations),
        Some(Action::UrlButton(button)) => {
            let path = "interactive.url_button";
            let label = violations.check(format!("{path}.text"), text(button.text, 1, TEXT_MAX, "a button's text"));
            let url = violations.check(format!("{path}.url"), http_url(&button.url));
            label.zip(url).map(|(text, _)| InteractiveAction::UrlButton { text, url: button.url })
        }
        None => {
            let needed = "one of reply_buttons, list, url_button is needed";
            violations.add("interactive.action", Reason::Required, needed);
            None
        }
    };
    if let (Some(InteractiveHeader::Media(_)), Some(InteractiveAction::List(_))) = (&header, &action) {
        violations.add("interactive.header", Reason::NotSupported, "a list takes a header of text only");
    }
    Some(Interactive { body: body?, header, footer: footer?, action: action? })
}

fn interactive_header(header: proto::InteractiveHeader, violations: &mut Violations) -> Option<InteractiveHeader> {
    use proto::interactive_header::Content as Header;
    match header.content {
        Some(Header::Text(value)) => {
            let value = text(value, 1, TEXT_MAX, "a header");
            violations.check("interactive.header.text", value).map(InteractiveHeader::Text)
        }
        Some(Header::Media(value)) => {
            media(value, "interactive.header.media", violations).map(InteractiveHeader::Media)
        }
        None => {
            violations.add("interactive.header", Reason::Required, "one of text, media is needed");
            None
        }
    }
}

fn reply_buttons(buttons: Vec<proto::ReplyButton>, violations: &mut Violations) -> Option<InteractiveAction> {
    let path = "interactive.reply_buttons.buttons";
    if buttons.is_empty() {
        violations.add(path, Reason::Required, "at least one button is needed");
        return None;
    }
    let mut read: Vec<ReplyButton> = Vec::with_capacity(buttons.len());
    for (i, button) in buttons.into_iter().enumerate() {
        let id = violations.check(format!("{path}[{i}].id"), text(button.id, 1, 256, "a button's id"));
        let title = violations.check(format!("{path}[{i}].title"), text(button.title, 1, 256, "a button's title"));
        let Some((id, title)) = id.zip(title) else { continue };
        if read.iter().any(|other| other.id == id) {
            violations.add(format!("{path}[{i}].id"), Reason::Invalid, "two buttons have this id");
        }
        if read.iter().any(|other| other.title == title) {
            violations.add(format!("{path}[{i}].title"), Reason::Invalid, "two buttons have this title");
        }
        read.push(ReplyButton { id, title });
    }
    Some(InteractiveAction::ReplyButtons(read))
}

fn list(list: proto::List, violations: &mut Violations) -> Option<InteractiveAction> {
    let path = "interactive.list";
    let button = violations.check(format!("{path}.button"), text(list.button, 1, 256, "the button's text"));
    if list.sections.is_empty() {
        violations.add(format!("{path}.sections"), Reason::Required, "at least one section is needed");
    }
    let several = list.sections.len() > 1;
    let mut sections = Vec::with_capacity(list.sections.len());
    for (s, section) in list.sections.into_iter().enumerate() {
        let path = format!("{path}.sections[{s}]");
        let least = usize::from(several);
        let title = violations.check(format!("{path}.title"), text(section.title, least, 256, "a section's title"));
        if section.rows.is_empty() {
            violations.add(format!("{path}.rows"), Reason::Required, "at least one row is needed");
        }
        let mut rows = Vec::with_capacity(section.rows.len());
        for (r, row) in section.rows.into_iter().enumerate() {
            let path = format!("{path}.rows[{r}]");
            let id = violations.check(format!("{path}.id"), text(row.id, 1, 200, "a row's id"));
            let title = violations.check(format!("{path}.title"), text(row.title, 1, 256, "a row's title"));
            let description = text(row.description, 0, 1_024, "a row's description");
            let description = violations.check(format!("{path}.description"), description);
            if let (Some(id), Some(title), Some(description)) = (id, title, description) {
                rows.push(ListRow { id, title, description });
            }
        }
        sections.push(ListSection { title: title.unwrap_or_default(), rows });
    }
    Some(InteractiveAction::List(List { button: button?, sections }))
}

fn read_options(
    options: Option<proto::SendOptions>,
    now: Millis,
    violations: &mut Violations,
) -> Result<Options, Error> {
    let Some(options) = options else { return Ok(Options::default()) };
    refuse_what_is_not_there(&options)?;
    let key = match options.idempotency_key.as_str() {
        "" => None,
        key => {
            let key = text(key.to_owned(), 1, KEY_MAX, "an idempotency key");
            violations.check("options.idempotency_key", key)
        }
    };
    let send_at_ms = options.send_time.and_then(|time| send_time(time, now, violations));
    let validity_ms = options.validity.and_then(|validity| self::validity(validity, violations));
    if options.callback_data.len() > CALLBACK_DATA_MAX {
        let length = options.callback_data.len();
        let description = format!("{length} bytes; callback data has at most {CALLBACK_DATA_MAX}");
        violations.add("options.callback_data", Reason::TooLong, description);
    }
    let labels = labels(options.labels, violations);
    let priority = match proto::Priority::try_from(options.priority) {
        Ok(proto::Priority::Unspecified | proto::Priority::Normal) => Priority::Normal,
        Ok(proto::Priority::Urgent) => Priority::Urgent,
        Ok(proto::Priority::Bulk) => Priority::Bulk,
        Err(_) => {
            violations.add("options.priority", Reason::Invalid, "a priority is URGENT, NORMAL or BULK");
            Priority::Normal
        }
    };
    let in_doubt_policy = match proto::InDoubtPolicy::try_from(options.in_doubt_policy) {
        Ok(proto::InDoubtPolicy::Unspecified | proto::InDoubtPolicy::AtMostOnce) => InDoubtPolicy::AtMostOnce,
        Ok(proto::InDoubtPolicy::AtLeastOnce) => InDoubtPolicy::AtLeastOnce,
        Err(_) => {
            violations.add("options.in_doubt_policy", Reason::Invalid, "a policy is AT_MOST_ONCE or AT_LEAST_ONCE");
            InDoubtPolicy::AtMostOnce
        }
    };
    Ok(Options {
        key,
        send_at_ms,
        validity_ms,
        callback_data: options.callback_data,
        labels,
        priority,
        in_doubt_policy,
        validate_only: options.validate_only,
    })
}

/// Options of the contract that this version does not carry out. To take them and do nothing would be a lie.
fn refuse_what_is_not_there(options: &proto::SendOptions) -> Result<(), Error> {
    use proto::window_policy::Action;
    if !options.callback_url.is_empty() {
        return Err(Error::NotImplemented("options.callback_url"));
    }
    if !options.fallback_senders.is_empty() {
        return Err(Error::NotImplemented("options.fallback_senders"));
    }
    let window = options.on_window_closed.as_ref();
    // An empty policy is none.
    let anyway = |policy: &proto::WindowPolicy| {
        policy.template.is_none() && [Action::Unspecified as i32, Action::SendAnyway as i32].contains(&policy.action)
    };
    if !window.is_none_or(anyway) {
        return Err(Error::NotImplemented("options.on_window_closed other than SEND_ANYWAY"));
    }
    Ok(())
}

/// A timestamp as Unix milliseconds, if it is one.
pub(super) fn millis(time: prost_types::Timestamp) -> Option<Millis> {
    let in_range =
        (-62_135_596_800..=253_402_300_799).contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos);
    in_range.then(|| time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000)
}

fn send_time(time: prost_types::Timestamp, now: Millis, violations: &mut Violations) -> Option<Millis> {
    match millis(time) {
        None => violations.add("options.send_time", Reason::Invalid, "not a time"),
        Some(time) if time > now + MAX_AHEAD_MS => {
            violations.add("options.send_time", Reason::Invalid, "a send time lies at most 30 days ahead");
        }
        Some(time) => return Some(time),
    }
    None
}

/// A duration, if it is one and not negative.
pub(super) fn duration(duration: prost_types::Duration) -> Option<Duration> {
    // prost-types' own conversion overflows on the way from the smallest numbers there are.
    let (seconds, nanos) = (u64::try_from(duration.seconds).ok()?, u32::try_from(duration.nanos).ok()?);
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

fn validity(given: prost_types::Duration, violations: &mut Violations) -> Option<Millis> {
    let millis = duration(given).and_then(|validity| Millis::try_from(validity.as_millis()).ok());
    match millis {
        Some(millis) if (1..=MAX_AHEAD_MS).contains(&millis) => Some(millis),
        _ => {
            violations.add("options.validity", Reason::Invalid, "a validity is 1 ms to 30 days");
            None
        }
    }
}

fn labels(labels: std::collections::HashMap<String, String>, violations: &mut Violations) -> BTreeMap<String, String> {
    if labels.len() > LABELS_MAX {
        let description = format!("{} labels; a message has at most {LABELS_MAX}", labels.len());
        violations.add("options.labels", Reason::TooLong, description);
    }
    for (key, value) in &labels {
        check_label(key, value, &format!("options.labels[{key:?}]"), violations);
    }
    labels.into_iter().collect()
}

fn check_label(key: &str, value: &str, path: &str, violations: &mut Violations) {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-');
    if key.is_empty() || key.len() > 63 || !key.chars().all(fits) {
        violations.add(path, Reason::Invalid, "a label's key has 1 to 63 of a-z, 0-9, '_', '.', '-'");
    }
    if value.chars().count() > 256 {
        violations.add(path, Reason::TooLong, "a label's value has at most 256 characters");
    }
    if value.chars().any(char::is_control) {
        violations.add(path, Reason::Invalid, "a label's value holds no control characters");
    }
}

/// Reads labels of a filter: `key=value`.
pub(super) fn label_filter(labels: Vec<String>, path: &str, violations: &mut Violations) -> Vec<(String, String)> {
    let mut read = Vec::with_capacity(labels.len());
    for (i, label) in labels.into_iter().enumerate() {
        let path = format!("{path}[{i}]");
        match label.split_once('=') {
            Some((key, value)) => {
                check_label(key, value, &path, violations);
                read.push((key.to_owned(), value.to_owned()));
            }
            None => violations.add(path, Reason::Invalid, "a label reads `key=value`"),
        }
    }
    read
}

/// Reads senders of a filter.
pub(super) fn sender_filter(senders: Vec<String>, path: &str, violations: &mut Violations) -> Vec<SenderId> {
    let read = senders.into_iter().enumerate();
    read.filter_map(|(i, id)| violations.check(format!("{path}[{i}]"), id.parse())).collect()
}

/// Reads people of a filter: numbers in any form that has their digits, or user ids.
pub(super) fn peer_filter(peers: Vec<String>, path: &str, violations: &mut Violations) -> Vec<String> {
    let mut read = Vec::with_capacity(peers.len());
    for (i, peer) in peers.into_iter().enumerate() {
        match peer.trim() {
            "" => violations.add(format!("{path}[{i}]"), Reason::Required, "a number or a user id is needed"),
            // Nobody is called so, and PostgreSQL takes no NUL.
            peer if peer.chars().any(char::is_control) => {
                violations.add(
                    format!("{path}[{i}]"),
                    Reason::Invalid,
                    "a number or a user id has no control characters",
                );
            }
            peer => read.push(PhoneNumber::digits_of(peer).unwrap_or_else(|| peer.to_owned())),
        }
    }
    read
}

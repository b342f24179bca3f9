//! What a message says, into the domain.

use super::{TEXT_MAX, http_url, text};
use crate::domain::SenderId;
use crate::domain::content::{
    CardAddress, CardEmail, CardName, CardOrganization, CardPhone, CardUrl, ContactCard, Content, Interactive,
    InteractiveAction, InteractiveHeader, List, ListRow, ListSection, Location, Media, MediaKind, MediaSource,
    Reaction, ReplyButton, Text,
};
use crate::error::{Reason, Violations};
use crate::proto;
use crate::provider::UploadInfo;

/// Characters of each text of a contact card, at most.
const CARD_TEXT_MAX: usize = 1_024;

pub(super) fn message_content(
    content: proto::send_message_request::Content,
    violations: &mut Violations,
) -> Option<Content> {
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

pub(super) fn media(media: proto::Media, path: &str, violations: &mut Violations) -> Option<Media> {
    use proto::media::Source;
    let kind = media_kind(media.kind, &format!("{path}.kind"), violations);
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
    let mime_type = violations.check(format!("{path}.mime_type"), mime_type(media.mime_type));
    let file_name = violations.check(format!("{path}.file_name"), text(media.file_name, 0, 1_024, "a file name"));
    let caption = violations.check(format!("{path}.caption"), text(media.caption, 0, TEXT_MAX, "a caption"));
    Some(Media { kind: kind?, source: source?, mime_type: mime_type?, file_name: file_name?, caption: caption? })
}

/// Reads what a file is uploaded as; all of it is needed but its name and its size.
pub(in crate::grpc) fn upload(given: proto::UploadInfo, violations: &mut Violations) -> Option<(SenderId, UploadInfo)> {
    let sender = violations.check("info.sender", given.sender.parse());
    let kind = media_kind(given.kind, "info.kind", violations);
    let mime_type = match given.mime_type.as_str() {
        "" => Err((Reason::Required, "the file's MIME type is needed, such as image/jpeg".to_owned())),
        _ => mime_type(given.mime_type),
    };
    let mime_type = violations.check("info.mime_type", mime_type);
    let file_name = violations.check("info.file_name", text(given.file_name, 0, 1_024, "a file name"));
    let size_bytes = given.size_bytes.map(|size| match u64::try_from(size) {
        Ok(size @ 1..) => Ok(size),
        _ => Err((Reason::Invalid, "a size is more than 0; leave it out where it is not known".to_owned())),
    });
    let size_bytes = size_bytes.map(|size| violations.check("info.size_bytes", size));
    let info =
        UploadInfo { kind: kind?, mime_type: mime_type?, file_name: file_name?, size_bytes: size_bytes.flatten() };
    Some((sender?, info))
}

fn media_kind(number: i32, path: &str, violations: &mut Violations) -> Option<MediaKind> {
    match proto::MediaKind::try_from(number) {
        Ok(proto::MediaKind::Image) => Some(MediaKind::Image),
        Ok(proto::MediaKind::Audio) => Some(MediaKind::Audio),
        Ok(proto::MediaKind::Voice) => Some(MediaKind::Voice),
        Ok(proto::MediaKind::Video) => Some(MediaKind::Video),
        Ok(proto::MediaKind::Document) => Some(MediaKind::Document),
        Ok(proto::MediaKind::Sticker) => Some(MediaKind::Sticker),
        Ok(proto::MediaKind::Unspecified) => {
            violations.add(path, Reason::Required, "a kind is needed: IMAGE, AUDIO, …");
            None
        }
        Err(_) => {
            violations.add(path, Reason::Invalid, format!("there is no kind {number}"));
            None
        }
    }
}

/// It goes into headers too, so it is plain from end to end.
fn mime_type(given: String) -> Result<String, (Reason, String)> {
    match given {
        given if given.is_empty() || is_mime(&given) => Ok(given),
        _ => Err((Reason::Invalid, "a MIME type reads `image/jpeg`, with parameters or without".to_owned())),
    }
}

fn is_mime(value: &str) -> bool {
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"/;,\"()<>@".contains(&b));
    let essence = value.split(';').next().unwrap_or_default().trim();
    let plain = value.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    plain && value.len() <= 255 && essence.split_once('/').is_some_and(|(kind, name)| token(kind) && token(name))
}

pub(super) fn location(location: proto::Location, path: &str, violations: &mut Violations) -> Option<Location> {
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

//! Contents going out.

use serde_json::{Map, Value, json};

use super::{CARDS, QUOTABLE, SECTION_TITLE_MAX, SECTIONS_MAX, language_code};
use crate::domain::content::{
    CardName, ContactCard, Content, Interactive, InteractiveAction, InteractiveHeader, List, ListRow, ListSection,
    Location, Media, MediaKind, MediaSource, ReplyButton, Template, TemplateButton, TemplateButtonKind, TemplateHeader,
};
use crate::domain::{DeliveryError, ErrorReason};
use crate::provider::{Outgoing, SendError, cards};

/// What those who take WhatsApp's form take of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// The language of templates that name none; empty: those are refused.
    pub language: &'static str,
    /// All of it, as Meta's own API has it: files by id, recordings that are shown as such, reactions, and parameters of
    /// templates by name.
    pub whole: bool,
}

/// Why a content cannot be written. Nothing is left out silently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoForm {
    /// There is no form for it.
    NotCarried(&'static str),
    /// There is one, which this does not fit.
    Misfit(ErrorReason, String),
}

impl NoForm {
    /// The refusal by a provider of that name.
    pub fn refused(self, provider: &str) -> SendError {
        match self {
            NoForm::NotCarried(what) => SendError::not_supported(provider, what),
            NoForm::Misfit(reason, why) => SendError::Refused(DeliveryError::ours(reason, why, false)),
        }
    }
}

type Written<T> = Result<T, NoForm>;

/// A message's content in WhatsApp's form: its `type`, and the value of the member of that name. Whether a link is shown with
/// a preview is not in it, since that stands in different places.
///
/// # Errors
/// What of it has no such form.
pub fn part(message: &Outgoing, dialect: Dialect) -> Written<(&'static str, Value)> {
    Ok(match &message.content {
        Content::Text(text) => ("text", json!({ "body": text.body })),
        Content::Media(media) => file(media, dialect)?,
        Content::Location(place) => ("location", location(place)?),
        Content::ContactCards(cards) => ("contacts", cards.iter().map(card).collect()),
        Content::Interactive(message) => ("interactive", interactive(message, dialect)?),
        Content::Template(filled) => ("template", template(filled, dialect)?),
        Content::Reaction(_) if !dialect.whole => return Err(NoForm::NotCarried("reactions")),
        Content::Reaction(reaction) => {
            let id = message.reaction_to.as_ref().ok_or_else(|| {
                let why = "the message reacted to has no id at the provider";
                NoForm::Misfit(ErrorReason::InvalidRequest, why.to_owned())
            })?;
            ("reaction", json!({ "message_id": id, "emoji": reaction.emoji }))
        }
    })
}

/// What people say in it, for keeping it out of traces and errors.
pub fn private_words(content: &Content) -> Vec<&str> {
    let mut words: Vec<&str> = match content {
        Content::Text(text) => vec![&text.body],
        Content::Media(media) => vec![&media.caption, &media.file_name],
        Content::Location(place) => vec![&place.name, &place.address],
        Content::ContactCards(cards) => cards.iter().flat_map(card_words).collect(),
        Content::Interactive(message) => menu_words(message),
        Content::Template(template) => {
            let values = template.parameters.values().map(String::as_str);
            let buttons = template.buttons.iter().map(|button| button.parameter.as_str());
            let header: Vec<&str> = match &template.header {
                Some(TemplateHeader::Text(text)) => vec![text.as_str()],
                Some(TemplateHeader::Location(place)) => vec![&place.name, &place.address],
                Some(TemplateHeader::Media(media)) => vec![&media.file_name],
                None => Vec::new(),
            };
            values.chain(buttons).chain(header).collect()
        }
        Content::Reaction(_) => Vec::new(),
    };
    words.retain(|word| word.len() >= QUOTABLE);
    words
}

fn card_words(card: &ContactCard) -> impl Iterator<Item = &str> {
    let phones = card.phones.iter().flat_map(|phone| [phone.phone.as_str(), &phone.wa_id]);
    let emails = card.emails.iter().map(|email| email.email.as_str());
    let streets = card.addresses.iter().map(|address| address.street.as_str());
    std::iter::once(card.name.formatted_name.as_str()).chain(phones).chain(emails).chain(streets)
}

fn menu_words(message: &Interactive) -> Vec<&str> {
    let mut words: Vec<&str> = vec![&message.body, &message.footer];
    if let Some(InteractiveHeader::Text(text)) = &message.header {
        words.push(text);
    }
    match &message.action {
        InteractiveAction::ReplyButtons(buttons) => words.extend(buttons.iter().map(|button| button.title.as_str())),
        InteractiveAction::List(list) => {
            let rows = list.sections.iter().flat_map(|section| &section.rows);
            words.extend(rows.flat_map(|row| [row.title.as_str(), &row.description]));
        }
        InteractiveAction::UrlButton { url, .. } => words.push(url),
    }
    words
}

/// An object of those members that have a text.
fn texts<'a>(members: impl IntoIterator<Item = (&'a str, &'a String)>) -> Map<String, Value> {
    let filled = members.into_iter().filter(|(_, text)| !text.is_empty());
    filled.map(|(name, text)| (name.to_owned(), text.as_str().into())).collect()
}

/// A card. WhatsApp wants one part of the name beside the whole; the whole is the nearest to it.
fn card(card: &ContactCard) -> Value {
    let name = &card.name;
    let parts = [&name.first_name, &name.last_name, &name.middle_name, &name.prefix, &name.suffix];
    if parts.iter().any(|part| !part.is_empty()) {
        return cards::write(card, &CARDS);
    }
    let name = CardName { first_name: name.formatted_name.clone(), ..name.clone() };
    cards::write(&ContactCard { name, ..card.clone() }, &CARDS)
}

/// A file by its address or its id. Its type is told by the file itself.
fn file(media: &Media, dialect: Dialect) -> Written<(&'static str, Value)> {
    let word = match media.kind {
        MediaKind::Image => "image",
        MediaKind::Audio | MediaKind::Voice => "audio",
        MediaKind::Video => "video",
        MediaKind::Document => "document",
        MediaKind::Sticker => "sticker",
    };
    if !media.caption.is_empty() && matches!(word, "audio" | "sticker") {
        return Err(NoForm::NotCarried("captions of sound and stickers"));
    }
    if !media.file_name.is_empty() && word != "document" {
        return Err(NoForm::NotCarried("file names but of documents"));
    }
    let source = match &media.source {
        MediaSource::Url(link) => ("link", link),
        MediaSource::MediaId(id) if dialect.whole => ("id", id),
        MediaSource::MediaId(_) => return Err(NoForm::NotCarried("media by id")),
    };
    let mut members = texts([source, ("caption", &media.caption), ("filename", &media.file_name)]);
    if dialect.whole && media.kind == MediaKind::Voice {
        members.insert("voice".into(), true.into());
    }
    Ok((word, members.into()))
}

/// `{"type": "image", "image": {"link": …}}`, without a caption, for which headers have no place.
fn header_file(media: &Media, dialect: Dialect) -> Written<Value> {
    match file(media, dialect)? {
        (word @ ("image" | "video" | "document"), value) if media.caption.is_empty() => {
            Ok(json!({ "type": word, word: value }))
        }
        _ => Err(NoForm::NotCarried("sound, stickers and captions in headers")),
    }
}

fn location(place: &Location) -> Written<Value> {
    if !place.url.is_empty() {
        return Err(NoForm::NotCarried("pages of places"));
    }
    let mut members = texts([("name", &place.name), ("address", &place.address)]);
    members.insert("latitude".into(), place.latitude.into());
    members.insert("longitude".into(), place.longitude.into());
    Ok(members.into())
}

fn interactive(message: &Interactive, dialect: Dialect) -> Written<Value> {
    let (kind, action) = match &message.action {
        InteractiveAction::ReplyButtons(buttons) => {
            let button = |b: &ReplyButton| json!({ "type": "reply", "reply": { "id": b.id, "title": b.title } });
            ("button", json!({ "buttons": buttons.iter().map(button).collect::<Vec<_>>() }))
        }
        InteractiveAction::List(list) => ("list", sections(list)?),
        InteractiveAction::UrlButton { text, url } => {
            ("cta_url", json!({ "name": "cta_url", "parameters": { "display_text": text, "url": url } }))
        }
    };
    let mut members = json!({ "type": kind, "body": { "text": message.body }, "action": action });
    if !message.footer.is_empty() {
        members["footer"] = json!({ "text": message.footer });
    }
    match &message.header {
        None => {}
        Some(InteractiveHeader::Text(text)) => members["header"] = json!({ "type": "text", "text": text }),
        Some(InteractiveHeader::Media(_)) if kind == "list" => return Err(NoForm::NotCarried("files above lists")),
        Some(InteractiveHeader::Media(media)) => members["header"] = header_file(media, dialect)?,
    }
    Ok(members)
}

fn sections(list: &List) -> Written<Value> {
    if list.sections.len() > SECTIONS_MAX {
        let why = format!("a list has {SECTIONS_MAX} sections at most");
        return Err(NoForm::Misfit(ErrorReason::InvalidContent, why));
    }
    if list.sections.iter().any(|section| section.title.chars().count() > SECTION_TITLE_MAX) {
        let why = format!("a section's title has {SECTION_TITLE_MAX} characters at most");
        return Err(NoForm::Misfit(ErrorReason::ContentTooLong, why));
    }
    let section = |section: &ListSection| {
        let row = |row: &ListRow| {
            Value::from(texts([("id", &row.id), ("title", &row.title), ("description", &row.description)]))
        };
        let mut members = texts([("title", &section.title)]);
        members.insert("rows".into(), section.rows.iter().map(row).collect());
        Value::from(members)
    };
    Ok(json!({ "button": list.button, "sections": list.sections.iter().map(section).collect::<Vec<_>>() }))
}

/// A template and what fills it. What has no variables has no component.
fn template(template: &Template, dialect: Dialect) -> Written<Value> {
    let given = language_code(&template.language_code).unwrap_or_else(|| dialect.language.to_owned());
    if given.is_empty() {
        let why = "a template needs its language, or the sender a default one";
        return Err(NoForm::Misfit(ErrorReason::InvalidRequest, why.to_owned()));
    }
    let mut components = Vec::new();
    if let Some(header) = &template.header {
        let parameter = match header {
            TemplateHeader::Text(text) => match template.header_parameter.as_str() {
                "" => json!({ "type": "text", "text": text }),
                name => json!({ "type": "text", "parameter_name": name, "text": text }),
            },
            TemplateHeader::Media(media) => header_file(media, dialect)?,
            TemplateHeader::Location(place) => json!({ "type": "location", "location": location(place)? }),
        };
        components.push(json!({ "type": "header", "parameters": [parameter] }));
    }
    if !template.parameters.is_empty() {
        components.push(json!({ "type": "body", "parameters": parameters(template, dialect)? }));
    }
    components.extend(template.buttons.iter().map(template_button));
    let mut members = json!({ "name": template.template, "language": { "code": given } });
    if !components.is_empty() {
        members["components"] = components.into();
    }
    Ok(members)
}

/// Values by position in their order, or each with its name.
fn parameters(template: &Template, dialect: Dialect) -> Written<Vec<Value>> {
    let parameters = template.ordered_parameters();
    let positions = parameters.iter().filter(|(key, _)| key.parse::<u32>().is_ok()).count();
    let named = match positions {
        all if all == parameters.len() => false,
        _ if !dialect.whole => return Err(NoForm::NotCarried("template parameters by name")),
        0 => true,
        _ => {
            let why = "parameters go by position or by name, not by both";
            return Err(NoForm::Misfit(ErrorReason::TemplateParameters, why.to_owned()));
        }
    };
    let parameter = |(key, value): (&str, &str)| match named {
        true => json!({ "type": "text", "parameter_name": key, "text": value }),
        false => json!({ "type": "text", "text": value }),
    };
    Ok(parameters.into_iter().map(parameter).collect())
}

/// What fills a button of a template: the end of an address, a payload or a code.
fn template_button(button: &TemplateButton) -> Value {
    let value = &button.parameter;
    let (kind, parameter) = match button.kind {
        TemplateButtonKind::Url => ("url", json!({ "type": "text", "text": value })),
        TemplateButtonKind::QuickReply => ("quick_reply", json!({ "type": "payload", "payload": value })),
        TemplateButtonKind::CopyCode => ("copy_code", json!({ "type": "coupon_code", "coupon_code": value })),
    };
    json!({ "type": "button", "sub_type": kind, "index": button.index.to_string(), "parameters": [parameter] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::content::{CardAddress, CardEmail, CardOrganization, CardPhone, CardUrl, Reaction, Text};
    use crate::domain::{MessageId, PhoneNumber};

    const SOME: Dialect = Dialect { language: "pt_BR", whole: false };

    fn written(content: &Content, dialect: Dialect) -> Written<(&'static str, Value)> {
        let (given, digits) = ("+5511987654321".into(), "5511987654321".into());
        let (to, message_id, content) = (PhoneNumber { given, digits }, MessageId::generate(), content.clone());
        let (reply_to, reaction_to) = (None, None);
        part(&Outgoing { message_id, attempt: 1, to, content, reply_to, reaction_to, validity: None }, dialect)
    }

    fn media(kind: MediaKind, caption: &str, file_name: &str) -> Media {
        let source = MediaSource::Url("https://files.example.test/a".into());
        let (caption, file_name) = (caption.into(), file_name.into());
        Media { kind, source, mime_type: String::new(), file_name, caption }
    }

    fn buttons(header: Option<InteractiveHeader>, action: InteractiveAction) -> Content {
        Content::Interactive(Interactive { body: "Deliver today?".into(), header, footer: "Acme".into(), action })
    }

    fn filled(header: Option<TemplateHeader>, parameters: &[(&str, &str)], buttons: Vec<TemplateButton>) -> Content {
        let parameters = parameters.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let (template, language_code) = ("order_out".into(), String::new());
        Content::Template(Template { template, language_code, parameters, header, buttons, ..Default::default() })
    }

    fn rui() -> ContactCard {
        ContactCard {
            name: CardName { formatted_name: "Rui Melo".into(), first_name: "Rui".into(), ..Default::default() },
            phones: vec![CardPhone { phone: "+351910000009".into(), r#type: "CELL".into(), wa_id: "".into() }],
            emails: vec![CardEmail { email: "rui@example.test".into(), ..Default::default() }],
            addresses: vec![CardAddress { city: "Porto".into(), country_code: "pt".into(), ..Default::default() }],
            organization: Some(CardOrganization { company: "Acme".into(), ..Default::default() }),
            urls: vec![CardUrl { url: "https://example.test".into(), ..Default::default() }],
            birthday: "1990-02-01".into(),
        }
    }

    #[test]
    fn contents_take_whatsapps_form() {
        let reply = || InteractiveAction::ReplyButtons(vec![ReplyButton { id: "yes".into(), title: "Yes".into() }]);
        let row = ListRow { id: "r1".into(), title: "Ten".into(), description: String::new() };
        let sections = vec![ListSection { title: "Morning".into(), rows: vec![row] }];
        let list = InteractiveAction::List(List { button: "Times".into(), sections });
        let place = Location { latitude: 38.72, longitude: -9.14, name: "Acme".into(), ..Default::default() };
        let link = "https://files.example.test/a";
        let cases = [
            (Content::Text(Text { body: "É já?".into(), preview_url: true }), "text", json!({ "body": "É já?" })),
            (
                Content::Media(media(MediaKind::Document, "Invoice", "nf-10.pdf")),
                "document",
                json!({ "link": link, "caption": "Invoice", "filename": "nf-10.pdf" }),
            ),
            (Content::Media(media(MediaKind::Voice, "", "")), "audio", json!({ "link": link })),
            (
                Content::Location(place.clone()),
                "location",
                json!({ "latitude": 38.72, "longitude": -9.14, "name": "Acme" }),
            ),
            (
                Content::ContactCards(vec![rui()]),
                "contacts",
                json!([{
                    "name": { "formatted_name": "Rui Melo", "first_name": "Rui" },
                    "phones": [{ "phone": "+351910000009", "type": "CELL" }],
                    "emails": [{ "email": "rui@example.test" }], "urls": [{ "url": "https://example.test" }],
                    "addresses": [{ "city": "Porto", "country_code": "pt" }], "org": { "company": "Acme" },
                    "birthday": "1990-02-01",
                }]),
            ),
            (
                buttons(Some(InteractiveHeader::Media(media(MediaKind::Image, "", ""))), reply()),
                "interactive",
                json!({
                    "type": "button", "body": { "text": "Deliver today?" }, "footer": { "text": "Acme" },
                    "header": { "type": "image", "image": { "link": link } },
                    "action": { "buttons": [{ "type": "reply", "reply": { "id": "yes", "title": "Yes" } }] },
                }),
            ),
            (
                buttons(Some(InteractiveHeader::Text("Times".into())), list),
                "interactive",
                json!({
                    "type": "list", "body": { "text": "Deliver today?" }, "footer": { "text": "Acme" },
                    "header": { "type": "text", "text": "Times" },
                    "action": { "button": "Times", "sections": [{ "title": "Morning", "rows": [{ "id": "r1", "title": "Ten" }] }] },
                }),
            ),
            (filled(None, &[], vec![]), "template", json!({ "name": "order_out", "language": { "code": "pt_BR" } })),
            (
                filled(
                    Some(TemplateHeader::Media(media(MediaKind::Document, "", "nf-10.pdf"))),
                    &[("1", "Maria"), ("2", "A-1001")],
                    vec![TemplateButton { index: 0, parameter: "A-1001".into(), kind: Default::default() }],
                ),
                "template",
                json!({
                    "name": "order_out", "language": { "code": "pt_BR" },
                    "components": [
                        { "type": "header", "parameters": [{ "type": "document", "document": { "link": link, "filename": "nf-10.pdf" } }] },
                        { "type": "body", "parameters": [{ "type": "text", "text": "Maria" }, { "type": "text", "text": "A-1001" }] },
                        { "type": "button", "sub_type": "url", "index": "0", "parameters": [{ "type": "text", "text": "A-1001" }] },
                    ],
                }),
            ),
            (
                filled(Some(TemplateHeader::Location(place)), &[], vec![]),
                "template",
                json!({
                    "name": "order_out", "language": { "code": "pt_BR" },
                    "components": [{ "type": "header", "parameters": [
                        { "type": "location", "location": { "latitude": 38.72, "longitude": -9.14, "name": "Acme" } },
                    ] }],
                }),
            ),
        ];
        for (content, word, value) in cases {
            assert_eq!(written(&content, SOME), Ok((word, value)), "{content:?}");
        }
    }

    #[test]
    fn what_has_no_form_is_refused_whole() {
        let by_id = Media { source: MediaSource::MediaId("7".into()), ..media(MediaKind::Image, "", "") };
        let list = InteractiveAction::List(List { button: "x".into(), sections: vec![] });
        for content in [
            Content::Media(by_id),
            Content::Media(media(MediaKind::Voice, "not to be cut off", "")),
            Content::Media(media(MediaKind::Image, "", "a.jpg")),
            Content::Location(Location { url: "https://maps.example.test".into(), ..Default::default() }),
            buttons(Some(InteractiveHeader::Media(media(MediaKind::Image, "", ""))), list),
            filled(None, &[("name", "Maria")], vec![]),
            filled(Some(TemplateHeader::Media(media(MediaKind::Image, "not to be cut off", ""))), &[], vec![]),
            Content::Reaction(Reaction { message_id: None, emoji: "👍".into() }),
        ] {
            assert!(matches!(written(&content, SOME), Err(NoForm::NotCarried(_))), "{content:?}");
        }
    }

    #[test]
    fn what_people_say_is_known_wherever_it_stands() {
        let title = ReplyButton { id: "yes".into(), title: "Yes, please".into() };
        let row = ListRow { id: "r1".into(), title: "Ten in the morning".into(), description: "by the door".into() };
        let list = List { button: "Times".into(), sections: vec![ListSection { title: "".into(), rows: vec![row] }] };
        let header = |text: &str| Some(InteractiveHeader::Text(text.into()));
        let button = TemplateButton { index: 0, parameter: "A-1001-0007".into(), kind: Default::default() };
        for (content, words) in [
            (Content::Text(Text { body: "short".into(), preview_url: false }), vec![]),
            (
                Content::Media(media(MediaKind::Document, "Invoice 77", "invoice-77.pdf")),
                vec!["Invoice 77", "invoice-77.pdf"],
            ),
            (Content::ContactCards(vec![rui()]), vec!["Rui Melo", "+351910000009", "rui@example.test"]),
            (
                buttons(header("To Maria"), InteractiveAction::ReplyButtons(vec![title])),
                vec!["Deliver today?", "To Maria", "Yes, please"],
            ),
            (buttons(None, InteractiveAction::List(list)), vec!["Deliver today?", "Ten in the morning", "by the door"]),
            (
                filled(Some(TemplateHeader::Text("Maria Silva".into())), &[("1", "Rua Exemplo 10")], vec![button]),
                vec!["Rua Exemplo 10", "A-1001-0007", "Maria Silva"],
            ),
        ] {
            assert_eq!(private_words(&content), words);
        }
    }

    #[test]
    fn o12_twelve_parameters_go_out_in_the_order_of_their_numbers() {
        let pairs: Vec<(String, String)> = (1..=12).map(|n| (n.to_string(), format!("v{n}"))).collect();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
        let (_, value) = written(&filled(None, &pairs, vec![]), SOME).unwrap();
        let texts = value["components"][0]["parameters"].as_array().unwrap().iter();
        let texts: Vec<&str> = texts.map(|parameter| parameter["text"].as_str().unwrap()).collect();
        assert_eq!(texts, pairs.iter().map(|(_, value)| *value).collect::<Vec<_>>());
    }
}

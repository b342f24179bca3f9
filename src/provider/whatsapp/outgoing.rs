//! Contents going out.

use serde_json::{Map, Value, json};

use super::{CARDS, language_code};
use crate::domain::content::{
    Content, Interactive, InteractiveAction, InteractiveHeader, List, Location, Media, MediaKind, MediaSource,
    Template, TemplateButton, TemplateButtonKind, TemplateHeader,
};
use crate::provider::cards;

/// Texts shorter than this are not looked for in answers: words like "to" stand there for themselves.
const QUOTABLE: usize = 8;

/// A content in WhatsApp's form: its `type`, and the value of the member of that name. Templates without a language get
/// `language`. Whether a link is shown with a preview is not in it, since that stands in different places.
///
/// # Errors
/// In words, what of it has no such form; nothing is left out silently.
pub fn part(content: &Content, language: &str) -> Result<(&'static str, Value), &'static str> {
    Ok(match content {
        Content::Text(text) => ("text", json!({ "body": text.body })),
        Content::Media(media) => file(media)?,
        Content::Location(place) => ("location", location(place)?),
        Content::ContactCards(cards) => ("contacts", cards.iter().map(|card| cards::write(card, &CARDS)).collect()),
        Content::Interactive(message) => ("interactive", interactive(message)?),
        Content::Template(filled) => ("template", template(filled, language)?),
        Content::Reaction(_) => return Err("reactions"),
    })
}

/// What people say in it, for keeping it out of traces and errors.
pub fn private_words(content: &Content) -> Vec<&str> {
    let mut words: Vec<&str> = match content {
        Content::Text(text) => vec![&text.body],
        Content::Media(media) => vec![&media.caption, &media.file_name],
        Content::Location(place) => vec![&place.name, &place.address],
        Content::ContactCards(cards) => {
            let name = cards.iter().map(|card| card.name.formatted_name.as_str());
            name.chain(cards.iter().flat_map(|card| card.phones.iter().map(|phone| phone.phone.as_str()))).collect()
        }
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

fn file(media: &Media) -> Result<(&'static str, Value), &'static str> {
    let MediaSource::Url(link) = &media.source else { return Err("media by id") };
    let word = match media.kind {
        MediaKind::Image => "image",
        MediaKind::Audio | MediaKind::Voice => "audio",
        MediaKind::Video => "video",
        MediaKind::Document => "document",
        MediaKind::Sticker => "sticker",
    };
    if !media.caption.is_empty() && matches!(word, "audio" | "sticker") {
        return Err("captions of sound and stickers");
    }
    if !media.file_name.is_empty() && word != "document" {
        return Err("file names but of documents");
    }
    let members = texts([("link", link), ("caption", &media.caption), ("filename", &media.file_name)]);
    Ok((word, members.into()))
}

fn location(place: &Location) -> Result<Value, &'static str> {
    if !place.url.is_empty() {
        return Err("pages of places");
    }
    let mut members = texts([("name", &place.name), ("address", &place.address)]);
    members.insert("latitude".into(), place.latitude.into());
    members.insert("longitude".into(), place.longitude.into());
    Ok(members.into())
}

fn interactive(message: &Interactive) -> Result<Value, &'static str> {
    let (kind, action) = match &message.action {
        InteractiveAction::ReplyButtons(buttons) => {
            let button = |b: &crate::domain::content::ReplyButton| json!({ "type": "reply", "reply": { "id": b.id, "title": b.title } });
            ("button", json!({ "buttons": buttons.iter().map(button).collect::<Vec<_>>() }))
        }
        InteractiveAction::List(list) => ("list", sections(list)),
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
        Some(InteractiveHeader::Media(_)) if kind == "list" => return Err("files above lists"),
        Some(InteractiveHeader::Media(media)) => members["header"] = header_file(media)?,
    }
    Ok(members)
}

/// `{"type": "image", "image": {"link": …}}`, without a caption, for which headers have no place.
fn header_file(media: &Media) -> Result<Value, &'static str> {
    match file(media)? {
        (word @ ("image" | "video" | "document"), value) if media.caption.is_empty() => {
            Ok(json!({ "type": word, word: value }))
        }
        _ => Err("such files in headers"),
    }
}

fn sections(list: &List) -> Value {
    let section = |section: &crate::domain::content::ListSection| {
        let row = |row: &crate::domain::content::ListRow| {
            Value::from(texts([("id", &row.id), ("title", &row.title), ("description", &row.description)]))
        };
        let mut members = texts([("title", &section.title)]);
        members.insert("rows".into(), section.rows.iter().map(row).collect());
        Value::from(members)
    };
    json!({ "button": list.button, "sections": list.sections.iter().map(section).collect::<Vec<_>>() })
}

fn template(template: &Template, language: &str) -> Result<Value, &'static str> {
    let mut components = Vec::new();
    match &template.header {
        None => {}
        Some(TemplateHeader::Text(text)) => {
            components.push(json!({ "type": "header", "parameters": [{ "type": "text", "text": text }] }));
        }
        Some(TemplateHeader::Media(media)) => {
            components.push(json!({ "type": "header", "parameters": [header_file(media)?] }));
        }
        Some(TemplateHeader::Location(place)) => {
            let place = json!({ "type": "location", "location": location(place)? });
            components.push(json!({ "type": "header", "parameters": [place] }));
        }
    }
    if template.parameters.keys().any(|key| key.parse::<u32>().is_err()) {
        return Err("template parameters by name");
    }
    if !template.parameters.is_empty() {
        let text = |(_, value)| json!({ "type": "text", "text": value });
        let parameters: Vec<Value> = template.ordered_parameters().into_iter().map(text).collect();
        components.push(json!({ "type": "body", "parameters": parameters }));
    }
    components.extend(template.buttons.iter().map(template_button));
    let code = language_code(&template.language_code).unwrap_or_else(|| language.to_owned());
    let mut members = json!({ "name": template.template, "language": { "code": code } });
    if !components.is_empty() {
        members["components"] = components.into();
    }
    Ok(members)
}

/// What fills a button of a template: the end of an address, a payload or a code.
pub fn template_button(button: &TemplateButton) -> Value {
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
    use crate::domain::content::{
        CardAddress, CardEmail, CardName, CardOrganization, CardPhone, CardUrl, ContactCard, ListRow, ListSection,
        Reaction, ReplyButton, Text,
    };

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
        Content::Template(Template { template, language_code, parameters, header, buttons })
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
            assert_eq!(part(&content, "pt_BR"), Ok((word, value)), "{content:?}");
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
            assert!(part(&content, "pt_BR").is_err(), "{content:?}");
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
            (Content::ContactCards(vec![rui()]), vec!["Rui Melo", "+351910000009"]),
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
        let (_, value) = part(&filled(None, &pairs, vec![]), "pt_BR").unwrap();
        let texts = value["components"][0]["parameters"].as_array().unwrap().iter();
        let texts: Vec<&str> = texts.map(|parameter| parameter["text"].as_str().unwrap()).collect();
        assert_eq!(texts, pairs.iter().map(|(_, value)| *value).collect::<Vec<_>>());
    }
}

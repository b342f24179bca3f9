//! Contents in Meta's form.

use serde_json::{Value, json};

use super::message;
use crate::domain::content::{
    CardName, CardOrganization, CardPhone, ContactCard, Interactive, InteractiveAction, InteractiveHeader, List,
    ListRow, ListSection, Location, Media, MediaKind, MediaSource, Reaction, ReplyButton, Template, TemplateButton,
    TemplateButtonKind, TemplateHeader, Text,
};
use crate::domain::{Content, ErrorReason};
use crate::provider::meta::message::body;
use crate::provider::{Outgoing, SendError};

/// The body as Meta would see it, without what all have.
fn written(message: &Outgoing) -> Value {
    let mut body = body("meta", message).unwrap();
    let members = body.as_object_mut().unwrap();
    assert_eq!(members.remove("messaging_product").unwrap(), "whatsapp");
    assert_eq!(members.remove("recipient_type").unwrap(), "individual");
    assert_eq!(members.remove("to").unwrap(), "5511987654321");
    assert_eq!(members.remove("biz_opaque_callback_data").unwrap(), message.message_id.to_string());
    body
}

fn form(content: Content) -> Value {
    written(&message(content))
}

fn refusal(message: &Outgoing) -> ErrorReason {
    match body("meta", message) {
        Err(SendError::Refused(error)) => error.reason,
        other => panic!("{other:?}"),
    }
}

fn file(kind: MediaKind, source: MediaSource, file_name: &str, caption: &str) -> Media {
    Media { kind, source, mime_type: String::new(), file_name: file_name.into(), caption: caption.into() }
}

fn link() -> MediaSource {
    MediaSource::Url("https://f.test/a".into())
}

#[test]
fn texts_and_quotes() {
    let text = || Content::Text(Text { body: "É já? 🚚".into(), preview_url: true });
    let wire = json!({ "type": "text", "text": { "body": "É já? 🚚", "preview_url": true } });
    assert_eq!(form(text()), wire);
    let quoting = written(&Outgoing { reply_to: Some("wamid.Q".into()), ..message(text()) });
    assert_eq!(quoting["context"], json!({ "message_id": "wamid.Q" }));
}

#[test]
fn six_kinds_of_files_by_address_and_by_id() {
    let id = || MediaSource::MediaId("1479537139650973".into());
    for (media, wire) in [
        (
            file(MediaKind::Image, link(), "", "Front"),
            json!({ "type": "image", "image": { "link": "https://f.test/a", "caption": "Front" } }),
        ),
        (file(MediaKind::Image, id(), "", ""), json!({ "type": "image", "image": { "id": "1479537139650973" } })),
        (file(MediaKind::Video, link(), "", ""), json!({ "type": "video", "video": { "link": "https://f.test/a" } })),
        (file(MediaKind::Audio, id(), "", ""), json!({ "type": "audio", "audio": { "id": "1479537139650973" } })),
        (
            file(MediaKind::Voice, link(), "", ""),
            json!({ "type": "audio", "audio": { "link": "https://f.test/a", "voice": true } }),
        ),
        (
            file(MediaKind::Document, link(), "nota-77.pdf", "Sua nota"),
            json!({ "type": "document", "document": { "link": "https://f.test/a", "filename": "nota-77.pdf", "caption": "Sua nota" } }),
        ),
        (file(MediaKind::Sticker, id(), "", ""), json!({ "type": "sticker", "sticker": { "id": "1479537139650973" } })),
    ] {
        assert_eq!(form(Content::Media(media)), wire);
    }
    for media in [
        file(MediaKind::Voice, link(), "", "not to be cut off"),
        file(MediaKind::Sticker, link(), "", "nor this"),
        file(MediaKind::Image, link(), "a.png", ""),
    ] {
        assert_eq!(refusal(&message(Content::Media(media))), ErrorReason::NotSupported);
    }
}

#[test]
fn places_and_cards() {
    let place = Location { latitude: -23.5613, longitude: -46.6565, name: "Loja".into(), ..Location::default() };
    let wire =
        json!({ "type": "location", "location": { "latitude": -23.5613, "longitude": -46.6565, "name": "Loja" } });
    assert_eq!(form(Content::Location(place.clone())), wire);
    let page = Location { url: "https://acme.example.test".into(), ..place };
    assert_eq!(refusal(&message(Content::Location(page))), ErrorReason::NotSupported);

    let card = ContactCard {
        name: CardName { formatted_name: "Rui Prado".into(), last_name: "Prado".into(), ..CardName::default() },
        phones: vec![CardPhone {
            phone: "+55 11 4000-1000".into(),
            r#type: "WORK".into(),
            wa_id: "551140001000".into(),
        }],
        organization: Some(CardOrganization { company: "Acme".into(), ..CardOrganization::default() }),
        birthday: "1990-02-01".into(),
        ..ContactCard::default()
    };
    let bare = ContactCard {
        name: CardName { formatted_name: "Rui".into(), ..CardName::default() },
        ..ContactCard::default()
    };
    let wire = json!({ "type": "contacts", "contacts": [
        {
            "name": { "formatted_name": "Rui Prado", "last_name": "Prado" },
            "phones": [{ "phone": "+55 11 4000-1000", "type": "WORK", "wa_id": "551140001000" }],
            "org": { "company": "Acme" }, "birthday": "1990-02-01",
        },
        // Meta wants a part of the name beside the whole.
        { "name": { "formatted_name": "Rui", "first_name": "Rui" } },
    ] });
    assert_eq!(form(Content::ContactCards(vec![card, bare])), wire);
}

fn menu(action: InteractiveAction, header: Option<InteractiveHeader>, footer: &str) -> Content {
    Content::Interactive(Interactive { body: "Confirma?".into(), header, footer: footer.into(), action })
}

fn list(sections: usize, title: &str) -> InteractiveAction {
    let row = || ListRow { id: "h9".into(), title: "09:00".into(), description: "Centro".into() };
    let plain = || ListRow { description: String::new(), ..row() };
    let section = |_| ListSection { title: title.into(), rows: vec![row(), plain()] };
    InteractiveAction::List(List { button: "Ver".into(), sections: (0..sections).map(section).collect() })
}

#[test]
fn buttons_lists_and_pages() {
    let buttons = || {
        let button = |id: &str, title: &str| ReplyButton { id: id.into(), title: title.into() };
        InteractiveAction::ReplyButtons(vec![button("ok-77", "Confirmo"), button("no-77", "Remarcar")])
    };
    let picture = InteractiveHeader::Media(file(MediaKind::Image, link(), "", ""));
    let url = InteractiveAction::UrlButton { text: "Abrir".into(), url: "https://acme.example.test/p/77".into() };
    for (content, wire) in [
        (
            menu(buttons(), Some(picture.clone()), "Acme"),
            json!({
                "type": "button", "body": { "text": "Confirma?" }, "footer": { "text": "Acme" },
                "header": { "type": "image", "image": { "link": "https://f.test/a" } },
                "action": { "buttons": [
                    { "type": "reply", "reply": { "id": "ok-77", "title": "Confirmo" } },
                    { "type": "reply", "reply": { "id": "no-77", "title": "Remarcar" } },
                ] },
            }),
        ),
        (
            menu(list(1, "Manhã"), Some(InteractiveHeader::Text("Horários".into())), ""),
            json!({
                "type": "list", "body": { "text": "Confirma?" }, "header": { "type": "text", "text": "Horários" },
                "action": { "button": "Ver", "sections": [{ "title": "Manhã", "rows": [
                    { "id": "h9", "title": "09:00", "description": "Centro" }, { "id": "h9", "title": "09:00" },
                ] }] },
            }),
        ),
        (
            menu(url, None, ""),
            json!({
                "type": "cta_url", "body": { "text": "Confirma?" },
                "action": { "name": "cta_url", "parameters": { "display_text": "Abrir", "url": "https://acme.example.test/p/77" } },
            }),
        ),
    ] {
        assert_eq!(form(content)["interactive"], wire);
    }
    let with_caption = InteractiveHeader::Media(file(MediaKind::Image, link(), "", "cut off?"));
    for (content, reason) in [
        (menu(list(1, "x"), Some(picture), ""), ErrorReason::NotSupported),
        (menu(buttons(), Some(with_caption), ""), ErrorReason::NotSupported),
        (menu(list(1, &"x".repeat(25)), None, ""), ErrorReason::ContentTooLong),
        (menu(list(11, "x"), None, ""), ErrorReason::InvalidContent),
    ] {
        assert_eq!(refusal(&message(content)), reason);
    }
    assert_eq!(form(menu(list(10, &"é".repeat(24)), None, ""))["interactive"]["type"], "list");
}

#[test]
fn reactions_go_to_a_message_that_has_an_id() {
    let reaction = |emoji: &str| message(Content::Reaction(Reaction { message_id: None, emoji: emoji.into() }));
    for emoji in ["👍", ""] {
        let wire = json!({ "type": "reaction", "reaction": { "message_id": "wamid.R", "emoji": emoji } });
        assert_eq!(written(&Outgoing { reaction_to: Some("wamid.R".into()), ..reaction(emoji) }), wire);
    }
    assert_eq!(refusal(&reaction("👍")), ErrorReason::InvalidRequest);
    let ids = Some("wamid.R".to_owned());
    let quoting = Outgoing { reaction_to: ids.clone(), reply_to: ids, ..reaction("👍") };
    assert_eq!(refusal(&quoting), ErrorReason::NotSupported);
}

fn template(parameters: &[(&str, &str)]) -> Template {
    Template {
        template: "boleto_disponivel".into(),
        language_code: "pt-BR".into(),
        parameters: parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Default::default()
    }
}

fn components(template: Template) -> Value {
    let wire = form(Content::Template(template));
    assert_eq!((&wire["type"], &wire["template"]["name"]), (&json!("template"), &json!("boleto_disponivel")));
    assert_eq!(wire["template"]["language"], json!({ "code": "pt_BR" }));
    wire["template"]["components"].clone()
}

#[test]
fn o12_template_parameters_go_by_position_or_by_name() {
    assert_eq!(components(template(&[])), Value::Null);
    let keys: Vec<String> = (1..=12).map(|n: u32| n.to_string()).collect();
    let twelve: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), key.as_str())).collect();
    let texts: Vec<Value> = keys.iter().map(|key| json!({ "type": "text", "text": key })).collect();
    assert_eq!(components(template(&twelve)), json!([{ "type": "body", "parameters": texts }]));
    assert_eq!(
        components(template(&[("nome", "Marina"), ("vencimento", "12/01")])),
        json!([{ "type": "body", "parameters": [
        { "type": "text", "parameter_name": "nome", "text": "Marina" },
        { "type": "text", "parameter_name": "vencimento", "text": "12/01" },
    ] }])
    );
    assert_eq!(
        refusal(&message(Content::Template(template(&[("1", "a"), ("nome", "b")])))),
        ErrorReason::TemplateParameters
    );
    let no_language = Template { language_code: String::new(), ..template(&[]) };
    assert_eq!(refusal(&message(Content::Template(no_language))), ErrorReason::InvalidRequest);
}

#[test]
fn o11_template_headers_and_buttons() {
    let with = |header| Template { header: Some(header), ..template(&[]) };
    for (header, wire) in [
        (TemplateHeader::Text("A-1".into()), json!({ "type": "text", "text": "A-1" })),
        (
            TemplateHeader::Media(file(MediaKind::Document, link(), "boleto.pdf", "")),
            json!({ "type": "document", "document": { "link": "https://f.test/a", "filename": "boleto.pdf" } }),
        ),
        (
            TemplateHeader::Media(file(MediaKind::Video, MediaSource::MediaId("7".into()), "", "")),
            json!({ "type": "video", "video": { "id": "7" } }),
        ),
        (
            TemplateHeader::Location(Location {
                latitude: 1.0,
                longitude: 2.0,
                name: "Loja".into(),
                address: "Rua 1".into(),
                url: String::new(),
            }),
            json!({ "type": "location", "location": { "latitude": 1.0, "longitude": 2.0, "name": "Loja", "address": "Rua 1" } }),
        ),
    ] {
        assert_eq!(components(with(header)), json!([{ "type": "header", "parameters": [wire] }]));
    }
    let header = Some(TemplateHeader::Text("A-1".into()));
    let named = Template { header, header_parameter: "order_id".into(), ..template(&[("nome", "Ana")]) };
    assert_eq!(
        components(named)[0]["parameters"],
        json!([{ "type": "text", "parameter_name": "order_id", "text": "A-1" }])
    );
    for header in [
        TemplateHeader::Media(file(MediaKind::Voice, link(), "", "")),
        TemplateHeader::Media(file(MediaKind::Image, link(), "", "cut off?")),
        TemplateHeader::Location(Location { url: "https://x.test".into(), ..Location::default() }),
    ] {
        assert_eq!(refusal(&message(Content::Template(with(header)))), ErrorReason::NotSupported);
    }
    let button = |index, parameter: &str, kind| TemplateButton { index, parameter: parameter.into(), kind };
    let buttons = vec![
        button(0, "2291", TemplateButtonKind::Url),
        button(1, "stop-77", TemplateButtonKind::QuickReply),
        button(9, "OFF10", TemplateButtonKind::CopyCode),
    ];
    assert_eq!(
        components(Template { buttons, ..template(&[("1", "Ana")]) }),
        json!([
            { "type": "body", "parameters": [{ "type": "text", "text": "Ana" }] },
            { "type": "button", "sub_type": "url", "index": "0", "parameters": [{ "type": "text", "text": "2291" }] },
            { "type": "button", "sub_type": "quick_reply", "index": "1", "parameters": [{ "type": "payload", "payload": "stop-77" }] },
            { "type": "button", "sub_type": "copy_code", "index": "9", "parameters": [{ "type": "coupon_code", "coupon_code": "OFF10" }] },
        ])
    );
}

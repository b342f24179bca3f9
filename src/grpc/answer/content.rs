//! What messages say into answers.

use crate::domain::content::{
    CardAddress, ContactCard, Content, Interactive, InteractiveAction, InteractiveHeader, List, ListRow, ListSection,
    Location, Media, MediaKind, MediaSource, Reaction, Template, TemplateButtonKind, TemplateHeader,
};
use crate::proto;

pub(super) fn media_kind(kind: MediaKind) -> proto::MediaKind {
    match kind {
        MediaKind::Image => proto::MediaKind::Image,
        MediaKind::Audio => proto::MediaKind::Audio,
        MediaKind::Voice => proto::MediaKind::Voice,
        MediaKind::Video => proto::MediaKind::Video,
        MediaKind::Document => proto::MediaKind::Document,
        MediaKind::Sticker => proto::MediaKind::Sticker,
    }
}

fn media(media: &Media) -> proto::Media {
    use proto::media::Source;
    let source = match &media.source {
        MediaSource::Url(url) => Source::Url(url.clone()),
        MediaSource::MediaId(id) => Source::MediaId(id.clone()),
    };
    proto::Media {
        kind: media_kind(media.kind) as i32,
        source: Some(source),
        mime_type: media.mime_type.clone(),
        file_name: media.file_name.clone(),
        caption: media.caption.clone(),
    }
}

pub(super) fn location(location: &Location) -> proto::Location {
    proto::Location {
        latitude: location.latitude,
        longitude: location.longitude,
        name: location.name.clone(),
        address: location.address.clone(),
        url: location.url.clone(),
    }
}

pub(super) fn contact_cards(cards: &[ContactCard]) -> proto::ContactCards {
    proto::ContactCards { cards: cards.iter().cloned().map(contact_card).collect() }
}

fn contact_card(card: ContactCard) -> proto::ContactCard {
    let name = card.name;
    let organization = card.organization.map(|o| proto::CardOrganization {
        company: o.company,
        department: o.department,
        title: o.title,
    });
    let address = |a: CardAddress| proto::CardAddress {
        street: a.street,
        city: a.city,
        state: a.state,
        zip: a.zip,
        country: a.country,
        country_code: a.country_code,
        r#type: a.r#type,
    };
    let phones = card.phones.into_iter();
    proto::ContactCard {
        name: Some(proto::CardName {
            formatted_name: name.formatted_name,
            first_name: name.first_name,
            last_name: name.last_name,
            middle_name: name.middle_name,
            prefix: name.prefix,
            suffix: name.suffix,
        }),
        phones: phones.map(|p| proto::CardPhone { phone: p.phone, r#type: p.r#type, wa_id: p.wa_id }).collect(),
        emails: card.emails.into_iter().map(|e| proto::CardEmail { email: e.email, r#type: e.r#type }).collect(),
        addresses: card.addresses.into_iter().map(address).collect(),
        organization,
        urls: card.urls.into_iter().map(|u| proto::CardUrl { url: u.url, r#type: u.r#type }).collect(),
        birthday: card.birthday,
    }
}

fn interactive(value: &Interactive) -> proto::Interactive {
    use proto::interactive::Action;
    let header = value.header.as_ref().map(|header| proto::InteractiveHeader {
        content: Some(match header {
            InteractiveHeader::Text(text) => proto::interactive_header::Content::Text(text.clone()),
            InteractiveHeader::Media(file) => proto::interactive_header::Content::Media(media(file)),
        }),
    });
    let action = match &value.action {
        InteractiveAction::ReplyButtons(buttons) => Action::ReplyButtons(proto::ReplyButtons {
            buttons: buttons
                .iter()
                .map(|button| proto::ReplyButton { id: button.id.clone(), title: button.title.clone() })
                .collect(),
        }),
        InteractiveAction::List(list) => Action::List(self::list(list)),
        InteractiveAction::UrlButton { text, url } => {
            Action::UrlButton(proto::UrlButton { text: text.clone(), url: url.clone() })
        }
    };
    proto::Interactive { body: value.body.clone(), header, footer: value.footer.clone(), action: Some(action) }
}

fn list(list: &List) -> proto::List {
    let row = |row: &ListRow| proto::ListRow {
        id: row.id.clone(),
        title: row.title.clone(),
        description: row.description.clone(),
    };
    let section = |section: &ListSection| proto::ListSection {
        title: section.title.clone(),
        rows: section.rows.iter().map(row).collect(),
    };
    proto::List { button: list.button.clone(), sections: list.sections.iter().map(section).collect() }
}

fn reaction(reaction: &Reaction) -> proto::Reaction {
    proto::Reaction {
        message_id: reaction.message_id.map(|id| id.to_string()).unwrap_or_default(),
        emoji: reaction.emoji.clone(),
        ..Default::default()
    }
}

pub(super) fn template(template: &Template) -> proto::TemplateContent {
    use proto::template_header::Content as Header;
    let header = template.header.as_ref().map(|header| proto::TemplateHeader {
        content: Some(match header {
            TemplateHeader::Text(text) => Header::Text(text.clone()),
            TemplateHeader::Media(file) => Header::Media(media(file)),
            TemplateHeader::Location(place) => Header::Location(location(place)),
        }),
    });
    let buttons = template.buttons.iter().map(|button| proto::TemplateButton {
        index: button.index as i32,
        parameter: button.parameter.clone(),
        kind: template_button_kind(button.kind).into(),
    });
    proto::TemplateContent {
        template: template.template.clone(),
        language_code: template.language_code.clone(),
        parameters: template.parameters.clone().into_iter().collect(),
        header,
        buttons: buttons.collect(),
    }
}

fn template_button_kind(kind: TemplateButtonKind) -> proto::TemplateButtonKind {
    match kind {
        TemplateButtonKind::Url => proto::TemplateButtonKind::Url,
        TemplateButtonKind::QuickReply => proto::TemplateButtonKind::QuickReply,
        TemplateButtonKind::CopyCode => proto::TemplateButtonKind::CopyCode,
    }
}

pub(super) fn content(content: &Content) -> proto::message::Content {
    use proto::message::Content as Answer;
    match content {
        Content::Text(text) => Answer::Text(proto::Text { body: text.body.clone(), preview_url: text.preview_url }),
        Content::Media(file) => Answer::Media(media(file)),
        Content::Location(place) => Answer::Location(location(place)),
        Content::ContactCards(cards) => Answer::ContactCards(contact_cards(cards)),
        Content::Interactive(value) => Answer::Interactive(interactive(value)),
        Content::Reaction(value) => Answer::Reaction(reaction(value)),
        Content::Template(value) => Answer::Template(template(value)),
    }
}

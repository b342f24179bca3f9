//! What of a message is nobody's business but two people's: taken out of traces and of errors that quote it.

use crate::domain::Content;
use crate::domain::content::{
    ContactCard, Interactive, InteractiveAction, InteractiveHeader, Location, Template, TemplateHeader,
};
use crate::provider::Outgoing;

/// Texts shorter than this are not looked for: words like "to" stand in answers for themselves.
pub(super) const QUOTABLE: usize = 8;

/// The number written to, and the texts that an answer could quote.
pub(super) fn of(message: &Outgoing) -> Vec<&str> {
    let mut words: Vec<&str> = Vec::new();
    match &message.content {
        Content::Text(text) => words.push(&text.body),
        Content::Media(media) => words.extend([media.caption.as_str(), &media.file_name]),
        Content::Location(location) => place(location, &mut words),
        Content::ContactCards(cards) => cards.iter().for_each(|one| card(one, &mut words)),
        Content::Interactive(interactive) => menu(interactive, &mut words),
        Content::Reaction(_) => {}
        Content::Template(template) => filled(template, &mut words),
    }
    words.retain(|word| word.len() >= QUOTABLE);
    words.push(&message.to.digits);
    words
}

fn place<'m>(location: &'m Location, words: &mut Vec<&'m str>) {
    words.extend([location.name.as_str(), &location.address]);
}

fn card<'m>(card: &'m ContactCard, words: &mut Vec<&'m str>) {
    words.push(&card.name.formatted_name);
    words.extend(card.phones.iter().flat_map(|phone| [phone.phone.as_str(), &phone.wa_id]));
    words.extend(card.emails.iter().map(|email| email.email.as_str()));
    words.extend(card.addresses.iter().map(|address| address.street.as_str()));
}

fn menu<'m>(interactive: &'m Interactive, words: &mut Vec<&'m str>) {
    words.extend([interactive.body.as_str(), &interactive.footer]);
    if let Some(InteractiveHeader::Text(text)) = &interactive.header {
        words.push(text);
    }
    match &interactive.action {
        InteractiveAction::ReplyButtons(buttons) => words.extend(buttons.iter().map(|button| button.title.as_str())),
        InteractiveAction::List(list) => {
            let rows = list.sections.iter().flat_map(|section| &section.rows);
            words.extend(rows.flat_map(|row| [row.title.as_str(), &row.description]));
        }
        InteractiveAction::UrlButton { url, .. } => words.push(url),
    }
}

fn filled<'m>(template: &'m Template, words: &mut Vec<&'m str>) {
    words.extend(template.parameters.values().map(String::as_str));
    words.extend(template.buttons.iter().map(|button| button.parameter.as_str()));
    match &template.header {
        Some(TemplateHeader::Text(text)) => words.push(text),
        Some(TemplateHeader::Location(location)) => place(location, words),
        Some(TemplateHeader::Media(_)) | None => {}
    }
}

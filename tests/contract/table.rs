//! `docs/providers.md`: the adapters' own words about what they carry, so that the door, the docs and the adapters cannot
//! disagree.

use recado::domain::content::MediaKind;
use recado::provider::Capabilities;
use recado::provider::capabilities::{InteractiveRule, MediaRule, TemplateRule};

const HEAD: &str = "\
# What the providers carry

Made from the adapters' own capabilities, which also judge every request at the door; `UPDATE_DOCS=1 cargo test --test contract
the_table` writes it again, and the test fails while it is out of date. Lengths are characters (Unicode scalars), sizes are what the
provider takes at most: checked of files that are uploaded; of an address it knows the size only once it has fetched it.

";

const MEDIA: [MediaKind; 6] =
    [MediaKind::Image, MediaKind::Audio, MediaKind::Voice, MediaKind::Video, MediaKind::Document, MediaKind::Sticker];

/// The whole file.
pub fn render(adapters: &[(&str, Capabilities)]) -> String {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    let mut row = |what: &str, cell: &dyn Fn(&Capabilities) -> String| {
        rows.push((what.into(), adapters.iter().map(|(_, capabilities)| cell(capabilities)).collect()));
    };
    row("Text", &|c| most(c.text_max));
    for kind in MEDIA {
        row(&title(kind.as_str()), &|c| c.media_rule(kind).map_or_else(none, media));
    }
    row("UploadMedia", &|c| yes(c.media_upload));
    row("Location", &|c| if c.location && c.location_url { "yes, with a page".into() } else { yes(c.location) });
    row("Contact cards", &|c| most(c.contact_cards_max));
    row("Interactive", &|c| c.interactive.as_ref().map_or_else(none, interactive));
    row("Reaction", &|c| yes(c.reaction));
    row("Quote of a message", &|c| yes(c.reply));
    row("Template", &|c| c.template.as_ref().map_or_else(none, template));
    row("Files of template headers", &|c| match (&c.template, &c.header_media) {
        (Some(rule), Some(files)) if rule.header => files
            .iter()
            .map(|rule| format!("{}: {}", title(rule.kind.as_str()), media(rule)))
            .collect::<Vec<_>>()
            .join("; "),
        (Some(rule), None) if rule.header => "as in messages".into(),
        _ => none(),
    });
    row("Language of a template", &|c| match c.template {
        Some(_) if !c.template_language => "its own, none is taken".into(),
        Some(_) => "as asked for".into(),
        None => none(),
    });
    row("Names that parameters must not have", &|c| match c.reserved_parameters {
        [] => none(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    });
    row("Catalogue of templates", &|c| yes(c.catalogue));
    row("CheckSender asks the provider", &|c| yes(c.check));
    row("Our message id comes back in statuses", &|c| yes(c.echoes_message_id));
    row("Messages are asked after", &|c| yes(c.look_up));
    row("What people wrote while the gateway was away is read at its start", &|c| yes(c.history));
    row("Asked before a message is accepted", &|c| yes(c.admits));
    row("Messages in one request", &|c| number(c.batch as u64));
    row("Messages per second, unless the sender says otherwise", &|c| {
        c.rate.per_second.map_or_else(none, |rate| rate.to_string())
    });
    row("To one person, unless the sender says otherwise", &|c| {
        let interval = c.rate.contact_interval_ms.map(|ms| format!("one in {} s", ms / 1_000));
        let burst = c.rate.contact_burst.map(|burst| format!("{burst} at once"));
        let both: Vec<String> = interval.into_iter().chain(burst).collect();
        if both.is_empty() { none() } else { both.join(", ") }
    });
    row("Requests at the same time, unless the sender says otherwise", &|c| number(c.in_flight.into()));

    let mut text = String::from(HEAD);
    let names: Vec<String> = adapters.iter().map(|(name, _)| format!("`{name}`")).collect();
    text.push_str(&format!("| | {} |\n| --- |{}\n", names.join(" | "), " --- |".repeat(names.len())));
    for (what, cells) in rows {
        text.push_str(&format!("| {what} | {} |\n", cells.join(" | ")));
    }
    text
}

fn none() -> String {
    "—".into()
}

fn yes(does: bool) -> String {
    if does { "yes".into() } else { none() }
}

fn most(max: Option<usize>) -> String {
    max.map_or_else(none, |max| number(max as u64))
}

fn title(word: &str) -> String {
    let word = word.to_lowercase();
    format!("{}{}", word[..1].to_uppercase(), &word[1..])
}

/// `4,096`
fn number(value: u64) -> String {
    let digits = value.to_string();
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|part| std::str::from_utf8(part).ok()).collect();
    parts.join(",")
}

fn bytes(value: u64) -> String {
    match value {
        0 => "any size".into(),
        v if v >= 1 << 20 => format!("{} MiB", v >> 20),
        v if v >= 1_000_000 => format!("{} MB", v / 1_000_000),
        v => format!("{} KiB", v >> 10),
    }
}

fn media(rule: &MediaRule) -> String {
    let mut subtypes: Vec<&str> = rule.mime_types.iter().filter_map(|full| Some(full.split_once('/')?.1)).collect();
    // Two spellings of one type are one to whoever reads this.
    subtypes.sort_unstable();
    subtypes.dedup();
    let types = if subtypes.is_empty() { "any type".into() } else { subtypes.join(", ") };
    let mut parts = vec![types, bytes(rule.bytes_max)];
    parts.extend(rule.caption_max.map(|max| format!("caption {}", number(max as u64))));
    parts.extend(rule.file_name_max.map(|max| format!("name {}", number(max as u64))));
    parts.extend(rule.by_media_id.then(|| "also by id".into()));
    parts.join("; ")
}

fn interactive(rule: &InteractiveRule) -> String {
    let mut parts = vec![format!("body {}", number(rule.body_max as u64))];
    parts.extend(rule.header_max.map(|max| format!("header {max}")));
    parts.extend(rule.footer_max.map(|max| format!("footer {max}")));
    if rule.buttons_max > 0 {
        parts.push(format!("{} buttons of {}", rule.buttons_max, rule.button_title_max));
    }
    if rule.rows_max > 0 {
        parts.push(format!("{} rows of {} and {}", rule.rows_max, rule.row_title_max, rule.row_description_max));
    }
    parts.extend(rule.url_button.then(|| "url button".into()));
    parts.join("; ")
}

fn template(rule: &TemplateRule) -> String {
    let all =
        [(rule.positional, "by position"), (rule.named, "by name"), (rule.header, "header"), (rule.buttons, "buttons")];
    all.iter().filter(|(does, _)| *does).map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
}

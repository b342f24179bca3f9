//! What goes to standard output: lines, tables, and messages of the contract as JSON.

use std::io::Write as _;
use std::sync::LazyLock;
use std::time::SystemTime;

use anyhow::Context as _;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::Timestamp;

/// The contract's own description of itself.
pub static CONTRACT: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(recado::proto::DESCRIPTORS)
        .unwrap_or_else(|error| unreachable!("the contract is compiled in and tested: {error}"))
});

/// Prints one line.
pub fn line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Whether the reader of standard output went away.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// A message of the contract, by its name there, that can be walked field by field.
pub fn dynamic(name: &str, message: &impl Message) -> anyhow::Result<DynamicMessage> {
    let descriptor =
        CONTRACT.get_message_by_name(&format!("recado.v1.{name}")).with_context(|| format!("no message {name}"))?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message)?;
    Ok(dynamic)
}

/// A message of the contract as one line of JSON, fields named as in the contract. Fields without a value are left out.
pub fn json(name: &str, message: &impl Message) -> anyhow::Result<String> {
    serialized(name, message, true)
}

/// The same with every field, also those without a value.
pub fn full_json(name: &str, message: &impl Message) -> anyhow::Result<String> {
    serialized(name, message, false)
}

fn serialized(name: &str, message: &impl Message, skip_default_fields: bool) -> anyhow::Result<String> {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(skip_default_fields);
    let mut bytes = Vec::new();
    dynamic(name, message)?.serialize_with_options(&mut serde_json::Serializer::new(&mut bytes), &options)?;
    Ok(String::from_utf8(bytes)?)
}

/// Columns that line up. The first row is the heading.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A time by RFC 3339, with milliseconds; `-` for none.
pub fn time(at: Option<&Timestamp>) -> String {
    match at.and_then(|at| SystemTime::try_from(*at).ok()) {
        Some(at) => humantime::format_rfc3339_millis(at).to_string(),
        None => "-".to_owned(),
    }
}

/// The short name of a value of an enum: `DELIVERED` of `MESSAGE_STATUS_DELIVERED`.
pub fn short<'a>(full: &'a str, prefix: &str) -> &'a str {
    full.strip_prefix(prefix).unwrap_or(full)
}

/// Text of somebody else's in quotes, without what could steer a terminal or break the line.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", safe(text))
}

/// The same without quotes.
pub fn safe(text: &str) -> String {
    let escape = |letter: char| match letter {
        '\n' => "\\n".to_owned(),
        // Beside the control characters: those that turn the direction of a line around.
        letter if letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
            letter.escape_unicode().to_string()
        }
        letter => letter.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use recado::proto;

    use super::*;

    #[test]
    fn a_message_is_json_with_the_names_of_the_contract() {
        let response = proto::SendMessageResponse {
            message_id: "0190".into(),
            status: proto::MessageStatus::Accepted.into(),
            accept_time: Some(Timestamp { seconds: 1, nanos: 0 }),
            cursor: "c".into(),
            ..Default::default()
        };
        assert_eq!(
            full_json("SendMessageResponse", &response).unwrap(),
            r#"{"message_id":"0190","status":"MESSAGE_STATUS_ACCEPTED","accept_time":"1970-01-01T00:00:01Z","deduplicated":false,"cursor":"c","template_unchecked":false}"#
        );
        assert!(!json("SendMessageResponse", &response).unwrap().contains("deduplicated"));
    }

    #[test]
    fn strangers_text_cannot_steer_the_terminal() {
        assert_eq!(quoted("a\u{1b}[2J\nb\u{202e}c é"), "\"a\\u{1b}[2J\\nb\\u{202e}c é\"");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a", "b"], ["long", "c"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "a     b\nlong  c");
    }
}

//! Reading providers' JSON: numbers where texts are usual and the other way round, `null` where nothing is meant.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The items of a webhook as they came, each of them valid JSON: those of an array, or a single one.
///
/// # Errors
/// Why it is no JSON, in words that quote nothing of it.
pub fn items(body: &[u8]) -> Result<Vec<&RawValue>, String> {
    // serde_json's own words would quote nothing but positions and expectations, so they may be shown.
    let not_json = |error: serde_json::Error| format!("not JSON: {error}");
    let whole: &RawValue = serde_json::from_slice(body).map_err(not_json)?;
    match whole.get().starts_with('[') {
        true => serde_json::from_str(whole.get()).map_err(not_json),
        false => Ok(vec![whole]),
    }
}

/// A text, or a number where a text is usual; nothing when absent, null, empty or of any other type.
pub fn text(object: &Map<String, Value>, member: &str) -> Option<String> {
    text_of(object.get(member)?)
}

/// The same of a value.
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number, or a text that is one.
pub fn integer(object: &Map<String, Value>, member: &str) -> Option<i64> {
    match object.get(member)? {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_i64(),
    }
}

/// A finite number, or a text that is one.
pub fn decimal(object: &Map<String, Value>, member: &str) -> Option<f64> {
    match object.get(member)? {
        Value::String(text) => text.trim().parse::<f64>().ok().filter(|number| number.is_finite()),
        value => value.as_f64(),
    }
}

/// True or false, also as a text or as 1 and 0.
pub fn flag(object: &Map<String, Value>, member: &str) -> Option<bool> {
    match object.get(member)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") || text == "1" => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") || text == "0" => Some(false),
        Value::Number(number) => number.as_i64().map(|number| number != 0),
        _ => None,
    }
}

/// An object inside.
pub fn object<'v>(object: &'v Map<String, Value>, member: &str) -> Option<&'v Map<String, Value>> {
    object.get(member)?.as_object()
}

/// The items of an array inside; none when there is no array.
pub fn list<'v>(object: &'v Map<String, Value>, member: &str) -> &'v [Value] {
    object.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

//! What Twilio finds wrong with a message.

use serde_json::{Map, Value};
use url::Url;

const TEXT_MAX: usize = 1_600;

/// A form's fields, in the order in which they came.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub fn read(body: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(body).into_owned().collect())
    }

    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(given, value)| given == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, value)| given == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

/// Why a message is refused.
#[derive(Debug, Clone)]
pub(in crate::fake) struct Refusal {
    pub code: String,
    pub message: String,
}

impl Refusal {
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// The first thing that is wrong, in the order in which Twilio is assumed to look.
pub(super) fn refusal(form: &Form, senders: &[String]) -> Option<Refusal> {
    let no = |code: &str, message: String| Some(Refusal::new(code, message));
    let to = match form.get("To") {
        None => return no("21604", "A 'To' phone number is required.".into()),
        Some(to) => to,
    };
    if !is_number(to) {
        return no("21211", format!("The 'To' number {to} is not a valid phone number."));
    }
    match (form.get("From"), form.get("MessagingServiceSid")) {
        (None, None) => return no("21603", "A 'From' phone number is required.".into()),
        (Some(from), _) if !is_number(from) => {
            return no("21212", format!("The 'From' number {from} is not a valid phone number."));
        }
        (Some(from), _) if !senders.is_empty() && !senders.iter().any(|sender| sender == from) => {
            return no("63007", format!("Twilio could not find a Channel with the specified From address {from}."));
        }
        (Some(from), _) if from == to => return no("63031", "'To' and 'From' number cannot be the same.".into()),
        _ => {}
    }
    if ["Body", "MediaUrl", "ContentSid"].iter().all(|name| form.get(name).is_none()) {
        return no("21619", "A text message body or media urls must be specified.".into());
    }
    if form.get("Body").is_some_and(|body| body.chars().count() > TEXT_MAX) {
        return no("21617", "The concatenated message body exceeds the 1600 character limit.".into());
    }
    if form.all("MediaUrl").count() > 1 {
        return no("21623", "Number of media files exceeds allowed limit.".into());
    }
    if form.get("MediaUrl").is_some_and(|url| !is_web(url)) {
        return no("21620", "Invalid media URL(s).".into());
    }
    if form.get("ContentSid").is_some_and(|sid| !sid.starts_with("HX") || sid.len() != 34) {
        return no("21655", "The ContentSid is invalid.".into());
    }
    if form.get("ContentVariables").is_some_and(|variables| !are_variables(variables)) {
        return no("21656", "The ContentVariables parameter is invalid.".into());
    }
    if form.get("StatusCallback").is_some_and(|url| !is_web(url)) {
        return no("21609", "The 'StatusCallback' URL is not a valid URL.".into());
    }
    if form.get("ValidityPeriod").is_some_and(|s| !s.parse().is_ok_and(|s: u32| (1..=36_000).contains(&s))) {
        return no("21624", "The 'ValidityPeriod' is invalid.".into());
    }
    None
}

/// `whatsapp:+14155550100`: a plus that was not encoded came as a blank.
fn is_number(address: &str) -> bool {
    let digits = address.strip_prefix("whatsapp:+");
    digits.is_some_and(|digits| (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn is_web(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.contains('_'))
    })
}

/// A text that holds an object of texts.
fn are_variables(given: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(given).is_ok_and(|variables| variables.values().all(Value::is_string))
}

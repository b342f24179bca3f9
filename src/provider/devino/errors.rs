//! What Devino says no with, and what it means to us. Keys, codes and their meanings are from
//! docs.devino.online/pt/http/whatsapp/ unless a row says otherwise; the right-hand sides are our reading.

use crate::domain::{DeliveryError, ErrorReason, MessageStatus};
use crate::provider::SendError;

/// What `ref` points at: `messages`, `messages[3]` or `messages[3].to`. The index counts within the request sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// The request as a whole.
    Request,
    /// One message.
    Message,
    /// A field of one message.
    Field(&'a str),
    /// Absent, or not of these forms.
    Nowhere,
}

impl<'a> Place<'a> {
    /// Reads `ref`; `messages.to`, without an index, counts as a field too.
    pub fn of(reference: &'a str) -> Self {
        let Some(rest) = reference.trim().strip_prefix("messages") else { return Self::Nowhere };
        let (indexed, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((index, rest)) if !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()) => (true, rest),
            Some(_) => return Self::Nowhere,
            None => (false, rest),
        };
        match rest.strip_prefix('.') {
            Some(field) if !field.is_empty() => Self::Field(field),
            None if rest.is_empty() => match indexed {
                true => Self::Message,
                false => Self::Request,
            },
            _ => Self::Nowhere,
        }
    }
}

/// What follows a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It stays a no.
    Refuse,
    /// It may pass: try again, at most so often (`None`: as long as the message is valid).
    Retry(Option<u32>),
}

/// Where in the request a row applies.
#[derive(Debug, Clone, Copy)]
enum At {
    Field(&'static str),
    Message,
    Request,
    Anywhere,
}

struct Rejection {
    key: &'static str,
    at: At,
    reason: ErrorReason,
    retryable: bool,
    next: Next,
}

/// A row of the table below; one without a `next` is a refusal.
const fn row(key: &'static str, at: At, reason: ErrorReason) -> Rejection {
    Rejection { key, at, reason, retryable: false, next: Next::Refuse }
}

/// Rejections in the answer to a send. Of the rows of one key the first that fits counts, so `Anywhere` comes last.
const REJECTIONS: &[Rejection] = &[
    // Passes after a top-up, but not by itself: retryable for the caller, not for us.
    Rejection { retryable: true, ..row("billing.error", At::Anywhere, ErrorReason::Billing) },
    row("forbidden", At::Anywhere, ErrorReason::SenderUnauthorized),
    Rejection { retryable: true, next: Next::Retry(Some(1)), ..row("unknown", At::Anywhere, ErrorReason::Unknown) },
    row("invalid", At::Field("to"), ErrorReason::InvalidRecipient),
    row("invalid", At::Field("validity"), ErrorReason::InvalidRequest),
    row("invalid", At::Field("callbackUrl"), ErrorReason::InvalidRequest),
    row("invalid", At::Field("contentUrl"), ErrorReason::InvalidMedia),
    row("invalid", At::Field("contentType"), ErrorReason::InvalidMedia),
    row("invalid", At::Field("from"), ErrorReason::InvalidSender),
    row("invalid", At::Field("languageCode"), ErrorReason::TemplateNotFound),
    row("invalid", At::Field("text"), ErrorReason::InvalidContent), // [assumed]
    row("invalid", At::Field("contentName"), ErrorReason::InvalidMedia), // [assumed]
    row("invalid", At::Field("templateId"), ErrorReason::TemplateNotFound), // [assumed]
    row("invalid", At::Field("templateParams"), ErrorReason::TemplateParameters), // [assumed]
    row("invalid", At::Field("image"), ErrorReason::InvalidMedia),  // [assumed], as all below of the direct API
    row("invalid", At::Field("audio"), ErrorReason::InvalidMedia),
    row("invalid", At::Field("video"), ErrorReason::InvalidMedia),
    row("invalid", At::Field("document"), ErrorReason::InvalidMedia),
    row("invalid", At::Field("location"), ErrorReason::InvalidContent),
    row("invalid", At::Field("contacts"), ErrorReason::InvalidContent),
    row("invalid", At::Field("interactive"), ErrorReason::InvalidContent),
    row("invalid", At::Field("template"), ErrorReason::TemplateNotFound),
    row("invalid", At::Anywhere, ErrorReason::InvalidRequest), // [assumed]
    row("length.too.long", At::Field("to"), ErrorReason::InvalidRecipient),
    row("length.too.long", At::Field("text"), ErrorReason::ContentTooLong),
    row("length.too.long", At::Field("languageCode"), ErrorReason::TemplateNotFound),
    row("length.too.long", At::Field("contentName"), ErrorReason::InvalidMedia), // [assumed]
    row("length.too.long", At::Field("templateParams"), ErrorReason::TemplateParameters), // [assumed]
    row("length.too.long", At::Field("interactive"), ErrorReason::ContentTooLong), // [assumed]
    row("length.too.long", At::Anywhere, ErrorReason::InvalidRequest),           // [assumed]
    row("length.too.short", At::Field("contentName"), ErrorReason::InvalidMedia),
    row("length.too.short", At::Field("languageCode"), ErrorReason::TemplateNotFound),
    row("length.too.short", At::Anywhere, ErrorReason::InvalidRequest), // [assumed]
    row("must.be.not.null", At::Field("to"), ErrorReason::InvalidRequest),
    row("must.be.not.null", At::Request, ErrorReason::InvalidRequest),
    row("must.be.not.null", At::Field("from"), ErrorReason::InvalidRequest),
    row("must.be.not.null", At::Message, ErrorReason::InvalidRequest),
    row("must.be.not.null", At::Anywhere, ErrorReason::InvalidRequest), // [assumed]
    row("not.available", At::Field("from"), ErrorReason::InvalidSender),
    row("not.available", At::Anywhere, ErrorReason::InvalidSender), // [assumed]
    // A request of several is split before anybody reads this row.
    row(TOO_MANY, At::Anywhere, ErrorReason::InvalidRequest),
    // [assumed] A limit of requests exists (2301 below); should an answer ever name it, it passes by waiting.
    Rejection {
        retryable: true,
        next: Next::Retry(None),
        ..row("too.many.requests", At::Anywhere, ErrorReason::RateLimited)
    },
];

/// The key of a request with too many messages.
pub const TOO_MANY: &str = "too.many.messages";

/// One reason of a rejection, as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The key; empty when none was given.
    pub key: String,
    /// The place; empty when none was given.
    pub reference: String,
}

/// What a rejection comes to: the first reason that the table knows decides, all are kept in the words for people. A
/// key that the table does not know may be a passing fault: tried once more.
pub fn rejection(reasons: &[Given], description: &str) -> SendError {
    let known = reasons.iter().find_map(|given| Some((given, find(given)?)));
    let words = words(reasons, description);
    let (code, reason, retryable, next) = match known {
        Some((given, row)) => (given.key.as_str(), row.reason, row.retryable, row.next),
        None => {
            let code = reasons.first().map_or("", |given| given.key.as_str());
            (code, ErrorReason::Unknown, true, Next::Retry(Some(1)))
        }
    };
    let error = DeliveryError { reason, provider_code: code.to_owned(), provider_message: words, retryable };
    match next {
        Next::Refuse => SendError::Refused(error),
        Next::Retry(retries) => SendError::NotTaken { error, retry_after: None, retries },
    }
}

fn find(given: &Given) -> Option<&'static Rejection> {
    let place = Place::of(&given.reference);
    REJECTIONS.iter().filter(|row| row.key.eq_ignore_ascii_case(given.key.trim())).find(|row| match row.at {
        // The direct API nests: `text.body`, `contacts[0].name`.
        At::Field(field) => matches!(place, Place::Field(given) if given.split(['.', '[']).next() == Some(field)),
        At::Message => place == Place::Message,
        At::Request => place == Place::Request,
        At::Anywhere => true,
    })
}

/// `Wrong content type (invalid messages[1].contentType)`
fn words(reasons: &[Given], description: &str) -> String {
    let list: Vec<String> =
        reasons.iter().map(|given| format!("{} {}", given.key, given.reference).trim().to_owned()).collect();
    match (description, list.is_empty()) {
        ("", _) => list.join(", "),
        (_, true) => description.to_owned(),
        _ => format!("{description} ({})", list.join(", ")),
    }
}

struct Failure {
    code: u32,
    status: MessageStatus,
    reason: ErrorReason,
    retryable: bool,
    meaning: &'static str,
}

const fn failed(code: u32, reason: ErrorReason, retryable: bool, meaning: &'static str) -> Failure {
    Failure { code, status: MessageStatus::Failed, reason, retryable, meaning }
}

const fn expired(code: u32, meaning: &'static str) -> Failure {
    Failure { code, status: MessageStatus::Expired, reason: ErrorReason::Expired, retryable: true, meaning }
}

/// `errorCode` of a status. 2013 to 2016 and 2306 are gaps in the documentation.
const FAILURES: &[Failure] = &[
    failed(2000, ErrorReason::InvalidRecipient, false, "the recipient's operator is unknown"),
    failed(2001, ErrorReason::Spam, false, "rejected as spam"),
    failed(2002, ErrorReason::Billing, true, "billing error"),
    failed(2003, ErrorReason::Billing, true, "billing error"),
    failed(2004, ErrorReason::Billing, true, "billing error"),
    failed(2005, ErrorReason::Billing, true, "insufficient funds"),
    failed(2006, ErrorReason::Billing, true, "billing error"),
    failed(2007, ErrorReason::Billing, true, "billing error"),
    failed(2008, ErrorReason::Billing, true, "billing error"),
    // After a repeat of an unknown outcome this means: probably sent before.
    failed(2009, ErrorReason::Duplicate, false, "rejected as a duplicate"),
    expired(2010, "lifetime expired"),
    expired(2011, "lifetime expired"),
    failed(2012, ErrorReason::Billing, true, "billing error"),
    failed(2017, ErrorReason::Spam, false, "rejected as spam"),
    failed(2300, ErrorReason::ContentTooLong, false, "text too long"),
    failed(2301, ErrorReason::RateLimited, true, "too many messages in a short time"),
    failed(2302, ErrorReason::Spam, false, "rejected as spam"),
    failed(2303, ErrorReason::InvalidMedia, false, "MIME type unsupported, or an image of 5 MB or more"),
    failed(2304, ErrorReason::ContentTooLong, false, "text too long"),
    failed(2305, ErrorReason::NotOnWhatsapp, false, "the user does not use WhatsApp"),
    failed(2307, ErrorReason::InvalidRecipient, false, "the recipient is the sending number itself"),
    failed(2308, ErrorReason::TemplateParameters, false, "wrong number of template parameters"),
    failed(2309, ErrorReason::TemplateNotFound, false, "no such template in that language"),
    failed(2310, ErrorReason::TemplateNotFound, false, "no such template in that language"),
    failed(2311, ErrorReason::TemplateParameters, false, "template parameter too long"),
    failed(2312, ErrorReason::OutsideWindow, false, "outside the window without a template"),
    failed(2313, ErrorReason::Unknown, true, "unknown error"),
];

/// How a failing status and its code come together. The word decides when it says more than "failed" (expired,
/// cancelled); else the code does. A code without a row stays a failure, with the code kept.
pub fn failure(word: FailingWord, raw_word: &str, code: &str) -> (MessageStatus, DeliveryError) {
    let row = code.parse::<u32>().ok().and_then(|code| FAILURES.iter().find(|row| row.code == code));
    let (status, reason, retryable) = match (word, row) {
        (FailingWord::Expired, None) => (MessageStatus::Expired, ErrorReason::Expired, true),
        (FailingWord::Expired, Some(row)) => (MessageStatus::Expired, row.reason, row.retryable),
        (FailingWord::Cancelled, _) => (MessageStatus::Failed, ErrorReason::Cancelled, false),
        (FailingWord::Failed, Some(row)) => (row.status, row.reason, row.retryable),
        (FailingWord::Failed, None) => (MessageStatus::Failed, ErrorReason::Unknown, false),
    };
    let message = row.map_or_else(|| raw_word.to_owned(), |row| row.meaning.to_owned());
    (status, DeliveryError { reason, provider_code: code.to_owned(), provider_message: message, retryable })
}

/// The kinds of failing words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailingWord {
    /// `UNDELIVERED`, `FAILED`, `REJECTED`.
    Failed,
    /// `VP_EXPIRED`, `EXPIRED`.
    Expired,
    /// `CANCELLED`.
    Cancelled,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(key: &str, reference: &str) -> Given {
        Given { key: key.into(), reference: reference.into() }
    }

    /// `reason`, `retryable` and what is next, as one comparable line.
    fn said(error: SendError) -> String {
        match error {
            SendError::Refused(error) => format!("{} {} refused", error.reason, error.retryable),
            SendError::NotTaken { error, retries, .. } => format!("{} {} {retries:?}", error.reason, error.retryable),
            SendError::InDoubt { .. } => "in doubt".into(),
        }
    }

    #[test]
    fn every_rejection_has_its_case() {
        let cases = [
            ("billing.error", "", "BILLING true refused"),
            ("forbidden", "", "SENDER_UNAUTHORIZED false refused"),
            ("unknown", "", "UNKNOWN true Some(1)"),
            ("invalid", "messages[0].to", "INVALID_RECIPIENT false refused"),
            ("invalid", "messages[0].validity", "INVALID_REQUEST false refused"),
            ("invalid", "messages[0].callbackUrl", "INVALID_REQUEST false refused"),
            ("invalid", "messages[7].contentUrl", "INVALID_MEDIA false refused"),
            ("invalid", "messages[12].contentType", "INVALID_MEDIA false refused"),
            ("invalid", "messages[0].from", "INVALID_SENDER false refused"),
            ("invalid", "messages[0].languageCode", "TEMPLATE_NOT_FOUND false refused"),
            ("invalid", "messages[0].text", "INVALID_CONTENT false refused"),
            ("invalid", "messages[0].contentName", "INVALID_MEDIA false refused"),
            ("invalid", "messages[0].templateId", "TEMPLATE_NOT_FOUND false refused"),
            ("invalid", "messages[0].templateParams", "TEMPLATE_PARAMETERS false refused"),
            ("invalid", "messages[0].image.link", "INVALID_MEDIA false refused"),
            ("invalid", "messages[0].audio", "INVALID_MEDIA false refused"),
            ("invalid", "messages[0].video", "INVALID_MEDIA false refused"),
            ("invalid", "messages[0].document.filename", "INVALID_MEDIA false refused"),
            ("invalid", "messages[0].location", "INVALID_CONTENT false refused"),
            ("invalid", "messages[0].contacts[1].name", "INVALID_CONTENT false refused"),
            ("invalid", "messages[0].interactive.action", "INVALID_CONTENT false refused"),
            ("invalid", "messages[0].template.name", "TEMPLATE_NOT_FOUND false refused"),
            ("invalid", "messages[0].brandNew", "INVALID_REQUEST false refused"),
            ("length.too.long", "messages[0].to", "INVALID_RECIPIENT false refused"),
            ("length.too.long", "messages[0].text", "CONTENT_TOO_LONG false refused"),
            ("length.too.long", "messages[0].languageCode", "TEMPLATE_NOT_FOUND false refused"),
            ("length.too.long", "messages[0].contentName", "INVALID_MEDIA false refused"),
            ("length.too.long", "messages[0].templateParams", "TEMPLATE_PARAMETERS false refused"),
            ("length.too.long", "messages[0].interactive.body.text", "CONTENT_TOO_LONG false refused"),
            ("length.too.long", "messages[0].brandNew", "INVALID_REQUEST false refused"),
            ("length.too.short", "messages[0].contentName", "INVALID_MEDIA false refused"),
            ("length.too.short", "messages[0].languageCode", "TEMPLATE_NOT_FOUND false refused"),
            ("length.too.short", "", "INVALID_REQUEST false refused"),
            ("must.be.not.null", "messages[0].to", "INVALID_REQUEST false refused"),
            ("must.be.not.null", "messages", "INVALID_REQUEST false refused"),
            ("must.be.not.null", "messages[0].from", "INVALID_REQUEST false refused"),
            ("must.be.not.null", "messages[0]", "INVALID_REQUEST false refused"),
            ("must.be.not.null", "messages[0].brandNew", "INVALID_REQUEST false refused"),
            ("not.available", "messages[0].from", "INVALID_SENDER false refused"),
            ("not.available", "", "INVALID_SENDER false refused"),
            ("too.many.messages", "messages", "INVALID_REQUEST false refused"),
            ("too.many.requests", "", "RATE_LIMITED true None"),
        ];
        for (key, reference, expected) in cases {
            assert_eq!(said(rejection(&[given(key, reference)], "")), expected, "{key} {reference}");
        }
        let nested = given("length.too.long", "messages[0].text.body");
        assert_eq!(said(rejection(&[nested], "")), "CONTENT_TOO_LONG false refused");
        assert_eq!(cases.len(), REJECTIONS.len(), "a row has no case");
        assert_eq!(said(rejection(&[given("brand.new", "")], "")), "UNKNOWN true Some(1)");
        assert_eq!(said(rejection(&[], "")), "UNKNOWN true Some(1)");
    }

    #[test]
    fn the_first_known_reason_decides_and_all_are_kept() {
        let reasons = [given("brand.new", ""), given("invalid", "messages[1].to"), given("billing.error", "")];
        let SendError::Refused(error) = rejection(&reasons, "Wrong number") else { panic!("refused") };
        assert_eq!((error.reason, error.provider_code.as_str()), (ErrorReason::InvalidRecipient, "invalid"));
        assert_eq!(error.provider_message, "Wrong number (brand.new, invalid messages[1].to, billing.error)");
    }

    #[test]
    fn references_are_read() {
        for (reference, place) in [
            ("messages", Place::Request),
            ("messages[0]", Place::Message),
            ("messages[17].to", Place::Field("to")),
            ("messages.to", Place::Field("to")),
            ("", Place::Nowhere),
            ("messages[]", Place::Nowhere),
            ("messages[x].to", Place::Nowhere),
            ("messages[0].", Place::Nowhere),
            ("messages[0]to", Place::Nowhere),
            ("messagesto", Place::Nowhere),
            ("to", Place::Nowhere),
        ] {
            assert_eq!(Place::of(reference), place, "{reference}");
        }
    }

    #[test]
    fn every_delivery_code_has_its_case() {
        let cases = [
            (2000, "FAILED INVALID_RECIPIENT false"),
            (2001, "FAILED SPAM false"),
            (2002, "FAILED BILLING true"),
            (2003, "FAILED BILLING true"),
            (2004, "FAILED BILLING true"),
            (2005, "FAILED BILLING true"),
            (2006, "FAILED BILLING true"),
            (2007, "FAILED BILLING true"),
            (2008, "FAILED BILLING true"),
            (2009, "FAILED DUPLICATE false"),
            (2010, "EXPIRED EXPIRED true"),
            (2011, "EXPIRED EXPIRED true"),
            (2012, "FAILED BILLING true"),
            (2017, "FAILED SPAM false"),
            (2300, "FAILED CONTENT_TOO_LONG false"),
            (2301, "FAILED RATE_LIMITED true"),
            (2302, "FAILED SPAM false"),
            (2303, "FAILED INVALID_MEDIA false"),
            (2304, "FAILED CONTENT_TOO_LONG false"),
            (2305, "FAILED NOT_ON_WHATSAPP false"),
            (2307, "FAILED INVALID_RECIPIENT false"),
            (2308, "FAILED TEMPLATE_PARAMETERS false"),
            (2309, "FAILED TEMPLATE_NOT_FOUND false"),
            (2310, "FAILED TEMPLATE_NOT_FOUND false"),
            (2311, "FAILED TEMPLATE_PARAMETERS false"),
            (2312, "FAILED OUTSIDE_WINDOW false"),
            (2313, "FAILED UNKNOWN true"),
        ];
        let said = |word, code: &str| {
            let (status, error) = failure(word, "UNDELIVERED", code);
            assert_eq!(error.provider_code, code);
            format!("{} {} {}", status.as_str(), error.reason, error.retryable)
        };
        for (code, expected) in cases {
            assert_eq!(said(FailingWord::Failed, &code.to_string()), expected, "{code}");
        }
        assert_eq!(cases.map(|(code, _)| code).to_vec(), FAILURES.iter().map(|row| row.code).collect::<Vec<_>>());
        for gap in ["", "2013", "2016", "2306", "2314", "USER_BLOCKED"] {
            assert_eq!(said(FailingWord::Failed, gap), "FAILED UNKNOWN false", "{gap}");
        }
        assert_eq!(said(FailingWord::Expired, ""), "EXPIRED EXPIRED true");
        assert_eq!(said(FailingWord::Expired, "2305"), "EXPIRED NOT_ON_WHATSAPP false");
        assert_eq!(said(FailingWord::Cancelled, ""), "FAILED CANCELLED false");
    }
}

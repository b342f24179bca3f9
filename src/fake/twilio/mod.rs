//! Twilio's Messages and Content API for WhatsApp, as far as tests need them: forms in, JSON out, forms that are signed
//! for the address they go to, errors by their codes, files behind the credentials and a redirect.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Fake;
use super::after::Taken;
use super::post::{Post, Whole};
use super::script::Step;
use super::wire::{Answer, Handed, Wire, hand_over, unread};
use crate::domain::Millis;
use judge::{Form, Refusal, refusal};

mod judge;

/// Twilio.
#[derive(Debug, Clone, Copy)]
pub(super) struct Twilio;

pub(super) const WIRE: Twilio = Twilio;

/// The account that statuses and incoming messages are of.
const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
/// The number that they name as ours.
const SENDER: &str = "whatsapp:+14155550100";
/// A picture of one dot.
const DOT: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

pub(super) fn router() -> Router<Arc<Fake>> {
    let account = "/2010-04-01/Accounts/{account}";
    Router::new()
        .route(&format!("{account}/Messages.json"), post(send).get(messages))
        .route("/2010-04-01/Accounts/{file}", get(account_of))
        .route(&format!("{account}/Messages/{{message}}/Media.json"), get(files_of))
        .route(&format!("{account}/Messages/{{message}}/Media/{{media}}"), get(media))
        .route("/_cdn/{media}", get(cdn))
        .route("/v1/ContentAndApprovals", get(catalogue))
}

/// Any user passes; the password is the script's key.
fn authorised(fake: &Fake, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let decoded = given.and_then(|given| BASE64_STANDARD.decode(given.strip_prefix("Basic ")?).ok());
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    fake.accepts(decoded.as_deref().and_then(|pair| pair.split_once(':')).map(|(_, password)| password))
}

fn error(status: StatusCode, refusal: &Refusal) -> Answer {
    let code = refusal.code.parse::<u32>().map_or_else(|_| refusal.code.clone().into(), Value::from);
    let body = json!({
        "code": code,
        "message": refusal.message,
        "more_info": format!("https://www.twilio.com/docs/errors/{}", refusal.code),
        "status": status.as_u16(),
    });
    Answer::json(status, &body)
}

fn unauthorised() -> Answer {
    error(StatusCode::UNAUTHORIZED, &Refusal::new("20003", "Authenticate"))
}

async fn account_of(State(fake): State<Arc<Fake>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    match (authorised(&fake, &headers), file.strip_suffix(".json")) {
        (false, _) => unauthorised().alone(),
        (true, None) => error(StatusCode::NOT_FOUND, &Refusal::new("20404", "The resource was not found")).alone(),
        (true, Some(sid)) => {
            let account = json!({ "sid": sid, "friendly_name": "Acme", "status": "active", "type": "Full" });
            Answer::json(StatusCode::OK, &account).alone()
        }
    }
}

/// What people wrote to a number, newest first, in pages.
async fn messages(
    State(fake): State<Arc<Fake>>,
    Path(account): Path<String>,
    Query(wanted): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if !authorised(&fake, &headers) {
        return unauthorised().alone();
    }
    let number = |name: &str| wanted.get(name).and_then(|value| value.parse::<usize>().ok());
    let (page, size) = (number("Page").unwrap_or(0), number("PageSize").unwrap_or(50).clamp(1, 1_000));
    let is_wanted = |message: &Map<String, Value>| {
        wanted.get("To").is_none_or(|to| message["to"] == to.as_str())
            && wanted.get("DateSent>").is_none_or(|day| message["_day"].as_str() >= Some(day))
    };
    let mut found: Vec<_> = fake.written(Twilio::NAME).into_iter().filter(is_wanted).collect();
    let rest = found.split_off(found.len().min((page + 1) * size));
    let mut shown = found.split_off(found.len().min(page * size));
    shown.iter_mut().for_each(|message| message.retain(|name, _| !name.starts_with('_')));
    let next = (!rest.is_empty()).then(|| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query
            .extend_pairs(wanted.iter().filter(|(name, _)| *name != "Page"))
            .append_pair("Page", &(page + 1).to_string());
        format!("/2010-04-01/Accounts/{account}/Messages.json?{}", query.finish())
    });
    let list = json!({ "messages": shown, "page": page, "page_size": size, "next_page_uri": next });
    Answer::json(StatusCode::OK, &list).alone()
}

/// The files of a message that a person wrote.
async fn files_of(
    State(fake): State<Arc<Fake>>,
    Path((_, sid)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if !authorised(&fake, &headers) {
        return unauthorised().alone();
    }
    let message = fake.written(Twilio::NAME).into_iter().find(|message| message["sid"] == sid.as_str());
    let files = message.map_or(json!([]), |message| message["_files"].clone());
    Answer::json(StatusCode::OK, &json!({ "media_list": files, "page": 0 })).alone()
}

/// An incoming message as lists have it, which is less than what webhooks say; what begins with `_` is not shown.
fn listed(form: &Map<String, Value>, at: SystemTime) -> Map<String, Value> {
    let said = |name: &str| form.get(name).cloned().unwrap_or(Value::Null);
    let files = (0..10).filter_map(|n| {
        let url = form.get(&format!("MediaUrl{n}"))?.as_str()?;
        let sid = url.rsplit('/').next()?;
        Some(json!({ "sid": sid, "parent_sid": form["MessageSid"], "content_type": said(&format!("MediaContentType{n}")) }))
    });
    let message = json!({
        "sid": said("MessageSid"), "from": said("From"), "to": said("To"), "body": said("Body"),
        "num_media": said("NumMedia"), "status": "received", "direction": "inbound", "error_code": null,
        "date_sent": httpdate::fmt_http_date(at).replace("GMT", "+0000"), "api_version": "2010-04-01",
        "_day": humantime::format_rfc3339_seconds(at).to_string().split('T').next(), "_files": files.collect::<Vec<_>>(),
    });
    match message {
        Value::Object(message) => message,
        _ => Map::new(),
    }
}

/// A file that a person sent: behind the credentials, and from there to a store that must not see them.
async fn media(
    State(fake): State<Arc<Fake>>,
    Path((_, _, media)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    if !authorised(&fake, &headers) {
        return unauthorised().alone();
    }
    // Another name of this very host is another host to whoever keeps credentials.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let store = format!("http://{}/twilio/_cdn/{media}", host.replace("127.0.0.1", "localhost"));
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, store)]).into_response()
}

async fn cdn(headers: HeaderMap) -> Response {
    match headers.contains_key(header::AUTHORIZATION) {
        true => (StatusCode::BAD_REQUEST, "credentials do not belong here\n").into_response(),
        false => ([(header::CONTENT_TYPE, "image/gif")], DOT).into_response(),
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "Page", default)]
    page: usize,
}

/// Two templates, one a page.
async fn catalogue(State(fake): State<Arc<Fake>>, Query(Page { page }): Query<Page>, headers: HeaderMap) -> Response {
    if !authorised(&fake, &headers) {
        return unauthorised().alone();
    }
    let content = |sid: &str, name: &str, variables: Value, body: &str, category: &str| {
        json!({
            "sid": sid, "account_sid": ACCOUNT, "friendly_name": name, "language": "pt_BR", "variables": variables,
            "types": { "twilio/text": { "body": body } },
            "approval_requests": { "name": name, "category": category, "content_type": "twilio/text", "status": "approved",
                "rejection_reason": "", "allow_category_change": true },
        })
    };
    let all = [
        content(
            "HX11112222333344445555666677778888",
            "boleto_disponivel",
            json!({ "1": "Marina", "2": "12/01/2026" }),
            "Olá {{1}}, seu boleto vence em {{2}}.",
            "UTILITY",
        ),
        content(
            "HX11112222333344445555666677779999",
            "order_ready_v2",
            json!({ "1": "Ana", "2": "A-1001" }),
            "Olá {{1}}, o pedido {{2}} está pronto.",
            "UTILITY",
        ),
    ];
    let at = |page: usize| format!("https://content.twilio.com/v1/ContentAndApprovals?PageSize=1&Page={page}");
    let next = (page + 1 < all.len()).then(|| at(page + 1));
    let meta =
        json!({ "page": page, "page_size": 1, "first_page_url": at(0), "next_page_url": next, "key": "contents" });
    let contents: Vec<&Value> = all.get(page).into_iter().collect();
    Answer::json(StatusCode::OK, &json!({ "contents": contents, "meta": meta })).alone()
}

async fn send(State(fake): State<Arc<Fake>>, headers: HeaderMap, body: Bytes) -> Response {
    if !authorised(&fake, &headers) {
        return unread(&fake, unauthorised());
    }
    let form = Form::read(&body);
    let callback = form.get("StatusCallback");
    let ours = callback
        .and_then(|url| url::Url::parse(url).ok())
        .and_then(|url| url.query_pairs().find(|(name, _)| name == "message_id").map(|(_, value)| value.into_owned()));
    let senders = fake.play().script.senders.clone();
    let text = ["Body", "ContentSid", "MediaUrl"].into_iter().find_map(|name| form.get(name));
    let handed = Handed {
        to: form.get("To").unwrap_or_default().trim_start_matches("whatsapp:+").to_owned(),
        message_id: ours.unwrap_or_default(),
        text: text.unwrap_or_default().to_owned(),
        webhook_url: callback.map(Into::into),
        refusal: refusal(&form, &senders),
    };
    hand_over(Twilio, &fake, vec![handed]).await
}

impl Wire for Twilio {
    type Refusal = Refusal;

    const NAME: &'static str = "twilio";
    const FAILED: &'static str = "undelivered";

    fn refusal(self, key: &str, reference: &str, _: usize) -> Refusal {
        Refusal::new(key, if reference.is_empty() { "The message was refused" } else { reference })
    }

    fn provider_id(self, id: u64) -> String {
        format!("SM{id:032x}")
    }

    fn answer(self, outcomes: Vec<Result<&Taken, Refusal>>) -> Answer {
        match outcomes.into_iter().next() {
            Some(Ok(taken)) => Answer::json(StatusCode::CREATED, &message(taken, "queued")),
            Some(Err(refusal)) if refusal.code == "20003" => error(StatusCode::UNAUTHORIZED, &refusal),
            Some(Err(refusal)) => error(StatusCode::BAD_REQUEST, &refusal),
            None => error(StatusCode::BAD_REQUEST, &Refusal::new("20422", "Nothing to send")),
        }
    }

    fn throttled(self, body_only: bool, _: usize) -> Answer {
        let status = if body_only { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
        error(status, &Refusal::new("20429", "Too Many Requests"))
    }

    /// Words of the script in lower case, so that its defaults do.
    fn status(self, _: &Fake, message: &Taken, step: &Step, _: Millis) -> Post {
        let (word, id) = (step.status.to_lowercase(), &message.provider_id);
        let mut fields = vec![("SmsSid", id.clone()), ("SmsStatus", word.clone()), ("MessageStatus", word.clone())];
        if step.error_code != 0 {
            fields.push(("ErrorCode", step.error_code.to_string()));
        }
        let masked = format!("+{}XXXXXXX", message.to.get(..4).unwrap_or_default());
        fields.extend([
            ("ChannelToAddress", masked),
            ("To", format!("whatsapp:+{}", message.to)),
            ("ChannelPrefix", "whatsapp".to_owned()),
            ("MessageSid", id.clone()),
            ("AccountSid", ACCOUNT.to_owned()),
            ("StructuredMessage", "false".to_owned()),
            ("From", SENDER.to_owned()),
            ("ApiVersion", "2010-04-01".to_owned()),
            ("ChannelInstallSid", "XE00000000000000000000000000000001".to_owned()),
            ("EventType", word.to_uppercase()),
        ]);
        form(fields)
    }

    fn incoming(self, fake: &Fake, payload: Map<String, Value>) -> Post {
        let id = self.provider_id(fake.next_id());
        let mut fields: Map<String, Value> = [
            ("SmsMessageSid", id.as_str()),
            ("SmsSid", &id),
            ("MessageSid", &id),
            ("AccountSid", ACCOUNT),
            ("SmsStatus", "received"),
            ("NumMedia", "0"),
            ("NumSegments", "1"),
            ("Body", ""),
            ("To", SENDER),
            ("ApiVersion", "2010-04-01"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
        fields.extend(payload);
        fake.keep_written(Self::NAME, listed(&fields, SystemTime::now()));
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        form(fields.into_iter().map(|(name, value)| (name, text(value))))
    }

    fn addressed(self, fake: &Fake, url: &str, post: Post) -> Post {
        match (post, fake.account(Self::NAME).secret) {
            (Post::Alone(mut whole), Some(secret)) => {
                whole.headers.push(("x-twilio-signature", signature(&secret, url, whole.body.as_bytes())));
                Post::Alone(whole)
            }
            (post, _) => post,
        }
    }
}

/// The HMAC of the address, without a fragment, and of all names and values in the order of names.
fn signature(secret: &str, url: &str, body: &[u8]) -> String {
    let mut fields: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    fields.sort();
    let mut signed = url.split('#').next().unwrap_or_default().to_owned();
    for (name, value) in fields {
        signed += &name;
        signed += &value;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, signed.as_bytes()))
}

fn form<N: AsRef<str>>(fields: impl IntoIterator<Item = (N, String)>) -> Post {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Post::Alone(Whole { mime_type: "application/x-www-form-urlencoded; charset=UTF-8", headers: Vec::new(), body })
}

fn message(taken: &Taken, status: &str) -> Value {
    let sid = &taken.provider_id;
    json!({
        "account_sid": ACCOUNT, "api_version": "2010-04-01", "body": "", "date_created": "Thu, 11 Dec 2025 05:48:20 +0000",
        "date_sent": null, "date_updated": "Thu, 11 Dec 2025 05:48:20 +0000", "direction": "outbound-api",
        "error_code": null, "error_message": null, "from": SENDER, "messaging_service_sid": null, "num_media": "0",
        "num_segments": "1", "price": null, "price_unit": null, "sid": sid, "status": status,
        "subresource_uris": { "media": format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}/Media.json") },
        "to": format!("whatsapp:+{}", taken.to), "uri": format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json"),
    })
}

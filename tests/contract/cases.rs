//! The promises. Each looks at what the adapter says of itself before it asks.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use recado::domain::catalogue::Key;
use recado::domain::content::{
    CardName, ContactCard, Interactive, InteractiveAction, Location, Media, MediaKind, MediaSource, Reaction,
    ReplyButton, Template,
};
use recado::domain::{Content, ErrorReason};
use recado::error::Violations;
use recado::provider::{Answer, AskError, CheckOutcome, Report, SendError, Upload, UploadInfo, Webhook};
use serde_json::Value;

use crate::fixtures::{Fixture, Posts, REFUSED, message, text};
use crate::provider::{Call, Provider, Reply};

const PERSON: &str = "351910000001";

/// Sends one text, to which the provider answers this; `None` closes the connection.
async fn answered(fixture: &Fixture, reply: Option<Reply>) -> Answer {
    let outgoing = [(fixture.plain)(PERSON)];
    let answering = async {
        let call = fixture.provider.next().await;
        if let Some(reply) = reply {
            call.answer(reply);
        }
    };
    let (mut answers, ()) = tokio::join!(fixture.adapter.send(&outgoing), answering);
    assert_eq!(answers.len(), 1);
    assert_eq!(fixture.provider.count(), 1, "one attempt is one request");
    answers.remove(0)
}

pub async fn forged_webhook_is_refused(fixture: Fixture) {
    for webhook in &fixture.genuine {
        assert_eq!(fixture.adapter.verify(webhook), Ok(()));
        let bare = Webhook { headers: vec![], query: vec![], path_token: None, ..webhook.clone() };
        assert!(fixture.adapter.verify(&bare).is_err(), "no proof at all");
        // The proof is in one of these; whatever else is there proves nothing, so one change at a time must be found out
        // in at least one of them.
        let mut found_out = 0;
        for (place, forged) in with_a_flipped_proof(webhook) {
            if fixture.adapter.verify(&forged).is_err() {
                found_out += 1;
            } else {
                assert!(is_no_proof(&place), "{place} may be changed");
            }
        }
        assert!(found_out > 0);
        for at in (0..webhook.body.len()).filter(|_| fixture.signs_body) {
            let mut body = webhook.body.to_vec();
            body[at] ^= 1;
            let forged = Webhook { body: body.into(), ..webhook.clone() };
            assert!(fixture.adapter.verify(&forged).is_err(), "byte {at} of the body may be changed");
        }
    }
}

/// What comes along with any HTTP request.
fn is_no_proof(place: &str) -> bool {
    place.starts_with("content-type")
}

/// The same webhook with one byte of a header, of the query or of the path changed, or cut off.
fn with_a_flipped_proof(webhook: &Webhook) -> Vec<(String, Webhook)> {
    let mut forged = Vec::new();
    let changes = |value: &str| -> Vec<String> {
        let flipped = (0..value.len()).map(|at| {
            let mut bytes = value.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            String::from_utf8(bytes).unwrap()
        });
        flipped.chain([String::new(), value[1..].to_owned(), format!("{value}0")]).collect()
    };
    for (i, (name, value)) in webhook.headers.iter().enumerate() {
        for change in changes(value) {
            let mut one = webhook.clone();
            one.headers[i].1 = change;
            forged.push((name.clone(), one));
        }
    }
    for (i, (name, value)) in webhook.query.iter().enumerate() {
        for change in changes(value) {
            let mut one = webhook.clone();
            one.query[i].1 = change;
            forged.push((name.clone(), one));
        }
    }
    forged
}

pub async fn unauthorized_is_refused(fixture: Fixture) {
    let answer = answered(&fixture, Some(Reply::new(401, "{}"))).await;
    let Err(SendError::Refused(error)) = answer.outcome else { panic!("{answer:?}") };
    assert_eq!(error.reason, ErrorReason::SenderUnauthorized);
    assert!(!error.retryable);
}

pub async fn throttling_is_not_taken(fixture: Fixture) {
    let answer = answered(&fixture, Some(Reply::new(429, "{}").with_header("retry-after", "7"))).await;
    let Err(SendError::NotTaken { error, retry_after, retries }) = answer.outcome else { panic!("{answer:?}") };
    assert_eq!((error.reason, error.retryable), (ErrorReason::RateLimited, true));
    assert_eq!((retry_after, retries), (Some(Duration::from_secs(7)), None));
}

pub async fn refused_connection_is_not_taken(fixture: Fixture) {
    let answer = fixture.away.send(&[(fixture.plain)(PERSON)]).await.remove(0);
    let Err(SendError::NotTaken { error, retry_after: None, retries: None }) = answer.outcome else {
        panic!("{answer:?}")
    };
    assert_eq!((error.reason, error.retryable), (ErrorReason::ProviderUnavailable, true));
}

pub async fn dropped_answer_is_in_doubt(fixture: Fixture) {
    let answer = answered(&fixture, None).await;
    assert!(matches!(answer.outcome, Err(SendError::InDoubt { .. })), "{answer:?}");
    assert_eq!(answer.exchange.unwrap().http_status, None);
}

pub async fn answers_align_with_messages(fixture: Fixture) {
    let answering = fixture.provider.answer_all({
        let takes = fixture.takes;
        move |call| Some(takes(call))
    });
    let batch = fixture.adapter.capabilities().batch;
    assert!(batch >= 1);
    for refused in [0, batch / 2, batch - 1] {
        let to = |n: usize| if n == refused { REFUSED.to_owned() } else { format!("3519100{n:05}") };
        let outgoing: Vec<_> = (0..batch).map(|n| (fixture.plain)(&to(n))).collect();
        let answers = fixture.adapter.send(&outgoing).await;
        assert_eq!(answers.len(), batch);
        for (n, answer) in answers.iter().enumerate() {
            match &answer.outcome {
                Err(SendError::Refused(_)) => assert_eq!(n, refused),
                Ok(receipt) => {
                    let id = receipt.provider_message_id.as_deref().unwrap();
                    let ours = outgoing[n].message_id.0.simple().to_string();
                    assert!(n != refused && (id == outgoing[n].to.digits || id.contains(&ours)), "{n}: {id}");
                }
                other => panic!("{n}: {other:?}"),
            }
        }
    }
    answering.abort();
}

pub async fn message_id_goes_out_and_comes_back(fixture: Fixture) {
    if !fixture.adapter.capabilities().echoes_message_id {
        println!("{} says that it does not", fixture.name);
        return;
    }
    let outgoing = [(fixture.plain)("351910000009")];
    let (answer, webhook) = match fixture.posts {
        Posts::Simulated(mut posted) => {
            let answer = fixture.adapter.send(&outgoing).await.remove(0);
            (answer, posted.recv().await.unwrap())
        }
        Posts::Made(made) => {
            let (mut answers, request) = tokio::join!(fixture.adapter.send(&outgoing), async {
                let call = fixture.provider.next().await;
                let (request, reply) = (call.fields(), (fixture.takes)(&call));
                call.answer(reply);
                request
            });
            let answer = answers.remove(0);
            let id = answer.outcome.clone().unwrap().provider_message_id.unwrap();
            (answer, made(&request, &id))
        }
    };
    assert_eq!(fixture.adapter.verify(&webhook), Ok(()));
    let reports = fixture.adapter.parse(&journalled(&*fixture.adapter, &webhook));
    let mine = reports.into_iter().find_map(|report| match report {
        Ok(Report::Status(status)) if status.message_id == Some(outgoing[0].message_id) => Some(status),
        _ => None,
    });
    let mine = mine.expect("a status with our id");
    assert_eq!(mine.provider_message_id, answer.outcome.unwrap().provider_message_id, "equal ids are equal strings");
}

/// What is left of a webhook when it was journalled: the bytes and the time, and nothing else.
fn journalled(adapter: &dyn recado::provider::Provider, webhook: &Webhook) -> Webhook {
    let body = adapter.journalled(webhook);
    Webhook { headers: vec![], query: vec![], path_token: None, body, ..webhook.clone() }
}

fn is_form(webhook: &Webhook) -> bool {
    webhook.header("content-type").is_some_and(|mime_type| mime_type.starts_with("application/x-www-form-urlencoded"))
}

/// What a webhook's body says: JSON, or the fields of a form as an object of texts.
fn whole(webhook: &Webhook) -> Value {
    match is_form(webhook) {
        true => Value::Object(
            url::form_urlencoded::parse(&webhook.body).into_owned().map(|(name, value)| (name, value.into())).collect(),
        ),
        false => serde_json::from_slice(&webhook.body).unwrap(),
    }
}

/// The same webhook, saying this; in a form, what is no text is written as JSON.
fn saying(webhook: &Webhook, whole: &Value) -> Webhook {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let body = match (is_form(webhook), whole) {
        (true, Value::Object(fields)) => url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields.iter().map(|(name, value)| (name, text(value))))
            .finish(),
        _ => whole.to_string(),
    };
    Webhook { body: body.into(), ..webhook.clone() }
}

/// Every place of an object's member, from the top.
fn members(value: &Value, path: &[String], found: &mut Vec<Vec<String>>) {
    let below = |key: String| [path, &[key]].concat();
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                found.push(below(key.clone()));
                members(inner, &below(key.clone()), found);
            }
        }
        Value::Array(list) => {
            for (n, inner) in list.iter().enumerate() {
                members(inner, &below(n.to_string()), found);
            }
        }
        _ => {}
    }
}

fn at<'v>(value: &'v mut Value, path: &[String]) -> &'v mut Value {
    path.iter().fold(value, |value, key| match value {
        Value::Array(list) => &mut list[key.parse::<usize>().unwrap()],
        other => &mut other[key.as_str()],
    })
}

pub async fn optional_fields_may_be_absent(fixture: Fixture) {
    let mut tried = 0;
    for webhook in &fixture.genuine {
        let whole = whole(webhook);
        let reports = fixture.adapter.parse(webhook);
        assert!(reports.iter().all(Result::is_ok), "{reports:?}");
        let mut places = Vec::new();
        members(&whole, &[], &mut places);
        for place in places {
            let (key, parents) = place.split_last().unwrap();
            for absent in [true, false].into_iter().filter(|absent| *absent || fixture.nulls) {
                let mut without = whole.clone();
                let parent = at(&mut without, parents).as_object_mut().unwrap();
                match absent {
                    true => drop(parent.remove(key)),
                    false => drop(parent.insert(key.clone(), Value::Null)),
                }
                let read = fixture.adapter.parse(&saying(webhook, &without));
                tried += 1;
                if fixture.required.contains(&key.as_str()) {
                    continue; // that it does not panic is all that is promised
                }
                assert!(read.iter().all(Result::is_ok), "{} without {}: {read:?}", fixture.name, place.join("."));
                // A whole list may go, but never an item for one of its members.
                let of_an_item = parents.iter().any(|parent| parent.parse::<usize>().is_ok()) || !whole[key].is_array();
                assert!(!of_an_item || read.len() == reports.len(), "{} costs an item", place.join("."));
            }
        }
    }
    assert!(tried > 10, "{tried}");
}

pub async fn unknown_words_are_kept_raw(fixture: Fixture) {
    let (member, word) = fixture.status;
    let mut tried = 0;
    for webhook in &fixture.genuine {
        let mut whole = whole(webhook);
        let mut places = Vec::new();
        members(&whole, &[], &mut places);
        let is_word = |value: &Value| value.as_str() == Some(word);
        places.retain(|place| place.last().is_some_and(|key| key == member) && is_word(at(&mut whole, place)));
        for place in &places {
            *at(&mut whole, place) = "TELEPORTED".into();
        }
        for report in fixture.adapter.parse(&saying(webhook, &whole)) {
            let Ok(Report::Status(status)) = report else { continue };
            if status.provider_status == "TELEPORTED" {
                assert_eq!((status.status, status.error), (None, None));
                tried += 1;
            }
        }
    }
    assert!(tried > 0, "no webhook has {word}");
}

pub async fn garbage_never_panics(fixture: Fixture) {
    use rand::{RngExt as _, SeedableRng as _};
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let parse = |body: Vec<u8>, like: &Webhook| {
        let webhook = Webhook { body: body.into(), ..like.clone() };
        let shown = String::from_utf8_lossy(&webhook.body).into_owned();
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let _ = fixture.adapter.verify(&webhook);
            fixture.adapter.parse(&webhook)
        }));
        assert!(read.is_ok(), "panicked at {shown}");
    };
    for webhook in &fixture.genuine {
        for end in 0..webhook.body.len() {
            parse(webhook.body[..end].to_vec(), webhook);
        }
        for _ in 0..300 {
            let mut body = webhook.body.to_vec();
            for _ in 0..random.random_range(1..8) {
                let at = random.random_range(0..body.len());
                body[at] = random.random();
            }
            parse(body, webhook);
        }
        // Values of other types than usual, one at a time.
        let whole = whole(webhook);
        let mut places = Vec::new();
        members(&whole, &[], &mut places);
        for place in &places {
            for odd in [r#"{"a":1}"#, "[[]]", "-1", "1e308", "true", "\"\"", "\"\u{1F69A}\"", "18446744073709551615"] {
                let mut changed = whole.clone();
                *at(&mut changed, place) = serde_json::from_str(odd).unwrap();
                parse(saying(webhook, &changed).body.to_vec(), webhook);
            }
        }
    }
    let like = &fixture.genuine[0];
    for body in ["", "null", "[]", "{}", "[null]", "\"x\"", "0", "[[[[]]]]", "{\"\":{}}"] {
        parse(body.into(), like);
    }
    for depth in [200, 100_000] {
        parse("[".repeat(depth).into_bytes(), like);
        parse(format!("{}{}", "{\"a\":".repeat(depth), "}".repeat(depth)).into_bytes(), like);
    }
    for _ in 0..1_000 {
        let length = random.random_range(0..200);
        parse((0..length).map(|_| random.random()).collect(), like);
    }
}

pub async fn parsing_is_pure(fixture: Fixture) {
    for webhook in &fixture.genuine {
        let journalled = journalled(&*fixture.adapter, webhook);
        // Whatever else came along, parsing looks at the journalled bytes alone.
        let as_it_came = Webhook { body: journalled.body.clone(), ..webhook.clone() };
        let first = fixture.adapter.parse(&as_it_came);
        assert!(!first.is_empty());
        assert_eq!(first, fixture.adapter.parse(&journalled));
        assert_eq!(first, fixture.adapter.parse(&as_it_came));
    }
}

/// Says everything back that it was told.
fn echo(call: &Call) -> Reply {
    let said = serde_json::json!({
        "description": format!("{} {} {:?} {}", call.method, call.path, call.headers, call.body),
    });
    Reply::new(400, said.to_string())
}

pub async fn secrets_stay_secret(fixture: Fixture) {
    let mut shown = vec![format!("{:?}", fixture.adapter), format!("{:?}", fixture.settings)];
    shown.push(format!("{:?}", fixture.settings.to_proto(recado::provider::Secrets::Hidden)));
    let answering = fixture.provider.answer_all(|call| Some(echo(call)));
    let outgoing = [(fixture.plain)(PERSON)];
    for answer in fixture.adapter.send(&outgoing).await {
        let said = format!("{answer:?}");
        for private in [PERSON, "Your parcel leaves today."] {
            assert!(!said.contains(private), "{said}");
        }
        shown.push(said);
    }
    shown.push(format!("{:?}", fixture.away.send(&outgoing).await));
    shown.push(format!("{:?}", fixture.adapter.check().await));
    shown.push(format!("{:?}", fixture.away.check().await));
    let bare = Webhook { headers: vec![], query: vec![], ..fixture.genuine[0].clone() };
    shown.push(format!("{:?}", fixture.adapter.verify(&bare)));
    answering.abort();
    for said in shown {
        for secret in &fixture.secrets {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

pub async fn nothing_leaves_the_host(fixture: Fixture) {
    let elsewhere = Arc::new(Provider::start().await.unwrap());
    let target = elsewhere.base_url();
    for status in [301, 302, 303, 307, 308] {
        let target = target.clone();
        let to = format!("{target}/elsewhere");
        let answering =
            fixture.provider.answer_all(move |_| Some(Reply::new(status, "").with_header("location", to.clone())));
        let url = MediaSource::Url(format!("{target}/a.jpg"));
        let picture = Media {
            kind: MediaKind::Image,
            source: url,
            mime_type: "image/jpeg".into(),
            file_name: String::new(),
            caption: String::new(),
        };
        for outgoing in [(fixture.plain)(PERSON), message(PERSON, Content::Media(picture))] {
            let answers = fixture.adapter.send(std::slice::from_ref(&outgoing)).await;
            assert_eq!(answers.len(), 1);
        }
        let _ = fixture.adapter.check().await;
        answering.abort();
    }
    for webhook in &fixture.genuine {
        let body = String::from_utf8_lossy(&webhook.body).replace("https://media.example.test", &target);
        let _ = fixture.adapter.parse(&Webhook { body: body.into(), ..webhook.clone() });
    }
    assert_eq!(elsewhere.count(), 0);
}

/// A template as a provider names it: one names them by ids of its own.
fn template_of(provider: &str) -> &'static str {
    match provider {
        "twilio" => "HX11112222333344445555666677778888",
        _ => "order_ready_v2",
    }
}

/// One of every kind of content.
fn contents(provider: &str) -> Vec<Content> {
    let media = |kind, source| {
        Content::Media(Media {
            kind,
            source,
            mime_type: String::new(),
            file_name: String::new(),
            caption: String::new(),
        })
    };
    let url = || MediaSource::Url("https://files.example.test/a".into());
    let buttons = vec![ReplyButton { id: "a".into(), title: "Yes".into() }];
    let template = |parameter: &str| {
        Content::Template(Template {
            template: template_of(provider).into(),
            language_code: "pt_BR".into(),
            parameters: [(parameter.to_owned(), "Ana".to_owned())].into(),
            ..Default::default()
        })
    };
    let kinds = [
        MediaKind::Image,
        MediaKind::Audio,
        MediaKind::Voice,
        MediaKind::Video,
        MediaKind::Document,
        MediaKind::Sticker,
    ];
    let mut all: Vec<Content> = kinds.into_iter().map(|kind| media(kind, url())).collect();
    all.extend(kinds.into_iter().map(|kind| media(kind, MediaSource::MediaId("7".into()))));
    all.extend([
        text(PERSON).content,
        Content::Location(Location::default()),
        Content::ContactCards(vec![ContactCard {
            name: CardName { formatted_name: "Rui Melo".into(), ..Default::default() },
            ..Default::default()
        }]),
        Content::Interactive(Interactive {
            body: "Shall we come?".into(),
            header: None,
            footer: String::new(),
            action: InteractiveAction::ReplyButtons(buttons),
        }),
        Content::Reaction(Reaction { message_id: None, emoji: "👍".into() }),
        template("1"),
    ]);
    all
}

pub async fn capabilities_are_kept(fixture: Fixture) {
    // Questions hand nothing over, and may be needed before.
    let handed_over = Arc::new(AtomicUsize::new(0));
    let answering = fixture.provider.answer_all({
        let (takes, handed_over) = (fixture.takes, handed_over.clone());
        move |call| {
            handed_over.fetch_add(usize::from(call.method != "GET"), Ordering::SeqCst);
            Some(takes(call))
        }
    });
    let speaks_http = fixture.not_applicable("unauthorized_is_refused").is_none();
    for content in contents(fixture.name) {
        let mut violations = Violations::default();
        fixture.adapter.capabilities().check(&content, fixture.name, &mut violations);
        let carried = violations.into_vec().is_empty();
        let (asked_before, before) = (fixture.provider.count(), handed_over.load(Ordering::SeqCst));
        let mut outgoing = message(PERSON, content);
        outgoing.reaction_to = matches!(outgoing.content, Content::Reaction(_)).then(|| "7001".into());
        let answer = fixture.adapter.send(std::slice::from_ref(&outgoing)).await.remove(0);
        let (asked, sent) = (fixture.provider.count() - asked_before, handed_over.load(Ordering::SeqCst) - before);
        match (carried, &answer.outcome) {
            (true, Ok(_)) => assert_eq!(sent, usize::from(speaks_http)),
            (false, Err(SendError::Refused(error))) => {
                assert_eq!((error.reason, asked), (ErrorReason::NotSupported, 0), "{outgoing:?}");
            }
            _ => panic!("{} carries it: {carried}; {outgoing:?}: {answer:?}", fixture.name),
        }
    }
    // Templates quote nothing, anywhere.
    let plain = match fixture.adapter.capabilities().text_max {
        Some(_) => text(PERSON),
        None => (fixture.plain)(PERSON),
    };
    let quote = recado::provider::Outgoing { reply_to: Some("7001".into()), ..plain };
    let outcome = fixture.adapter.send(&[quote]).await.remove(0).outcome;
    assert_eq!(outcome.is_ok(), fixture.adapter.capabilities().reply, "{outcome:?}");
    answering.abort();
}

pub async fn check_agrees_with_capabilities(fixture: Fixture) {
    let asks = fixture.adapter.capabilities().check;
    let speaks_http = fixture.not_applicable("unauthorized_is_refused").is_none();
    for (status, working) in [(200, true), (401, false)] {
        let answering = fixture.provider.answer_all(move |_| Some(Reply::new(status, "{}")));
        let outcome = fixture.adapter.check().await;
        answering.abort();
        match outcome {
            CheckOutcome::NotSupported => assert!(!asks),
            CheckOutcome::Working { .. } => assert!(asks && (working || !speaks_http)),
            CheckOutcome::Refused(error) => {
                assert!(asks && !working);
                assert_eq!(error.reason, ErrorReason::SenderUnauthorized);
            }
            CheckOutcome::Unreachable { detail } => panic!("{status}: {detail}"),
        }
    }
    if asks && speaks_http {
        assert!(matches!(fixture.away.check().await, CheckOutcome::Unreachable { .. }));
    }
}

pub async fn templates_agree_with_capabilities(fixture: Fixture) {
    let publishes = fixture.adapter.capabilities().catalogue;
    let speaks_http = fixture.not_applicable("unauthorized_is_refused").is_none();
    let answering = fixture.provider.answer_all(|_| Some(Reply::new(401, "{}")));
    let asked = fixture.adapter.templates().await;
    answering.abort();
    match asked {
        Err(AskError::NotSupported) => assert!(!publishes),
        Err(AskError::Refused(error)) => {
            assert!(publishes);
            assert_eq!(error.reason, ErrorReason::SenderUnauthorized);
        }
        Ok(templates) => {
            assert!(publishes && !speaks_http);
            let keys: HashSet<Key> = templates.iter().map(Key::of).collect();
            assert_eq!(keys.len(), templates.len(), "name, language and id name one");
            assert!(keys.iter().all(|key| !key.template.is_empty()));
        }
        Err(AskError::Unreachable(detail)) => panic!("401: {detail}"),
    }
    if publishes && speaks_http {
        assert!(matches!(fixture.away.templates().await, Err(AskError::Unreachable(_))));
    }
}

/// A file of that many bytes, in two parts.
fn upload(kind: MediaKind, mime_type: &str, announced: bool) -> Upload {
    let parts = ["half of a file", " and the other half"];
    let size = parts.iter().map(|part| part.len() as u64).sum();
    let size_bytes = announced.then_some(size);
    let info = UploadInfo { kind, mime_type: mime_type.into(), file_name: "invoice.bin".into(), size_bytes };
    let bytes = futures::stream::iter(parts.map(|part| Ok(part.into()))).boxed();
    Upload { info, bytes, limit: Duration::from_secs(30) }
}

pub async fn uploads_agree_with_capabilities(fixture: Fixture) {
    let keeps = fixture.adapter.capabilities().media_upload;
    let speaks_http = fixture.not_applicable("unauthorized_is_refused").is_none();
    let kinds: Vec<_> = fixture.adapter.capabilities().media.iter().map(|rule| (rule.kind, rule.by_media_id)).collect();
    let mime_type = "image/jpeg";
    for announced in [true, false] {
        let answering = fixture.provider.answer_all(|_| Some(Reply::new(401, "{}")));
        let before = fixture.provider.count();
        let kept = fixture.adapter.upload_media(upload(MediaKind::Image, mime_type, announced)).await;
        answering.abort();
        match kept {
            Ok(kept) => {
                assert!(keeps && !speaks_http && !kept.media_id.is_empty());
                assert!(kinds.iter().all(|(_, by_media_id)| *by_media_id), "what is kept can be sent");
            }
            Err(SendError::Refused(error)) if error.reason == ErrorReason::NotSupported => {
                assert!(!keeps && fixture.provider.count() == before);
            }
            Err(SendError::Refused(error)) => {
                assert!(keeps && kinds.iter().all(|(_, by_media_id)| *by_media_id), "what is kept can be sent");
                assert_eq!(error.reason, ErrorReason::SenderUnauthorized);
            }
            other => panic!("{other:?}"),
        }
    }
    if !keeps || !speaks_http {
        return;
    }
    let away = fixture.away.upload_media(upload(MediaKind::Image, mime_type, true)).await;
    assert!(matches!(away, Err(SendError::NotTaken { .. })), "{away:?}");
    // A file that breaks off reaches nobody as a whole.
    let answering = fixture.provider.answer_all(|_| Some(Reply::new(200, r#"{"id":"1"}"#)));
    for announced in [true, false] {
        let before = fixture.provider.count();
        let whole = upload(MediaKind::Image, mime_type, announced);
        let broken = futures::stream::once(async { Err(std::io::Error::other("gone")) });
        let bytes = whole.bytes.take(1).chain(broken).boxed();
        let kept = fixture.adapter.upload_media(Upload { bytes, ..whole }).await;
        assert!(kept.is_err() && fixture.provider.count() == before, "{kept:?}");
        let kept = fixture.adapter.upload_media(upload(MediaKind::Image, mime_type, announced)).await;
        assert_eq!(kept.unwrap().media_id, "1");
    }
    answering.abort();
}

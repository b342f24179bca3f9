//! One POST, from the event to what it showed.

use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use url::Url;

use super::{Parts, body};
use crate::domain::callback::{CallbackAttempt, DueCallback, Verdict, verdict};
use crate::domain::now_ms;
use crate::guarded::{Caps, GuardError, Opened};
use crate::store::{EndedPost, EndpointClaim};

/// Bytes of the answer that are kept.
const ANSWER_MAX: usize = 4_096;
/// How long the answer's body is read: it decides nothing, and a dripping one holds up nobody.
const BODY_LIMIT: Duration = Duration::from_secs(2);

/// Posts a callback.
pub(super) async fn post(parts: &Parts, claim: &EndpointClaim, callback: &DueCallback) -> EndedPost {
    let (start_at_ms, started) = (now_ms(), Instant::now());
    #[cfg(feature = "faults")]
    crate::faults::reach("post", "begins");
    let said = said(parts, claim, callback).await;
    #[cfg(feature = "faults")]
    crate::faults::reach("post", "ended");
    EndedPost {
        endpoint: claim.id.clone(),
        token: claim.token,
        position: callback.position,
        attempt: CallbackAttempt {
            number: 0,
            start_at_ms,
            elapsed_ms: i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX),
            http_status: said.http_status,
            answer: said.answer,
        },
        verdict: said.verdict,
        jitter: rand::random(),
    }
}

/// Posting ended in a fault of ours, of which the log has the trace.
pub(super) fn fault(claim: &EndpointClaim, callback: &DueCallback) -> EndedPost {
    EndedPost {
        endpoint: claim.id.clone(),
        token: claim.token,
        position: callback.position,
        attempt: CallbackAttempt {
            number: 0,
            start_at_ms: now_ms(),
            elapsed_ms: 0,
            http_status: None,
            answer: "a fault of the gateway".to_owned(),
        },
        verdict: Verdict::Failed { retry_after: None },
        jitter: rand::random(),
    }
}

struct Said {
    verdict: Verdict,
    http_status: Option<u16>,
    answer: String,
}

async fn said(parts: &Parts, claim: &EndpointClaim, callback: &DueCallback) -> Said {
    let pointless = |why: &str| Said { verdict: Verdict::Pointless, http_status: None, answer: why.to_owned() };
    let account = match parts.senders.find(&claim.sender).await {
        Ok(Some(account)) => account,
        Ok(None) => return pointless("the sender was deleted, and its secrets with it"),
        Err(error) => return failed(error.to_string()),
    };
    let Some(event) = &callback.event else { return pointless("the event is no longer kept") };
    let Some(body) = body::body(callback, account.sender.provider) else {
        return pointless("events of this kind are not posted");
    };
    let Ok(url) = Url::parse(&callback.to.url) else { return pointless("the address cannot be read") };
    let now = now_ms();
    let (id, timestamp_s) = (event.id.to_string(), now.div_euclid(1_000));
    let mut headers =
        vec![("content-type", "application/json".to_owned()), ("webhook-timestamp", timestamp_s.to_string())];
    // Of this attempt: receivers refuse what was signed minutes ago.
    headers.extend(account.callback_secrets.signature(&id, timestamp_s, &body, now).map(|s| ("webhook-signature", s)));
    headers.push(("webhook-id", id));
    let limit = parts.config.post_limit;
    let caps = Caps { bytes: u64::MAX, total: limit, idle: limit };
    match parts.guarded.post(url, &headers, body, caps).await {
        Ok(mut opened) => {
            let status = opened.status().as_u16();
            let retry_after = retry_after(opened.headers(), SystemTime::now());
            let answer = read(&mut opened).await;
            Said { verdict: verdict(status, retry_after), http_status: Some(status), answer }
        }
        Err(error) => failed(match error {
            GuardError::Forbidden(why) => format!("forbidden address: {why}"),
            other => other.to_string(),
        }),
    }
}

fn failed(answer: String) -> Said {
    Said { verdict: Verdict::Failed { retry_after: None }, http_status: None, answer }
}

/// The beginning of the answer. What cannot be read of it changes nothing: its status has come.
async fn read(opened: &mut Opened) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while bytes.len() < ANSWER_MAX
            && let Ok(Some(chunk)) = opened.chunk().await
        {
            bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_MAX - bytes.len())]);
        }
    };
    let _ = tokio::time::timeout(BODY_LIMIT, reading).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The endpoint's wish to wait: seconds, or a date. Anything else is none.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_to_wait_is_seconds_or_a_date_and_nothing_else() {
        let now = httpdate::parse_http_date("Sun, 22 Nov 2026 08:00:00 GMT").unwrap();
        for (text, seconds) in [
            ("30", Some(30)),
            (" 0 ", Some(0)),
            ("99999999999", Some(99_999_999_999)),
            ("Sun, 22 Nov 2026 08:01:00 GMT", Some(60)),
            ("Sun, 22 Nov 2026 07:00:00 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
            ("", None),
            ("99999999999999999999999", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}

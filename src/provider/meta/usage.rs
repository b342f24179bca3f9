//! What Meta's headers say about its limits: `x-app-usage`, an object, and `x-business-use-case-usage`, an object of lists by
//! business account [docs]. Percentages of several limits; the highest counts. `estimated_time_to_regain_access` is in minutes
//! [assumed].

use std::time::Duration;

use serde_json::{Map, Value};

use crate::provider::Usage;
use crate::provider::http::HttpAnswer;
use crate::provider::lenient::integer;

/// Where the percentages stand.
const PERCENTAGES: &[&str] = &["call_count", "total_cputime", "total_time"];
/// No limit is believed to stay closed for longer.
const REGAIN_MAX_MINUTES: u64 = 60;

/// How much is used; nothing when no header says so.
pub(super) fn usage(answer: &HttpAnswer) -> Option<Usage> {
    let header = |name: &str| serde_json::from_str::<Map<String, Value>>(answer.headers.get(name)?.to_str().ok()?).ok();
    let business = header("x-business-use-case-usage").unwrap_or_default();
    let app = header("x-app-usage");
    let uses: Vec<&Map<String, Value>> =
        business.values().filter_map(Value::as_array).flatten().filter_map(Value::as_object).chain(&app).collect();
    let percentages = uses.iter().flat_map(|usage| PERCENTAGES.iter().filter_map(|name| integer(usage, name)));
    let minutes = uses.iter().filter_map(|usage| integer(usage, "estimated_time_to_regain_access")).max();
    let minutes = minutes.and_then(|minutes| u64::try_from(minutes).ok()).filter(|minutes| *minutes > 0);
    let regain = minutes.map(|minutes| Duration::from_secs(minutes.min(REGAIN_MAX_MINUTES) * 60));
    let used = percentages.max().map(|percent| percent.clamp(0, 1_000) as f64 / 100.0);
    (used.is_some() || regain.is_some()).then(|| Usage { used: used.unwrap_or(1.0), regain })
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;

    use super::*;

    #[test]
    fn the_highest_percentage_and_the_longest_wait_count() {
        let business = "x-business-use-case-usage";
        for (headers, used) in [
            (vec![], None),
            (vec![("x-app-usage", "{}")], None),
            (vec![("x-app-usage", "not JSON")], None),
            (vec![(business, r#"{"1":"x","2":[7]}"#)], None),
            (vec![("x-app-usage", r#"{"call_count":28,"total_time":25,"total_cputime":91}"#)], Some((0.91, 0))),
            (
                vec![
                    ("x-app-usage", r#"{"call_count":3}"#),
                    (
                        business,
                        r#"{"1":[{"call_count":"100","estimated_time_to_regain_access":7}],"2":[{"total_time":4}]}"#,
                    ),
                ],
                Some((1.0, 420)),
            ),
            (vec![(business, r#"{"1":[{"estimated_time_to_regain_access":600}]}"#)], Some((1.0, 3_600))),
            (vec![("x-app-usage", r#"{"call_count":-5}"#)], Some((0.0, 0))),
        ] {
            let mut answer = HttpAnswer {
                status: StatusCode::OK,
                retry_after: None,
                headers: HeaderMap::new(),
                body: Default::default(),
            };
            for (name, value) in &headers {
                answer.headers.insert(*name, value.parse().unwrap());
            }
            let found = usage(&answer).map(|usage| (usage.used, usage.regain.unwrap_or_default().as_secs()));
            assert_eq!(found, used, "{headers:?}");
        }
    }
}

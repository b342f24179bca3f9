use super::*;
use crate::domain::template::{Quality, TemplateCategory};
use TemplateStatus::{Approved, Deleted, Paused, Rejected};

/// A reading that lies well after what webhooks told before it.
const LATER: Millis = 10_000_000;

fn entry(template: &str, language_code: &str, status: TemplateStatus) -> CatalogueTemplate {
    CatalogueTemplate {
        template: template.into(),
        template_id: format!("id-{template}-{language_code}"),
        language_code: language_code.into(),
        status: Some(status),
        provider_status: status.as_str().into(),
        body: "Hello {{1}}".into(),
        ..CatalogueTemplate::default()
    }
}

fn word(template: &str, status: Option<TemplateStatus>) -> TemplateChanged {
    TemplateChanged { template: template.into(), language_code: "en".into(), status, ..TemplateChanged::default() }
}

fn copy(status: TemplateStatus) -> TemplateCopy {
    TemplateCopy::new(entry("a", "en", status))
}

/// What events say of a template's status: before and after.
fn told(events: &[TemplateChanged]) -> Vec<(&str, Option<TemplateStatus>, Option<TemplateStatus>)> {
    events.iter().map(|event| (event.template.as_str(), event.previous_status, event.status)).collect()
}

#[test]
fn a_reading_tells_what_is_new_changed_and_gone() {
    let before = vec![
        (1, TemplateCopy::new(entry("same", "en", Approved))),
        (2, TemplateCopy::new(entry("paused", "en", Approved))),
        (3, TemplateCopy::new(entry("gone", "en", Approved))),
        (4, TemplateCopy::new(entry("deleted", "en", Deleted))),
        (5, TemplateCopy::new(entry("edited", "en", Approved))),
    ];
    let edited = CatalogueTemplate { body: "Good day {{1}}".into(), ..entry("edited", "en", Approved) };
    let reading =
        vec![entry("new", "en", Paused), edited, entry("paused", "en", Paused), entry("same", "en", Approved)];
    let difference = compare(before, reading, LATER);
    assert_eq!(
        told(&difference.events),
        [
            ("paused", Some(Approved), Some(Paused)),
            ("gone", Some(Approved), Some(Deleted)),
            // What a webhook called deleted is no news when it is gone.
            ("edited", Some(Approved), Some(Approved)),
            ("new", None, Some(Paused)),
        ]
    );
    assert_eq!(difference.changed.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [2, 5]);
    assert_eq!((difference.gone, difference.count), (vec![3, 4], 4));
    assert_eq!(difference.new, [TemplateCopy::new(entry("new", "en", Paused))]);
}

#[test]
fn the_same_reading_again_changes_nothing() {
    let reading = || vec![entry("a", "en", Approved), entry("a", "pt_BR", Rejected)];
    let copies = (1..).zip(compare(Vec::new(), reading(), 1).new).collect();
    let again = compare(copies, reading(), LATER);
    assert_eq!(again, Difference { count: 2, ..Difference::default() });
}

#[test]
fn another_word_for_the_same_status_is_written_and_is_no_event() {
    let reading = CatalogueTemplate { provider_status: "Approved".into(), ..entry("a", "en", Approved) };
    let difference = compare(vec![(1, copy(Approved))], vec![reading], LATER);
    assert_eq!((difference.changed.len(), difference.events.len()), (1, 0));
    let unknown =
        |word: &str| CatalogueTemplate { status: None, provider_status: word.into(), ..entry("a", "en", Approved) };
    let difference = compare(vec![(1, TemplateCopy::new(unknown("PONDERED")))], vec![unknown("WEIGHED")], LATER);
    assert_eq!(difference.events.len(), 1, "of a word that we do not know, any other is news");
}

#[test]
fn what_cannot_be_named_or_stored_is_left_out_and_twins_are_one() {
    let reading = vec![
        entry("", "en", Approved),
        entry("a\u{0}", "en", Approved),
        entry("a", "e\nn", Approved),
        entry("a", "en", Rejected),
        entry("a", "en", Approved),
    ];
    let difference = compare(Vec::new(), reading, 1);
    assert_eq!(difference.new, [copy(Approved)]);
}

#[test]
fn a_webhook_names_a_copy_by_id_or_by_name_and_language() {
    let copy = copy(Approved);
    for (template, template_id, language_code, meant) in [
        ("a", "id-a-en", "en", true),
        ("renamed", "id-a-en", "en", true),
        ("a", "another", "en", false), // made anew under the same name
        ("a", "", "EN", true),
        ("a", "", "", true),
        ("a", "", "pt_BR", false),
        ("", "id-a-en", "", true),
        ("", "", "", false),
        ("b", "", "en", false),
    ] {
        let [template, template_id, language_code] = [template, template_id, language_code].map(str::to_owned);
        let word = TemplateChanged { template, template_id, language_code, ..TemplateChanged::default() };
        assert_eq!(copy.is_meant(&word), meant, "{word:?}");
    }
}

#[test]
fn a_webhook_changes_the_copy_and_tells_what_was_before() {
    let mut copy = copy(Approved);
    copy.entry.category = Some(TemplateCategory::Utility);
    let event = copy.hear(
        TemplateChanged {
            status: Some(Rejected),
            category: Some(TemplateCategory::Marketing),
            quality: Some(Quality::Red),
            previous_quality: Some(Quality::Yellow),
            reason: "PROMOTIONAL".into(),
            ..word("a", None)
        },
        LATER,
        1,
    );
    let event = event.unwrap();
    assert_eq!((event.previous_status, event.status), (Some(Approved), Some(Rejected)));
    assert_eq!(event.previous_category, Some(TemplateCategory::Utility), "the copy knows it");
    assert_eq!(event.previous_quality, Some(Quality::Yellow), "the provider says it");
    assert_eq!((event.template_id.as_str(), event.reason.as_str()), ("id-a-en", "PROMOTIONAL"));
    assert_eq!((copy.entry.status, copy.entry.rejected_reason.as_str()), (Some(Rejected), "PROMOTIONAL"));
    assert_eq!((copy.entry.category, copy.entry.quality), (Some(TemplateCategory::Marketing), Some(Quality::Red)));
    assert_eq!(copy.entry.provider_status, "", "its own word was not told");

    let event = copy.hear(word("a", Some(Approved)), LATER + 1, 1).unwrap();
    assert_eq!((event.previous_status, event.previous_quality), (Some(Rejected), None), "only what it speaks of");
    assert_eq!(copy.entry.rejected_reason, "");
}

#[test]
fn a_webhook_that_says_what_is_known_is_no_event_and_one_that_says_nothing_is() {
    let mut copy = copy(Approved);
    assert_eq!(copy.hear(word("a", Some(Approved)), LATER, 1), None);
    assert!(copy.hear(word("a", None), LATER, 1).is_some(), "a word that no table knows");
    let rejected = |reason: &str| TemplateChanged { reason: reason.into(), ..word("a", Some(Rejected)) };
    assert!(copy.hear(rejected("SCAM"), LATER, 1).is_some());
    assert_eq!(copy.hear(rejected("SCAM"), LATER, 1), None);
    assert!(copy.hear(rejected("FORMAT"), LATER, 1).is_some(), "another reason is news");
}

#[test]
fn what_is_older_than_what_is_known_changes_nothing() {
    let mut copy = copy(Approved);
    copy.hear(word("a", Some(Paused)), 5_000, 1).unwrap();
    assert_eq!(copy.hear(word("a", Some(Approved)), 4_999, 1), None, "the webhooks came in the wrong order");
    let quality = TemplateChanged { quality: Some(Quality::Red), status: Some(Approved), ..word("a", None) };
    let event = copy.hear(quality, 4_999, 1).unwrap();
    assert_eq!((event.status, event.quality), (None, Some(Quality::Red)), "of its quality nothing newer is known");
    assert_eq!(copy.entry.status, Some(Paused));
    assert_eq!(copy.hear(word("a", Some(Approved)), LATER, LATER + CLOCKS_MS + 1), None, "a reading was later");
    assert!(copy.hear(word("a", Some(Approved)), LATER, LATER + CLOCKS_MS).is_some(), "clocks differ");
}

#[test]
fn a_reading_that_was_begun_before_a_webhook_does_not_undo_it() {
    for (told_at_ms, status) in [(LATER + 1, Paused), (LATER - CLOCKS_MS, Paused), (LATER - CLOCKS_MS - 1, Approved)] {
        let mut copy = copy(Approved);
        copy.hear(word("a", Some(Paused)), told_at_ms, 1).unwrap();
        let difference = compare(vec![(1, copy)], vec![entry("a", "en", Approved)], LATER);
        assert_eq!(difference.changed[0].1.entry.status, Some(status), "{told_at_ms}");
        assert_eq!(difference.events.is_empty(), status == Paused, "{told_at_ms}");
    }
}

#[test]
fn languages_are_compared_in_either_form() {
    for (a, b, same) in [("pt_BR", "pt-br", true), ("en", "EN", true), ("pt", "pt_BR", false), ("", "en", false)] {
        assert_eq!(same_language(a, b), same, "{a} {b}");
    }
}

#[test]
fn a_copy_is_stored_and_read_back_whole() {
    let mut copy = copy(Approved);
    copy.hear(word("a", Some(Paused)), LATER, 1);
    let text = serde_json::to_string(&copy).unwrap();
    assert_eq!(serde_json::from_str::<TemplateCopy>(&text).unwrap(), copy);
}

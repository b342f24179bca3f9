use std::collections::BTreeMap;

use super::*;
use crate::domain::content::{Location, Media, MediaSource, TemplateButton};
use crate::domain::template::{ParameterFormat, TemplateParameter};

fn entry(template: &str, language_code: &str, variables: &[&str]) -> CatalogueTemplate {
    let parameter = |name: &&str| TemplateParameter { name: (*name).to_owned(), example: "x".into() };
    CatalogueTemplate {
        template: template.into(),
        template_id: format!("id-{template}"),
        language_code: language_code.into(),
        status: Some(TemplateStatus::Approved),
        parameter_format: Some(ParameterFormat::Named),
        body: "text".into(),
        parameters: variables.iter().map(parameter).collect(),
        ..CatalogueTemplate::default()
    }
}

fn button(kind: &str, parameter_required: bool) -> CatalogueButton {
    CatalogueButton { r#type: kind.into(), text: "Go".into(), url: String::new(), parameter_required }
}

fn send(template: &str, language_code: &str, parameters: &[&str]) -> Template {
    Template {
        template: template.into(),
        language_code: language_code.into(),
        parameters: parameters.iter().map(|name| ((*name).to_owned(), "value".to_owned())).collect(),
        ..Default::default()
    }
}

fn filled(buttons: &[u32]) -> Template {
    let button = |index: &u32| TemplateButton { index: *index, parameter: "x".into(), kind: Default::default() };
    Template { buttons: buttons.iter().map(button).collect(), ..send("b", "en", &[]) }
}

/// Violations as `path REASON`.
fn violations(entries: &[CatalogueTemplate], template: &Template) -> Vec<String> {
    let judgement = judge(&Copies::new(entries.to_vec(), 1), template);
    judgement.violations.iter().map(|v| format!("{} {}", v.field, v.reason.as_str())).collect()
}

#[test]
fn templates_are_found_by_name_or_id_in_their_language() {
    let entries = [entry("a", "en", &[]), entry("a", "pt_BR", &[]), entry("only", "es", &[]), entry("any", "", &[])];
    for (template, language_code, wrong, filled_in) in [
        ("a", "en", None, None),
        ("a", "pt_BR", None, None),
        ("a", "pt-BR", None, None),
        ("id-a", "en", None, None),
        ("any", "fr", None, None),
        ("a", "fr", Some("language_code NOT_AVAILABLE"), None),
        ("id-a", "fr", Some("language_code NOT_AVAILABLE"), None),
        ("a", "", Some("language_code REQUIRED"), None),
        ("only", "", None, Some("es")),
        ("A", "en", Some("template NOT_AVAILABLE"), None),
    ] {
        let judgement = judge(&Copies::new(entries.to_vec(), 1), &send(template, language_code, &[]));
        let found: Vec<String> =
            judgement.violations.iter().map(|v| format!("{} {}", v.field, v.reason.as_str())).collect();
        assert_eq!(found, wrong.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{template} {language_code}");
        assert_eq!(judgement.language_code.as_deref(), filled_in, "{template} {language_code}");
    }
}

#[test]
fn every_variable_has_a_value_and_every_value_a_variable() {
    let twelve: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
    let twelve: Vec<&str> = twelve.iter().map(String::as_str).collect();
    let entries = [entry("named", "en", &["name", "day"]), entry("twelve", "en", &twelve), entry("none", "en", &[])];
    for (template, given, wrong) in [
        ("named", &["name", "day"][..], &[][..]),
        ("named", &["name"], &["parameters[\"day\"] REQUIRED"]),
        ("named", &[], &["parameters[\"name\"] REQUIRED", "parameters[\"day\"] REQUIRED"]),
        (
            "named",
            &["1", "2"],
            &[
                "parameters[\"name\"] REQUIRED",
                "parameters[\"day\"] REQUIRED",
                "parameters[\"1\"] NOT_AVAILABLE",
                "parameters[\"2\"] NOT_AVAILABLE",
            ],
        ),
        ("twelve", &twelve[..], &[]),
        ("twelve", &twelve[..11], &["parameters[\"12\"] REQUIRED"]),
        ("none", &["1"], &["parameters[\"1\"] NOT_AVAILABLE"]),
        ("none", &[], &[]),
    ] {
        assert_eq!(violations(&entries, &send(template, "en", given)), wrong, "{template} {given:?}");
    }
    let untold = [CatalogueTemplate { body: String::new(), ..entry("untold", "en", &[]) }];
    assert_eq!(violations(&untold, &send("untold", "en", &["1"])), Vec::<String>::new(), "it tells no text");
}

#[test]
fn a_header_is_of_the_kind_that_was_approved() {
    let media = |kind| {
        let source = MediaSource::Url("https://files.example.test/a".into());
        let (mime_type, file_name, caption) = (String::new(), String::new(), String::new());
        Some(TemplateHeader::Media(Media { kind, source, mime_type, file_name, caption }))
    };
    let text = || Some(TemplateHeader::Text("A-1".into()));
    let place = || {
        let (name, address, url) = (String::new(), String::new(), String::new());
        Some(TemplateHeader::Location(Location { latitude: 1.0, longitude: 1.0, name, address, url }))
    };
    for (format, header_text, given, wrong) in [
        (None, "", None, None),
        (None, "", text(), Some("header NOT_AVAILABLE")),
        (Some(HeaderFormat::Text), "Order {{1}}", text(), None),
        (Some(HeaderFormat::Text), "Order {{1}}", None, Some("header REQUIRED")),
        (Some(HeaderFormat::Text), "Order {{1}}", place(), Some("header INVALID")),
        (Some(HeaderFormat::Text), "Order", None, None),
        (Some(HeaderFormat::Text), "Order", text(), Some("header NOT_AVAILABLE")),
        (Some(HeaderFormat::Image), "", media(MediaKind::Image), None),
        (Some(HeaderFormat::Image), "", media(MediaKind::Video), Some("header.media.kind INVALID")),
        (Some(HeaderFormat::Image), "", None, Some("header REQUIRED")),
        (Some(HeaderFormat::Image), "", text(), Some("header INVALID")),
        (Some(HeaderFormat::Video), "", media(MediaKind::Video), None),
        (Some(HeaderFormat::Document), "", media(MediaKind::Document), None),
        (Some(HeaderFormat::Document), "", media(MediaKind::Image), Some("header.media.kind INVALID")),
        (Some(HeaderFormat::Location), "", place(), None),
        (Some(HeaderFormat::Location), "", None, Some("header REQUIRED")),
        (Some(HeaderFormat::Location), "", media(MediaKind::Image), Some("header INVALID")),
    ] {
        let shown = format!("{format:?} {header_text:?} {given:?}");
        let entries =
            [CatalogueTemplate { header_format: format, header_text: header_text.into(), ..entry("h", "en", &[]) }];
        let template = Template { header: given, ..send("h", "en", &[]) };
        let expected: Vec<String> = wrong.map(str::to_owned).into_iter().collect();
        assert_eq!(violations(&entries, &template), expected, "{shown}");
    }
}

#[test]
fn buttons_are_filled_where_they_have_a_variable_and_nowhere_else() {
    let buttons =
        vec![button("URL", true), button("URL", false), button("QUICK_REPLY", false), button("PHONE_NUMBER", false)];
    let entries = [CatalogueTemplate { buttons, ..entry("b", "en", &[]) }];
    for (given, wrong) in [
        (&[0][..], &[][..]),
        (&[2, 0], &[]), // a quick reply may be given its payload
        (&[], &["buttons REQUIRED"]),
        (&[0, 1, 3], &["buttons[1].parameter NOT_AVAILABLE", "buttons[2].parameter NOT_AVAILABLE"]),
        (&[4], &["buttons[0].index NOT_AVAILABLE", "buttons REQUIRED"]),
    ] {
        assert_eq!(violations(&entries, &filled(given)), wrong, "{given:?}");
    }
}

#[test]
fn only_what_is_approved_and_can_be_filled_stands() {
    let of = |status: Option<TemplateStatus>, unsupported_reason: &str| {
        let entry =
            CatalogueTemplate { status, unsupported_reason: unsupported_reason.into(), ..entry("a", "en", &[]) };
        let judgement = judge(&Copies::new(vec![entry], 1), &send("a", "en", &[]));
        assert!(judgement.violations.is_empty());
        judgement.into_error().map(|error| match error {
            Error::Precondition { reason, metadata, .. } => (reason, BTreeMap::from_iter(metadata)),
            other => panic!("{other:?}"),
        })
    };
    let metadata = |rest: &[(&'static str, &str)]| {
        let known = [("template", "a"), ("language_code", "en")];
        known.iter().chain(rest).map(|(key, value)| (*key, (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(of(Some(TemplateStatus::Approved), ""), None);
    assert_eq!(of(None, ""), None, "a word that we do not know is the provider's to judge");
    for status in TemplateStatus::ALL.into_iter().filter(|status| *status != TemplateStatus::Approved) {
        let expected = ("TEMPLATE_NOT_APPROVED", metadata(&[("status", status.as_str())]));
        assert_eq!(of(Some(status), "it is a carousel"), Some(expected), "{status:?}");
    }
    let expected = ("TEMPLATE_NOT_SUPPORTED", metadata(&[]));
    assert_eq!(of(Some(TemplateStatus::Approved), "it is a carousel"), Some(expected));
}

#[test]
fn what_is_wrong_with_the_request_comes_before_what_is_wrong_with_the_template() {
    let paused = CatalogueTemplate { status: Some(TemplateStatus::Paused), ..entry("a", "en", &["name"]) };
    let judgement = judge(&Copies::new(vec![paused], 1), &send("a", "en", &[]));
    assert!(!judgement.is_good());
    assert!(matches!(judgement.into_error(), Some(Error::Invalid(_))));
}

#[test]
fn a_field_is_named_wrong_once() {
    let wrong = |field: &str| {
        let mut violations = Violations::default();
        violations.add(field, Reason::Invalid, "x");
        violations
    };
    for (known, judged, added) in [
        ("parameters[\"1\"]", "parameters[\"1\"]", false),
        ("parameters[\"1\"]", "parameters[\"2\"]", true),
        ("parameters", "parameters[\"2\"]", false),
        ("buttons[0].index", "buttons[1].index", false),
        ("buttons[0].index", "buttons", false),
        ("header.media.url", "header", false),
        ("to", "template", true),
    ] {
        let mut violations = wrong(known);
        Judgement { violations: wrong(judged), ..Judgement::default() }.add_to(&mut violations);
        assert_eq!(violations.iter().count() == 2, added, "{known} {judged}");
    }
}

#[test]
fn a_headers_variable_is_known_by_its_name() {
    for (text, name) in [
        ("Pedido {{order_id}}", Some("order_id")),
        ("{{ nome }}!", Some("nome")),
        ("Pedido {{1}}", None),
        ("Pedido", None),
        ("{{", None),
        ("{{}}", None),
    ] {
        assert_eq!(named_variable(text), name, "{text}");
    }
}

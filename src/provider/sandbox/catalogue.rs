//! The sandbox's templates: few, fixed, and one of each kind. docs/sandbox.md tells them to users.

use crate::domain::template::{
    CatalogueButton, CatalogueTemplate, HeaderFormat, ParameterFormat, Quality, TemplateCategory, TemplateParameter,
    TemplateStatus,
};

/// All of them.
pub(super) fn templates() -> Vec<CatalogueTemplate> {
    use TemplateCategory::{Marketing, Utility};
    vec![
        plain("opening_hours", "en", Utility, "We are open from 9 to 18, Monday to Friday."),
        positional("order_ready", "en", "Hello {{1}}, your order {{2}} is ready.", &["Ana", "A-1001"]),
        positional("order_ready", "pt_BR", "Olá, {{1}}! Seu pedido {{2}} está pronto.", &["Ana", "A-1001"]),
        appointment_reminder(),
        order_shipped(),
        route_plan(),
        CatalogueTemplate {
            status: Some(TemplateStatus::Rejected),
            provider_status: "REJECTED".into(),
            rejected_reason: "PROMOTIONAL".into(),
            ..plain("flash_sale", "en", Marketing, "Only today: everything at half price!!!")
        },
        CatalogueTemplate {
            status: Some(TemplateStatus::Paused),
            provider_status: "PAUSED".into(),
            quality: Some(Quality::Red),
            ..plain("loyalty_points", "en", Marketing, "Your points expire at the end of the month.")
        },
    ]
}

/// An approved one, without variables.
fn plain(name: &str, language_code: &str, category: TemplateCategory, body: &str) -> CatalogueTemplate {
    CatalogueTemplate {
        template: name.into(),
        template_id: format!("sandbox.{name}.{language_code}"),
        language_code: language_code.into(),
        status: Some(TemplateStatus::Approved),
        provider_status: "APPROVED".into(),
        category: Some(category),
        quality: Some(Quality::Green),
        body: body.into(),
        ..CatalogueTemplate::default()
    }
}

fn positional(name: &str, language_code: &str, body: &str, examples: &[&str]) -> CatalogueTemplate {
    let parameter = |(position, example): (usize, &&str)| TemplateParameter {
        name: position.to_string(),
        example: (*example).to_owned(),
    };
    CatalogueTemplate {
        parameter_format: Some(ParameterFormat::Positional),
        parameters: (1..).zip(examples).map(parameter).collect(),
        ..plain(name, language_code, TemplateCategory::Utility, body)
    }
}

fn button(kind: &str, text: &str, url: &str, parameter_required: bool) -> CatalogueButton {
    CatalogueButton { r#type: kind.into(), text: text.into(), url: url.into(), parameter_required }
}

/// Variables by name, and quick replies, whose payloads may be given.
fn appointment_reminder() -> CatalogueTemplate {
    let parameter = |(name, example): (&str, &str)| TemplateParameter { name: name.into(), example: example.into() };
    let body = "Hello {{name}}, we expect you on {{day}} at {{time}}.";
    CatalogueTemplate {
        parameter_format: Some(ParameterFormat::Named),
        parameters: [("name", "Ana"), ("day", "Monday"), ("time", "10:00")].map(parameter).into(),
        footer: "Answer to change it.".into(),
        buttons: vec![button("QUICK_REPLY", "I will come", "", false), button("QUICK_REPLY", "Cancel", "", false)],
        ..plain("appointment_reminder", "en", TemplateCategory::Utility, body)
    }
}

/// A picture above, and a button whose address has a variable.
fn order_shipped() -> CatalogueTemplate {
    CatalogueTemplate {
        header_format: Some(HeaderFormat::Image),
        buttons: vec![button("URL", "Track", "https://shop.example.com/track/{{1}}", true)],
        ..positional("order_shipped", "en", "Your order {{1}} is on its way.", &["A-1001"])
    }
}

/// A place above, twelve variables (2 comes before 10), and buttons of three kinds.
fn route_plan() -> CatalogueTemplate {
    let stops: Vec<String> = (1..=12).map(|stop| format!("{{{{{stop}}}}}")).collect();
    let examples: Vec<String> = (1..=12).map(|stop| format!("stop {stop}")).collect();
    let examples: Vec<&str> = examples.iter().map(String::as_str).collect();
    let body = format!("Today's stops: {}.", stops.join(", "));
    CatalogueTemplate {
        header_format: Some(HeaderFormat::Location),
        buttons: vec![
            button("URL", "Map", "https://maps.example.com/{{1}}", true),
            button("PHONE_NUMBER", "Call the office", "", false),
            button("QUICK_REPLY", "Seen", "", false),
        ],
        ..positional("route_plan", "pt_BR", &body, &examples)
    }
}

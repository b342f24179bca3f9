//! The templates that an account has, and what a send of one may fill.

use serde_json::{Map, Value, json};

use super::cloud::Refusal;

/// Templates in a page, so few that whoever reads only the first is found out.
const PAGE: usize = 2;

/// All of them, as Meta lists them.
pub(in crate::fake) fn all() -> Vec<Value> {
    let positional =
        |text: &str, example: Value| json!({ "type": "BODY", "text": text, "example": { "body_text": [example] } });
    let template = |id: u64, name: &str, status: &str, format: &str, components: Value| {
        json!({
            "id": id.to_string(), "name": name, "language": "pt_BR", "status": status, "category": "UTILITY",
            "parameter_format": format, "quality_score": { "score": "GREEN", "date": 1_764_000_000 },
            "rejected_reason": "NONE", "components": components,
        })
    };
    vec![
        template(
            594_425_479_261_596,
            "order_ready_v2",
            "APPROVED",
            "POSITIONAL",
            json!([
                positional("Olá {{1}}, o seu pedido está pronto.", json!(["Marina"])),
                { "type": "FOOTER", "text": "Acme" },
            ]),
        ),
        template(
            594_425_479_261_597,
            "boleto_disponivel",
            "APPROVED",
            "POSITIONAL",
            json!([
                { "type": "HEADER", "format": "DOCUMENT", "example": { "header_handle": ["https://scontent.example.test/s.pdf"] } },
                positional("Olá {{1}}, seu boleto vence em {{2}}.", json!(["Marina", "12/01/2026"])),
                { "type": "BUTTONS", "buttons": [
                    { "type": "URL", "text": "Abrir", "url": "https://acme.example.test/b/{{1}}", "example": ["https://acme.example.test/b/1"] },
                    { "type": "QUICK_REPLY", "text": "Parar" },
                ] },
            ]),
        ),
        template(
            594_425_479_261_598,
            "boas_vindas",
            "APPROVED",
            "NAMED",
            json!([
                { "type": "HEADER", "format": "TEXT", "text": "Bem-vinda" },
                { "type": "BODY", "text": "Olá {{nome}}, seu plano é {{plano}}.", "example": { "body_text_named_params": [
                    { "param_name": "nome", "example": "Marina" }, { "param_name": "plano", "example": "Ouro" },
                ] } },
            ]),
        ),
        template(
            594_425_479_261_599,
            "oferta",
            "PAUSED",
            "POSITIONAL",
            json!([positional("Só hoje, {{1}}!", json!(["Marina"])),]),
        ),
        template(
            594_425_479_261_600,
            "vitrine",
            "APPROVED",
            "POSITIONAL",
            json!([
                { "type": "BODY", "text": "Veja as novidades" },
                { "type": "CAROUSEL", "cards": [] },
            ]),
        ),
        template(
            594_425_479_261_601,
            "pedido_a_caminho",
            "APPROVED",
            "NAMED",
            json!([
                { "type": "HEADER", "format": "TEXT", "text": "Pedido {{pedido}}", "example": { "header_text_named_params": [
                    { "param_name": "pedido", "example": "2291" },
                ] } },
                { "type": "BODY", "text": "{{nome}}, está a caminho.", "example": { "body_text_named_params": [
                    { "param_name": "nome", "example": "Marina" },
                ] } },
            ]),
        ),
    ]
}

/// One page of Meta's: the cursor is the place of the next.
pub(super) fn page(after: Option<&str>) -> Option<Value> {
    let all = all();
    let first = after.map_or(Some(0), |after| after.strip_prefix("place-")?.parse::<usize>().ok())?;
    let last = (first + PAGE).min(all.len());
    let mut page = json!({ "data": all.get(first..last)?, "paging": { "cursors": {
        "before": format!("place-{first}"), "after": format!("place-{last}"),
    } } });
    if last < all.len() {
        // An address of somebody else's, for whoever would follow it.
        page["paging"]["next"] = format!("http://127.0.0.1:9/message_templates?after=place-{last}").into();
    }
    Some(page)
}

/// What Meta finds wrong with the template of a send.
pub(super) fn judged(template: &Value) -> Result<(), Refusal> {
    let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, language) = (said(&template["name"]), said(&template["language"]["code"]));
    let known = all().into_iter().find(|known| known["name"] == *name && known["language"] == *language);
    let known =
        known.ok_or_else(|| Refusal::new(132_001, format!("template name ({name}) does not exist in {language}")))?;
    if known["status"] == "PAUSED" {
        return Err(Refusal::new(132_015, "the template is paused"));
    }
    let empty = Vec::new();
    let given = template["components"].as_array().unwrap_or(&empty);
    let parts = known["components"].as_array().unwrap_or(&empty);
    let body = parts.iter().find(|part| part["type"] == "BODY").map(|part| said(&part["text"])).unwrap_or_default();
    let expected = body.matches("{{").count();
    let body = given.iter().find(|part| part["type"] == "body").and_then(|part| part["parameters"].as_array());
    let parameters = body.map(Vec::as_slice).unwrap_or_default();
    if parameters.len() != expected {
        let details =
            format!("number of localizable_params ({}) does not match the expected ({expected})", parameters.len());
        return Err(Refusal::new(132_000, details));
    }
    let named = known["parameter_format"] == "NAMED";
    if parameters.iter().any(|parameter| parameter.get("parameter_name").is_some() != named) {
        return Err(Refusal::new(132_012, "parameter_name"));
    }
    let none = Value::Null;
    let header = parts.iter().find(|part| part["type"] == "HEADER").unwrap_or(&none);
    let variable = said(&header["text"]).split_once("{{").map(|(_, rest)| rest.trim_end_matches("}}").to_owned());
    let wanted = Some(said(&header["format"]).to_lowercase())
        .filter(|format| !format.is_empty() && (format != "text" || variable.is_some()));
    let given = given.iter().find(|part| part["type"] == "header").map(|part| &part["parameters"][0]);
    if wanted != given.map(|parameter| said(&parameter["type"])) {
        return Err(Refusal::new(132_012, "header: format mismatch"));
    }
    let name = given.and_then(|parameter| parameter["parameter_name"].as_str());
    if name != variable.as_deref().filter(|_| named) {
        return Err(Refusal::new(132_012, "header: parameter_name"));
    }
    Ok(())
}

/// The same in the list of 360dialog's.
pub(in crate::fake) fn listed(limit: usize, offset: usize) -> Map<String, Value> {
    let all = all();
    let total = all.len();
    let own = |(place, mut template): (usize, Value)| {
        template["external_id"] = template["id"].take();
        template["id"] = format!("f1c0aa{place}T").into();
        template["status"] = template["status"].as_str().unwrap_or_default().to_lowercase().into();
        template
    };
    let listed: Vec<Value> = all.into_iter().enumerate().map(own).skip(offset).take(limit.min(PAGE)).collect();
    let page = json!({
        "count": listed.len(), "filters": {}, "limit": limit, "offset": offset, "sort": ["id"], "total": total,
        "waba_templates": listed,
    });
    match page {
        Value::Object(page) => page,
        _ => Map::new(),
    }
}

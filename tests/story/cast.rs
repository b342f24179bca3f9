//! Who plays: for each provider its settings, a template that it takes, and what a person's picture looks like on its wire.

use recado::proto;
use recado::proto::sender::Config;
use serde_json::{Value, json};

/// What a story needs to know of a provider.
pub struct Cast {
    /// Its name.
    pub provider: &'static str,
    /// Settings of a sender, given the fake's address of it.
    pub config: fn(String) -> Config,
    /// What is put behind the sender's `webhook_url` where the provider is told it: the token, for those that sign nothing.
    pub webhook_suffix: &'static str,
    /// What the provider signs webhooks with.
    pub secret: Option<&'static str>,
    /// The template that opens the conversation.
    pub template: fn() -> proto::SendTemplateRequest,
    /// A picture that the person sends, given where the fake keeps one, as the provider posts it.
    pub picture: fn(&str) -> Value,
    /// The provider names its files by ids and keeps them itself, rather than where it is told.
    pub keeps_files: bool,
}

/// The person, on every provider.
pub const PERSON: &str = "5511987654321";
const TOKEN: &str = "story-token-0a1b2c3d";
/// As it is put behind an address.
const TOKEN_SUFFIX: &str = "?token=story-token-0a1b2c3d";

fn template(name: &str, parameters: &[(&str, &str)]) -> proto::SendTemplateRequest {
    proto::SendTemplateRequest {
        sender: "acme".into(),
        to: format!("+{PERSON}"),
        template: name.into(),
        language_code: "pt_BR".into(),
        parameters: parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Default::default()
    }
}

pub fn devino() -> Cast {
    Cast {
        provider: "devino",
        config: |base_url| {
            Config::Devino(proto::DevinoConfig {
                base_url,
                api_key: "story-key".into(),
                from: "AcmeCare".into(),
                webhook_token: TOKEN.into(),
                ..Default::default()
            })
        },
        webhook_suffix: TOKEN_SUFFIX,
        secret: None,
        template: || template("order_ready", &[("1", "Ana"), ("2", "A-1001")]),
        picture: |url| {
            json!({
                "from": PERSON, "to": "AcmeCare", "profileName": "Ana", "contentUrl": url, "contentType": "image/jpeg",
                "text": "Is this the one?",
            })
        },
        keeps_files: false,
    }
}

pub fn devino_direct() -> Cast {
    Cast {
        config: |base_url| {
            Config::Devino(proto::DevinoConfig {
                base_url,
                api_key: "story-key".into(),
                from: "AcmeCare".into(),
                webhook_token: TOKEN.into(),
                api: proto::DevinoApi::Direct as i32,
                ..Default::default()
            })
        },
        ..devino()
    }
}

pub fn digivox() -> Cast {
    Cast {
        provider: "digivox",
        config: |base_url| {
            Config::Digivox(proto::DigivoxConfig {
                base_url,
                client_token: "story-key".into(),
                whatsapp_id: "5b0c7e1a-2222-4333-8444-555566667777".into(),
                whatsapp_from: "558330000001".into(),
                webhook_token: TOKEN.into(),
                ..Default::default()
            })
        },
        webhook_suffix: TOKEN_SUFFIX,
        secret: None,
        template: || template("order_ready", &[("1", "Ana"), ("2", "A-1001")]),
        picture: |url| {
            json!({
                "from": PERSON, "to": "558330000001", "type": "image",
                "image": { "url": url, "mime_type": "image/jpeg", "caption": "Is this the one?" },
            })
        },
        keeps_files: false,
    }
}

pub fn cloudhumans() -> Cast {
    Cast {
        provider: "cloudhumans",
        config: |base_url| {
            Config::Cloudhumans(proto::CloudHumansConfig {
                base_url,
                api_access_token: "story-key".into(),
                account_id: "42".into(),
                inbox_id: "58".into(),
                webhook_secret: "story-secret-0a1b2c3d".into(),
                ..Default::default()
            })
        },
        webhook_suffix: "",
        secret: Some("story-secret-0a1b2c3d"),
        // Its templates have their language in them.
        template: || proto::SendTemplateRequest {
            language_code: String::new(),
            ..template("boleto_disponivel", &[("nome", "Ana"), ("vencimento", "12/01/2027")])
        },
        picture: |url| {
            json!({
                "content": "Is this the one?", "source_id": "wamid.story",
                "account": { "id": 42 }, "inbox": { "id": 58 },
                "sender": { "id": 9055, "name": "Ana", "phone_number": format!("+{PERSON}") },
                "conversation": { "id": 1873, "inbox_id": 58, "can_reply": true, "channel": "Channel::Whatsapp" },
                "attachments": [{ "id": 88012, "file_type": "image", "data_url": url, "file_size": 48211 }],
            })
        },
        keeps_files: false,
    }
}

/// A picture in Meta's own form.
fn metas_picture(_: &str) -> Value {
    json!({
        "from": PERSON, "type": "image", "profile_name": "Ana", "phone_number_id": "106540352242922",
        "image": { "id": "1479537139650973", "mime_type": "image/jpeg", "caption": "Is this the one?" },
    })
}

pub fn meta() -> Cast {
    Cast {
        provider: "meta",
        config: |base_url| {
            Config::Meta(proto::MetaConfig {
                base_url,
                access_token: "story-key".into(),
                phone_number_id: "106540352242922".into(),
                waba_id: "102290129340398".into(),
                app_secret: "story-secret-0a1b2c3d".into(),
                verify_token: "story-word".into(),
            })
        },
        webhook_suffix: "",
        secret: Some("story-secret-0a1b2c3d"),
        template: || template("boas_vindas", &[("nome", "Ana"), ("plano", "Ouro")]),
        picture: metas_picture,
        keeps_files: true,
    }
}

pub fn dialog360() -> Cast {
    Cast {
        provider: "dialog360",
        config: |base_url| {
            Config::Dialog360(proto::Dialog360Config {
                base_url,
                api_key: "story-key".into(),
                webhook_token: TOKEN.into(),
            })
        },
        webhook_suffix: "",
        secret: Some(TOKEN),
        ..meta()
    }
}

pub fn twilio() -> Cast {
    Cast {
        provider: "twilio",
        config: |base_url| {
            Config::Twilio(proto::TwilioConfig {
                content_base_url: base_url.clone(),
                base_url,
                account_sid: "AC0123456789abcdef0123456789abcdef".into(),
                auth_token: "story-secret-0a1b2c3d".into(),
                from: "+14155550100".into(),
                ..Default::default()
            })
        },
        webhook_suffix: "",
        secret: Some("story-secret-0a1b2c3d"),
        template: || template("boleto_disponivel", &[("1", "Ana"), ("2", "12/01/2027")]),
        picture: |url| {
            json!({
                "From": format!("whatsapp:+{PERSON}"), "WaId": PERSON, "ProfileName": "Ana", "NumMedia": "1",
                "MessageType": "image", "Body": "Is this the one?", "MediaContentType0": "image/jpeg", "MediaUrl0": url,
            })
        },
        keeps_files: false,
    }
}

pub fn infobip() -> Cast {
    Cast {
        provider: "infobip",
        config: |base_url| {
            Config::Infobip(proto::InfobipConfig {
                base_url,
                api_key: "story-key".into(),
                from: "551140001000".into(),
                webhook_token: TOKEN.into(),
            })
        },
        webhook_suffix: TOKEN_SUFFIX,
        secret: None,
        template: || template("order_ready_v2", &[("1", "Ana"), ("2", "A-1001")]),
        picture: |url| {
            json!({
                "from": PERSON, "contact": { "name": "Ana" },
                "message": { "type": "IMAGE", "url": url, "caption": "Is this the one?" },
            })
        },
        keeps_files: false,
    }
}

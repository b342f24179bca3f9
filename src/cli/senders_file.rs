//! `senders.toml`: reads senders by the contract's own description of `Sender`, so a new provider needs nothing here.

use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value};
use toml::Table;

use super::output::CONTRACT;

/// Fields of the contract that are secrets: input only. A test holds the list against the contract's comments.
const SECRETS: &[&str] = &[
    "access_token",
    "api_access_token",
    "api_key",
    "api_key_secret",
    "app_secret",
    "auth_token",
    "callback_secret",
    "client_token",
    "secondary_auth_token",
    "verify_token",
    "webhook_secret",
    "webhook_token",
];

/// Fields that the gateway answers and nobody sets.
const OUTPUTS: &[&str] =
    &["create_time", "health", "provider", "quality", "stored_secrets", "update_time", "webhook_url"];

/// One field that the file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its path, as an update mask has it: `devino.api_key`.
    pub path: String,
    pub secret: bool,
}

/// One sender as the file wants it.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub sender: String,
    /// Which config it has.
    pub provider: String,
    /// A `Sender` of the contract.
    pub message: DynamicMessage,
    /// The fields that the file names, apart from the id. All others are left as they are.
    pub leaves: Vec<Leaf>,
}

impl Wanted {
    /// The message with only those secrets that are among the paths.
    pub fn with_secrets_of(&self, paths: &[String]) -> DynamicMessage {
        let mut message = self.message.clone();
        for leaf in self.leaves.iter().filter(|leaf| leaf.secret && !paths.contains(&leaf.path)) {
            clear(&mut message, &leaf.path);
        }
        message
    }
}

fn clear(message: &mut DynamicMessage, path: &str) {
    match path.split_once('.') {
        None => message.clear_field_by_name(path),
        Some((name, rest)) => {
            if let Some(Value::Message(inner)) = message.get_field_by_name_mut(name) {
                clear(inner, rest);
            }
        }
    }
}

/// Reads the whole file.
///
/// # Errors
/// Every problem at once, each with the sender, the key and what would be right; never with a secret.
pub fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Wanted>, Vec<String>> {
    let file: Table = text.parse().map_err(|error: toml::de::Error| {
        // The library's full text would show the line, and the line may hold a secret.
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
        vec![format!("line {}: this is not TOML: {}", before.matches('\n').count() + 1, error.message())]
    })?;
    let mut problems: Vec<String> = file
        .keys()
        .filter(|key| *key != "sender")
        .map(|key| format!("{key} has no meaning here; each sender begins with [[sender]]"))
        .collect();
    let entries = match file.get("sender") {
        None => &[][..],
        Some(toml::Value::Array(entries)) => entries,
        Some(_) => {
            problems.push("[sender] is one table; write [[sender]], as there can be several".to_owned());
            &[]
        }
    };
    let mut senders: Vec<Wanted> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let Some(table) = entry.as_table() else {
            problems.push("sender must be tables, [[sender]]".to_owned());
            continue;
        };
        let Some(id) = table.get("sender").and_then(toml::Value::as_str).filter(|id| !id.is_empty()) else {
            problems.push(format!("[[sender]] number {} has no id; write sender = \"acme\"", index + 1));
            continue;
        };
        if senders.iter().any(|other| other.sender == id) {
            problems.push(format!("{id} is there twice"));
            continue;
        }
        let mut reading = Reading { sender: id, variable, problems: &mut problems, leaves: Vec::new() };
        if let Some((provider, message)) = reading.sender(table) {
            let leaves = reading.leaves;
            senders.push(Wanted { sender: id.to_owned(), provider, message, leaves });
        }
    }
    if problems.is_empty() { Ok(senders) } else { Err(problems) }
}

struct Reading<'a> {
    sender: &'a str,
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: &'a mut Vec<String>,
    leaves: Vec<Leaf>,
}

impl Reading<'_> {
    fn problem(&mut self, path: &str, text: &str) {
        self.problems.push(format!("{}: {path} {text}", self.sender));
    }

    fn sender(&mut self, table: &Table) -> Option<(String, DynamicMessage)> {
        let descriptor = CONTRACT.get_message_by_name("recado.v1.Sender")?;
        let message = self.message(&descriptor, table, "");
        self.leaves.retain(|leaf| leaf.path != "sender");
        let config = descriptor.oneofs().find(|oneof| oneof.name() == "config")?;
        let names: Vec<String> = config.fields().map(|field| field.name().to_owned()).collect();
        let mut given = names.iter().filter(|name| table.contains_key(name.as_str()));
        match (given.next(), given.next()) {
            (Some(provider), None) => Some((provider.clone(), message)),
            (Some(first), Some(second)) => {
                let text = format!("{}: has [sender.{first}] and [sender.{second}]; one is right", self.sender);
                self.problems.push(text);
                None
            }
            (None, _) => {
                let all = names.join("], [sender.");
                self.problems.push(format!("{}: names no provider; add one of [sender.{all}]", self.sender));
                None
            }
        }
    }

    fn message(&mut self, descriptor: &MessageDescriptor, table: &Table, prefix: &str) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for (name, value) in table {
            let path = format!("{prefix}{name}");
            match descriptor.get_field_by_name(name) {
                None => {
                    let known: Vec<String> = descriptor.fields().map(|field| field.name().to_owned()).collect();
                    self.problem(&path, &format!("is no field; there are {}", known.join(", ")));
                }
                Some(_) if prefix.is_empty() && OUTPUTS.contains(&name.as_str()) => {
                    self.problem(&path, "is what the gateway answers; leave it out");
                }
                Some(field) => {
                    if let Some(value) = self.value(&field, value, &path) {
                        message.set_field(&field, value);
                    }
                }
            }
        }
        message
    }

    fn value(&mut self, field: &FieldDescriptor, value: &toml::Value, path: &str) -> Option<Value> {
        let secret = SECRETS.contains(&field.name());
        let is_table = matches!(field.kind(), Kind::Message(inner) if inner.full_name() != "google.protobuf.Duration");
        if !is_table {
            self.leaves.push(Leaf { path: path.to_owned(), secret });
        }
        let read = match (field.kind(), value) {
            (Kind::String, toml::Value::Array(items)) if field.is_list() => texts(items),
            (Kind::String, _) if field.is_list() => Err("must be a list of texts, such as [\"STOP\"]".to_owned()),
            _ if field.is_list() || field.is_map() => Err("cannot be set from a file".to_owned()),
            (Kind::String, toml::Value::String(text)) if secret => self.secret(text).map(Value::String),
            (Kind::String, toml::Value::String(text)) => Ok(Value::String(text.clone())),
            (Kind::String, _) => Err("must be text in quotes".to_owned()),
            (Kind::Enum(words), toml::Value::String(text)) => enum_value(&words, text),
            (Kind::Enum(words), _) => Err(format!("must be one of {}", choices(&words))),
            (Kind::Bool, toml::Value::Boolean(yes)) => Ok(Value::Bool(*yes)),
            (Kind::Double, toml::Value::Float(number)) => Ok(Value::F64(*number)),
            (Kind::Double, toml::Value::Integer(number)) => Ok(Value::F64(*number as f64)),
            (Kind::Int32, toml::Value::Integer(number)) => {
                i32::try_from(*number).map(Value::I32).map_err(|_| format!("is {number}, which is too large"))
            }
            (Kind::Double | Kind::Int32, _) => Err("must be a number, without quotes".to_owned()),
            (Kind::Message(inner), toml::Value::Table(table)) if is_table => {
                return Some(Value::Message(self.message(&inner, table, &format!("{path}."))));
            }
            (Kind::Message(inner), toml::Value::String(text)) if !is_table => duration(inner, text),
            (Kind::Message(_), _) if is_table => Err(format!("must be a table, [sender.{path}]")),
            (Kind::Message(_), _) => Err("must be a duration in quotes, such as \"6s\"".to_owned()),
            _ => Err("cannot be set from a file".to_owned()),
        };
        read.map_err(|text| self.problem(path, &text)).ok()
    }

    /// A secret, written out or as `env:NAME`.
    fn secret(&self, text: &str) -> Result<String, String> {
        let Some(name) = text.strip_prefix("env:") else { return Ok(text.to_owned()) };
        let value = (self.variable)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        value.ok_or_else(|| format!("is read from the environment's {name}, which is not set or empty"))
    }
}

fn texts(items: &[toml::Value]) -> Result<Value, String> {
    let text = |item: &toml::Value| item.as_str().map(|text| Value::String(text.to_owned()));
    let texts: Option<Vec<Value>> = items.iter().map(text).collect();
    texts.map(Value::List).ok_or_else(|| "must hold texts in quotes and nothing else".to_owned())
}

/// `active`, `ACTIVE` or `SENDER_STATE_ACTIVE`.
fn enum_value(words: &EnumDescriptor, text: &str) -> Result<Value, String> {
    let wanted = text.to_uppercase();
    let found = words.values().find(|value| value.name() == wanted || short(words, value.name()) == wanted);
    match found.filter(|value| value.number() != 0) {
        Some(value) => Ok(Value::EnumNumber(value.number())),
        None => Err(format!("is {text:?}; it must be one of {}", choices(words))),
    }
}

fn choices(words: &EnumDescriptor) -> String {
    let names = words.values().filter(|value| value.number() != 0).map(|value| short(words, value.name()));
    names.collect::<Vec<_>>().join(", ")
}

/// The name without the enum's: every zero value is `…_UNSPECIFIED`, and what stands before is the prefix.
fn short(words: &EnumDescriptor, name: &str) -> String {
    let zero = words.default_value();
    let prefix = zero.name().trim_end_matches("UNSPECIFIED");
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

fn duration(descriptor: MessageDescriptor, text: &str) -> Result<Value, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("is {text:?}, which is no duration, such as \"6s\": {error}"))?;
    let message = prost_types::Duration::try_from(duration).map_err(|error| format!("is {text:?}: {error}"))?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(&message).map_err(|error| error.to_string())?;
    Ok(Value::Message(dynamic))
}

#[cfg(test)]
mod tests {
    use recado::proto::{DevinoApi, Sender, SenderState, sender};

    use super::*;

    const FILE: &str = r#"
        [[sender]]
        sender = "acme"
        display_name = "Acme"
        state = "active"
        limits = { messages_per_second = 20, contact_interval = "1m 6s", in_flight = 4 }
        [sender.devino]
        base_url = "http://127.0.0.1:1"
        api_key = "env:ACME_KEY"
        from = "acme"
        api = "CLASSIC"
        webhook_token = "t0ken"

        [[sender]]
        sender = "try"
        state = "SENDER_STATE_PAUSED"
        [sender.sandbox]
    "#;

    fn variable(name: &str) -> Option<String> {
        (name == "ACME_KEY").then(|| "s3cr3t\n".to_owned())
    }

    fn problems(text: &str) -> String {
        parse(text, &variable).unwrap_err().join("\n")
    }

    #[test]
    fn a_file_becomes_senders_of_the_contract() {
        let senders = parse(FILE, &variable).unwrap();
        let acme: Sender = senders[0].message.transcode_to().unwrap();
        assert_eq!((acme.sender.as_str(), acme.display_name.as_str()), ("acme", "Acme"));
        assert_eq!(acme.state(), SenderState::Active);
        let limits = acme.limits.unwrap();
        assert_eq!(limits.messages_per_second, Some(20.0));
        assert_eq!(limits.contact_interval.unwrap().seconds, 66);
        assert_eq!((limits.contact_burst, limits.in_flight), (None, Some(4)));
        let Some(sender::Config::Devino(devino)) = acme.config else { panic!("no devino") };
        assert_eq!((devino.api_key.as_str(), devino.webhook_token.as_str()), ("s3cr3t", "t0ken"));
        assert_eq!(devino.api(), DevinoApi::Classic);

        let paths: Vec<_> =
            senders[0].leaves.iter().filter(|leaf| leaf.secret).map(|leaf| leaf.path.as_str()).collect();
        assert_eq!(paths, ["devino.api_key", "devino.webhook_token"]);
        assert!(senders[0].leaves.iter().any(|leaf| leaf.path == "limits.contact_interval" && !leaf.secret));
        assert_eq!((senders[1].sender.as_str(), senders[1].provider.as_str()), ("try", "sandbox"));
        let sandbox: Sender = senders[1].message.transcode_to().unwrap();
        assert_eq!(sandbox.state(), SenderState::Paused);
        assert!(matches!(sandbox.config, Some(sender::Config::Sandbox(_))));
    }

    #[test]
    fn a_providers_words_and_flags_are_read_by_the_contract() {
        let file = "[[sender]]\nsender = 'a'\n[sender.cloudhumans]\nbase_url = 'https://cloudchat.example.test'\n\
             api_access_token = 'env:ACME_KEY'\naccount_id = '42'\ninbox_id = '58'\nwebhook_secret = 't0ken'\n\
             webhook_signature = 'required'\nignore_language_code = true\n";
        let senders = parse(file, &variable).unwrap();
        let sender: Sender = senders[0].message.transcode_to().unwrap();
        let Some(sender::Config::Cloudhumans(config)) = sender.config else { panic!("no cloudhumans") };
        assert_eq!((config.api_access_token.as_str(), config.inbox_id.as_str()), ("s3cr3t", "58"));
        assert_eq!(config.webhook_signature(), recado::proto::WebhookSignature::Required);
        assert!(config.ignore_language_code);
        assert!(problems(&file.replace("required", "sometimes")).contains("OFF, IF_PRESENT, REQUIRED"));
    }

    #[test]
    fn words_are_a_table_with_lists() {
        let file = "[[sender]]\nsender = 'a'\n[sender.opt_out_words]\nstop = ['STOP', 'Sair']\nstart = ['VOLTAR']\n\
                    category = 'marketing'\n[sender.sandbox]\n";
        let senders = parse(file, &variable).unwrap();
        let words = senders[0].message.transcode_to::<Sender>().unwrap().opt_out_words.unwrap();
        assert_eq!(
            (words.stop.as_slice(), words.start.as_slice()),
            (&["STOP".into(), "Sair".into()][..], &["VOLTAR".into()][..])
        );
        assert_eq!(words.category(), recado::proto::OptOutCategory::Marketing);
        assert!(
            problems(&file.replace("['VOLTAR']", "'VOLTAR'")).contains("opt_out_words.start must be a list of texts")
        );
        assert!(problems(&file.replace("'Sair'", "7")).contains("opt_out_words.stop must hold texts"));
    }

    #[test]
    fn settings_that_say_none_by_being_empty_are_told_from_those_left_out() {
        let file = "[[sender]]\nsender = 'a'\n[sender.digivox]\nwhatsapp_id = 'c'\napi_prefix = ''\nrich_contents = true\n\
                    status_words = 'concluido=DELIVERED'\n[[sender]]\nsender = 'b'\n[sender.devino]\napi = 'direct'\n\
                    direct_text_max = 4096\ndirect_unwrapped = true\n";
        let senders = parse(file, &variable).unwrap();
        let message = |n: usize| senders[n].message.transcode_to::<Sender>().unwrap().config;
        let Some(sender::Config::Digivox(digivox)) = message(0) else { panic!("no digivox") };
        assert_eq!((digivox.api_prefix.as_deref(), digivox.message_id_field), (Some(""), None));
        assert_eq!((digivox.status_words.as_str(), digivox.rich_contents), ("concluido=DELIVERED", true));
        assert!(senders[0].leaves.iter().any(|leaf| leaf.path == "digivox.api_prefix"));
        let Some(sender::Config::Devino(devino)) = message(1) else { panic!("no devino") };
        assert_eq!((devino.api(), devino.direct_text_max, devino.direct_unwrapped), (DevinoApi::Direct, 4_096, true));
    }

    #[test]
    fn only_the_secrets_asked_for_are_sent() {
        let senders = parse(FILE, &variable).unwrap();
        let one: Sender = senders[0].with_secrets_of(&["devino.webhook_token".to_owned()]).transcode_to().unwrap();
        let Some(sender::Config::Devino(devino)) = one.config else { panic!("no devino") };
        assert_eq!((devino.api_key.as_str(), devino.webhook_token.as_str()), ("", "t0ken"));
    }

    #[test]
    fn every_problem_is_named_and_no_secret() {
        let text = problems(
            "[[sender]]\nsender = 'a'\ncolour = 'red'\nstate = 'asleep'\nphone_number = 55\nwebhook_url = 'x'\n\
             limits = { in_flight = '4', contact_interval = 6 }\n[sender.meta]\naccess_token = 's3cr3t'\n\
             app_secret = 'env:MISSING'\nphone_id = '1'\n\
             [[sender]]\nsender = 'b'\n[[sender]]\nsender = 'b'\n[sender.sandbox]\n[sender.meta]\n[[sender]]\n",
        );
        for part in [
            "a: colour is no field; there are sender, display_name",
            "a: state is \"asleep\"; it must be one of ACTIVE, PAUSED",
            "a: phone_number must be text in quotes",
            "a: webhook_url is what the gateway answers",
            "a: limits.in_flight must be a number",
            "a: limits.contact_interval must be a duration in quotes, such as \"6s\"",
            "a: meta.app_secret is read from the environment's MISSING, which is not set",
            "a: meta.phone_id is no field; there are base_url",
            "b: names no provider; add one of [sender.sandbox], [sender.devino]",
            "b: has [sender.sandbox] and [sender.meta]; one is right",
            "[[sender]] number 4 has no id",
        ] {
            assert!(text.contains(part), "{part}\n---\n{text}");
        }
        assert!(!text.contains("s3cr3t"));
        let text = problems("[[sender]]\nsender = 'a'\napi_key = 's3cr3t");
        assert!(text.contains("line 3") && !text.contains("s3cr3t"), "{text}");
        assert!(problems("[sender]\nsender = 'a'").contains("[[sender]]"));
        assert!(problems("[[senders]]\nsender = 'a'").contains("senders has no meaning"));
    }

    #[test]
    fn a_sender_that_is_there_twice_is_refused() {
        let one = "[[sender]]\nsender = 'a'\n[sender.sandbox]\n";
        assert!(problems(&format!("{one}{one}")).contains("a is there twice"));
    }

    /// The contract's comments say which fields are secrets and which are outputs; the lists must say the same.
    #[test]
    fn the_lists_are_those_of_the_contract() {
        let file = CONTRACT.get_file_by_name("recado/v1/sender.proto").unwrap();
        let proto = file.file_descriptor_proto();
        let (mut secrets, mut outputs) = (Vec::new(), Vec::new());
        for location in &proto.source_code_info.as_ref().unwrap().location {
            // Message number `m`, field number `f` of it: descriptor.proto, FileDescriptorProto.message_type.
            let [4, m, 2, f] = location.path[..] else { continue };
            let message = &proto.message_type[m as usize];
            let field = message.field[f as usize].name().to_owned();
            match location.leading_comments() {
                comment if comment.starts_with(" Input only.") => secrets.push(field),
                comment if comment.starts_with(" Output only.") => {
                    assert_eq!(message.name(), "Sender");
                    outputs.push(field);
                }
                _ => {}
            }
        }
        for list in [&mut secrets, &mut outputs] {
            list.sort();
            list.dedup();
        }
        assert_eq!(secrets, SECRETS);
        assert_eq!(outputs, OUTPUTS);
    }
}

//! What has to be done so that the senders are what the file says. Decides; `senders` carries it out.

use std::fmt;

use prost_reflect::{DynamicMessage, Kind, ReflectMessage as _, Value};
use recado::proto::Sender;

use super::output;
use super::senders_file::Wanted;

/// What the operator asked for.
#[derive(Debug, Default)]
pub struct Options {
    pub update_secrets: bool,
    pub prune: bool,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As an update mask has it.
    pub path: String,
    /// From what to what, for people. A secret shows neither.
    pub shown: String,
}

/// What becomes of one sender.
#[derive(Debug, Clone)]
pub enum Step {
    Create { wanted: Wanted },
    Update { wanted: Wanted, changes: Vec<Change> },
    Unchanged { sender: String, uncompared: Vec<String> },
    Delete { sender: String },
    Kept { sender: String },
}

impl Step {
    /// Whose step it is.
    pub fn sender(&self) -> &str {
        match self {
            Step::Create { wanted } | Step::Update { wanted, .. } => &wanted.sender,
            Step::Unchanged { sender, .. } | Step::Delete { sender } | Step::Kept { sender } => sender,
        }
    }

    /// What was done, for the sum at the end.
    pub fn word(&self) -> &'static str {
        match self {
            Step::Create { .. } => "created",
            Step::Update { .. } => "updated",
            Step::Unchanged { .. } => "unchanged",
            Step::Delete { .. } => "deleted",
            Step::Kept { .. } => "not in the file",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Create { wanted } => write!(f, "+ {}: create, at {}", wanted.sender, wanted.provider),
            Step::Update { wanted, changes } => {
                let shown: Vec<&str> = changes.iter().map(|change| change.shown.as_str()).collect();
                write!(f, "~ {}: update {}", wanted.sender, shown.join(", "))
            }
            Step::Unchanged { sender, uncompared } if uncompared.is_empty() => write!(f, "= {sender}: unchanged"),
            Step::Unchanged { sender, uncompared } => {
                let secrets = uncompared.join(", ");
                write!(f, "= {sender}: unchanged (not compared: {secrets}; --update-secrets sends them)")
            }
            Step::Delete { sender } => write!(f, "- {sender}: delete"),
            Step::Kept { sender } => write!(f, "  {sender}: not in the file, kept (--prune deletes it)"),
        }
    }
}

/// Compares what is wanted with what is there.
///
/// # Errors
/// What cannot be done at all; then nothing should be.
pub fn plan(wanted: &[Wanted], present: &[Sender], options: &Options) -> Result<Vec<Step>, Vec<String>> {
    let mut problems = Vec::new();
    if wanted.is_empty() && options.prune {
        problems.push("it names no sender, and with --prune all would be deleted; that is refused".to_owned());
    }
    let mut steps = Vec::new();
    for one in wanted {
        match present.iter().find(|sender| sender.sender == one.sender) {
            None => steps.push(Step::Create { wanted: one.clone() }),
            Some(there) if there.provider != one.provider => problems.push(format!(
                "{}: is a sender at {} and cannot become one at {}; choose another id, or delete it first",
                one.sender, there.provider, one.provider
            )),
            Some(there) => match compare(one, there, options.update_secrets) {
                Ok(step) => steps.push(step),
                Err(error) => problems.push(format!("{}: {error:#}", one.sender)),
            },
        }
    }
    for sender in present.iter().map(|sender| &sender.sender) {
        if !wanted.iter().any(|one| one.sender == *sender) {
            let sender = sender.clone();
            steps.push(if options.prune { Step::Delete { sender } } else { Step::Kept { sender } });
        }
    }
    if problems.is_empty() { Ok(steps) } else { Err(problems) }
}

fn compare(wanted: &Wanted, there: &Sender, update_secrets: bool) -> anyhow::Result<Step> {
    let present = output::dynamic("Sender", there)?;
    let (mut changes, mut uncompared) = (Vec::new(), Vec::new());
    for leaf in &wanted.leaves {
        let path = leaf.path.clone();
        if leaf.secret {
            let stored = there.stored_secrets.contains(&path);
            match (stored, update_secrets) {
                (false, _) => changes.push(Change { shown: format!("{path} (secret, not stored yet)"), path }),
                (true, true) => changes.push(Change { shown: format!("{path} (secret)"), path }),
                (true, false) => uncompared.push(path),
            }
            continue;
        }
        let (from, to) = (field(&present, &path), field(&wanted.message, &path));
        if from.0 != to.0 {
            changes.push(Change { shown: format!("{path} {} -> {}", from.1, to.1), path });
        }
    }
    Ok(match changes.is_empty() {
        true => Step::Unchanged { sender: wanted.sender.clone(), uncompared },
        false => Step::Update { wanted: wanted.clone(), changes },
    })
}

/// The value at a path, and the same for people.
fn field(message: &DynamicMessage, path: &str) -> (Option<Value>, String) {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let Some(descriptor) = message.descriptor().get_field_by_name(name) else { return (None, String::new()) };
    if descriptor.supports_presence() && !message.has_field(&descriptor) {
        return (None, "(not set)".to_owned());
    }
    let value = message.get_field(&descriptor).into_owned();
    match (value, rest, descriptor.kind()) {
        (Value::Message(inner), Some(rest), _) => field(&inner, rest),
        (Value::Message(inner), None, _) => {
            let duration =
                inner.transcode_to::<prost_types::Duration>().ok().and_then(|duration| duration.try_into().ok());
            let shown = duration.map(|duration: std::time::Duration| humantime::format_duration(duration).to_string());
            (Some(Value::Message(inner)), shown.unwrap_or_default())
        }
        (Value::EnumNumber(number), _, Kind::Enum(words)) => {
            let name = words.get_value(number).map_or_else(|| number.to_string(), |value| value.name().to_owned());
            (Some(Value::EnumNumber(number)), name)
        }
        (Value::String(text), ..) => {
            let shown = output::quoted(&text);
            (Some(Value::String(text)), shown)
        }
        (Value::F64(number), ..) => (Some(Value::F64(number)), number.to_string()),
        (Value::I32(number), ..) => (Some(Value::I32(number)), number.to_string()),
        (Value::Bool(yes), ..) => (Some(Value::Bool(yes)), yes.to_string()),
        (Value::List(items), ..) => {
            let words: Vec<String> = items.iter().filter_map(Value::as_str).map(output::quoted).collect();
            (Some(Value::List(items)), format!("[{}]", words.join(", ")))
        }
        (other, ..) => {
            let shown = format!("{other:?}");
            (Some(other), shown)
        }
    }
}

#[cfg(test)]
mod tests {
    use recado::proto::{DevinoConfig, SandboxConfig, SenderState, sender};

    use super::super::senders_file;
    use super::*;

    const ACME: &str = "[[sender]]\nsender = 'acme'\ndisplay_name = 'Acme'\nlimits = { in_flight = 4 }\n\
                        [sender.devino]\nfrom = 'acme'\napi_key = 's3cr3t'\n";

    fn wanted(file: &str) -> Vec<Wanted> {
        senders_file::parse(file, &|_| None).unwrap()
    }

    /// As the gateway answers: with its defaults, without secrets.
    fn acme() -> Sender {
        let limits =
            recado::proto::SenderLimits { messages_per_second: Some(10.0), in_flight: Some(4), ..Default::default() };
        let devino = DevinoConfig { base_url: "https://api".into(), from: "acme".into(), ..Default::default() };
        Sender {
            sender: "acme".into(),
            display_name: "Acme".into(),
            state: SenderState::Active.into(),
            provider: "devino".into(),
            limits: Some(limits),
            stored_secrets: vec!["devino.api_key".into()],
            config: Some(sender::Config::Devino(devino)),
            ..Sender::default()
        }
    }

    fn shown(file: &str, present: &[Sender], options: &Options) -> Vec<String> {
        plan(&wanted(file), present, options).unwrap().iter().map(Step::to_string).collect()
    }

    #[test]
    fn what_is_missing_is_created() {
        assert_eq!(shown(ACME, &[], &Options::default()), ["+ acme: create, at devino"]);
    }

    #[test]
    fn what_is_the_same_is_left_alone() {
        assert_eq!(
            shown(ACME, &[acme()], &Options::default()),
            ["= acme: unchanged (not compared: devino.api_key; --update-secrets sends them)"]
        );
    }

    #[test]
    fn what_differs_is_updated_by_name() {
        let there = Sender { display_name: "Old".into(), limits: None, stored_secrets: vec![], ..acme() };
        let steps = plan(&wanted(ACME), &[there], &Options::default()).unwrap();
        let Step::Update { changes, .. } = &steps[0] else { panic!("{steps:?}") };
        let mut paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
        paths.sort();
        assert_eq!(paths, ["devino.api_key", "display_name", "limits.in_flight"]);
        let text = steps[0].to_string();
        assert!(text.contains("display_name \"Old\" -> \"Acme\""), "{text}");
        assert!(text.contains("limits.in_flight (not set) -> 4"), "{text}");
        assert!(text.contains("devino.api_key (secret, not stored yet)") && !text.contains("s3cr3t"), "{text}");
    }

    #[test]
    fn stored_secrets_are_sent_when_that_is_asked_for() {
        let options = Options { update_secrets: true, ..Options::default() };
        assert_eq!(shown(ACME, &[acme()], &options), ["~ acme: update devino.api_key (secret)"]);
    }

    #[test]
    fn others_are_deleted_only_with_prune() {
        let other = Sender {
            sender: "sandbox".into(),
            provider: "sandbox".into(),
            config: Some(sender::Config::Sandbox(SandboxConfig {})),
            ..Sender::default()
        };
        let kept = shown(ACME, &[acme(), other.clone()], &Options::default());
        assert_eq!(kept[1], "  sandbox: not in the file, kept (--prune deletes it)");
        let options = Options { prune: true, ..Options::default() };
        assert_eq!(shown(ACME, &[acme(), other.clone()], &options)[1], "- sandbox: delete");
        assert!(plan(&[], &[other], &options).unwrap_err()[0].contains("all would be deleted"));
    }

    #[test]
    fn a_provider_cannot_be_changed() {
        let file = "[[sender]]\nsender = 'acme'\n[sender.sandbox]\n";
        let problems = plan(&wanted(file), &[acme()], &Options::default()).unwrap_err();
        assert!(problems[0].contains("is a sender at devino and cannot become one at sandbox"), "{problems:?}");
    }
}

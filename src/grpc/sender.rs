//! Senders into the domain and out of it.

use std::sync::LazyLock;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage as _};

use crate::callback::{self, CallbackSecrets};
use crate::domain::opt_out::OptOutWords;
use crate::domain::pace::Rate;
use crate::domain::sender::{Limits, SenderHealth, SenderState};
use crate::domain::{Millis, PhoneNumber, Sender, SenderId};
use crate::error::{Error, Reason, Violations};
use crate::guarded::Guarded;
use crate::proto;
use crate::provider::{AnySettings, Secrets};
use crate::senders::Account;

use super::opt_outs::opt_out_category;
use super::{answer, convert};

/// Messages in flight of one sender, at most.
const IN_FLIGHT_MAX: i32 = 10_000;
/// Messages per second: from about one in three hours to what no number of WhatsApp's comes near.
const RATE_MIN: f64 = 0.0001;
const RATE_MAX: f64 = 100_000.0;
/// Messages that one person may get at once, at most.
const CONTACT_BURST_MAX: i32 = 10_000;
const CONTACT_INTERVAL_MAX_S: i64 = 86_400;

/// A sender for an answer: without secrets.
pub(super) fn answer_sender(account: &Account, health: Option<SenderHealth>) -> proto::Sender {
    let sender = &account.sender;
    proto::Sender {
        sender: sender.id.to_string(),
        display_name: sender.display_name.clone(),
        phone_number: sender.phone_number.clone(),
        state: state_of(account) as i32,
        limits: Some(limits_in_force(account)),
        default_language_code: sender.default_language_code.clone(),
        incoming_callback_url: sender.incoming_callback_url.clone(),
        webhook_url: account.webhook_url.to_string(),
        provider: sender.provider.to_owned(),
        create_time: Some(answer::timestamp(sender.create_at_ms)),
        update_time: Some(answer::timestamp(sender.update_at_ms)),
        health: health.map_or(0, |health| health as i32),
        stored_secrets: stored_secrets(account),
        opt_out_words: Some(&sender.opt_out_words).filter(|words| !words.is_empty()).map(answer_words),
        config: Some(account.settings.to_proto(Secrets::Hidden)),
        ..Default::default()
    }
}

/// Paths of the secrets that are there: `callback_secret`, `devino.api_key`.
fn stored_secrets(account: &Account) -> Vec<String> {
    let callbacks = (!account.callback_secrets.is_empty()).then(|| "callback_secret".to_owned());
    callbacks.into_iter().chain(account.settings.stored_secrets()).collect()
}

/// Whether it sends, in the contract's word.
pub(super) fn state_of(account: &Account) -> proto::SenderState {
    match account.sender.state {
        SenderState::Active => proto::SenderState::Active,
        SenderState::Paused => proto::SenderState::Paused,
    }
}

/// What was set, and the provider's defaults where nothing was.
fn limits_in_force(account: &Account) -> proto::SenderLimits {
    let capabilities = account.provider.capabilities();
    let limits = account.sender.limits;
    let rate = account.rate();
    proto::SenderLimits {
        messages_per_second: rate.per_second,
        contact_interval: rate.contact_interval_ms.map(answer::duration),
        contact_burst: rate.contact_burst.map(|burst| burst as i32),
        in_flight: Some(limits.in_flight.unwrap_or(capabilities.in_flight) as i32),
    }
}

fn answer_words(words: &OptOutWords) -> proto::OptOutWords {
    let OptOutWords { stop, start, category } = words.clone();
    proto::OptOutWords { stop, start, category: category as i32 }
}

/// Reads a new sender.
///
/// # Errors
/// All violations; a provider that this version has not.
pub(super) fn new_sender(
    proto: proto::Sender,
    guarded: &Guarded,
    now: Millis,
) -> Result<(Sender, AnySettings, CallbackSecrets), Error> {
    let mut violations = Violations::default();
    let id = violations.check("sender.sender", proto.sender.parse::<SenderId>());
    let state = state(proto.state, &mut violations);
    let limits = limits(proto.limits, &mut violations);
    let opt_out_words = opt_out_words(proto.opt_out_words.clone(), &mut violations);
    plain_texts(&proto, &mut violations);
    callback_fields(&proto, guarded, &mut violations);
    let settings = match proto.config {
        Some(config) => Some(AnySettings::from_proto(config)),
        None => {
            violations.add("sender.config", Reason::Required, "a provider's config is needed: sandbox, devino, …");
            None
        }
    };
    if let Some(settings) = &settings {
        check_settings(settings, &mut violations);
    }
    violations.into_result()?;
    let (Some(id), Some(settings)) = (id, settings) else { unreachable!("without violations both are there") };
    let sender = Sender {
        id,
        provider: settings.provider(),
        display_name: proto.display_name,
        phone_number: proto.phone_number,
        state,
        limits,
        default_language_code: proto.default_language_code,
        opt_out_words,
        incoming_callback_url: proto.incoming_callback_url,
        create_at_ms: now,
        update_at_ms: now,
    };
    let secrets = CallbackSecrets::default().changed_to(&proto.callback_secret, now);
    Ok((sender, settings, secrets))
}

/// Where callbacks go, and what signs them.
fn callback_fields(sender: &proto::Sender, guarded: &Guarded, violations: &mut Violations) {
    if !sender.incoming_callback_url.is_empty() {
        let url = convert::callback_url(&sender.incoming_callback_url);
        let url = url.and_then(|url| convert::allowed_url(&url, guarded));
        violations.check("sender.incoming_callback_url", url);
    }
    if !sender.callback_secret.is_empty() {
        violations.check("sender.callback_secret", callback::key(&sender.callback_secret));
    }
}

fn check_settings(settings: &AnySettings, violations: &mut Violations) {
    let mut inner = Violations::default();
    settings.check(&mut inner);
    violations.nest(&format!("sender.{}", settings.provider()), inner);
}

fn state(number: i32, violations: &mut Violations) -> SenderState {
    match proto::SenderState::try_from(number) {
        Ok(proto::SenderState::Unspecified | proto::SenderState::Active) => SenderState::Active,
        Ok(proto::SenderState::Paused) => SenderState::Paused,
        Err(_) => {
            violations.add("sender.state", Reason::Invalid, "a state is ACTIVE or PAUSED");
            SenderState::Active
        }
    }
}

fn limits(limits: Option<proto::SenderLimits>, violations: &mut Violations) -> Limits {
    let Some(given) = limits else { return Limits::default() };
    let mut wrong = |field: &str, what: &str| {
        violations.add(format!("sender.limits.{field}"), Reason::Invalid, what);
    };
    if given.in_flight.is_some_and(|most| !(1..=IN_FLIGHT_MAX).contains(&most)) {
        wrong("in_flight", &format!("1 to {IN_FLIGHT_MAX}"));
    }
    if given.messages_per_second.is_some_and(|rate| !(RATE_MIN..=RATE_MAX).contains(&rate)) {
        wrong("messages_per_second", &format!("{RATE_MIN} to {RATE_MAX}"));
    }
    if given.contact_burst.is_some_and(|burst| !(1..=CONTACT_BURST_MAX).contains(&burst)) {
        wrong("contact_burst", &format!("1 to {CONTACT_BURST_MAX}"));
    }
    let interval = given
        .contact_interval
        .map(|interval| interval.seconds.saturating_mul(1_000) + i64::from(interval.nanos) / 1_000_000);
    if given.contact_interval.is_some_and(|i| !(0..=CONTACT_INTERVAL_MAX_S).contains(&i.seconds) || i.nanos < 0) {
        wrong("contact_interval", "0 s to 24 h");
    }
    let rate = Rate {
        per_second: given.messages_per_second,
        contact_interval_ms: interval,
        contact_burst: given.contact_burst.map(i32::unsigned_abs),
    };
    Limits { rate, in_flight: given.in_flight.map(i32::unsigned_abs) }
}

fn opt_out_words(words: Option<proto::OptOutWords>, violations: &mut Violations) -> OptOutWords {
    let Some(proto::OptOutWords { stop, start, category }) = words else { return OptOutWords::default() };
    let category = opt_out_category(category, "sender.opt_out_words.category", violations);
    let words = OptOutWords { stop, start, category };
    words.check("sender.opt_out_words", violations);
    words
}

fn plain_texts(sender: &proto::Sender, violations: &mut Violations) {
    if !sender.phone_number.is_empty() {
        violations.check("sender.phone_number", sender.phone_number.parse::<PhoneNumber>());
    }
    let texts = [
        ("sender.display_name", &sender.display_name),
        ("sender.default_language_code", &sender.default_language_code),
    ];
    for (field, value) in texts {
        if value.chars().count() > 256 {
            violations.add(field, Reason::TooLong, "at most 256 characters");
        }
        if value.chars().any(char::is_control) {
            violations.add(field, Reason::Invalid, "no control characters");
        }
    }
}

/// The top-level fields that an update may name.
const UPDATABLE: &[&str] = &[
    "display_name",
    "phone_number",
    "state",
    "limits",
    "default_language_code",
    "incoming_callback_url",
    "callback_secret",
    "opt_out_words",
];

/// A sender with an update laid over it. An empty mask takes every field that has a value; a mask that names a field takes
/// it as it is, also when it is empty. A secret that is not given stays, unless the mask names its own path.
///
/// # Errors
/// All violations.
pub(super) fn updated(
    account: &Account,
    update: proto::Sender,
    mask: &[String],
    guarded: &Guarded,
    now: Millis,
) -> Result<(Sender, AnySettings, CallbackSecrets), Error> {
    let mut violations = Violations::default();
    let provider = account.sender.provider;
    check_mask(mask, provider, &mut violations);
    let named = |field: &str, has_value: bool| match mask {
        [] => has_value,
        paths => paths.iter().any(|path| path == "*" || path.split('.').next() == Some(field)),
    };
    plain_texts(&update, &mut violations);
    callback_fields(&update, guarded, &mut violations);
    let mut sender = account.sender.clone();
    sender.update_at_ms = now.max(sender.update_at_ms + 1);
    if named("state", update.state != 0) {
        sender.state = state(update.state, &mut violations);
    }
    if named("limits", update.limits.is_some()) {
        sender.limits = limits(update.limits, &mut violations);
    }
    if named("opt_out_words", update.opt_out_words.is_some()) {
        sender.opt_out_words = opt_out_words(update.opt_out_words, &mut violations);
    }
    if named("display_name", !update.display_name.is_empty()) {
        sender.display_name = update.display_name;
    }
    if named("phone_number", !update.phone_number.is_empty()) {
        sender.phone_number = update.phone_number;
    }
    if named("default_language_code", !update.default_language_code.is_empty()) {
        sender.default_language_code = update.default_language_code;
    }
    if named("incoming_callback_url", !update.incoming_callback_url.is_empty()) {
        sender.incoming_callback_url = update.incoming_callback_url;
    }
    let mut secrets = account.callback_secrets.clone();
    // A secret that is empty stays, unless its own path is named.
    let own_path = mask.iter().any(|path| path == "callback_secret");
    if own_path || !update.callback_secret.is_empty() && named("callback_secret", true) {
        secrets = secrets.changed_to(&update.callback_secret, now);
    }
    let mut settings = account.settings.clone();
    if let Some(config) = update.config.filter(|_| named(provider, true)) {
        if AnySettings::from_proto(config.clone()).provider() == provider {
            settings = laid_over(&account.settings, config, mask)?;
            check_settings(&settings, &mut violations);
        } else {
            let description = format!("the provider cannot be changed; this sender's is {provider}");
            violations.add("sender.config", Reason::Invalid, description);
        }
    }
    violations.into_result()?;
    Ok((sender, settings, secrets))
}

fn check_mask(mask: &[String], provider: &str, violations: &mut Violations) {
    for path in mask {
        let top = path.split('.').next().unwrap_or_default();
        if path != "*" && top != provider && !UPDATABLE.contains(&top) {
            let description = format!("{path:?} is no field that can be changed: {}, {provider}", UPDATABLE.join(", "));
            violations.add("update_mask", Reason::Invalid, description);
        }
    }
}

/// Settings with the fields of an update laid over them, field by field as the contract describes them.
fn laid_over(stored: &AnySettings, given: proto::sender::Config, mask: &[String]) -> Result<AnySettings, Error> {
    let provider = stored.provider();
    let secrets = stored.stored_secrets();
    let mut sender = described(stored.to_proto(Secrets::Shown))?;
    let field = sender.descriptor().get_field_by_name(provider);
    let field = field.ok_or_else(|| Error::internal(anyhow::anyhow!("the contract has no config {provider}")))?;
    let given = described(given)?.get_field(&field).into_owned();
    if let (Some(config), Some(given)) = (sender.get_field_mut(&field).as_message_mut(), given.as_message()) {
        for field in given.descriptor().fields() {
            let path = format!("{provider}.{}", field.name());
            let whole = mask.iter().any(|named| named == "*" || named == provider);
            let takes = given.has_field(&field) && (mask.is_empty() || whole || mask.contains(&path))
                || !given.has_field(&field) && (mask.contains(&path) || whole && !secrets.contains(&path));
            if takes {
                config.set_field(&field, given.get_field(&field).into_owned());
            }
        }
    }
    let config = proto::Sender::decode(sender.encode_to_vec().as_slice()).map_err(Error::internal)?.config;
    config.map(AnySettings::from_proto).ok_or_else(|| Error::internal(anyhow::anyhow!("no config was left")))
}

/// A config with its fields' names.
fn described(config: proto::sender::Config) -> Result<DynamicMessage, Error> {
    static SENDER: LazyLock<Option<MessageDescriptor>> =
        LazyLock::new(|| DescriptorPool::decode(proto::DESCRIPTORS).ok()?.get_message_by_name("recado.v1.Sender"));
    let descriptor = SENDER.clone().ok_or_else(|| Error::internal(anyhow::anyhow!("the contract has no Sender")))?;
    let sender = proto::Sender { config: Some(config), ..Default::default() };
    DynamicMessage::decode(descriptor, sender.encode_to_vec().as_slice()).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::sender::Config;

    fn stored() -> AnySettings {
        let config = proto::DevinoConfig {
            base_url: "http://127.0.0.1:9000/devino".into(),
            api_key: "key-1".into(),
            from: "Acme".into(),
            api: proto::DevinoApi::Classic as i32,
            webhook_token: "token-1".into(),
            ..Default::default()
        };
        AnySettings::from_proto(Config::Devino(config))
    }

    /// What is stored after an update, secrets shown.
    fn after(given: proto::DevinoConfig, mask: &[&str]) -> proto::DevinoConfig {
        let mask: Vec<String> = mask.iter().map(ToString::to_string).collect();
        match laid_over(&stored(), Config::Devino(given), &mask).unwrap().to_proto(Secrets::Shown) {
            Config::Devino(config) => config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_update_changes_what_its_mask_names_and_nothing_else() {
        let Config::Devino(before) = stored().to_proto(Secrets::Shown) else { unreachable!() };
        let rotated = proto::DevinoConfig { api_key: "key-2".into(), ..Default::default() };
        let expected = proto::DevinoConfig { api_key: "key-2".into(), ..before.clone() };
        assert_eq!(after(rotated.clone(), &["devino.api_key"]), expected);
        assert_eq!(after(rotated, &[]), expected, "no mask: every field that has a value");
        let both = proto::DevinoConfig { api_key: "key-2".into(), from: "Other".into(), ..Default::default() };
        assert_eq!(after(both, &["devino.api_key"]), expected, "what the mask does not name is not looked at");
        assert_eq!(after(Default::default(), &["devino.webhook_token"]).webhook_token, "", "cleared by its own path");
        let whole = proto::DevinoConfig { from: "Other".into(), ..Default::default() };
        let replaced = after(whole, &["devino"]);
        assert_eq!((replaced.from.as_str(), replaced.api_key.as_str()), ("Other", "key-1"), "secrets stay");
        assert_eq!(replaced.base_url, "https://api.devino.online", "the rest is replaced");
    }
}

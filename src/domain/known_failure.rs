//! What a provider said about a person and will say again for a while: it saves the next call.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::judge::{Case, Verdict};
use super::opt_out::rfc3339;
use super::template::TemplateCategory;
use super::{Content, DeliveryError, ErrorReason, MessageId, Millis, NewMessage};

/// How long each kind is remembered. Zero: not at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// NOT_ON_WHATSAPP.
    pub not_on_whatsapp: Duration,
    /// RECIPIENT_CAPPED.
    pub capped: Duration,
    /// RECIPIENT_UNREACHABLE.
    pub unreachable: Duration,
}

impl Lifetimes {
    /// How long a failure of a provider's making is remembered; nothing for one that says nothing about the next message.
    pub fn of(&self, error: &DeliveryError) -> Option<Millis> {
        let lifetime = match error.reason {
            ErrorReason::NotOnWhatsapp => self.not_on_whatsapp,
            ErrorReason::RecipientCapped => self.capped,
            // One that may pass by itself is no knowledge.
            ErrorReason::RecipientUnreachable if !error.retryable => self.unreachable,
            _ => Duration::ZERO,
        };
        Millis::try_from(lifetime.as_millis()).ok().filter(|millis| *millis > 0)
    }
}

/// A provider's no to an earlier message, which holds for the person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFailure {
    /// What it was.
    pub reason: ErrorReason,
    /// The provider's code then.
    pub provider_code: String,
    /// The message that it was said of.
    pub message_id: MessageId,
    /// When it was said.
    pub known_at_ms: Millis,
    /// When it is forgotten.
    pub expire_at_ms: Millis,
}

impl KnownFailure {
    /// Whether it stands against a message to this person.
    pub fn stands_against(&self, request: &NewMessage) -> bool {
        if request.ignore_known_failures {
            return false;
        }
        match self.reason {
            // WhatsApp counts marketing templates only. A code that is kept back by mistake costs more than a call that was
            // not needed, so what may be none is let through.
            ErrorReason::RecipientCapped => {
                matches!(request.content, Content::Template(_))
                    && request.template_category == Some(TemplateCategory::Marketing)
            }
            _ => true,
        }
    }

    /// What becomes of a message that it stands against. It is worth another try once it is forgotten.
    pub fn failure(&self) -> DeliveryError {
        let Self { reason, provider_code, message_id, .. } = self;
        let code = if provider_code.is_empty() { String::new() } else { format!(" ({provider_code})") };
        let (since, until) = (rfc3339(self.known_at_ms), rfc3339(self.expire_at_ms));
        let message = format!(
            "{reason}{code} is known since {since}, from message {message_id}; not handed over, and not before {until} \
             unless the person writes"
        );
        DeliveryError::ours(*reason, message, true)
    }
}

/// What the provider would say again ends a message, until that is forgotten.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let mut stand = case.known.failures.iter().filter(|failure| failure.expire_at_ms > case.now);
    let stand = stand.find(|failure| failure.stands_against(case.request));
    stand.map_or(Verdict::Go, |failure| Verdict::End(failure.failure()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::SenderId;
    use super::super::content::{Template, Text};
    use super::super::message::{InDoubtPolicy, Priority};
    use super::*;

    fn request(content: Content, template_category: Option<TemplateCategory>, ignore: bool) -> NewMessage {
        NewMessage {
            fallback_senders: Vec::new(),
            on_window_closed: Default::default(),
            callback_url: String::new(),
            sender: SenderId::trusted("acme".into()),
            to: "351910000001".parse().unwrap(),
            content,
            reply_to_message_id: None,
            send_at_ms: None,
            validity_ms: None,
            callback_data: String::new(),
            labels: BTreeMap::new(),
            priority: Priority::Normal,
            in_doubt_policy: InDoubtPolicy::AtMostOnce,
            ignore_opt_out: false,
            ignore_known_failures: ignore,
            template_category,
        }
    }

    fn template_content() -> Template {
        let (template, language_code) = ("t".into(), "pt_BR".into());
        Template { template, language_code, ..Default::default() }
    }

    fn known(reason: ErrorReason) -> KnownFailure {
        let message_id = MessageId::generate();
        KnownFailure { reason, provider_code: "131049".into(), message_id, known_at_ms: 0, expire_at_ms: 86_400_000 }
    }

    #[test]
    fn a_failure_stands_against_what_it_would_fail_again() {
        use ErrorReason::{NotOnWhatsapp, RecipientCapped, RecipientUnreachable};
        let template = |category| request(Content::Template(template_content()), category, false);
        let text = request(Content::Text(Text { body: "x".into(), preview_url: false }), None, false);
        let marketing = template(Some(TemplateCategory::Marketing));
        let others = [text, template(Some(TemplateCategory::Utility)), template(None)];
        for reason in [NotOnWhatsapp, RecipientUnreachable] {
            assert!(others.iter().chain([&marketing]).all(|request| known(reason).stands_against(request)));
        }
        assert!(known(RecipientCapped).stands_against(&marketing));
        assert!(!others.iter().any(|request| known(RecipientCapped).stands_against(request)));
        let anyway = NewMessage { ignore_known_failures: true, ..marketing };
        assert!(![NotOnWhatsapp, RecipientCapped].iter().any(|reason| known(*reason).stands_against(&anyway)));
    }

    #[test]
    fn only_what_is_set_to_be_remembered_is() {
        let hour = Duration::from_secs(3_600);
        let all = Lifetimes { not_on_whatsapp: hour, capped: hour * 2, unreachable: hour * 3 };
        let error = |reason, retryable| DeliveryError::ours(reason, "", retryable);
        for (reason, retryable, hours) in [
            (ErrorReason::NotOnWhatsapp, false, Some(1)),
            (ErrorReason::RecipientCapped, true, Some(2)),
            (ErrorReason::RecipientUnreachable, false, Some(3)),
            (ErrorReason::RecipientUnreachable, true, None),
            (ErrorReason::InvalidRecipient, false, None),
            (ErrorReason::RecipientOptedOut, false, None),
        ] {
            assert_eq!(all.of(&error(reason, retryable)), hours.map(|n| n * 3_600_000), "{reason} {retryable}");
            assert_eq!(Lifetimes::default().of(&error(reason, retryable)), None);
        }
    }

    #[test]
    fn the_message_says_since_when_and_from_which_message() {
        let known = known(ErrorReason::RecipientCapped);
        let error = known.failure();
        assert_eq!((error.reason, error.provider_code.as_str()), (ErrorReason::RecipientCapped, ""));
        for part in ["131049", "1970-01-01T00:00:00.000Z", "1970-01-02T00:00:00.000Z", &known.message_id.to_string()] {
            assert!(error.provider_message.contains(part), "{error:?}");
        }
    }
}

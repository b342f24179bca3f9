//! Which failures send a message on to its next sender, and which end it.

use super::message::ErrorReason;

/// Fallback senders of a message, at most.
pub const FALLBACKS_MAX: usize = 5;

/// A sender whose provider was not reached in so many tries passes a message on; about 8 seconds, as retries are spread.
pub const TRIES: i32 = 5;

/// How a failure is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// By the answer to a call, or before it: the provider does not have the message.
    AtOnce,
    /// By a report, after the provider had taken it.
    Later,
}

/// Whether another sender may succeed where this one failed, without a risk that the person gets the message twice.
///
/// What is said about the person ends the message, since it is the same for every sender, and since another number must not
/// be the way around somebody's no. What is said about the sender, its templates or its provider passes it on, also what a
/// provider holds against the content: providers differ in what they take, and a refusal costs no more than a call.
pub fn passes_on(reason: ErrorReason, told: Told) -> bool {
    use ErrorReason::*;
    match reason {
        // The provider's word is final as an answer. As a report that nobody can read it may be anything, "late" among it.
        Unknown => told == Told::AtOnce,
        // The person.
        InvalidRecipient | NotOnWhatsapp | RecipientUnreachable | RecipientCapped | RecipientOptedOut => false,
        // WhatsApp's judgement of what is said: the next number would suffer for it, too.
        Spam => false,
        // The person may have it already.
        Duplicate | OutcomeUnknown => false,
        // The caller's word.
        Cancelled => false,
        // The conversation with this sender; another may have a window of its own.
        OutsideWindow | ContactRateLimited => true,
        // What this provider takes.
        InvalidContent | ContentTooLong | InvalidMedia | MediaUnreachable | NotSupported | InvalidRequest => true,
        // What this sender has approved.
        TemplateNotFound | TemplateParameters | TemplatePaused => true,
        // The sender.
        InvalidSender | SenderUnauthorized | SenderBlocked | SenderDeleted | Billing | RateLimited => true,
        ProviderUnavailable => true,
        // The provider gave up, before the message's own validity ended.
        Expired => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o16_each_reason_ends_a_message_or_passes_it_on() {
        use ErrorReason::*;
        const ENDS: &[ErrorReason] = &[
            InvalidRecipient,
            NotOnWhatsapp,
            RecipientUnreachable,
            Spam,
            Duplicate,
            RecipientCapped,
            RecipientOptedOut,
            OutcomeUnknown,
            Cancelled,
        ];
        const PASSES: &[ErrorReason] = &[
            OutsideWindow,
            InvalidContent,
            ContentTooLong,
            InvalidMedia,
            MediaUnreachable,
            TemplateNotFound,
            TemplateParameters,
            TemplatePaused,
            InvalidSender,
            SenderUnauthorized,
            SenderBlocked,
            Billing,
            RateLimited,
            NotSupported,
            InvalidRequest,
            ProviderUnavailable,
            Expired,
            SenderDeleted,
            ContactRateLimited,
        ];
        for told in [Told::AtOnce, Told::Later] {
            assert!(ENDS.iter().all(|reason| !passes_on(*reason, told)), "{told:?}");
            assert!(PASSES.iter().all(|reason| passes_on(*reason, told)), "{told:?}");
        }
        assert_eq!([Told::AtOnce, Told::Later].map(|told| passes_on(Unknown, told)), [true, false]);
    }
}

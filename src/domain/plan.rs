//! What a send would do, as things stand: when it would go, and sentences for people. Pure: whoever asks has read what is
//! known.

use super::judge::Verdict;
use super::message::WindowPolicy;
use super::pace::{ContactPace, Pace, Rate};
use super::phone::variants_of;
use super::sender::{SenderHealth, SenderState};
use super::window::WindowState;
use super::{Millis, PhoneNumber};

/// What waits for a sender, and how fast it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outlook {
    /// The sender's pace.
    pub pace: Pace,
    /// The person's allowance.
    pub contact: ContactPace,
    /// Due messages of the sender.
    pub queue: u64,
    /// Of these, how many stand in the lane of the planned one or in one before.
    pub ahead: u64,
    /// Due messages of the conversation.
    pub conversation: u64,
}

/// When a message would be handed over that may go from `send_at_ms`: after what waits before it, as fast as the sender may,
/// and when the person may get it. What the calls themselves take is not known.
pub fn hand_over_at(outlook: &Outlook, rate: &Rate, send_at_ms: Millis, now: Millis) -> Millis {
    let slot =
        rate.per_second.map(|per_second| outlook.pace.slot_after(outlook.ahead, per_second, now * 1_000) / 1_000);
    let contact = rate.contact().map(|limit| outlook.contact.time_after(outlook.conversation, limit, now));
    [slot, contact].into_iter().flatten().fold(send_at_ms.max(now), Millis::max)
}

/// Why a number is written in more ways than one; nothing for most.
pub fn why_variants(number: &PhoneNumber) -> Option<&'static str> {
    if variants_of(&number.digits).is_empty() {
        return None;
    }
    match number.digits.get(..2) {
        Some("55") => {
            Some("WhatsApp left the ninth digit out for Brazilian mobiles that registered before they had it")
        }
        Some("54") => Some("Argentine mobiles have a 9 after the country code from abroad, and none at home"),
        Some("52") => Some("Mexican mobiles had a 1 after the country code until 2019, and WhatsApp kept it"),
        _ => None,
    }
}

/// How the number is understood.
pub fn number_sentence(number: &PhoneNumber) -> String {
    let variants = variants_of(&number.digits);
    match (variants.as_slice(), why_variants(number)) {
        ([], _) | (_, None) => format!("{} is called as it was given.", number.given),
        (others, Some(why)) => {
            format!("{} is called as it was given; {} is the same person: {why}.", number.given, others.join(", "))
        }
    }
}

/// Why a sender sends nothing now, whatever it is given.
pub fn sender_trouble(state: SenderState, health: Option<SenderHealth>) -> Option<&'static str> {
    match (state, health) {
        (SenderState::Paused, _) => Some("it is paused: messages are accepted and wait"),
        (_, Some(SenderHealth::CredentialsRefused)) => Some("the provider refuses its credentials: messages wait"),
        (_, Some(SenderHealth::Unreachable)) => Some("the provider cannot be reached or fails: messages wait"),
        (_, Some(SenderHealth::Blocked)) => Some("it is restricted or banned: messages wait"),
        (SenderState::Active, None | Some(SenderHealth::Ok)) => None,
    }
}

/// How the window stands, and what that does.
pub fn window_sentence(state: Option<WindowState>, policy: &WindowPolicy, verdict: &Verdict) -> String {
    let stands = match state {
        None => return "No open window is needed.".into(),
        Some(WindowState::Open(_)) => {
            return "The person wrote within 24 hours of the hand-over: anything may be sent.".into();
        }
        Some(WindowState::Unknown) => "The gateway has never heard of the person",
        Some(WindowState::Closed) => "The 24-hour window is closed",
    };
    let follows = match (verdict, policy) {
        (Verdict::Go, WindowPolicy::SendAnyway) => "it is handed over all the same, as the request wants it",
        (Verdict::Go, _) => "it is handed over, and the provider judges",
        (Verdict::End(_), _) => "the message would fail",
        (Verdict::Hold(_), _) => "the message would be held until the person writes",
        (Verdict::Instead(_), _) => "the template would go in its place",
    };
    format!("{stands}: {follows}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_800_000_000_000;

    #[test]
    fn the_latest_of_all_that_it_waits_for_decides() {
        let fast = Rate { per_second: Some(10.0), ..Rate::default() };
        let per_person = Rate { contact_interval_ms: Some(6_000), contact_burst: Some(1), ..Rate::default() };
        let both = Rate { per_second: Some(10.0), ..per_person };
        let waiting = |ahead, conversation| Outlook { ahead, conversation, queue: ahead, ..Outlook::default() };
        for (rate, outlook, send_in, expected) in [
            (Rate::default(), waiting(5_000, 5), 0, 0..=0),
            (Rate::default(), waiting(0, 0), 9_000, 9_000..=9_000),
            (Rate::default(), waiting(0, 0), -9_000, 0..=0),
            (fast, waiting(0, 0), 0, 0..=0),
            (fast, waiting(100, 0), 0, 10_000..=10_500),
            (fast, waiting(100, 0), 60_000, 60_000..=60_000),
            (per_person, waiting(100, 2), 0, 12_000..=12_000),
            (both, waiting(100, 2), 0, 12_000..=12_000),
            (both, waiting(200, 2), 0, 20_000..=21_000),
        ] {
            let at = hand_over_at(&outlook, &rate, NOW + send_in, NOW) - NOW;
            assert!(expected.contains(&at), "{at} is not in {expected:?}: {outlook:?}");
        }
        let held = Outlook { pace: Pace { hold_until_ms: NOW + 3_000, ..Pace::default() }, ..Outlook::default() };
        assert_eq!(hand_over_at(&held, &fast, NOW, NOW), NOW + 3_000);
    }

    #[test]
    fn i16_i17_other_ways_to_write_a_number_have_their_reason() {
        for (given, other) in [
            ("+5531987654321", Some("553187654321")),
            ("541123456789", Some("5491123456789")),
            ("+5215512345678", Some("525512345678")),
            ("+351910000001", None),
            ("+551140001000", None),
        ] {
            let number: PhoneNumber = given.parse().unwrap();
            assert_eq!(why_variants(&number).is_some(), other.is_some(), "{given}");
            let sentence = number_sentence(&number);
            assert!(sentence.contains(given) && other.is_none_or(|other| sentence.contains(other)), "{sentence}");
        }
    }
}

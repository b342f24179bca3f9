//! The 24-hour window: for so long after a person wrote, WhatsApp lets a business answer with more than templates.

use super::judge::{Case, Verdict};
use super::message::{HoldReason, WindowPolicy};
use super::{Content, DeliveryError, ErrorReason, Millis};

/// How long a window stays open after the person's last message.
pub const WINDOW_MS: Millis = 24 * 3_600_000;
/// How long a refusal counts about somebody of whom nothing was ever heard: what people write may go to another system, and
/// then nothing here would ever open the window again.
const REFUSED_MS: Millis = 3_600_000;

/// What is known of one conversation's window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// When the person's last message reached us.
    pub heard_at_ms: Option<Millis>,
    /// When the window that it opened closes, by the provider's clock where it told the time.
    pub expire_at_ms: Option<Millis>,
    /// The provider refused a hand-over that began then, since the window was closed.
    pub refused_at_ms: Option<Millis>,
}

/// How a window stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowState {
    /// Nothing was ever heard of the person here.
    Unknown,
    /// Until then.
    Open(Millis),
    /// Only a template reaches the person.
    Closed,
}

impl Window {
    /// How it stands. A refusal counts until the person is heard again.
    pub fn state(&self, now: Millis) -> WindowState {
        match (self.expire_at_ms, self.refused_at_ms) {
            (None, Some(refused)) if now < refused + REFUSED_MS => WindowState::Closed,
            (None, _) => WindowState::Unknown,
            (Some(_), Some(_)) if self.refused_at_ms >= self.heard_at_ms => WindowState::Closed,
            (Some(until), _) if now < until => WindowState::Open(until),
            (Some(_), _) => WindowState::Closed,
        }
    }

    /// The person wrote: `wrote_at_ms` by the provider's clock, `receive_at_ms` by ours. A webhook that comes late opens no
    /// longer window, and one that lies ahead of us neither.
    pub fn heard(&mut self, wrote_at_ms: Option<Millis>, receive_at_ms: Millis) {
        self.heard_at_ms = self.heard_at_ms.max(Some(receive_at_ms));
        self.expire_at_ms = self.expire_at_ms.max(Some(expiry(wrote_at_ms, receive_at_ms)));
    }

    /// The provider refused a hand-over that began at `start_at_ms`.
    pub fn refused(&mut self, start_at_ms: Millis) {
        self.refused_at_ms = self.refused_at_ms.max(Some(start_at_ms));
    }
}

/// When the window closes that a message opens.
pub fn expiry(wrote_at_ms: Option<Millis>, receive_at_ms: Millis) -> Millis {
    wrote_at_ms.unwrap_or(receive_at_ms).min(receive_at_ms) + WINDOW_MS
}

/// Whether a message needs an open window at all.
pub fn is_needed(content: &Content, policy: &WindowPolicy) -> bool {
    !matches!(content, Content::Template(_)) && *policy != WindowPolicy::SendAnyway
}

/// What the policy of a message wants of a window that stands so. An unknown one is the provider's to judge, unless the caller
/// chose to wait or to send a template: a gateway that was just set up has heard of nobody.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let policy = &case.request.on_window_closed;
    if !case.windows || !is_needed(&case.request.content, policy) {
        return Verdict::Go;
    }
    match (case.known.window.state(case.now), policy) {
        (WindowState::Open(_), _) | (_, WindowPolicy::SendAnyway) => Verdict::Go,
        (WindowState::Unknown, WindowPolicy::Fail) => Verdict::Go,
        (WindowState::Closed, WindowPolicy::Fail) => Verdict::End(closed()),
        (_, WindowPolicy::HoldUntilIncoming) => Verdict::Hold(HoldReason::WindowClosed),
        (_, WindowPolicy::SendTemplate(template)) => {
            Verdict::Instead(Box::new(Content::Template(template.as_ref().clone())))
        }
    }
}

fn closed() -> DeliveryError {
    let words = "the person has not written within the last 24 hours, so only a template reaches them";
    DeliveryError::ours(ErrorReason::OutsideWindow, words, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use WindowState::{Closed, Open, Unknown};

    #[test]
    fn a_window_is_open_for_24_hours_and_not_a_moment_longer() {
        let heard = |at| Window { heard_at_ms: Some(at), expire_at_ms: Some(at + WINDOW_MS), refused_at_ms: None };
        let refused = |window, at| Window { refused_at_ms: Some(at), ..window };
        for (window, now, state) in [
            (Window::default(), 5, Unknown),
            (heard(100), 100, Open(100 + WINDOW_MS)),
            (heard(100), 99 + WINDOW_MS, Open(100 + WINDOW_MS)),
            (heard(100), 100 + WINDOW_MS, Closed),
            (refused(Window::default(), 7), 6 + REFUSED_MS, Closed),
            (refused(Window::default(), 7), 7 + REFUSED_MS, Unknown),
            (refused(heard(100), 101), 102, Closed),
            (refused(heard(100), 100), 102, Closed),
            // It wrote after the hand-over that was refused had begun.
            (refused(heard(100), 99), 102, Open(100 + WINDOW_MS)),
        ] {
            assert_eq!(window.state(now), state, "{window:?} at {now}");
        }
    }

    #[test]
    fn late_webhooks_and_clocks_that_are_ahead_make_no_window_longer() {
        let mut window = Window::default();
        window.heard(Some(1_000), 5_000);
        assert_eq!((window.heard_at_ms, window.expire_at_ms), (Some(5_000), Some(1_000 + WINDOW_MS)));
        window.heard(Some(9_999_999), 6_000);
        assert_eq!(window.expire_at_ms, Some(6_000 + WINDOW_MS));
        // Overtaken by a later one.
        window.heard(Some(500), 7_000);
        assert_eq!((window.heard_at_ms, window.expire_at_ms), (Some(7_000), Some(6_000 + WINDOW_MS)));
        window.refused(7_000);
        window.refused(6_500);
        assert_eq!(window.refused_at_ms, Some(7_000));
    }
}

//! The 24-hour window: for so long after a person wrote, WhatsApp lets a business answer with more than templates.

use super::Millis;

/// How long a window stays open after the person's last message.
pub const WINDOW_MS: Millis = 24 * 3_600_000;

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
    /// Nothing was heard of the person, neither by us nor, as far as it told, by the provider.
    Unknown,
    /// Until then.
    Open(Millis),
    /// Only a template reaches the person.
    Closed,
}

impl Window {
    /// How it stands. A refusal counts until the person is heard again.
    pub fn state(&self, now: Millis) -> WindowState {
        if self.refused_at_ms.is_some() && self.refused_at_ms >= self.heard_at_ms {
            return WindowState::Closed;
        }
        match self.expire_at_ms {
            None => WindowState::Unknown,
            Some(until) if now < until => WindowState::Open(until),
            Some(_) => WindowState::Closed,
        }
    }
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
            (refused(Window::default(), 7), 8, Closed),
            (refused(heard(100), 101), 102, Closed),
            (refused(heard(100), 100), 102, Closed),
            // It wrote after the hand-over that was refused had begun.
            (refused(heard(100), 99), 102, Open(100 + WINDOW_MS)),
        ] {
            assert_eq!(window.state(now), state, "{window:?} at {now}");
        }
    }
}

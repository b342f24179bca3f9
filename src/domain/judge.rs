//! What follows, before a hand-over, from what is known of the person: one list of rules, each pure.

use super::known_failure::{self, KnownFailure};
use super::message::HoldReason;
use super::opt_out::{self, OptOut};
use super::window::{self, Window};
use super::{Content, DeliveryError, Millis, NewMessage};

/// What the store knows about one person, as one sender knows them. A field for each judge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// The 24-hour window.
    pub window: Window,
    /// What they do not want.
    pub opt_outs: Vec<OptOut>,
    /// What the provider said of earlier messages to them, and will say again.
    pub failures: Vec<KnownFailure>,
}

/// One message that is about to be handed over.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The message.
    pub request: &'a NewMessage,
    /// Whether its sender's provider has windows.
    pub windows: bool,
    /// What is known of whom it goes to.
    pub known: &'a Known,
    /// The clock.
    pub now: Millis,
}

/// What is to be done with a message that was taken in hand.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Hand it over.
    Go,
    /// It ends here: FAILED, and no provider is called.
    End(DeliveryError),
    /// HELD until what the reason names happens, or the validity ends.
    Hold(HoldReason),
    /// Hand this over in its place, under the same id.
    Instead(Box<Content>),
}

/// A rule. It must hold [`Verdict::Go`] for every message that it does not want judged.
type Judge = fn(&Case<'_>) -> Verdict;

/// All rules; the first that does not let a message go decides. What puts other content in place stands last, so that
/// whatever ends a message is asked before.
const JUDGES: &[Judge] = &[opt_out::judge, known_failure::judge, window::judge];

/// Judges one message. What would go in its place is judged as if it had been asked for.
pub fn judge(case: &Case<'_>) -> Verdict {
    match first(case) {
        Verdict::Instead(content) => {
            let request = NewMessage { content: *content, template_category: None, ..case.request.clone() };
            match first(&Case { request: &request, ..*case }) {
                Verdict::Go => Verdict::Instead(Box::new(request.content)),
                verdict => verdict,
            }
        }
        verdict => verdict,
    }
}

fn first(case: &Case<'_>) -> Verdict {
    JUDGES.iter().map(|judge| judge(case)).find(|verdict| *verdict != Verdict::Go).unwrap_or(Verdict::Go)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::content::{Template, Text};
    use crate::domain::message::{InDoubtPolicy, Priority, WindowPolicy};
    use crate::domain::opt_out::{OptOutCategory, OptOutSource};
    use crate::domain::window::WINDOW_MS;
    use crate::domain::{Contact, ErrorReason, PhoneNumber, SenderId};

    const NOW: Millis = 1_800_000_000_000;

    fn template() -> Template {
        Template { template: "reopen".into(), language_code: "en".into(), ..Default::default() }
    }

    fn request(content: Content, on_window_closed: WindowPolicy) -> NewMessage {
        NewMessage {
            ignore_opt_out: false,
            ignore_known_failures: false,
            template_category: None,
            fallback_senders: Vec::new(),
            callback_url: String::new(),
            sender: SenderId::trusted("acme".into()),
            to: PhoneNumber { given: "+351910000001".into(), digits: "351910000001".into() },
            content,
            reply_to_message_id: None,
            send_at_ms: None,
            validity_ms: None,
            callback_data: String::new(),
            labels: Default::default(),
            priority: Priority::Normal,
            in_doubt_policy: InDoubtPolicy::AtMostOnce,
            on_window_closed,
        }
    }

    fn word(windows: bool, content: &Content, policy: &WindowPolicy, window: Window) -> &'static str {
        let request = request(content.clone(), policy.clone());
        match judge(&Case { request: &request, windows, known: &Known { window, ..Known::default() }, now: NOW }) {
            Verdict::Go => "go",
            Verdict::End(error) if error.reason == ErrorReason::OutsideWindow => "end",
            Verdict::End(other) => panic!("{other:?}"),
            Verdict::Hold(HoldReason::WindowClosed) => "hold",
            Verdict::Instead(content) if *content == Content::Template(template()) => "template",
            Verdict::Instead(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_policy_and_each_window_at_the_edge_of_24_hours() {
        let text = Content::Text(Text { body: "x".into(), preview_url: false });
        let at = |ago| {
            let mut window = Window::default();
            window.heard(Some(NOW - ago), NOW - ago);
            window
        };
        let policies = [
            WindowPolicy::Fail,
            WindowPolicy::SendAnyway,
            WindowPolicy::HoldUntilIncoming,
            WindowPolicy::SendTemplate(Box::new(template())),
        ];
        for (what, window, words) in [
            ("unknown", Window::default(), ["go", "go", "hold", "template"]),
            ("open", at(0), ["go", "go", "go", "go"]),
            ("just open", at(WINDOW_MS - 1), ["go", "go", "go", "go"]),
            ("just closed", at(WINDOW_MS), ["end", "go", "hold", "template"]),
            ("refused", Window { refused_at_ms: Some(NOW), ..at(5) }, ["end", "go", "hold", "template"]),
        ] {
            let judged: Vec<&str> = policies.iter().map(|policy| word(true, &text, policy, window)).collect();
            assert_eq!(judged, words, "{what}");
            for policy in &policies {
                assert_eq!(word(false, &text, policy, window), "go", "{what}: a provider without windows");
                let sent = Content::Template(template());
                assert_eq!(word(true, &sent, policy, window), "go", "{what}: a template needs none");
            }
        }
    }

    #[test]
    fn a_template_that_goes_in_a_texts_place_is_judged_like_one_that_was_asked_for() {
        let text = Content::Text(Text { body: "x".into(), preview_url: false });
        let request = request(text, WindowPolicy::SendTemplate(Box::new(template())));
        let opt_out = OptOut {
            sender: request.sender.clone(),
            peer: request.to.peer(),
            category: OptOutCategory::Marketing,
            source: OptOutSource::Api,
            create_at_ms: 1,
            message_id: None,
            contact: Contact::default(),
            note: String::new(),
        };
        let judged = |opt_outs: Vec<OptOut>, heard: bool| {
            let mut known = Known { opt_outs, ..Known::default() };
            if heard {
                known.window.heard(Some(NOW), NOW);
            }
            judge(&Case { request: &request, windows: true, known: &known, now: NOW })
        };
        assert!(matches!(judged(vec![], false), Verdict::Instead(_)));
        let Verdict::End(error) = judged(vec![opt_out.clone()], false) else { panic!("it goes all the same") };
        assert_eq!(error.reason, ErrorReason::RecipientOptedOut);
        // The text itself is no marketing, and its window is open.
        assert_eq!(judged(vec![opt_out], true), Verdict::Go);
    }
}

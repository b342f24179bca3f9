//! What to do while a window is closed.

use super::template_content;
use crate::domain::message::WindowPolicy;
use crate::error::{Reason, Violations};
use crate::proto;
use crate::proto::window_policy::Action;

const ACTION: &str = "options.on_window_closed.action";
/// Where the template of the policy stands in a request.
pub(in crate::grpc) const TEMPLATE: &str = "options.on_window_closed.template";

/// Reads a policy; an empty one is the default.
pub(super) fn on_window_closed(policy: proto::WindowPolicy, violations: &mut Violations) -> WindowPolicy {
    let Ok(action) = Action::try_from(policy.action) else {
        let words = "an action is FAIL, SEND_ANYWAY, HOLD_UNTIL_INCOMING or SEND_TEMPLATE";
        violations.add(ACTION, Reason::Invalid, words);
        return WindowPolicy::Fail;
    };
    match (action, policy.template) {
        (Action::Unspecified | Action::SendTemplate, Some(template)) => {
            let mut inner = Violations::default();
            let template = template_content(template, &mut inner);
            violations.nest(TEMPLATE, inner);
            // Without one there is a violation, and the default goes nowhere.
            template.map(|template| WindowPolicy::SendTemplate(Box::new(template))).unwrap_or_default()
        }
        (Action::SendTemplate, None) => {
            violations.add(TEMPLATE, Reason::Required, "the template to send in the message's place is needed");
            WindowPolicy::Fail
        }
        (_, Some(_)) => {
            violations.add(TEMPLATE, Reason::Invalid, "only ACTION_SEND_TEMPLATE has a template");
            WindowPolicy::Fail
        }
        (Action::Unspecified | Action::Fail, None) => WindowPolicy::Fail,
        (Action::SendAnyway, None) => WindowPolicy::SendAnyway,
        (Action::HoldUntilIncoming, None) => WindowPolicy::HoldUntilIncoming,
    }
}

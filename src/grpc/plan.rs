//! PlanSend: what a send would do, from reads alone.

use std::sync::Arc;

use super::answer::{timestamp, window_action};
use super::convert::{self, ReadSend, TEMPLATE};
use super::messaging::{Messaging, below};
use crate::access::Caller;
use crate::catalogue::Judgement;
use crate::domain::content::Template;
use crate::domain::judge::{self, Case, Verdict};
use crate::domain::message::WindowPolicy;
use crate::domain::plan::{self, Outlook};
use crate::domain::sender::{SenderHealth, SenderState};
use crate::domain::window::WindowState;
use crate::domain::{Content, DeliveryError, Millis, NewMessage, PhoneNumber};
use crate::error::{Error, Reason, Violations};
use crate::proto;
use crate::senders::Account;

/// What the store says about a send that could be read.
struct Outcome {
    request: NewMessage,
    existing: Option<String>,
    /// At the hand-over, if nobody writes before; nothing where none is needed.
    window: Option<WindowState>,
    verdict: Verdict,
    first: Turn,
    /// The fallback senders, in their order.
    fallbacks: Vec<Turn>,
}

/// What stands against one sender's turn, and how soon it could come.
struct Turn {
    account: Arc<Account>,
    cannot: Vec<proto::PlanProblem>,
    outlook: Outlook,
    health: Option<SenderHealth>,
}

impl Messaging {
    /// Plans a send.
    ///
    /// # Errors
    /// When there is nothing to plan, a sender is not there for this caller, or the store is away.
    pub(super) async fn plan(
        &self,
        caller: &Caller,
        request: proto::PlanSendRequest,
    ) -> Result<proto::PlanSendResponse, Error> {
        use proto::plan_send_request::Entry;
        let now = self.0.store.now_ms();
        let mut violations = Violations::default();
        let mut parts = match request.entry {
            Some(Entry::Message(request)) => convert::message(request, now, &mut violations),
            Some(Entry::Template(request)) => convert::template(request, now, &mut violations),
            None => return Err(Error::invalid("entry", Reason::Required, "one of message, template is needed")),
        };
        let mut carries = Violations::default();
        let account = self.check_sender(caller, &parts, &mut carries).await?;
        let number = parts.to.clone();
        let (judged, template) = match &account {
            Some(account) => self.compare(account, &mut parts, &mut carries).await?,
            None => Default::default(),
        };
        let carries = problems(Error::Invalid(carries.into_vec()));
        let mut against = problems(Error::Invalid(violations.into_vec()));
        against.extend(carries.iter().cloned());
        against.extend(judged);
        let outcome = match (parts.build(), &account) {
            (Some(read), Some(account)) => {
                let turn = (account.clone(), carries.clone());
                Some(self.foresee(caller, turn, read, now, &mut against).await?)
            }
            _ => None,
        };
        Ok(answer(number, account, carries, template, outcome, against, now))
    }

    /// Compares the template that would go, or might, with what is approved; without any consequence.
    async fn compare(
        &self,
        account: &Account,
        parts: &mut convert::SendParts,
        carries: &mut Violations,
    ) -> Result<(Vec<proto::PlanProblem>, Option<proto::TemplatePlan>), Error> {
        if let Some(Content::Template(template)) = &mut parts.content {
            let (judgement, _) = self.0.catalogues.compare(account, template).await?;
            return Ok(template_plan(template, judgement, None));
        }
        let WindowPolicy::SendTemplate(template) = &mut parts.options.on_window_closed else {
            return Ok(Default::default());
        };
        let (judgement, _) = self.0.catalogues.compare(account, template).await?;
        let mut inner = Violations::default();
        let content = Content::Template(template.as_ref().clone());
        account.provider.capabilities().check(&content, account.sender.provider, &mut inner);
        carries.nest(TEMPLATE, inner);
        Ok(template_plan(template, judgement, Some(TEMPLATE)))
    }

    async fn foresee(
        &self,
        caller: &Caller,
        (account, cannot): (Arc<Account>, Vec<proto::PlanProblem>),
        read: ReadSend,
        now: Millis,
        against: &mut Vec<proto::PlanProblem>,
    ) -> Result<Outcome, Error> {
        let ReadSend { request, key, .. } = read;
        let store = &self.0.store;
        let first = match &key {
            Some(key) => store.message_of_key(&caller.id, key).await?,
            None => None,
        };
        for checked in [
            match &key {
                Some(key) => self.check_key(caller, key, &request).await,
                None => Ok(()),
            },
            self.check_quoted(caller, &request).await,
        ] {
            match checked {
                Ok(()) => {}
                Err(error @ (Error::KeyReused { .. } | Error::NotFound { .. })) => against.extend(problems(error)),
                Err(error) => return Err(error),
            }
        }
        let peer = request.to.peer();
        let sender = &account.sender.id;
        let known = store.known(sender, std::slice::from_ref(&peer)).await?.remove(&peer).unwrap_or_default();
        let windows = account.provider.capabilities().windows;
        let at = request.send_at(now);
        // Whatever else is judged at the hand-over comes with this.
        let verdict = judge::judge(&Case { request: &request, windows, known: &known, now: at });
        if let Verdict::End(error) = &verdict {
            against.push(at_hand_over(error));
        }
        let needed = windows && !matches!(request.content, Content::Template(_));
        Ok(Outcome {
            existing: first.map(|first| first.id.to_string()),
            window: needed.then(|| known.window.state(at)),
            verdict,
            fallbacks: self.fallbacks(&request, at).await?,
            first: Turn {
                outlook: store.outlook(sender, &peer, request.priority).await?,
                health: store.sender_health().await?.remove(sender),
                cannot,
                account,
            },
            request,
        })
    }

    /// What the turns of the fallback senders would find.
    async fn fallbacks(&self, request: &NewMessage, at: Millis) -> Result<Vec<Turn>, Error> {
        let mut turns = Vec::with_capacity(request.fallback_senders.len());
        if request.fallback_senders.is_empty() {
            return Ok(turns);
        }
        let mut health = self.0.store.sender_health().await?;
        for id in &request.fallback_senders {
            let Some(account) = self.0.senders.find(id).await? else { continue };
            let health = health.remove(id);
            turns.push(self.turn(account, request, health, at).await?);
        }
        Ok(turns)
    }

    async fn turn(
        &self,
        account: Arc<Account>,
        request: &NewMessage,
        health: Option<SenderHealth>,
        at: Millis,
    ) -> Result<Turn, Error> {
        let (store, peer) = (&self.0.store, request.to.peer());
        let sender = &account.sender.id;
        let mut cannot = Vec::new();
        if request.content.has_media_id() {
            let description = "its file is named by an id that only the first sender's provider knows; give a url";
            cannot.push(proto::PlanProblem {
                reason: "NOT_SUPPORTED".into(),
                description: description.into(),
                at_hand_over: true,
                ..Default::default()
            });
        }
        cannot.extend(account.misfit(request).as_ref().map(at_hand_over));
        if let Content::Template(template) = &request.content {
            let (judgement, _) = self.0.catalogues.compare(&account, &mut template.clone()).await?;
            cannot.extend(judgement.into_error().map(problems).unwrap_or_default());
        }
        let known = store.known(sender, std::slice::from_ref(&peer)).await?.remove(&peer).unwrap_or_default();
        let windows = account.provider.capabilities().windows;
        if let Verdict::End(error) = judge::judge(&Case { request, windows, known: &known, now: at }) {
            cannot.push(at_hand_over(&error));
        }
        let outlook = store.outlook(sender, &peer, request.priority).await?;
        Ok(Turn { account, cannot, outlook, health })
    }
}

fn at_hand_over(error: &DeliveryError) -> proto::PlanProblem {
    proto::PlanProblem {
        reason: error.reason.as_str().into(),
        description: error.provider_message.clone(),
        at_hand_over: true,
        ..Default::default()
    }
}

/// An error of the send as what stands against it.
fn problems(error: Error) -> Vec<proto::PlanProblem> {
    let problem = |reason: &str, description: String| proto::PlanProblem {
        reason: reason.into(),
        description,
        ..Default::default()
    };
    let description = error.to_string();
    match error {
        Error::Invalid(violations) => violations
            .into_iter()
            .map(|violation| proto::PlanProblem {
                field: violation.field,
                ..problem(violation.reason.as_str(), violation.description)
            })
            .collect(),
        Error::Precondition { reason, .. } => vec![problem(reason, description)],
        Error::KeyReused { .. } => vec![problem("IDEMPOTENCY_KEY_REUSED", description)],
        Error::NotFound { resource: "message", .. } => vec![problem("MESSAGE_NOT_FOUND", description)],
        _ => vec![problem("NOT_FOUND", description)],
    }
}

/// What stands against a template, and the plan of it; `below`: where it stands when it is to go in another's place.
fn template_plan(
    template: &Template,
    judgement: Judgement,
    below_path: Option<&str>,
) -> (Vec<proto::PlanProblem>, Option<proto::TemplatePlan>) {
    let plan = proto::TemplatePlan {
        template: template.template.clone(),
        language_code: template.language_code.clone(),
        instead: below_path.is_some(),
        used: false,
        fits: judgement.is_good(),
        unchecked: judgement.unchecked,
    };
    let error = judgement.into_error().map(|error| match below_path {
        Some(path) => below(error, path),
        None => error,
    });
    (error.map(problems).unwrap_or_default(), Some(plan))
}

fn answer(
    number: Option<PhoneNumber>,
    account: Option<Arc<Account>>,
    carries: Vec<proto::PlanProblem>,
    template: Option<proto::TemplatePlan>,
    outcome: Option<Outcome>,
    problems: Vec<proto::PlanProblem>,
    now: Millis,
) -> proto::PlanSendResponse {
    let mut explanation: Vec<String> = number.iter().map(plan::number_sentence).collect();
    let mut response = proto::PlanSendResponse {
        number: number.as_ref().map(number_plan),
        senders: match (&outcome, &account) {
            (Some(Outcome { first, fallbacks, .. }), _) => turns(first, fallbacks, now),
            (None, Some(account)) => vec![sender_plan(account, &carries, None, now)],
            (None, None) => Vec::new(),
        },
        template,
        problems,
        ..Default::default()
    };
    explanation.extend(response.senders.iter().map(|sender| match (sender.chosen, sender.problem.as_str()) {
        (true, _) => format!("{} ({}) would send it.", sender.sender, sender.provider),
        (false, "") => format!("{} ({}) would take it after that.", sender.sender, sender.provider),
        (false, problem) => format!("{} ({}) would not send it now: {problem}.", sender.sender, sender.provider),
    }));
    if let (Some(account), Some(outcome)) = (&account, &outcome) {
        let policy = &outcome.request.on_window_closed;
        window(&mut response, outcome);
        explanation.push(plan::window_sentence(outcome.window, policy, &outcome.verdict));
        response.expire_time = Some(timestamp(outcome.request.expire_at(now)));
        response.existing_message_id = outcome.existing.clone().unwrap_or_default();
        if account.provider.capabilities().admits {
            explanation.push("The provider is asked before the send is accepted; a plan does not ask it.".into());
        }
        if outcome.existing.is_some() {
            explanation.push("The idempotency key stands for a message already: nothing new would be sent.".into());
        }
        explanation.extend(hand_over(&mut response, outcome, now));
    }
    explanation.extend(response.problems.iter().map(|problem| match problem.field.as_str() {
        "" => format!("{}: {}.", problem.reason, problem.description),
        field => format!("{} {field}: {}.", problem.reason, problem.description),
    }));
    response.explanation = explanation;
    response
}

/// When it would be handed over, and whether by a template; a sentence about it. Nothing for what would not go.
fn hand_over(response: &mut proto::PlanSendResponse, outcome: &Outcome, now: Millis) -> Option<String> {
    let goes = matches!(outcome.verdict, Verdict::Go | Verdict::Instead(_)) && response.problems.is_empty();
    let chosen = response.senders.iter().position(|sender| sender.chosen)?;
    let turn = [&outcome.first].into_iter().chain(&outcome.fallbacks).nth(chosen)?;
    if !goes || outcome.existing.is_some() {
        return None;
    }
    if let Some(template) = &mut response.template {
        template.used = !template.instead || matches!(outcome.verdict, Verdict::Instead(_));
    }
    let at = plan::hand_over_at(&turn.outlook, &turn.account.rate(), outcome.request.send_at(now), now);
    response.hand_over_time = Some(timestamp(at));
    Some(match at - now {
        ..=0 => "It would be handed over at once.".into(),
        wait => format!("It would be handed over in about {} s.", (wait as f64 / 1_000.0).ceil()),
    })
}

fn number_plan(number: &PhoneNumber) -> proto::NumberPlan {
    proto::NumberPlan {
        given: number.given.clone(),
        digits: number.digits.clone(),
        peer: number.peer(),
        variants: crate::domain::phone::variants_of(&number.digits),
        reason: plan::why_variants(number).unwrap_or_default().into(),
    }
}

fn window(response: &mut proto::PlanSendResponse, outcome: &Outcome) {
    let policy = &outcome.request.on_window_closed;
    let action = window_action(policy);
    let (state, action) = match outcome.window {
        None => (proto::WindowState::NotNeeded, None),
        Some(WindowState::Open(until)) => {
            response.window_expire_time = Some(timestamp(until));
            (proto::WindowState::Open, None)
        }
        Some(WindowState::Closed) => (proto::WindowState::Closed, Some(action)),
        Some(WindowState::Unknown) if *policy == WindowPolicy::Fail => {
            (proto::WindowState::Unspecified, Some(proto::window_policy::Action::SendAnyway))
        }
        Some(WindowState::Unknown) => (proto::WindowState::Unspecified, Some(action)),
    };
    response.window = state.into();
    response.window_action = action.map_or(0, i32::from);
}

/// The senders in the order of their turns. The first that could is chosen, but none behind one that is paused: an operator
/// who stops a sender does not send its messages elsewhere.
fn turns(first: &Turn, fallbacks: &[Turn], now: Millis) -> Vec<proto::SenderPlan> {
    let mut open = true;
    let mut plans = Vec::with_capacity(1 + fallbacks.len());
    for turn in std::iter::once(first).chain(fallbacks) {
        let mut plan = sender_plan(&turn.account, &turn.cannot, Some(turn), now);
        plan.chosen &= open;
        open &= !plan.chosen && turn.account.sender.state != SenderState::Paused;
        plans.push(plan);
    }
    plans
}

fn sender_plan(
    account: &Account,
    carries: &[proto::PlanProblem],
    turn: Option<&Turn>,
    now: Millis,
) -> proto::SenderPlan {
    let sender = &account.sender;
    let health = turn.and_then(|turn| turn.health);
    let trouble = plan::sender_trouble(sender.state, health);
    let problem = match (carries.first(), trouble) {
        (Some(cannot), _) => cannot.description.clone(),
        (None, trouble) => trouble.unwrap_or_default().to_owned(),
    };
    let state = match sender.state {
        SenderState::Active => proto::SenderState::Active,
        SenderState::Paused => proto::SenderState::Paused,
    };
    proto::SenderPlan {
        sender: sender.id.to_string(),
        provider: sender.provider.into(),
        usable: problem.is_empty(),
        chosen: problem.is_empty(),
        problem,
        queue_depth: turn.map_or(0, |turn| turn.outlook.queue as i64),
        state: state.into(),
        health: health.map_or(0, |health| i32::from(health as i16)),
        problems: carries.to_vec(),
        limiter: turn.map(|turn| limiter(account, &turn.outlook, now)),
    }
}

fn limiter(account: &Account, outlook: &Outlook, now: Millis) -> proto::LimiterPlan {
    let rate = account.rate();
    let contact = rate.contact();
    let slot = rate.per_second.map(|per_second| outlook.pace.slot_after(0, per_second, now * 1_000) / 1_000);
    let contact_at = contact.map(|limit| outlook.contact.time_after(0, limit, now));
    proto::LimiterPlan {
        messages_per_second: rate.per_second,
        messages_per_second_now: rate.per_second.map(|per_second| outlook.pace.in_force(per_second, now)),
        hold_time: Some(outlook.pace.hold_until_ms).filter(|until| *until > now).map(timestamp),
        next_slot_time: slot.map(timestamp),
        contact_allowance: contact
            .map(|limit| i32::try_from(outlook.contact.allowance(limit, now)).unwrap_or(i32::MAX)),
        contact_time: contact_at.filter(|at| *at > now).map(timestamp),
        conversation_depth: outlook.conversation as i64,
    }
}

//! What must hold in every state, and what must come of it in the end.

use anyhow::Result;
use recado::domain::message::InDoubtPolicy;
use recado::domain::{ErrorReason, MessageStatus};

use super::house::{Facts, House};
use super::world::{Bounds, Step, World};

/// The law that a state breaks, in words.
pub fn broken_law(world: &World, house: &House, bounds: &Bounds) -> Option<String> {
    let facts = house.facts(world.place);
    if facts.positions.iter().zip(1..).any(|(position, place)| *position != place) {
        return Some(format!("the log has a gap: {:?}", facts.positions));
    }
    (0..bounds.policies.len()).find_map(|message| {
        let law = broken_by(message, world, facts, bounds)?;
        Some(format!("message {message} {law}"))
    })
}

fn broken_by(message: usize, world: &World, facts: &Facts, bounds: &Bounds) -> Option<String> {
    let history = &facts.histories[message];
    let times_in = |status| history.iter().filter(|change| change.status == Some(status)).count();
    let taken = world.provider[message].times;
    let allowed = match bounds.policies[message] {
        InDoubtPolicy::AtMostOnce => 1,
        InDoubtPolicy::AtLeastOnce => 1 + times_in(MessageStatus::InDoubt),
    };
    if usize::from(taken) > allowed {
        return Some(format!("was taken {taken} times, where {allowed} is right"));
    }
    if history.first().and_then(|first| first.status) != Some(MessageStatus::Accepted) {
        return Some(format!("begins with {:?}", history.first()));
    }
    if history.last().is_none_or(|last| last.current_status != facts.statuses[message]) {
        // Claims make no event.
        let under_way = facts.statuses[message] == MessageStatus::Sending;
        if !under_way {
            return Some(format!("stands as {:?}, and the log says {:?}", facts.statuses[message], history.last()));
        }
    }
    for (place, change) in history.iter().enumerate() {
        let of_the_attempt = || history[..place].iter().filter(|earlier| earlier.attempt == change.attempt);
        if change.status == Some(MessageStatus::Sent)
            && of_the_attempt().any(|earlier| earlier.status == Some(MessageStatus::Sent))
        {
            return Some(format!("has attempt {} as SENT twice", change.attempt));
        }
        let is_proof = |status| matches!(status, Some(MessageStatus::Delivered | MessageStatus::Read));
        if change.status == Some(MessageStatus::Sent)
            && !(change.late || change.duplicate || change.contradicts_final)
            && of_the_attempt().any(|earlier| is_proof(earlier.status))
        {
            return Some("is SENT after it was delivered, and not marked".into());
        }
    }
    if taken > 0 && world.cancelled[message] {
        return Some("was taken, and the caller had heard that it is cancelled".into());
    }
    let overtaken = (0..message).find(|earlier| {
        let gone_on = facts.histories[*earlier].iter().any(|change| change.status != Some(MessageStatus::Accepted));
        taken > 0 && world.provider[*earlier].times == 0 && !gone_on
    });
    overtaken.map(|earlier| format!("overtook message {earlier}"))
}

/// Lets everybody die, one replica start anew, and everything go well from there until nothing moves; gives the law that is
/// broken on the way or at the end.
pub async fn broken_promise(world: &World, house: &mut House, bounds: &Bounds) -> Result<Option<String>> {
    let mut world = world.after_all_died();
    loop {
        // In this order nothing waits for what follows it: webhooks, then timers, then messages, then time.
        let steps = world.steps(house, None);
        let kind = |step: &Step| match step {
            Step::TakeIn { .. } => 0,
            Step::Read { .. } => 1,
            Step::Post { .. } => 2,
            Step::Timers => 3,
            Step::End { .. } => 4,
            Step::Call { .. } => 5,
            Step::Claim { .. } => 6,
            _ => 7,
        };
        let ready = !world.replicas[0].hands.is_empty();
        let next = steps.into_iter().filter(|step| !(ready && matches!(step, Step::Claim { .. }))).min_by_key(kind);
        let Some(step) = next else { break };
        let after = world.after(step, house, None).await?;
        // A claim that brings nothing: earlier messages hold it back, until time passes.
        if after == world {
            let Some(due) = house.facts(world.place).next_due else { break };
            world.now = due;
            continue;
        }
        world = after;
        if let Some(law) = broken_law(&world, house, bounds) {
            return Ok(Some(format!("{law}, after all died")));
        }
    }
    let facts = house.facts(world.place);
    let lost = (0..bounds.policies.len()).find_map(|message| Some((message, lost(message, &world, facts, bounds)?)));
    if let Some((message, how)) = lost {
        return Ok(Some(format!("message {message} {how}, after all died")));
    }
    let parked = facts.parked > 0 && bounds.echoes;
    Ok(parked.then(|| format!("{} reports wait for ever", facts.parked)))
}

/// Whether a message is not where it must be when the world is at rest.
fn lost(message: usize, world: &World, facts: &Facts, bounds: &Bounds) -> Option<String> {
    let (status, error) = (facts.statuses[message], facts.errors[message]);
    let doubted = facts.histories[message].iter().any(|change| change.status == Some(MessageStatus::InDoubt));
    let unknown = status == MessageStatus::Failed && error == Some(ErrorReason::OutcomeUnknown) && doubted;
    let expired = world.now >= facts.expire_at_ms;
    let right = match world.provider[message].times {
        0 => match status {
            // AT_LEAST_ONCE sends again, for as long as the message is valid.
            MessageStatus::Failed => unknown && (bounds.policies[message] == InDoubtPolicy::AtMostOnce || expired),
            MessageStatus::Expired => expired,
            MessageStatus::Cancelled => world.cancelled[message],
            _ => false,
        },
        // Without our id in its statuses, nothing tells which message they are about, once the answer is lost.
        _ => status == MessageStatus::Read || (!bounds.echoes && unknown),
    };
    let how = if world.provider[message].times == 0 { "was never taken" } else { "was taken" };
    (!right).then(|| format!("{how}, and ends as {status:?} ({error:?})"))
}

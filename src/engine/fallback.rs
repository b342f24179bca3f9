//! Messages that come to another sender than the one that was asked for: what it cannot carry goes by it, and what it would
//! take is not left waiting at one that cannot send.

use std::sync::Arc;

use super::{News, Parts};
use crate::domain::message::{DeliveryError, ErrorReason};
use crate::domain::progress::Next;
use crate::domain::sender::SenderHealth;
use crate::domain::{Content, SenderId};
use crate::error::{Error, Reason};
use crate::senders::Account;
use crate::store::{Claim, StoreError};

/// Messages that are given to fallbacks in one transaction.
const PAGE: usize = 500;

/// Of the messages of a claim, those that this sender can carry: what was said at the door about the sender that was asked
/// for is asked about its fallbacks when their turn comes. Beside them the others, with what becomes of these.
///
/// # Errors
/// When the store is away.
pub(super) async fn fitting(
    parts: &Parts,
    account: &Account,
    claims: Vec<Claim>,
) -> Result<(Vec<Claim>, Vec<(Claim, Next)>), StoreError> {
    if claims.iter().all(|claim| claim.turn == 0) {
        return Ok((claims, Vec::new()));
    }
    let (mut fit, mut skipped) = (Vec::with_capacity(claims.len()), Vec::new());
    for mut claim in claims {
        match misfit(parts, account, &mut claim).await? {
            None => fit.push(claim),
            Some(error) => {
                metrics::counter!("recado_kept_back_total", "reason" => error.reason.as_str()).increment(1);
                skipped.push((claim, Next::Spared(error)));
            }
        }
    }
    Ok((fit, skipped))
}

async fn misfit(parts: &Parts, account: &Account, claim: &mut Claim) -> Result<Option<DeliveryError>, StoreError> {
    if claim.turn == 0 {
        return Ok(None);
    }
    if claim.request.content.has_media_id() {
        let why = "its file is named by an id that only the sender's own provider knows; give a url";
        return Ok(Some(DeliveryError::ours(ErrorReason::NotSupported, why, false)));
    }
    if let Some(error) = account.misfit(&claim.request) {
        return Ok(Some(error));
    }
    let Content::Template(template) = &mut claim.request.content else { return Ok(None) };
    let judgement = parts.catalogues.judge(account, template).await?;
    // What it is for is this provider's word, not the first one's.
    claim.request.template_category = judgement.category;
    Ok(judgement.into_error().map(|error| template_error(&error)))
}

/// What stands against a template, as an error of its delivery.
fn template_error(error: &Error) -> DeliveryError {
    let reason = match error {
        Error::Invalid(violations) => {
            let missing = |field: &str| field == "template" || field == "language_code";
            let gone = violations.iter().any(|one| one.reason == Reason::NotAvailable && missing(&one.field));
            if gone { ErrorReason::TemplateNotFound } else { ErrorReason::TemplateParameters }
        }
        Error::Precondition { reason: "TEMPLATE_NOT_APPROVED", .. } => ErrorReason::TemplatePaused,
        _ => ErrorReason::NotSupported,
    };
    DeliveryError::ours(reason, error.to_string(), false)
}

/// Gives to their fallbacks what waits for a sender that cannot send, a page of it.
pub(super) async fn pass_by(parts: Arc<Parts>, sender: SenderId, health: SenderHealth) {
    let (reason, why) = match health {
        SenderHealth::CredentialsRefused => (ErrorReason::SenderUnauthorized, "the provider refuses its credentials"),
        SenderHealth::Blocked => (ErrorReason::SenderBlocked, "the provider has blocked it"),
        SenderHealth::Ok | SenderHealth::Unreachable => {
            (ErrorReason::ProviderUnavailable, "the provider cannot be reached")
        }
    };
    let error = DeliveryError::ours(reason, why, true);
    let passed = parts.writer.pass_by(sender.clone(), error, PAGE as u64).await;
    match &passed {
        Ok(0) => {}
        Ok(count) => tracing::info!(%sender, count, why, "messages go to their fallback senders"),
        Err(error) => tracing::warn!(%sender, %error, "messages could not be given to their fallback senders"),
    }
    let more = passed.is_ok_and(|count| count == PAGE);
    let _ = parts.wake.0.send(News::PassedBy { sender, more });
}

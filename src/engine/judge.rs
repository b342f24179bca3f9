//! Between a claim and its calls: messages that must not go, or not as they are, never reach the provider.
//!
//! An attempt that did not take place is undone, so that attempts are what a provider was asked; the verdict is the message's.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::future::join_all;

use super::call::{end, write_down};
use super::{News, Parts, Said};
use crate::domain::judge::{self, Case, Known, Verdict};
use crate::domain::opt_out::OptOut;
use crate::domain::progress::Next;
use crate::domain::{Millis, SenderId};
use crate::senders::Account;
use crate::store::{Claim, StoreError};

/// A claim, judged.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Messages to hand over, in the order in which they are to go and with the content that goes.
    pub go: Vec<Claim>,
    /// Those that are not to be handed over, and what becomes of them.
    pub kept_back: Vec<(Claim, Next)>,
}

/// Judges the messages of a claim together.
///
/// # Errors
/// When the store is away. Nothing was written then, and the claim can be undone.
pub(super) async fn judge(parts: &Parts, account: &Account, claims: Vec<Claim>) -> Result<Judged, StoreError> {
    let peers: BTreeSet<String> =
        claims.iter().filter(|claim| is_judged(account, claim)).map(|claim| claim.request.to.peer()).collect();
    if peers.is_empty() {
        return Ok(Judged { go: claims, kept_back: Vec::new() });
    }
    let peers: Vec<String> = peers.into_iter().collect();
    let known = parts.store.known(&account.sender.id, &peers).await?;
    let earlier = said_to_earlier(parts, &claims).await?;
    Ok(part(account, claims, &known, &earlier, parts.store.now_ms()))
}

/// What people told the senders that a message came by: whoever wants nothing of the first gets it from no other.
async fn said_to_earlier(parts: &Parts, claims: &[Claim]) -> Result<HashMap<i64, Vec<OptOut>>, StoreError> {
    let mut said: HashMap<i64, Vec<OptOut>> = HashMap::new();
    for claim in claims.iter().filter(|claim| claim.turn > 0) {
        let peer = [claim.request.to.peer()];
        for sender in (0..claim.turn).filter_map(|turn| claim.request.sender_at(turn)) {
            let known = parts.store.known(sender, &peer).await?.remove(&peer[0]).unwrap_or_default();
            said.entry(claim.seq).or_default().extend(known.opt_outs);
        }
    }
    Ok(said)
}

/// Writes down what is not handed over. To the dispatcher it is a call that ended, and said nothing about the sender.
pub(super) async fn keep_back(parts: Arc<Parts>, sender: SenderId, kept_back: Vec<(Claim, Next)>) {
    let count = kept_back.len();
    join_all(kept_back.into_iter().map(|(claim, next)| write_down(&parts, end(&claim, next)))).await;
    let _ = parts.wake.0.send(News::Ended { sender, count, said: Said::default() });
}

/// Whether anything is asked about a message. One that needs no judge costs no statement.
fn is_judged(account: &Account, claim: &Claim) -> bool {
    let Claim { request, noted, turn, .. } = claim;
    let windows = account.provider.capabilities().windows;
    // Of whom nothing is known, a message goes that has no other way: then the provider judges.
    *noted || *turn > 0 || windows && request.on_window_closed.has_another_way()
}

/// Parts messages that go from those that do not, with what becomes of these.
fn part(
    account: &Account,
    claims: Vec<Claim>,
    known: &HashMap<String, Known>,
    earlier: &HashMap<i64, Vec<OptOut>>,
    now: Millis,
) -> Judged {
    let (mut go, mut kept_back) = (Vec::with_capacity(claims.len()), Vec::new());
    let windows = account.provider.capabilities().windows;
    for mut claim in claims {
        let mut known = known.get(&claim.request.to.peer()).cloned().unwrap_or_default();
        known.opt_outs.extend(earlier.get(&claim.seq).into_iter().flatten().cloned());
        let verdict = match is_judged(account, &claim) {
            true => judge::judge(&Case { request: &claim.request, windows, known: &known, now }),
            false => Verdict::Go,
        };
        match verdict {
            Verdict::Go => go.push(claim),
            Verdict::Instead(content) => {
                claim.request.content = *content;
                claim.instead = true;
                // A template quotes nothing.
                claim.request.reply_to_message_id = None;
                go.push(claim);
            }
            Verdict::End(error) => {
                metrics::counter!("recado_kept_back_total", "reason" => error.reason.as_str()).increment(1);
                kept_back.push((claim, Next::Spared(error)));
            }
            Verdict::Hold(reason) => {
                metrics::counter!("recado_kept_back_total", "reason" => "HELD").increment(1);
                kept_back.push((claim, Next::Held { reason, refused: None }));
            }
        }
    }
    Judged { go, kept_back }
}

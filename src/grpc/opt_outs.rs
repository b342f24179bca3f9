//! OptOutService: people who do not want to be written to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::{Request, Response, Status};

use super::page::page_size;
use super::{Services, answer, auth, convert};
use crate::access::{Caller, Scope};
use crate::domain::opt_out::{OptOut, OptOutCategory, OptOutSource};
use crate::domain::{Contact, PhoneNumber, SenderId, now_ms};
use crate::error::{Error, Reason, Violations};
use crate::proto;
use crate::proto::opt_out_service_server::OptOutService;
use crate::store::OptOutFilter;

/// Opt-outs on a page when the request does not say.
const PAGE_DEFAULT: i32 = 50;
/// Opt-outs on a page, at most.
const PAGE_MAX: i32 = 1_000;
/// People that a filter names, at most.
const PEERS_MAX: usize = 1_000;
/// Characters of a note, at most.
const NOTE_MAX: usize = 256;

/// The service.
#[derive(Debug, Clone)]
pub struct OptOuts(pub Services);

impl OptOuts {
    /// A sender that the caller may know of.
    async fn sender(&self, caller: &Caller, sender: Option<SenderId>) -> Result<SenderId, Error> {
        let Some(sender) = sender else { return Err(Error::internal(anyhow::anyhow!("a sender that was not read"))) };
        match self.0.senders.find(&sender).await?.filter(|_| caller.sees(&sender)) {
            Some(_) => Ok(sender),
            None => Err(Error::NotFound { resource: "sender", name: sender.to_string() }),
        }
    }

    async fn create(&self, caller: &Caller, given: proto::OptOut) -> Result<proto::OptOut, Error> {
        let mut violations = Violations::default();
        let sender = violations.check("opt_out.sender", given.sender.parse::<SenderId>());
        let peer = peer(&given.peer, "opt_out.peer", &mut violations);
        let category = opt_out_category(given.category, "opt_out.category", &mut violations);
        if given.note.chars().count() > NOTE_MAX {
            violations.add("opt_out.note", Reason::TooLong, format!("a note has at most {NOTE_MAX} characters"));
        }
        if given.note.chars().any(char::is_control) {
            violations.add("opt_out.note", Reason::Invalid, "a note has no control characters");
        }
        violations.into_result()?;
        let new = OptOut {
            sender: self.sender(caller, sender).await?,
            peer,
            category,
            source: OptOutSource::Api,
            create_at_ms: now_ms(),
            message_id: None,
            contact: named(given.peer.trim()),
            note: given.note,
        };
        let (opt_out, appended) = self.0.store.create_opt_out(new).await?;
        self.0.appended(&appended);
        Ok(answer::opt_out(&opt_out))
    }

    async fn list(
        &self,
        caller: &Caller,
        request: proto::ListOptOutsRequest,
    ) -> Result<proto::ListOptOutsResponse, Error> {
        let mut violations = Violations::default();
        let sender = violations.check("sender", request.sender.parse::<SenderId>());
        let size = page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX, &mut violations);
        if request.peers.len() > PEERS_MAX {
            violations.add("peers", Reason::TooLong, format!("a filter names at most {PEERS_MAX} people"));
        }
        let filter = OptOutFilter {
            peers: convert::peer_filter(request.peers, "peers", &mut violations),
            categories: categories(&request.categories, &mut violations),
            after: page_token(&request.page_token, &mut violations),
        };
        violations.into_result()?;
        let sender = self.sender(caller, sender).await?;
        let mut found = self.0.store.opt_outs(&sender, &filter, size + 1).await?;
        let more = found.len() as u64 > size;
        found.truncate(size as usize);
        let next = found.last().filter(|_| more).map(token);
        Ok(proto::ListOptOutsResponse {
            opt_outs: found.iter().map(answer::opt_out).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    async fn delete(&self, caller: &Caller, request: proto::DeleteOptOutRequest) -> Result<(), Error> {
        let mut violations = Violations::default();
        let sender = violations.check("sender", request.sender.parse::<SenderId>());
        let peer = peer(&request.peer, "peer", &mut violations);
        let category = opt_out_category(request.category, "category", &mut violations);
        violations.into_result()?;
        let sender = self.sender(caller, sender).await?;
        let gone = || Error::NotFound { resource: "opt-out", name: request.peer.clone() };
        let appended = self.0.store.delete_opt_out(&sender, &peer, category).await?;
        self.0.appended(&appended.ok_or_else(gone)?);
        Ok(())
    }
}

/// One person, in the form that people are matched by.
fn peer(given: &str, path: &str, violations: &mut Violations) -> String {
    let mut inner = Violations::default();
    let read = convert::peer_filter(vec![given.to_owned()], "", &mut inner).pop();
    for violation in inner.into_vec() {
        violations.add(path, violation.reason, violation.description);
    }
    let read = read.unwrap_or_default();
    if read.chars().count() > 256 {
        violations.add(path, Reason::TooLong, "a number or a user id has at most 256 characters");
    }
    read
}

/// The person as the caller named them.
fn named(given: &str) -> Contact {
    match PhoneNumber::digits_of(given) {
        Some(_) => Contact::of_phone(given),
        None => Contact { user_id: Some(given.to_owned()), ..Contact::default() },
    }
}

/// Reads a category; none is ALL.
pub(super) fn opt_out_category(number: i32, path: &str, violations: &mut Violations) -> OptOutCategory {
    match (number, i16::try_from(number).ok().and_then(OptOutCategory::from_number)) {
        (0, _) => OptOutCategory::All,
        (_, Some(category)) => category,
        (_, None) => {
            violations.add(path, Reason::Invalid, "a category is ALL or MARKETING");
            OptOutCategory::All
        }
    }
}

fn categories(numbers: &[i32], violations: &mut Violations) -> Vec<OptOutCategory> {
    let numbers = numbers.iter().enumerate();
    let read = numbers.filter_map(|(i, number)| {
        let category = i16::try_from(*number).ok().and_then(OptOutCategory::from_number);
        let category = category.ok_or((Reason::Invalid, "a category is ALL or MARKETING".to_owned()));
        violations.check(format!("categories[{i}]"), category)
    });
    read.collect()
}

/// Where the next page goes on: after the last of this one, which may be gone by then.
fn token(last: &OptOut) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}\n{}", last.category as i16, last.peer))
}

fn page_token(token: &str, violations: &mut Violations) -> Option<(String, OptOutCategory)> {
    if token.is_empty() {
        return None;
    }
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (category, peer) = text.split_once('\n')?;
        let category = OptOutCategory::from_number(category.parse().ok()?)?;
        (!peer.chars().any(char::is_control)).then(|| (peer.to_owned(), category))
    };
    let read = read().ok_or((Reason::Invalid, "pass next_page_token of the page before, as it came".to_owned()));
    violations.check("page_token", read)
}

#[tonic::async_trait]
impl OptOutService for OptOuts {
    async fn create_opt_out(
        &self,
        request: Request<proto::CreateOptOutRequest>,
    ) -> Result<Response<proto::CreateOptOutResponse>, Status> {
        let caller = auth::caller(&request, Scope::Send)?;
        let given = request.into_inner().opt_out;
        let given = given.ok_or_else(|| Error::invalid("opt_out", Reason::Required, "an opt-out is needed"))?;
        let opt_out = Some(self.create(&caller, given).await?);
        Ok(Response::new(proto::CreateOptOutResponse { opt_out }))
    }

    async fn list_opt_outs(
        &self,
        request: Request<proto::ListOptOutsRequest>,
    ) -> Result<Response<proto::ListOptOutsResponse>, Status> {
        let caller = auth::caller(&request, Scope::Read)?;
        Ok(Response::new(self.list(&caller, request.into_inner()).await?))
    }

    async fn delete_opt_out(
        &self,
        request: Request<proto::DeleteOptOutRequest>,
    ) -> Result<Response<proto::DeleteOptOutResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        self.delete(&caller, request.into_inner()).await?;
        Ok(Response::new(proto::DeleteOptOutResponse {}))
    }
}

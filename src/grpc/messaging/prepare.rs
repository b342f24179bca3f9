//! A send before it is accepted: read, and checked against all that can be known beforehand.

use std::sync::Arc;

use tokio::time::Instant;

use super::Messaging;
use crate::access::Caller;
use crate::catalogue::Judgement;
use crate::domain::message::WindowPolicy;
use crate::domain::{Content, ErrorReason, Millis, NewMessage};
use crate::error::{Error, Violations};
use crate::grpc::convert::{self, ReadSend, SendParts, TEMPLATE};
use crate::senders::Account;
use crate::store::Accept;

/// A send that was read and checked.
pub(super) struct Prepared {
    /// What to accept; nothing when it was only to be checked.
    pub accept: Option<Accept>,
    /// A template that could not be compared with what the provider has approved.
    pub template_unchecked: bool,
}

impl Messaging {
    /// One send, read and checked: ready to be accepted.
    pub(super) async fn prepare(
        &self,
        caller: &Caller,
        now: Millis,
        asked_until: Instant,
        read: impl FnOnce(&mut Violations) -> SendParts,
    ) -> Result<Prepared, Error> {
        let mut violations = Violations::default();
        let mut parts = read(&mut violations);
        if let Some(url) = parts.callback_url() {
            violations.check("options.callback_url", convert::allowed_url(url, &self.0.guarded));
        }
        let account = self.check_sender(caller, &parts, &mut violations).await?;
        let judgement = match (&account, &mut parts.content) {
            (Some(account), Some(Content::Template(template))) => self.0.catalogues.judge(account, template).await?,
            _ => Judgement::default(),
        };
        let instead = match &account {
            Some(account) => self.judge_instead(account, &mut parts, &mut violations).await?,
            None => Judgement::default(),
        };
        if !violations.is_empty() {
            judgement.add_to(&mut violations);
            instead.add_below(TEMPLATE, &mut violations);
            return Err(violations.into_error());
        }
        parts.template_category = judgement.category;
        let Some(ReadSend { request, key, validate_only }) = parts.build() else {
            return Err(Error::Internal(anyhow::anyhow!("a send without violations could not be built")));
        };
        self.check_quoted(caller, &request).await?;
        let template_unchecked = judgement.unchecked || instead.unchecked;
        let instead = instead.into_error().map(|error| below(error, TEMPLATE));
        if let Some(error) = judgement.into_error().or(instead)
            // What was accepted once is answered again, whatever became of its template.
            && !self.is_repeat(caller, key.as_deref(), &request).await?
        {
            return Err(error);
        }
        if let (true, Some(key)) = (validate_only, &key) {
            self.check_key(caller, key, &request).await?;
        }
        if validate_only && self.0.store.has_opt_outs(&request.sender) {
            self.check_opt_outs(caller, key.as_deref(), &request).await?;
        }
        self.ask_provider(caller, &request, key.as_deref(), asked_until).await?;
        let accept = if validate_only { None } else { Some(Accept::new(&caller.id, key, request, now)?) };
        Ok(Prepared { accept, template_unchecked })
    }

    /// Whether this very message was accepted under its key before.
    async fn is_repeat(&self, caller: &Caller, key: Option<&str>, request: &NewMessage) -> Result<bool, Error> {
        let Some(key) = key else { return Ok(false) };
        let first = self.0.store.message_of_key(&caller.id, key).await?;
        Ok(first.is_some_and(|first| request.differences(&first.request).is_empty()))
    }

    /// Whether the sender is there for this caller and can carry the content; answers it, when it could be read.
    pub(in crate::grpc) async fn check_sender(
        &self,
        caller: &Caller,
        parts: &SendParts,
        violations: &mut Violations,
    ) -> Result<Option<Arc<Account>>, Error> {
        let Some(sender) = &parts.sender else { return Ok(None) };
        let not_found = || Error::NotFound { resource: "sender", name: sender.to_string() };
        let account = self.0.senders.find(sender).await?.filter(|_| caller.sees(sender)).ok_or_else(not_found)?;
        if let Some(content) = &parts.content {
            account.check(content, parts.reply_to_message_id.is_some(), violations);
        }
        for fallback in parts.fallback_senders() {
            // Whether it can carry the content is asked when its turn comes: it is passed by if it cannot.
            if !caller.sees(fallback) || self.0.senders.find(fallback).await?.is_none() {
                return Err(Error::NotFound { resource: "sender", name: fallback.to_string() });
            }
        }
        Ok(Some(account))
    }

    /// Judges the template that is to go while the window is closed, as if it were to go at once.
    async fn judge_instead(
        &self,
        account: &Account,
        parts: &mut SendParts,
        violations: &mut Violations,
    ) -> Result<Judgement, Error> {
        let WindowPolicy::SendTemplate(template) = &mut parts.options.on_window_closed else {
            return Ok(Judgement::default());
        };
        let judgement = self.0.catalogues.judge(account, template).await?;
        let mut inner = Violations::default();
        let content = Content::Template(template.as_ref().clone());
        account.provider.capabilities().check(&content, account.sender.provider, &mut inner);
        violations.nest(TEMPLATE, inner);
        Ok(judgement)
    }

    /// Asks the provider, where only it knows whether the message can be handed over. One that goes out later, or that others
    /// would take over, is judged then; and one that was accepted before is answered as before, whatever has become of the
    /// conversation.
    async fn ask_provider(
        &self,
        caller: &Caller,
        request: &NewMessage,
        key: Option<&str>,
        until: Instant,
    ) -> Result<(), Error> {
        let Some(account) = self.0.senders.get(&request.sender) else { return Ok(()) };
        let judged_later =
            request.send_at_ms.is_some_and(|at| at > self.0.store.now_ms()) || !request.fallback_senders.is_empty();
        if !account.provider.capabilities().admits || judged_later {
            return Ok(());
        }
        if let Some(key) = key
            && self.0.store.message_of_key(&caller.id, key).await?.is_some()
        {
            return Ok(());
        }
        match tokio::time::timeout_at(until, account.provider.admits(&request.to, &request.content)).await {
            // What then, the caller has said.
            Ok(Err(error))
                if error.reason == ErrorReason::OutsideWindow && request.on_window_closed.has_another_way() =>
            {
                Ok(())
            }
            Ok(Err(error)) => Err(Error::Precondition {
                reason: error.reason.as_str(),
                message: format!("provider {} would not take it: {}", account.sender.provider, error.provider_message),
                metadata: vec![("sender", request.sender.to_string())],
            }),
            Ok(Ok(())) => Ok(()),
            Err(_) => {
                tracing::debug!(sender = %request.sender, "the provider did not say in time whether it takes a message");
                Ok(())
            }
        }
    }

    /// Until when providers are asked about a request that comes now.
    pub(super) fn asked_until(&self) -> Instant {
        Instant::now() + self.0.admit_limit
    }

    /// Whether a key is new, or was used for the same content: what a send finds out when it is stored.
    pub(in crate::grpc) async fn check_key(
        &self,
        caller: &Caller,
        key: &str,
        request: &NewMessage,
    ) -> Result<(), Error> {
        let Some(first) = self.0.store.message_of_key(&caller.id, key).await? else { return Ok(()) };
        let fields = request.differences(&first.request);
        match fields.is_empty() {
            true => Ok(()),
            false => Err(Error::KeyReused { key: key.to_owned(), message_id: first.id.to_string(), fields }),
        }
    }

    /// Whether the person wants to be written to: what a send finds out when it is stored.
    async fn check_opt_outs(&self, caller: &Caller, key: Option<&str>, request: &NewMessage) -> Result<(), Error> {
        match self.0.store.opt_out_against(request).await? {
            Some(opt_out) if !self.is_repeat(caller, key, request).await? => Err(opt_out.refusal()),
            _ => Ok(()),
        }
    }

    /// Whether the messages that this one quotes or reacts to are this sender's.
    pub(in crate::grpc) async fn check_quoted(&self, caller: &Caller, request: &NewMessage) -> Result<(), Error> {
        let reaction = match &request.content {
            Content::Reaction(reaction) => reaction.message_id,
            _ => None,
        };
        for id in request.reply_to_message_id.into_iter().chain(reaction) {
            let found = self.0.store.find_message(id).await?;
            if found.is_none_or(|found| found.sender != request.sender || !caller.sees(&found.sender)) {
                return Err(Error::NotFound { resource: "message", name: id.to_string() });
            }
        }
        Ok(())
    }
}

/// The same error with its fields' paths below an entry.
pub(in crate::grpc) fn below(error: Error, path: &str) -> Error {
    match error {
        Error::Invalid(inner) => {
            let mut violations = Violations::default();
            violations.nest(path, inner.into());
            violations.into_error()
        }
        other => other,
    }
}

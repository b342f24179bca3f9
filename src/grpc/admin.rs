//! AdminService: senders, keys and numbers.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::{Request, Response, Status};

use super::page::page_size;
use super::sender::{answer_sender, new_sender, updated};
use super::{Services, answer, auth, callbacks, convert, journal, stats};
use crate::access::{self, Caller, Scope};
use crate::callback::CallbackSecrets;
use crate::domain::event::SenderChange;
use crate::domain::message::ErrorReason;
use crate::domain::sender::SenderState;
use crate::domain::{Sender, SenderId, now_ms};
use crate::error::{Error, Reason, Violations};
use crate::proto;
use crate::proto::admin_service_server::AdminService;
use crate::provider::{AnySettings, CheckOutcome};
use crate::senders::SendersError;
use crate::store::StoredKey;

/// The service.
#[derive(Debug, Clone)]
pub struct Admin(pub Services);

impl From<SendersError> for Error {
    fn from(error: SendersError) -> Self {
        match error {
            SendersError::Store(error) => error.into(),
            other => Error::internal(other),
        }
    }
}

impl Admin {
    async fn account(&self, caller: &Caller, id: &str) -> Result<std::sync::Arc<crate::senders::Account>, Error> {
        let sender: SenderId = id.parse().map_err(|(reason, why)| Error::invalid("sender", reason, why))?;
        let found = self.0.senders.find(&sender).await?.filter(|_| caller.sees(&sender));
        found.ok_or_else(|| Error::NotFound { resource: "sender", name: id.to_owned() })
    }

    /// A change takes effect here at once; other replicas see it within seconds.
    async fn answer(&self, id: &SenderId) -> Result<proto::Sender, Error> {
        self.0.senders.refresh().await?;
        let health = self.0.store.sender_health().await?;
        let account = self.0.senders.get(id);
        account
            .map(|account| answer_sender(&account, health.get(id).copied()))
            .ok_or_else(|| Error::NotFound { resource: "sender", name: id.to_string() })
    }

    async fn create(
        &self,
        sender: Sender,
        settings: &AnySettings,
        secrets: &CallbackSecrets,
    ) -> Result<proto::Sender, Error> {
        let id = sender.id.clone();
        let stored = self.0.senders.seal(sender, settings, secrets)?;
        let appended = self.0.store.create_sender(&stored).await?;
        let taken = || Error::AlreadyExists { resource: "sender", name: id.to_string() };
        self.0.appended(&appended.ok_or_else(taken)?);
        let answer = self.answer(&id).await?;
        self.0.catalogues.sender_changed();
        Ok(answer)
    }

    async fn update(&self, caller: &Caller, request: proto::UpdateSenderRequest) -> Result<proto::Sender, Error> {
        let given = request.sender.ok_or_else(|| Error::invalid("sender", Reason::Required, "a sender is needed"))?;
        let account = self.account(caller, &given.sender).await?;
        let mask = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
        let about_callbacks = !given.incoming_callback_url.is_empty() || !given.callback_secret.is_empty();
        let (sender, settings, secrets) = updated(&account, given, &mask, &self.0.guarded, now_ms())?;
        let (change, detail) = match (account.sender.state, sender.state) {
            (SenderState::Active, SenderState::Paused) => (SenderChange::Paused, "paused by an operator"),
            (SenderState::Paused, SenderState::Active) => (SenderChange::Resumed, "resumed by an operator"),
            _ => (SenderChange::Updated, ""),
        };
        let id = sender.id.clone();
        let other_limit = account.sender.limits.rate.contact() != sender.limits.rate.contact();
        let stored = self.0.senders.seal(sender, &settings, &secrets)?;
        let expected = account.sender.update_at_ms;
        let appended = self.0.store.update_sender(&stored, expected, change, detail).await?;
        let Some(appended) = appended else {
            self.0.senders.refresh().await?;
            return Err(Error::Precondition {
                reason: "SENDER_CHANGED",
                message: "the sender was changed at the same time; read it and try again".into(),
                metadata: vec![("name", id.to_string())],
            });
        };
        self.0.appended(&appended);
        if about_callbacks {
            // Whoever sets its address or its secret has mended it.
            self.0.appended(&self.0.store.enable_endpoints(&id, now_ms()).await?);
        }
        if other_limit {
            self.0.store.forget_contact_limits(&id).await?;
        }
        let answer = self.answer(&id).await?;
        self.0.catalogues.sender_changed();
        self.0.wake.ready(id);
        Ok(answer)
    }

    async fn delete(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let account = self.account(caller, id).await?;
        let sender = &account.sender.id;
        let gone = || Error::NotFound { resource: "sender", name: id.to_owned() };
        let appended = self.0.store.delete_sender(sender).await?;
        self.0.appended(&appended.ok_or_else(gone)?);
        self.0.senders.refresh().await?;
        while let Some(appended) = self.0.store.give_up_messages_of(sender).await? {
            self.0.appended(&appended);
        }
        Ok(())
    }

    async fn create_key(&self, given: proto::ApiKey) -> Result<proto::CreateApiKeyResponse, Error> {
        let mut violations = Violations::default();
        let scopes = scopes(&given.scopes, &mut violations);
        let ids = given.senders.clone();
        let senders = convert::sender_filter(given.senders, "api_key.senders", &mut violations);
        for (i, id) in ids.iter().enumerate() {
            // What is no sender's id was noted by the filter; its place stays its own.
            let Some(sender) = senders.iter().find(|sender| sender.as_str() == id) else { continue };
            if self.0.senders.find(sender).await?.is_none() {
                let description = format!("there is no sender {id}");
                violations.add(format!("api_key.senders[{i}]"), Reason::NotAvailable, description);
            }
        }
        if given.display_name.chars().count() > 256 || given.display_name.chars().any(char::is_control) {
            violations.add("api_key.display_name", Reason::Invalid, "at most 256 characters, no control characters");
        }
        let expire_at_ms = given.expire_time.and_then(|time| match convert::millis(time) {
            Some(at) if at > now_ms() => Some(at),
            _ => {
                violations.add("api_key.expire_time", Reason::Invalid, "a time that lies ahead");
                None
            }
        });
        violations.into_result()?;
        if !scopes.contains(&Scope::Admin) && !self.0.access.has_admin() {
            return Err(Error::Precondition {
                reason: "NO_ADMIN_KEY",
                message: "the first key must have the scope ADMIN: from now on every call needs a key, and nobody \
                          could make another"
                    .into(),
                metadata: Vec::new(),
            });
        }
        let id = hex::encode(rand::random::<[u8; 6]>());
        let secret = format!("rcd_{id}_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let key = StoredKey {
            id,
            display_name: given.display_name,
            hash: access::hash(&secret).to_vec(),
            scopes: scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            senders,
            create_at_ms: now_ms(),
            expire_at_ms,
            revoke_at_ms: None,
        };
        self.0.store.create_api_key(&key).await?;
        self.0.access.refresh().await?;
        Ok(proto::CreateApiKeyResponse { api_key: Some(answer_key(key)), secret })
    }
}

fn scopes(numbers: &[i32], violations: &mut Violations) -> Vec<Scope> {
    let mut scopes = Vec::with_capacity(numbers.len());
    for (i, number) in numbers.iter().enumerate() {
        match proto::ApiKeyScope::try_from(*number) {
            Ok(proto::ApiKeyScope::Send) => scopes.push(Scope::Send),
            Ok(proto::ApiKeyScope::Read) => scopes.push(Scope::Read),
            Ok(proto::ApiKeyScope::Admin) => scopes.push(Scope::Admin),
            Ok(proto::ApiKeyScope::Unspecified) | Err(_) => {
                violations.add(format!("api_key.scopes[{i}]"), Reason::Invalid, "a scope is SEND, READ or ADMIN");
            }
        }
    }
    if numbers.is_empty() {
        violations.add("api_key.scopes", Reason::Required, "at least one scope is needed: SEND, READ, ADMIN");
    }
    scopes
}

fn answer_key(key: StoredKey) -> proto::ApiKey {
    let scope = |word: &String| match word.as_str() {
        "send" => Some(proto::ApiKeyScope::Send as i32),
        "read" => Some(proto::ApiKeyScope::Read as i32),
        "admin" => Some(proto::ApiKeyScope::Admin as i32),
        _ => None,
    };
    proto::ApiKey {
        api_key_id: key.id,
        display_name: key.display_name,
        scopes: key.scopes.iter().filter_map(scope).collect(),
        senders: key.senders.iter().map(ToString::to_string).collect(),
        expire_time: key.expire_at_ms.map(answer::timestamp),
        create_time: Some(answer::timestamp(key.create_at_ms)),
        revoke_time: key.revoke_at_ms.map(answer::timestamp),
    }
}

fn check_answer(outcome: CheckOutcome) -> proto::CheckSenderResponse {
    use proto::SenderProblem;
    let problem = |problem: SenderProblem, detail: String, provider_code: String| proto::CheckSenderResponse {
        ok: false,
        problem: problem as i32,
        detail,
        provider_code,
        ..Default::default()
    };
    match outcome {
        CheckOutcome::Working { detail } => proto::CheckSenderResponse { ok: true, detail, ..Default::default() },
        CheckOutcome::Refused(error) => {
            let word = match error.reason {
                ErrorReason::SenderBlocked | ErrorReason::Billing => SenderProblem::Blocked,
                ErrorReason::InvalidSender => SenderProblem::NotFound,
                _ => SenderProblem::CredentialsRefused,
            };
            problem(word, error.provider_message, error.provider_code)
        }
        CheckOutcome::Unreachable { detail } => problem(SenderProblem::Unreachable, detail, String::new()),
        CheckOutcome::NotSupported => {
            problem(SenderProblem::NotCheckable, "this provider has no such question".into(), String::new())
        }
    }
}

/// A page of a list that is short enough to be read whole: `key` is what it is sorted by, and the token is the last one
/// seen, which may be gone by now.
pub(super) fn page<T>(all: Vec<T>, token: &str, size: u64, key: impl Fn(&T) -> String) -> (Vec<T>, String) {
    let mut rest = all.into_iter().skip_while(|item| key(item).as_str() <= token).peekable();
    let page: Vec<T> = rest.by_ref().take(size as usize).collect();
    let next = page.last().map(&key).filter(|_| rest.peek().is_some()).unwrap_or_default();
    (page, next)
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn create_sender(
        &self,
        request: Request<proto::CreateSenderRequest>,
    ) -> Result<Response<proto::CreateSenderResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        let given = request.into_inner().sender;
        let given = given.ok_or_else(|| Error::invalid("sender", Reason::Required, "a sender is needed"))?;
        let (sender, settings, secrets) = new_sender(given, &self.0.guarded, now_ms())?;
        if !caller.sees(&sender.id) {
            return Err(Error::Denied(format!("this key is limited to other senders than {}", sender.id)).into());
        }
        let sender = Some(self.create(sender, &settings, &secrets).await?);
        Ok(Response::new(proto::CreateSenderResponse { sender }))
    }

    async fn get_sender(
        &self,
        request: Request<proto::GetSenderRequest>,
    ) -> Result<Response<proto::GetSenderResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        let account = self.account(&caller, &request.into_inner().sender).await?;
        let health = self.0.store.sender_health().await.map_err(Error::from)?;
        let sender = answer_sender(&account, health.get(&account.sender.id).copied());
        Ok(Response::new(proto::GetSenderResponse { sender: Some(sender) }))
    }

    async fn list_senders(
        &self,
        request: Request<proto::ListSendersRequest>,
    ) -> Result<Response<proto::ListSendersResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let size = page_size(request.page_size, 50, 1_000, &mut violations);
        violations.into_result()?;
        let all = self.0.senders.all().into_iter().filter(|account| caller.sees(&account.sender.id)).collect();
        let (page, next_page_token) =
            page(all, &request.page_token, size, |account: &std::sync::Arc<crate::senders::Account>| {
                account.sender.id.to_string()
            });
        let health = self.0.store.sender_health().await.map_err(Error::from)?;
        let answer = |account: &std::sync::Arc<crate::senders::Account>| {
            answer_sender(account, health.get(&account.sender.id).copied())
        };
        let senders = page.iter().map(answer).collect();
        Ok(Response::new(proto::ListSendersResponse { senders, next_page_token }))
    }

    async fn update_sender(
        &self,
        request: Request<proto::UpdateSenderRequest>,
    ) -> Result<Response<proto::UpdateSenderResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        let sender = Some(self.update(&caller, request.into_inner()).await?);
        Ok(Response::new(proto::UpdateSenderResponse { sender }))
    }

    async fn delete_sender(
        &self,
        request: Request<proto::DeleteSenderRequest>,
    ) -> Result<Response<proto::DeleteSenderResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        self.delete(&caller, &request.into_inner().sender).await?;
        Ok(Response::new(proto::DeleteSenderResponse {}))
    }

    async fn check_sender(
        &self,
        request: Request<proto::CheckSenderRequest>,
    ) -> Result<Response<proto::CheckSenderResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        let account = self.account(&caller, &request.into_inner().sender).await?;
        Ok(Response::new(check_answer(account.provider.check().await)))
    }

    async fn create_api_key(
        &self,
        request: Request<proto::CreateApiKeyRequest>,
    ) -> Result<Response<proto::CreateApiKeyResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        let given = request.into_inner().api_key;
        let given = given.ok_or_else(|| Error::invalid("api_key", Reason::Required, "a key is needed"))?;
        if !caller.senders.is_empty() {
            return Err(Error::Denied("a key that is limited to some senders makes no keys".into()).into());
        }
        Ok(Response::new(self.create_key(given).await?))
    }

    async fn list_api_keys(
        &self,
        request: Request<proto::ListApiKeysRequest>,
    ) -> Result<Response<proto::ListApiKeysResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        let request = request.into_inner();
        let mut violations = Violations::default();
        let size = page_size(request.page_size, 50, 1_000, &mut violations);
        violations.into_result()?;
        let shown = |key: &StoredKey| {
            (request.include_revoked || key.revoke_at_ms.is_none())
                && (caller.senders.is_empty() || key.id == caller.id)
        };
        let all = self.0.store.api_keys().await.map_err(Error::from)?.into_iter().filter(shown).collect();
        let (page, next_page_token) = page(all, &request.page_token, size, |key: &StoredKey| {
            format!("{:016x}-{}", i64::MAX - key.create_at_ms, key.id)
        });
        let api_keys = page.into_iter().map(answer_key).collect();
        Ok(Response::new(proto::ListApiKeysResponse { api_keys, next_page_token }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<proto::RevokeApiKeyRequest>,
    ) -> Result<Response<proto::RevokeApiKeyResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        let id = request.into_inner().api_key_id;
        if id.is_empty() {
            return Err(Error::invalid("api_key_id", Reason::Required, "a key's id is needed").into());
        }
        if id.chars().any(char::is_control) {
            return Err(Error::invalid("api_key_id", Reason::Invalid, "a key's id has no control characters").into());
        }
        if !caller.senders.is_empty() && caller.id != id {
            return Err(Error::NotFound { resource: "api key", name: id }.into());
        }
        let revoked = self.0.store.revoke_api_key(&id, now_ms()).await.map_err(Error::from)?;
        let revoked = revoked.ok_or(Error::NotFound { resource: "api key", name: id })?;
        self.0.access.refresh().await.map_err(Error::from)?;
        Ok(Response::new(proto::RevokeApiKeyResponse { api_key: Some(answer_key(revoked)) }))
    }

    async fn list_webhook_deliveries(
        &self,
        request: Request<proto::ListWebhookDeliveriesRequest>,
    ) -> Result<Response<proto::ListWebhookDeliveriesResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        Ok(Response::new(journal::list(&self.0, &caller, request.into_inner()).await?))
    }

    async fn replay_webhook_deliveries(
        &self,
        request: Request<proto::ReplayWebhookDeliveriesRequest>,
    ) -> Result<Response<proto::ReplayWebhookDeliveriesResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        Ok(Response::new(journal::replay(&self.0, &caller, request.into_inner()).await?))
    }

    async fn erase_contact(
        &self,
        request: Request<proto::EraseContactRequest>,
    ) -> Result<Response<proto::EraseContactResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        Ok(Response::new(super::erase::erase(&self.0, &caller, request.into_inner()).await?))
    }

    async fn list_callbacks(
        &self,
        request: Request<proto::ListCallbacksRequest>,
    ) -> Result<Response<proto::ListCallbacksResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        Ok(Response::new(callbacks::list(&self.0, &caller, request.into_inner()).await?))
    }

    async fn retry_callbacks(
        &self,
        request: Request<proto::RetryCallbacksRequest>,
    ) -> Result<Response<proto::RetryCallbacksResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        Ok(Response::new(callbacks::retry(&self.0, &caller, request.into_inner()).await?))
    }

    async fn get_stats(
        &self,
        request: Request<proto::GetStatsRequest>,
    ) -> Result<Response<proto::GetStatsResponse>, Status> {
        let caller = auth::caller(&request, Scope::Admin)?;
        Ok(Response::new(stats::stats(&self.0, &caller, request.into_inner()).await?))
    }
}

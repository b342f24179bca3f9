//! TemplateService: the copies of what providers have approved.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::{Request, Response, Status};

use super::page::page_size;
use super::{Services, answer, auth};
use crate::access::{Caller, Scope};
use crate::catalogue::{ReadingError, in_language, languages};
use crate::domain::catalogue::{Key, same_language};
use crate::domain::template::{CatalogueButton, CatalogueTemplate, TemplateParameter, TemplateStatus};
use crate::domain::{Sender, SenderId};
use crate::error::{Error, Reason, Violations};
use crate::proto;
use crate::proto::template_service_server::TemplateService;
use crate::provider::AskError;
use crate::senders::Account;

/// Templates on a page when the request does not say.
const PAGE_DEFAULT: i32 = 50;
/// Templates on a page, at most.
const PAGE_MAX: i32 = 1_000;
/// When to ask again a provider that did not answer.
const RETRY_UNREACHABLE: Duration = Duration::from_secs(5);
/// When to ask again a provider that refused: most likely somebody must act first.
const RETRY_REFUSED: Duration = Duration::from_secs(60);

/// The service.
#[derive(Debug, Clone)]
pub struct Templates(pub Services);

impl Templates {
    /// A sender that the caller may know of, with a provider that publishes templates.
    async fn account(&self, caller: &Caller, sender: &SenderId) -> Result<Arc<Account>, Error> {
        let found = self.0.senders.find(sender).await?.filter(|_| caller.sees(sender));
        let account = found.ok_or_else(|| Error::NotFound { resource: "sender", name: sender.to_string() })?;
        match account.provider.capabilities().catalogue {
            true => Ok(account),
            false => Err(Error::NotAtProvider { provider: account.sender.provider, lacks: "publishes no templates" }),
        }
    }

    async fn list(
        &self,
        caller: &Caller,
        request: proto::ListTemplatesRequest,
    ) -> Result<proto::ListTemplatesResponse, Error> {
        let mut violations = Violations::default();
        let sender = violations.check("sender", request.sender.parse::<SenderId>());
        let size = page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX, &mut violations) as usize;
        let after = page_token(&request.page_token, &mut violations);
        let statuses = statuses(&request.statuses, &mut violations);
        let sender = match sender {
            Some(sender) if violations.is_empty() => sender,
            _ => return Err(violations.into_error()),
        };
        self.account(caller, &sender).await?;
        let copies = self.0.catalogues.copies(&sender).await?.unwrap_or_default();
        let language = &request.language_code;
        let mut rest = copies
            .all()
            .iter()
            .filter(|entry| after.as_ref().is_none_or(|after| Key::of(entry) > *after))
            .filter(|entry| statuses.is_empty() || entry.status.is_some_and(|status| statuses.contains(&status)))
            .filter(|entry| language.is_empty() || same_language(&entry.language_code, language))
            .peekable();
        let page: Vec<&CatalogueTemplate> = rest.by_ref().take(size).collect();
        let next_page_token = page.last().filter(|_| rest.peek().is_some()).map(|last| token(&Key::of(last)));
        Ok(proto::ListTemplatesResponse {
            templates: page.into_iter().map(|entry| answer_template(&sender, entry)).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        })
    }

    async fn get(&self, caller: &Caller, request: proto::GetTemplateRequest) -> Result<proto::Template, Error> {
        let mut violations = Violations::default();
        let sender = violations.check("sender", request.sender.parse::<SenderId>());
        if request.template.is_empty() {
            violations.add("template", Reason::Required, "a template's name or id is needed");
        }
        let sender = match sender {
            Some(sender) if violations.is_empty() => sender,
            _ => return Err(violations.into_error()),
        };
        let account = self.account(caller, &sender).await?;
        let copies = self.0.catalogues.copies(&sender).await?.unwrap_or_default();
        let named = copies.named(&request.template);
        let found = match (request.language_code.as_str(), named.as_slice()) {
            (_, []) => None,
            ("", several) => {
                let default = account.sender.default_language_code.as_str();
                let found = in_language(several, default).or(if let [only] = several { Some(*only) } else { None });
                Some(found.ok_or_else(|| {
                    let description = format!("a language is needed; there are {}", languages(several));
                    Error::invalid("language_code", Reason::Required, description)
                })?)
            }
            (code, several) => in_language(several, code),
        };
        let found = found.ok_or_else(|| Error::NotFound { resource: "template", name: request.template.clone() })?;
        Ok(answer_template(&sender, found))
    }

    async fn refresh(&self, caller: &Caller, sender: &str) -> Result<proto::RefreshTemplatesResponse, Error> {
        let sender: SenderId = sender.parse().map_err(|(reason, why)| Error::invalid("sender", reason, why))?;
        let account = self.account(caller, &sender).await?;
        let refreshed = self.0.catalogues.refresh(&account).await.map_err(|error| unread(error, &account.sender))?;
        Ok(proto::RefreshTemplatesResponse {
            template_count: i32::try_from(refreshed.count).unwrap_or(i32::MAX),
            changed_count: i32::try_from(refreshed.changed).unwrap_or(i32::MAX),
            refresh_time: Some(answer::timestamp(refreshed.read_at_ms)),
        })
    }
}

/// Why a catalogue was not read, in the contract's words.
fn unread(error: ReadingError, sender: &Sender) -> Error {
    match error {
        ReadingError::Store(error) => error.into(),
        ReadingError::SenderChanged => Error::NotFound { resource: "sender", name: sender.id.to_string() },
        ReadingError::Provider(AskError::NotSupported) => {
            Error::NotAtProvider { provider: sender.provider, lacks: "publishes no templates" }
        }
        ReadingError::Provider(error) => Error::ProviderUnavailable {
            message: format!("the templates of sender {} could not be read: {error}", sender.id),
            retry_after: match error {
                AskError::Refused(_) => RETRY_REFUSED,
                AskError::Unreachable(_) | AskError::NotSupported => RETRY_UNREACHABLE,
            },
        },
    }
}

/// Where a page ends: name, language and id of its last template, none of which holds a line feed.
fn token(key: &Key) -> String {
    let Key { template, language_code, template_id } = key;
    URL_SAFE_NO_PAD.encode(format!("{template}\n{language_code}\n{template_id}"))
}

fn page_token(token: &str, violations: &mut Violations) -> Option<Key> {
    if token.is_empty() {
        return None;
    }
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let parts = text.as_deref().map(|text| text.split('\n').map(str::to_owned).collect::<Vec<_>>());
    match parts.map(<[String; 3]>::try_from) {
        Some(Ok([template, language_code, template_id])) => Some(Key { template, language_code, template_id }),
        _ => {
            violations.add("page_token", Reason::Invalid, "not a page token of this list");
            None
        }
    }
}

fn answer_template(sender: &SenderId, entry: &CatalogueTemplate) -> proto::Template {
    let parameter = |parameter: &TemplateParameter| proto::TemplateParameter {
        name: parameter.name.clone(),
        example: parameter.example.clone(),
    };
    let button = |(index, button): (i32, &CatalogueButton)| proto::TemplateButtonInfo {
        index,
        r#type: button.r#type.clone(),
        text: button.text.clone(),
        url: button.url.clone(),
        parameter_required: button.parameter_required,
    };
    proto::Template {
        sender: sender.to_string(),
        template: entry.template.clone(),
        template_id: entry.template_id.clone(),
        language_code: entry.language_code.clone(),
        status: entry.status.map_or(0, |status| status as i32),
        provider_status: entry.provider_status.clone(),
        category: entry.category.map_or(0, |category| category as i32),
        quality: entry.quality.map_or(0, |quality| quality as i32),
        rejected_reason: entry.rejected_reason.clone(),
        parameter_format: entry.parameter_format.map_or(0, |format| format as i32),
        header_format: entry.header_format.map_or(0, |format| format as i32),
        header_text: entry.header_text.clone(),
        body: entry.body.clone(),
        footer: entry.footer.clone(),
        parameters: entry.parameters.iter().map(parameter).collect(),
        buttons: (0..).zip(&entry.buttons).map(button).collect(),
        unsupported_reason: entry.unsupported_reason.clone(),
        refresh_time: Some(answer::timestamp(entry.refresh_at_ms)),
    }
}

fn statuses(numbers: &[i32], violations: &mut Violations) -> Vec<TemplateStatus> {
    let mut statuses = Vec::with_capacity(numbers.len());
    for (i, number) in numbers.iter().enumerate() {
        match TemplateStatus::ALL.into_iter().find(|status| i32::from(*status as i16) == *number) {
            Some(status) => statuses.push(status),
            None => violations.add(format!("statuses[{i}]"), Reason::Invalid, format!("there is no status {number}")),
        }
    }
    statuses
}

#[tonic::async_trait]
impl TemplateService for Templates {
    async fn list_templates(
        &self,
        request: Request<proto::ListTemplatesRequest>,
    ) -> Result<Response<proto::ListTemplatesResponse>, Status> {
        let caller = auth::caller(&request, Scope::Read)?;
        Ok(Response::new(self.list(&caller, request.into_inner()).await?))
    }

    async fn get_template(
        &self,
        request: Request<proto::GetTemplateRequest>,
    ) -> Result<Response<proto::GetTemplateResponse>, Status> {
        let caller = auth::caller(&request, Scope::Read)?;
        let template = Some(self.get(&caller, request.into_inner()).await?);
        Ok(Response::new(proto::GetTemplateResponse { template }))
    }

    async fn refresh_templates(
        &self,
        request: Request<proto::RefreshTemplatesRequest>,
    ) -> Result<Response<proto::RefreshTemplatesResponse>, Status> {
        let caller = auth::caller(&request, Scope::Read)?;
        Ok(Response::new(self.refresh(&caller, &request.into_inner().sender).await?))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::domain::sender::{Limits, SenderState};
    use crate::domain::{DeliveryError, ErrorReason};
    use crate::store::StoreError;

    #[test]
    fn a_provider_that_does_not_answer_or_refuses_is_unavailable_for_a_while() {
        let sender = Sender {
            id: SenderId::trusted("acme".into()),
            provider: "devino",
            display_name: String::new(),
            phone_number: String::new(),
            state: SenderState::Active,
            limits: Limits::default(),
            default_language_code: String::new(),
            opt_out_words: Default::default(),
            incoming_callback_url: String::new(),
            create_at_ms: 1,
            update_at_ms: 1,
        };
        let refused = DeliveryError::ours(ErrorReason::SenderUnauthorized, "the token has expired", false);
        for (error, code, reason, retries, says) in [
            (
                AskError::Refused(refused).into(),
                Code::Unavailable,
                "PROVIDER_UNAVAILABLE",
                true,
                "the token has expired",
            ),
            (
                AskError::Unreachable("no route".into()).into(),
                Code::Unavailable,
                "PROVIDER_UNAVAILABLE",
                true,
                "no route",
            ),
            (AskError::NotSupported.into(), Code::Unimplemented, "NOT_IMPLEMENTED", false, "publishes no templates"),
            (ReadingError::SenderChanged, Code::NotFound, "SENDER_NOT_FOUND", false, "acme"),
            (StoreError::Unavailable("x".into()).into(), Code::Unavailable, "STORE_UNAVAILABLE", true, "away"),
        ] {
            let status = Status::from(unread(error, &sender));
            let details = status.get_error_details();
            let told = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
            assert_eq!((status.code(), told.as_str()), (code, reason));
            assert_eq!(details.retry_info().is_some(), retries, "{reason}");
            assert!(status.message().contains(says), "{status:?}");
        }
    }

    #[test]
    fn a_page_token_comes_back_as_it_was_and_nothing_else_is_one() {
        let key = Key { template: "order_ready".into(), language_code: "pt_BR".into(), template_id: String::new() };
        let mut violations = Violations::default();
        assert_eq!(page_token(&token(&key), &mut violations), Some(key));
        assert_eq!(page_token("", &mut violations), None);
        assert!(violations.is_empty());
        let few = URL_SAFE_NO_PAD.encode("a\nb");
        for (count, wrong) in (1..).zip(["*", "YQ", "_w", few.as_str()]) {
            assert_eq!(page_token(wrong, &mut violations), None);
            assert_eq!(violations.iter().count(), count, "{wrong}");
        }
    }
}

//! What providers have approved for each sender: read from them now and then, kept as copies, and compared with what is to
//! be sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::domain::catalogue::{AGAIN_MS, Key, same_language};
use crate::domain::content::Template;
use crate::domain::template::{CatalogueTemplate, TemplateStatus};
use crate::domain::{Millis, Payload, SenderId, now_ms};
use crate::events::Log;
use crate::senders::{Account, Senders};
use crate::store::{Appended, CatalogueState, Store, StoreError};

mod check;
mod reading;

pub use check::Judgement;
pub use reading::{ReadingError, Refreshed};

/// The copies of all senders' templates; one value, shared.
#[derive(Debug)]
pub struct Catalogues {
    store: Store,
    senders: Arc<Senders>,
    log: Log,
    /// How often each catalogue is read.
    interval: Duration,
    /// What was asked for lately. Whatever changes a catalogue moves its revision, and the entry goes.
    known: RwLock<HashMap<SenderId, Known>>,
    /// Wakes the background.
    wake: Notify,
    /// One reading of a sender at a time in this process.
    readings: Mutex<HashMap<SenderId, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, Clone)]
struct Known {
    revision: i64,
    copies: Option<Arc<Copies>>,
}

/// A sender's templates as they were last read.
#[derive(Debug, Default, PartialEq)]
pub struct Copies {
    /// When they were asked for.
    read_at_ms: Millis,
    /// By name, language and id.
    templates: Vec<CatalogueTemplate>,
}

impl Copies {
    /// All of them, in any order, as they were at that time.
    pub fn new(mut templates: Vec<CatalogueTemplate>, read_at_ms: Millis) -> Self {
        templates.sort_by_cached_key(Key::of);
        Self { read_at_ms, templates }
    }

    /// All of them, by name, language and id.
    pub fn all(&self) -> &[CatalogueTemplate] {
        &self.templates
    }

    /// Those of a name; where there is none, those of an id.
    pub fn named(&self, template: &str) -> Vec<&CatalogueTemplate> {
        let first = self.templates.partition_point(|entry| entry.template.as_str() < template);
        let by_name: Vec<_> = self.templates[first..].iter().take_while(|entry| entry.template == template).collect();
        if by_name.is_empty() && !template.is_empty() {
            return self.templates.iter().filter(|entry| entry.template_id == template).collect();
        }
        by_name
    }
}

/// The one in a language, of those with one name; where there are several, in the very form of the code that was asked
/// for, and one that can be sent. One without a language is in every one.
pub fn in_language<'a>(named: &[&'a CatalogueTemplate], code: &str) -> Option<&'a CatalogueTemplate> {
    let speaks = |known: &str| known.is_empty() || same_language(known, code);
    let fits = named.iter().copied().filter(|entry| speaks(&entry.language_code));
    fits.min_by_key(|entry| (entry.language_code != code, entry.status != Some(TemplateStatus::Approved)))
}

/// The languages that there are of one name, for people.
pub fn languages(named: &[&CatalogueTemplate]) -> String {
    let mut codes: Vec<&str> = named.iter().map(|entry| entry.language_code.as_str()).collect();
    codes.dedup();
    codes.join(", ")
}

impl Catalogues {
    /// The copies in a store. Nothing is read before [`Catalogues::run`].
    pub fn new(store: Store, senders: Arc<Senders>, log: Log, interval: Duration) -> Self {
        Self {
            store,
            senders,
            log,
            interval,
            known: RwLock::default(),
            wake: Notify::new(),
            readings: Mutex::default(),
        }
    }

    /// A sender's copies; `None` while its catalogue was never read. What another replica wrote is seen within a second.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn copies(&self, sender: &SenderId) -> Result<Option<Arc<Copies>>, StoreError> {
        if let Some(known) = self.known.read().unwrap_or_else(|e| e.into_inner()).get(sender) {
            return Ok(known.copies.clone());
        }
        let found = self.store.catalogue(sender).await?;
        let revision = found.as_ref().map_or(0, |(state, _)| state.revision);
        let read = |(state, templates): (CatalogueState, _)| Some(Arc::new(Copies::new(templates, state.read_at_ms?)));
        let copies = found.and_then(read);
        let known = Known { revision, copies: copies.clone() };
        self.known.write().unwrap_or_else(|e| e.into_inner()).insert(sender.clone(), known);
        Ok(copies)
    }

    /// Compares a template that is to be sent with the copies, and fills in its language where none was given. Where there
    /// are no copies, the judgement says so.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn judge(&self, account: &Account, template: &mut Template) -> Result<Judgement, StoreError> {
        let (judgement, copies) = self.compare(account, template).await?;
        match copies {
            Some(copies) if !judgement.is_good() => self.doubt(&account.sender.id, &copies).await,
            Some(_) => {}
            None => {
                metrics::counter!("recado_templates_unchecked_total").increment(1);
                let sender = &account.sender.id;
                tracing::debug!(%sender, "a template is taken unchecked: there is no copy of the catalogue");
            }
        }
        Ok(judgement)
    }

    /// The same without consequences: nobody doubts the copies. With the copies, where there are some.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn compare(
        &self,
        account: &Account,
        template: &mut Template,
    ) -> Result<(Judgement, Option<Arc<Copies>>), StoreError> {
        let sender = &account.sender;
        if template.language_code.is_empty() && account.provider.capabilities().template_language {
            template.language_code.clone_from(&sender.default_language_code);
        }
        let copies = match account.provider.capabilities().catalogue {
            true => self.copies(&sender.id).await?,
            false => None,
        };
        let Some(copies) = copies else {
            return Ok((Judgement { unchecked: true, ..Judgement::default() }, None));
        };
        let judgement = check::judge(&copies, template);
        if let Some(only) = &judgement.language_code {
            template.language_code.clone_from(only);
        }
        template.header_parameter = judgement.header_parameter.clone().unwrap_or_default();
        Ok((judgement, Some(copies)))
    }

    /// Somebody wants to send what does not fit the copies: they may be old.
    async fn doubt(&self, sender: &SenderId, copies: &Copies) {
        let now = now_ms();
        if copies.read_at_ms >= now - AGAIN_MS {
            return;
        }
        match self.store.want_catalogue(sender, now, now - AGAIN_MS).await {
            Ok(true) => self.wake.notify_one(),
            Ok(false) => {}
            Err(error) => tracing::warn!(%sender, %error, "a reading of templates could not be asked for"),
        }
    }

    /// A sender was made or changed: its catalogue may be another.
    pub fn sender_changed(&self) {
        self.wake.notify_one();
    }

    /// Takes in what was just committed: a webhook may have changed a copy.
    pub fn appended(&self, events: &Appended) {
        for event in events {
            if matches!(event.payload, Payload::TemplateChanged(_)) {
                self.forget(&event.sender);
            }
        }
    }

    fn forget(&self, sender: &SenderId) {
        self.known.write().unwrap_or_else(|e| e.into_inner()).remove(sender);
    }

    /// Forgets what others changed.
    fn forget_old(&self, states: &[CatalogueState]) {
        let revisions: HashMap<&SenderId, i64> = states.iter().map(|state| (&state.sender, state.revision)).collect();
        let is_current =
            |sender: &SenderId, known: &mut Known| known.revision == revisions.get(sender).copied().unwrap_or_default();
        self.known.write().unwrap_or_else(|e| e.into_inner()).retain(is_current);
    }
}

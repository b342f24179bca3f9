//! Copies of templates: what the gateway knows of them by readings of the provider's catalogue and by webhooks, whichever
//! is newer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Millis;
use super::event::TemplateChanged;
use super::template::{CatalogueTemplate, TemplateStatus};

/// Webhooks carry the provider's clock and readings ours, and a catalogue may show a change a moment after the webhook
/// about it: within a minute, the webhook is believed.
const CLOCKS_MS: Millis = 60_000;

/// What does not fit the copies, a send or a webhook, has them read again, but not sooner than this after the last time:
/// providers count how often they are asked.
pub const AGAIN_MS: Millis = 60_000;

/// One template in one language, as it is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TemplateCopy {
    /// What is known of it.
    pub entry: CatalogueTemplate,
    /// When a webhook last told each of what webhooks tell, by the provider's clock.
    #[serde(default)]
    told: Told,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    status_at_ms: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category_at_ms: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality_at_ms: Option<Millis>,
}

/// Takes a word that is no older than what is known; tells whether it changes anything.
fn take<T: Copy + PartialEq>(
    word: &mut Option<T>,
    known: &mut Option<T>,
    told_at_ms: &mut Option<Millis>,
    at_ms: Millis,
    read_at_ms: Millis,
) -> bool {
    let older = told_at_ms.is_some_and(|told| at_ms < told) || at_ms + CLOCKS_MS < read_at_ms;
    if older {
        *word = None;
    }
    let Some(said) = *word else { return false };
    *told_at_ms = Some(at_ms);
    known.replace(said) != Some(said)
}

impl TemplateCopy {
    /// What a reading brought of a template that was not known.
    pub fn new(entry: CatalogueTemplate) -> Self {
        Self { entry: CatalogueTemplate { refresh_at_ms: 0, ..entry }, told: Told::default() }
    }

    /// What names it: name, language and id.
    pub fn key(&self) -> Key {
        Key::of(&self.entry)
    }

    /// Whether a webhook speaks of it: by its id where both have one, else by its name; in its language or in all.
    pub fn is_meant(&self, word: &TemplateChanged) -> bool {
        let entry = &self.entry;
        let named = match (word.template_id.as_str(), entry.template_id.as_str()) {
            ("", _) | (_, "") => word.template == entry.template && !word.template.is_empty(),
            (said, known) => said == known,
        };
        named && (word.language_code.is_empty() || same_language(&word.language_code, &entry.language_code))
    }

    /// Takes in what a webhook said at `at_ms`. Answers the event, with what was before; `None` when it changes nothing,
    /// or is older than what is known. A word about none of status, category and quality is always an event.
    pub fn hear(&mut self, mut word: TemplateChanged, at_ms: Millis, read_at_ms: Millis) -> Option<TemplateChanged> {
        let says_nothing = word.status.is_none() && word.category.is_none() && word.quality.is_none();
        let before = self.entry.clone();
        let Self { entry, told } = self;
        let mut news = take(&mut word.status, &mut entry.status, &mut told.status_at_ms, at_ms, read_at_ms);
        news |= take(&mut word.category, &mut entry.category, &mut told.category_at_ms, at_ms, read_at_ms);
        news |= take(&mut word.quality, &mut entry.quality, &mut told.quality_at_ms, at_ms, read_at_ms);
        match word.status {
            Some(TemplateStatus::Rejected) if !word.reason.is_empty() => {
                news |= entry.rejected_reason != word.reason;
                entry.rejected_reason = word.reason.clone();
            }
            Some(status) if before.status != Some(status) => entry.rejected_reason.clear(),
            _ => {}
        }
        if entry.status != before.status {
            // The provider's word for it is known with the next reading.
            entry.provider_status.clear();
        }
        (news || says_nothing).then(|| TemplateChanged {
            template: entry.template.clone(),
            template_id: if entry.template_id.is_empty() { word.template_id } else { entry.template_id.clone() },
            language_code: entry.language_code.clone(),
            previous_status: word.status.and(before.status),
            previous_category: word.category.and(word.previous_category.or(before.category)),
            previous_quality: word.quality.and(word.previous_quality.or(before.quality)),
            ..word
        })
    }

    /// Takes in a reading that was begun at `read_at_ms`; answers the event when something about it is new.
    fn read(&mut self, mut entry: CatalogueTemplate, read_at_ms: Millis) -> Option<TemplateChanged> {
        let told_since = |told: Option<Millis>| told.is_some_and(|told| told + CLOCKS_MS >= read_at_ms);
        entry.refresh_at_ms = 0;
        if told_since(self.told.status_at_ms) {
            entry.status = self.entry.status;
            entry.rejected_reason.clone_from(&self.entry.rejected_reason);
        }
        if told_since(self.told.category_at_ms) {
            entry.category = self.entry.category;
        }
        if told_since(self.told.quality_at_ms) {
            entry.quality = self.entry.quality;
        }
        let before = std::mem::replace(&mut self.entry, entry);
        (!means_the_same(&before, &self.entry)).then(|| changed(&self.entry, Some(&before)))
    }
}

/// What names a template: name, language and id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The provider's name of it.
    pub template: String,
    /// Its language, in the provider's form.
    pub language_code: String,
    /// The provider's id of it.
    pub template_id: String,
}

impl Key {
    /// Of an entry.
    pub fn of(entry: &CatalogueTemplate) -> Self {
        let CatalogueTemplate { template, language_code, template_id, .. } = entry;
        Self { template: template.clone(), language_code: language_code.clone(), template_id: template_id.clone() }
    }
}

/// Whether two codes name the same language: `pt-BR` is `pt_BR`.
pub fn same_language(a: &str, b: &str) -> bool {
    let plain = |code: &str| code.replace('-', "_").to_ascii_lowercase();
    a == b || plain(a) == plain(b)
}

/// Whether nothing that matters differs: the provider's word for a status that stayed the same does not.
fn means_the_same(a: &CatalogueTemplate, b: &CatalogueTemplate) -> bool {
    let same_word = a.status.is_some() && a.status == b.status;
    let provider_status = if same_word { &a.provider_status } else { &b.provider_status };
    *a == CatalogueTemplate { provider_status: provider_status.clone(), refresh_at_ms: a.refresh_at_ms, ..b.clone() }
}

fn changed(now: &CatalogueTemplate, before: Option<&CatalogueTemplate>) -> TemplateChanged {
    TemplateChanged {
        template: now.template.clone(),
        template_id: now.template_id.clone(),
        language_code: now.language_code.clone(),
        status: now.status,
        previous_status: before.and_then(|before| before.status),
        category: now.category,
        previous_category: before.and_then(|before| before.category),
        quality: now.quality,
        previous_quality: before.and_then(|before| before.quality),
        reason: now.rejected_reason.clone(),
    }
}

/// What a reading changes. A copy goes by the number of its row.
#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    /// Templates that were not known.
    pub new: Vec<TemplateCopy>,
    /// Copies that are to be written.
    pub changed: Vec<(i64, TemplateCopy)>,
    /// Copies of what is no longer there.
    pub gone: Vec<i64>,
    /// What happened: one event for each template that is new, says something else, or is gone.
    pub events: Vec<TemplateChanged>,
    /// How many templates there are now.
    pub count: usize,
}

/// Compares what was known with a reading that was begun at `read_at_ms`. An entry without a name, or with one that cannot
/// be stored, is left out; of two with the same name, language and id the later counts.
pub fn compare(before: Vec<(i64, TemplateCopy)>, reading: Vec<CatalogueTemplate>, read_at_ms: Millis) -> Difference {
    let storable = |text: &str| !text.chars().any(char::is_control);
    let mut read: BTreeMap<Key, CatalogueTemplate> = BTreeMap::new();
    for entry in reading {
        let key = Key::of(&entry);
        let Key { template, language_code, template_id } = &key;
        if !template.is_empty() && [template, language_code, template_id].into_iter().all(|text| storable(text)) {
            read.insert(key, entry);
        }
    }
    let mut difference = Difference { count: read.len(), ..Difference::default() };
    for (row, mut copy) in before {
        let was = copy.clone();
        match read.remove(&copy.key()) {
            Some(entry) => {
                difference.events.extend(copy.read(entry, read_at_ms));
                if copy != was {
                    difference.changed.push((row, copy));
                }
            }
            None => {
                difference.gone.push(row);
                let gone = CatalogueTemplate { status: Some(TemplateStatus::Deleted), ..was.entry.clone() };
                // A webhook may have said so before.
                if was.entry.status != gone.status {
                    difference.events.push(changed(&gone, Some(&was.entry)));
                }
            }
        }
    }
    for entry in read.into_values() {
        difference.events.push(changed(&entry, None));
        difference.new.push(TemplateCopy::new(entry));
    }
    difference
}

#[cfg(test)]
mod tests;

//! Links that are kept in a file of the operator's. The file says what its links are; what somebody changes later holds
//! until the file's own entry changes. An entry that is gone pauses its link, as its clicks and its printed address stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Refused, Registry, Rejection, bulk::rejections, fields, judged, offers};
use crate::{
    links::{
        LinkDraft,
        file::{Row, read_toml},
    },
    model::{Link, LinkKey, LinkState, Time},
    store::Entry,
};

/// The shelf of the book with the entries of the file as they were read last.
const SHELF: &str = "link_file";
/// Who changes links by the file.
const BY: &str = "file";

/// What reading the file came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Synced {
    /// Links that were made.
    pub created: usize,
    /// Links that were changed.
    pub changed: usize,
    /// Links that were paused, as their entries are gone.
    pub paused: usize,
    /// Entries that could not be taken. Their links are as they were.
    pub rejected: Vec<Rejection>,
}

impl Registry {
    /// Brings the links in line with the file's text.
    ///
    /// # Errors
    /// Why nothing could be stored.
    pub async fn sync_file(&self, text: &str) -> Result<Synced, Refused> {
        let _changing = self.changing.lock().await;
        let (policy, now) = (self.governance.policy(), self.clock.now());
        let known: BTreeMap<String, Arc<str>> = self.book.list(SHELF).into_iter().collect();
        let mut offers = offers(&policy, &self.links.all());
        let (mut synced, mut put, mut remembered) = (Synced::default(), Vec::new(), Vec::new());
        let (mut listed, mut whole) = (BTreeSet::new(), true);
        for read in read_toml(text) {
            let Row { line, draft } = match read {
                Ok(row) => row,
                Err(rejected) => {
                    whole = false;
                    synced.rejected.push(rejected.into());
                    continue;
                }
            };
            let slug = draft.slug.clone();
            let entry = match self.entry(draft, now) {
                Ok(entry) if listed.contains(&entry.key.to_string()) => Err(Refused::Taken(entry.key)),
                entry => entry,
            };
            whole &= entry.is_ok();
            if let Ok(entry) = &entry {
                listed.insert(entry.key.to_string());
            }
            let same =
                |entry: &Link| known.get(&entry.key.to_string()).is_some_and(|before| **before == *written(entry));
            let link = match entry {
                Ok(entry) if same(&entry) => continue,
                Ok(entry) => {
                    judged(&policy, entry.clone(), |link| policy.check_among(link, &offers)).map(|link| (entry, link))
                }
                Err(refused) => Err(refused),
            };
            match link {
                Ok((entry, mut link)) => {
                    match self.links.get(&link.key) {
                        Some(before) => {
                            link.created_at = before.created_at;
                            synced.changed += 1;
                        }
                        None => {
                            link.created_at = now;
                            synced.created += 1;
                        }
                    }
                    offers.add(&policy, &link);
                    remembered.push(remember(&link.key, Some(written(&entry)), now));
                    put.push(link);
                }
                Err(refused) => synced.rejected.extend(rejections(line, slug.as_deref(), &refused)),
            }
        }
        // What cannot be read may be any of those that seem to be gone.
        for key in known.keys().filter(|key| whole && !listed.contains(*key)) {
            let key = LinkKey::of(key);
            if let Some(link) = self.links.get(&key).filter(|link| link.state != LinkState::Paused) {
                put.push(Link { state: LinkState::Paused, updated_at: now, ..(*link).clone() });
                synced.paused += 1;
            }
            remembered.push(remember(&key, None, now));
        }
        // Links first: should the second write fail, the next reading makes the same changes once more.
        if !put.is_empty() {
            self.links.put_all(put, BY, now).await?;
        }
        if !remembered.is_empty() {
            self.book.write(remembered).await?;
        }
        Ok(synced)
    }

    fn entry(&self, draft: LinkDraft, now: Time) -> Result<Link, Refused> {
        if draft.slug.as_ref().is_none_or(|slug| slug.trim().is_empty()) {
            let why = "is missing: without one, each reading of the file would make another link";
            return Err(Refused::field("slug", why));
        }
        self.drafted(draft, now)
    }
}

/// An entry as one text, the same for the same entry.
fn written(link: &Link) -> String {
    serde_json::Value::Object(fields(link)).to_string()
}

fn remember(key: &LinkKey, value: Option<String>, at: Time) -> Entry {
    Entry { at, by: BY.to_owned(), shelf: SHELF.to_owned(), key: key.to_string(), value, audited: false }
}

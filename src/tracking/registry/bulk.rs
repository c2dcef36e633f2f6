//! Many links at once.

use std::collections::HashSet;

use super::{Refused, Registry, judged, offers};
use crate::{
    links::file::{Rejected, Row},
    model::{Link, LinkKey},
};

/// One that was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its line in what was posted, or its place in the list, counted from 1.
    pub line: u64,
    /// The slug it asked for.
    pub slug: Option<String>,
    /// Which field is wrong; empty where none is to blame.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

impl From<Rejected> for Rejection {
    fn from(row: Rejected) -> Self {
        let Rejected { line, slug, field, reason } = row;
        Self { line, slug, field: field.unwrap_or_default(), reason }
    }
}

/// What became of many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bulk {
    /// Those that were made, or could be.
    pub made: Vec<Link>,
    /// Those that were not.
    pub rejected: Vec<Rejection>,
}

impl Registry {
    /// Makes every link that can be, in one durable write; the others are rejected one by one. With `dry_run` they are only
    /// checked.
    ///
    /// # Errors
    /// Why none could be stored.
    pub async fn create_all(&self, rows: Vec<Row>, by: &str, dry_run: bool) -> Result<Bulk, Refused> {
        let _changing = self.changing.lock().await;
        let (policy, now) = (self.governance.policy(), self.clock.now());
        let mut offers = offers(&policy, &self.links.all());
        let mut taken: HashSet<LinkKey> = HashSet::new();
        let mut bulk = Bulk::default();
        for Row { line, draft } in rows {
            let slug = draft.slug.clone();
            let made = self
                .key(&draft, |key| taken.contains(key) || self.links.get(key).is_some())
                .and_then(|key| draft.into_link(key, now, &self.hosts).map_err(Refused::Fields))
                .and_then(|link| judged(&policy, link, |link| policy.check_among(link, &offers)));
            match made {
                Ok(link) => {
                    taken.insert(link.key.clone());
                    offers.add(&policy, &link);
                    bulk.made.push(link);
                }
                Err(refused) => bulk.rejected.extend(rejections(line, slug.as_deref(), &refused)),
            }
        }
        if !dry_run && !bulk.made.is_empty() {
            self.links.create(bulk.made.clone(), by, now).await?;
            tracing::info!(made = bulk.made.len(), rejected = bulk.rejected.len(), by, "links were made in bulk");
        }
        Ok(bulk)
    }
}

/// What is wrong with one of many, each thing on its own.
pub(super) fn rejections(line: u64, slug: Option<&str>, refused: &Refused) -> Vec<Rejection> {
    let of = |(field, reason)| Rejection { line, slug: slug.map(str::to_owned), field, reason };
    refused.reasons().into_iter().map(of).collect()
}

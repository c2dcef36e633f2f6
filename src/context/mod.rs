//! Visitors as the pipeline asks for them: remember what was seen, find who an event belongs to, forget.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    model::{IdentityKey, IdentityKind, JoinedBy, Observation, Time, Visitor, VisitorId},
    store::{StoreError, Stores},
};

/// Visitors looked at in one step when all are.
const VISITORS_AT_ONCE: usize = 1000;

/// The visitor an event belongs to, and how it was found.
#[derive(Debug)]
pub struct Found {
    /// Who.
    pub visitor: Visitor,
    /// By what.
    pub joined_by: JoinedBy,
}

/// Finds the visitor by its id, else by the first of `keys` that leads to one: by what its visits brought, then by what
/// earlier events told of it.
///
/// # Errors
/// Of the store.
pub fn find(
    stores: &Stores,
    id: Option<&VisitorId>,
    keys: impl FnOnce() -> Vec<IdentityKey>,
) -> Result<Option<Found>, StoreError> {
    let found = |visitor, joined_by| Ok(Some(Found { visitor: whole(stores, visitor)?, joined_by }));
    if let Some(visitor) = id.map(|id| sound(stores.visits.find(id))).transpose()?.flatten() {
        return found(visitor, JoinedBy::VisitorId);
    }
    let keys = keys();
    if let Some((visitor, key)) = sound(stores.visits.find_by(&keys))? {
        return found(visitor, joined_by(key.kind));
    }
    // Events tell of persons; what tells of a browser is found with its visits, or not at all.
    let keys: Vec<IdentityKey> = keys.into_iter().filter(|key| key.kind.tells_person()).collect();
    let Some((id, key)) = stores.events.visitor_of(&keys)? else { return Ok(None) };
    match sound(stores.visits.find(&id))? {
        Some(visitor) => found(visitor, joined_by(key.kind)),
        None => Ok(None),
    }
}

/// A visitor with the histories of the others that are the same person.
fn whole(stores: &Stores, visitor: Visitor) -> Result<Visitor, StoreError> {
    let mut others = Vec::new();
    for id in &visitor.linked {
        others.extend(sound(stores.visits.find(id))?);
    }
    Ok(if others.is_empty() { visitor } else { visitor.with(others) })
}

/// A visitor whose record is damaged is as good as unknown: it must not stand in the way of a sale.
fn sound<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(StoreError::Damaged(reason)) => {
            tracing::error!(reason, "a visitor is not found");
            Ok(None)
        }
        found => found,
    }
}

/// Adds what was seen to what is known of the visitor; durable when this returns.
///
/// # Errors
/// Of the store.
pub async fn remember(stores: &Stores, seen: Observation) -> Result<(), StoreError> {
    stores.visits.remember(vec![seen]).await
}

/// The other visitors that are the same persons as these: those that they name, and those that name them. Reads every visitor;
/// blocks.
///
/// # Errors
/// Of the store.
pub fn same_persons(stores: &Stores, ids: &BTreeSet<VisitorId>) -> Result<BTreeSet<VisitorId>, StoreError> {
    let mut others = BTreeSet::new();
    for id in ids {
        others.extend(sound(stores.visits.find(id))?.map(|visitor| visitor.linked).unwrap_or_default());
    }
    // A visitor names only some of the others, and those only if they were there already.
    let mut last: Option<VisitorId> = None;
    while !ids.is_empty() {
        let page = stores.visits.page(last.as_ref(), VISITORS_AT_ONCE)?;
        let Some(visitor) = page.last() else { break };
        last = Some(visitor.id.clone());
        let named = |visitor: &Visitor| visitor.linked.iter().any(|other| ids.contains(other));
        others.extend(page.into_iter().filter(named).map(|visitor| visitor.id));
    }
    Ok(others.difference(ids).cloned().collect())
}

/// How much was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Visitors that are deleted.
    pub visitors: u64,
    /// Requests for tracked links that do not tell any more who made them.
    pub clicks: u64,
}

/// Deletes visitors with all their identifiers, and takes who it was out of what they clicked. That comes first: while it
/// fails, what leads to them is still there.
///
/// # Errors
/// Of the stores.
pub async fn forget(stores: &Stores, ids: &BTreeSet<VisitorId>) -> Result<Forgotten, StoreError> {
    let (rows, visitors) = (Arc::clone(&stores.clicks), ids.iter().cloned().collect::<Vec<_>>());
    let clicks = tokio::task::spawn_blocking(move || rows.forget(&visitors)).await;
    let clicks = clicks.unwrap_or_else(|_| Err(StoreError::Unavailable("forgetting clicks ended early".into())))?;
    let mut forgotten = Forgotten { visitors: 0, clicks };
    for id in ids {
        forgotten.visitors += u64::from(stores.visits.forget(id).await?);
    }
    Ok(forgotten)
}

/// Deletes visitors not seen since `before`. Returns how many.
///
/// # Errors
/// Of the store.
pub async fn retain(stores: &Stores, before: Time) -> Result<usize, StoreError> {
    stores.visits.retain(before).await
}

const fn joined_by(kind: IdentityKind) -> JoinedBy {
    match kind {
        IdentityKind::Email => JoinedBy::Email,
        IdentityKind::Phone => JoinedBy::Phone,
        IdentityKind::ExternalId => JoinedBy::ExternalId,
        IdentityKind::CheckoutToken => JoinedBy::CheckoutToken,
        IdentityKind::GaClientId => JoinedBy::GaClientId,
        IdentityKind::Fbp => JoinedBy::Fbp,
        IdentityKind::LeadId => JoinedBy::LeadId,
        IdentityKind::ClickId => JoinedBy::ClickId,
        IdentityKind::Conversion => JoinedBy::Transaction,
    }
}

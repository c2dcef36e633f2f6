//! Visitors as the pipeline asks for them: remember what was seen, find who an event belongs to, forget.

use crate::{
    model::{IdentityKey, IdentityKind, JoinedBy, Observation, Time, Visitor, VisitorId},
    store::{StoreError, Stores},
};

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

/// Deletes a visitor with all its identifiers. Whether there was one.
///
/// # Errors
/// Of the store.
pub async fn forget(stores: &Stores, id: &VisitorId) -> Result<bool, StoreError> {
    stores.visits.forget(id).await
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

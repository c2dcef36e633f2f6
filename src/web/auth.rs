//! Keys and passwords, compared in constant time.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Problem;
use crate::model::Secret;

/// Keys that are known, each with whom it belongs to.
#[derive(Clone)]
pub struct Keys<T>(Vec<([u8; 32], T)>);

impl<T: Clone> Keys<T> {
    /// These keys. Only their hashes are kept, so that all comparisons take the same time.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = (Secret, T)>) -> Self {
        Self(keys.into_iter().map(|(key, owner)| (Sha256::digest(key.expose()).into(), owner)).collect())
    }

    /// Whose key the request carries as `Authorization: Bearer KEY`.
    ///
    /// # Errors
    /// 401, the same for a missing, a malformed and an unknown key but for its text.
    pub fn owner(&self, headers: &HeaderMap) -> Result<T, Problem> {
        let missing = "a key is needed: send the header Authorization: Bearer KEY, with a key from [intake] keys";
        let given = headers.get(header::AUTHORIZATION).ok_or(Problem::unauthorized(missing))?;
        let key = given.to_str().ok().and_then(|text| text.split_once(' '));
        let key = key.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim());
        let owner = self.owner_of(key.ok_or(Problem::unauthorized(missing))?);
        owner.ok_or(Problem::unauthorized("this key is not known; check it against the configuration"))
    }

    /// Whose key this is, however it came.
    #[must_use]
    pub fn owner_of(&self, key: &str) -> Option<T> {
        let given: [u8; 32] = Sha256::digest(key).into();
        let mut owner = None;
        for (known, whose) in &self.0 {
            // No early end: the time tells nothing about which key was close.
            if bool::from(known.ct_eq(&given)) {
                owner = Some(whose.clone());
            }
        }
        owner
    }
}

/// Whether the request carries these Basic credentials.
#[must_use]
pub fn basic_matches(headers: &HeaderMap, user: &str, password: &Secret) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let decoded = given.and_then(|(_, text)| base64::engine::general_purpose::STANDARD.decode(text.trim()).ok());
    let right: [u8; 32] = Sha256::digest(format!("{user}:{}", password.expose())).into();
    let given: [u8; 32] = Sha256::digest(decoded.as_deref().unwrap_or_default()).into();
    bool::from(right.ct_eq(&given))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a header"))])
    }

    #[test]
    fn a_key_tells_whose_it_is() {
        let keys = Keys::new([(Secret::new("k1"), "shop"), (Secret::new("k2"), "crm")]);
        assert_eq!(keys.owner(&headers("Bearer k2")), Ok("crm"));
        assert_eq!(keys.owner(&headers("bearer  k1 ")), Ok("shop"));
        for bad in ["Bearer", "Bearer ", "Bearer k3", "Basic k1", "k1", "Bearer K1"] {
            assert_eq!(keys.owner(&headers(bad)).expect_err(bad).status, 401);
        }
        assert_eq!(keys.owner(&HeaderMap::new()).expect_err("none").status, 401);
        assert_eq!((keys.owner_of("k1"), keys.owner_of("k3"), keys.owner_of("")), (Some("shop"), None, None));
        assert!(Keys::<()>::new([]).owner(&headers("Bearer ")).is_err());
    }

    #[test]
    fn basic_credentials_match_exactly() {
        let password = Secret::new("a:b");
        assert!(basic_matches(&headers("Basic Z29vZ2xlOmE6Yg=="), "google", &password));
        assert!(!basic_matches(&headers("Basic Z29vZ2xlOmE6Yg=="), "Google", &password));
        assert!(!basic_matches(&headers("Basic !!!"), "google", &password));
        assert!(!basic_matches(&HeaderMap::new(), "", &Secret::new("")), "nothing is no credential");
    }
}

//! Address and browser as one number, by a key that nobody keeps.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

use crate::model::Time;

/// Seconds of a day.
const DAY_S: i64 = 86_400;

type Key = [u8; 32];

/// Makes fingerprints. Its key changes with every day (UTC), is in memory alone, and cannot be had again: fingerprints of two
/// days cannot be compared, and no address can be found by trying them all.
#[derive(Debug)]
pub(in crate::capture) struct Fingerprints {
    /// Of the latest two days: a request may be looked at after midnight.
    keys: Mutex<Vec<(i64, Key)>>,
    random: fn() -> Key,
}

impl Fingerprints {
    /// With keys from `random`.
    pub(in crate::capture) fn new(random: fn() -> Key) -> Self {
        Self { keys: Mutex::default(), random }
    }

    /// The fingerprint of this address and user agent on the day of `at`; never 0.
    pub(in crate::capture) fn of(&self, address: IpAddr, user_agent: &str, at: Time) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.key(at.as_secs().div_euclid(DAY_S)));
        match address {
            IpAddr::V4(address) => hash.update(address.to_ipv6_mapped().octets()),
            IpAddr::V6(address) => hash.update(address.octets()),
        }
        hash.update(user_agent);
        let digest = hash.finalize();
        digest[..8].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte)).max(1)
    }

    fn key(&self, day: i64) -> Key {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = keys.iter().find(|(known, _)| *known == day) {
            return *key;
        }
        if keys.len() > 1 {
            keys.remove(0);
        }
        let key = (self.random)();
        keys.push((day, key));
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_browsers_apart_within_a_day() {
        let prints = Fingerprints::new(rand::random);
        let (noon, home) = (Time::from_secs(20_000 * DAY_S + 43_200), IpAddr::from([192, 0, 2, 1]));
        let print = prints.of(home, "Firefox", noon);
        assert_eq!(print, prints.of(home, "Firefox", noon.plus(std::time::Duration::from_secs(43_199))));
        let tomorrow = prints.of(home, "Firefox", noon.plus(std::time::Duration::from_secs(43_200)));
        assert_eq!(print, prints.of(home, "Firefox", noon), "what comes late is looked at with its own day's key");
        let others = [
            tomorrow,
            prints.of(home, "Chrome", noon),
            prints.of(IpAddr::from([192, 0, 2, 2]), "Firefox", noon),
            Fingerprints::new(rand::random).of(home, "Firefox", noon),
        ];
        assert!(!others.contains(&print) && print != 0);
    }
}

//! What happened lately, by key: forgotten after a while, and when there is too much of it.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

use crate::model::Time;

/// The latest value of each key. Old ones go whenever a new one comes; there is no timer.
#[derive(Debug)]
pub(in crate::capture) struct Lately<K, V> {
    values: HashMap<K, (Time, V)>,
    /// In the order they came; of a key that came again only the last one counts.
    order: VecDeque<(Time, K)>,
    keep: Duration,
    max: usize,
}

impl<K: Clone + Eq + Hash, V> Lately<K, V> {
    pub(in crate::capture) fn new(keep: Duration, max: usize) -> Self {
        Self { values: HashMap::new(), order: VecDeque::new(), keep, max }
    }

    /// What is known of `key`, if it is not too old.
    pub(in crate::capture) fn get(&self, key: &K, now: Time) -> Option<(Time, &V)> {
        let (at, value) = self.values.get(key)?;
        (now.since(*at) < self.keep).then_some((*at, value))
    }

    /// The same, to be changed.
    pub(in crate::capture) fn get_mut(&mut self, key: &K, now: Time) -> Option<&mut V> {
        let (at, value) = self.values.get_mut(key)?;
        (now.since(*at) < self.keep).then_some(value)
    }

    /// Takes `value` for what is known of `key`.
    pub(in crate::capture) fn put(&mut self, key: K, value: V, at: Time) {
        self.order.push_back((at, key.clone()));
        self.values.insert(key, (at, value));
        while self.order.len() > self.max || self.order.front().is_some_and(|(old, _)| at.since(*old) >= self.keep) {
            let Some((old, key)) = self.order.pop_front() else { break };
            if self.values.get(&key).is_some_and(|(latest, _)| *latest == old) {
                self.values.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_or_too_much_is_forgotten() {
        let at = Time::from_secs;
        let mut lately = Lately::new(Duration::from_secs(10), 3);
        lately.put("a", 1, at(100));
        assert_eq!(lately.get(&"a", at(109)), Some((at(100), &1)));
        assert_eq!(lately.get(&"a", at(110)), None);
        lately.put("b", 2, at(105));
        lately.put("a", 3, at(106));
        lately.put("c", 4, at(107));
        assert_eq!(lately.get(&"a", at(107)), Some((at(106), &3)), "it came again");
        lately.put("d", 5, at(108));
        assert_eq!(lately.get(&"b", at(108)), None, "no more than three");
        lately.put("e", 6, at(200));
        assert_eq!((lately.values.len(), lately.order.len()), (1, 1));
    }
}

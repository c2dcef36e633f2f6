//! Rows of clicks in memory, for tests.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Amendment, ClickStore};
use crate::{
    model::{Click, Time, VisitorId},
    store::{Health, StoreError},
};

/// Rows that are gone with the process: by their day, in the order they came.
#[derive(Default)]
pub struct MemoryClicks(Mutex<BTreeMap<String, Vec<Click>>>);

impl MemoryClicks {
    fn days(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Click>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClickStore for MemoryClicks {
    fn append(&self, rows: &[Click]) -> Result<(), StoreError> {
        let mut days = self.days();
        for row in rows {
            days.entry(row.at.day()).or_default().push(row.clone());
        }
        Ok(())
    }

    fn amend(&self, amendments: &[Amendment]) -> Result<(), StoreError> {
        let mut days = self.days();
        for amendment in amendments {
            let rows = days.get_mut(&amendment.clicked_at.day()).into_iter().flatten();
            rows.filter(|row| row.id == amendment.id).for_each(|row| amendment.apply(row));
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn scan(&self, from: Time, to: Time, each: &mut dyn FnMut(&Click) -> ControlFlow<()>) -> Result<(), StoreError> {
        // A copy, as whoever looks at rows may want to amend them.
        let rows: Vec<Click> = self.days().values().flatten().rev().cloned().collect();
        let mut wanted = rows.iter().filter(|row| from <= row.at && row.at < to);
        // Being told to stop is no failure.
        let _stopped = wanted.try_for_each(each);
        Ok(())
    }

    fn find(&self, id: &str) -> Result<Option<Click>, StoreError> {
        Ok(self.days().values().flatten().find(|row| row.id == id).cloned())
    }

    fn forget(&self, visitors: &[VisitorId]) -> Result<u64, StoreError> {
        let mut days = self.days();
        let theirs = |row: &&mut Click| row.visitor_id.as_ref().is_some_and(|id| visitors.contains(id));
        Ok(days.values_mut().flatten().filter(theirs).map(super::forget_who).count() as u64)
    }

    fn retain(&self, before: Time) -> Result<(), StoreError> {
        let first = before.day();
        self.days().retain(|day, _| *day >= first);
        Ok(())
    }

    fn health(&self) -> Health {
        Health::Ok
    }

    fn recover(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

//! User agents as they were read: most requests come from few of them, and reading one takes longer than everything else.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use super::cut;
use crate::agents::{Agent, Agents};

/// User agents remembered at once; then all are forgotten.
const KNOWN_MAX: usize = 4096;

/// Reads user agents, each of them once.
pub(super) struct Reader {
    agents: Agents,
    known: RwLock<HashMap<String, Agent>>,
}

impl Reader {
    pub(super) fn new(agents: Agents) -> Self {
        Self { agents, known: RwLock::default() }
    }

    /// What the header says.
    pub(super) fn read(&self, user_agent: Option<&str>) -> Agent {
        let Some(text) = user_agent.filter(|text| cut(text) == *text) else { return self.agents.read(user_agent) };
        if let Some(agent) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(text) {
            return agent.clone();
        }
        let agent = self.agents.read(user_agent);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(text.to_owned(), agent.clone());
        agent
    }
}

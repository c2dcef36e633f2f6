//! Clients that post until they are told that what they posted is stored, wherever the relay is at that moment.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::JoinHandle;

use super::{KEY, PATIENCE, Relay};

/// What the clients share.
#[derive(Default)]
struct Shared {
    address: Mutex<String>,
    next: AtomicUsize,
    acknowledged: AtomicUsize,
}

/// Clients at work. What they post is a single event or a batch.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// `clients` post `body(0)` to `body(count - 1)`.
    pub(crate) fn start(relay: &Relay, clients: usize, count: usize, body: fn(usize) -> Value) -> Self {
        let shared = Arc::new(Shared { address: Mutex::new(relay.public.clone()), ..Shared::default() });
        let clients = (0..clients).map(|_| {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                loop {
                    let i = shared.next.fetch_add(1, Ordering::Relaxed);
                    if i >= count {
                        return;
                    }
                    shared.post(&body(i)).await;
                    shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        Self { clients: clients.collect(), shared }
    }

    /// Waits until so many were acknowledged.
    pub(crate) async fn acknowledged(&self, share: usize) {
        let began = Instant::now();
        while self.shared.acknowledged.load(Ordering::Relaxed) < share {
            assert!(began.elapsed() < PATIENCE, "{share} are never acknowledged");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// From now on the relay is there.
    pub(crate) fn goes_on_at(&self, relay: &Relay) {
        self.shared.address.lock().expect("no panic").clone_from(&relay.public);
    }

    /// Waits until all is acknowledged.
    pub(crate) async fn finish(self) {
        for client in self.clients {
            tokio::time::timeout(PATIENCE, client).await.expect("in time").expect("no panic");
        }
    }
}

impl Shared {
    /// Posts until it is acknowledged.
    async fn post(&self, body: &Value) {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().expect("a client");
        let began = Instant::now();
        loop {
            let url = format!("{}/v1/events", self.address.lock().expect("no panic"));
            let request = client.post(url).bearer_auth(KEY).header("content-type", "application/json");
            match request.body(body.to_string()).send().await.map(|answer| answer.status().as_u16()) {
                Ok(202) => return,
                Ok(500..=599) => {}
                // Nobody is there, or somebody else: after a restart the old port may be that of another listener.
                Ok(404) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Ok(status) => panic!("answered with {status}"),
            }
            assert!(began.elapsed() < PATIENCE, "never acknowledged: {body}");
        }
    }
}

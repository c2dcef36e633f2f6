//! A disk that is really full: a small file system of its own.

use std::{path::PathBuf, process::Command};

use serde_json::json;

use crate::support::{Platforms, Setup};

/// A file system in memory, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&at).expect("a directory");
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).status();
        assert!(mounted.expect("mount runs").success(), "mounting needs root");
        Self(at)
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().expect("mount runs").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_acknowledges_nothing_loses_nothing_and_recovers_when_there_is_room() {
    let platforms = Platforms::start().await;
    let setup = Setup::new(&platforms.destinations());
    let disk = SmallDisk::mount(setup.data(), "12m");
    let relay = setup.start();
    let filler = "x".repeat(12 << 10);
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for i in 0..3000 {
        let id = format!("order-{i}");
        let event = json!({ "event": "purchase", "event_id": id, "value": 1, "currency": "EUR",
            "user": { "email": "ada@example.com" }, "properties": { "filler": filler } });
        match relay.post("/v1/events", &event).await {
            (202, _) => acknowledged.push(id),
            (503, problem) => {
                assert!(problem["detail"].is_string(), "a problem that says why: {problem}");
                refused += 1;
                if refused > 20 {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 20 && acknowledged.len() > 100, "{refused} refused, {} taken", acknowledged.len());
    let ready = relay.client.get(format!("{}/readyz", relay.public)).send().await.expect("answers").status();
    assert_eq!(ready, 503, "a relay that cannot write is not ready");

    disk.grow("200m");
    let began = std::time::Instant::now();
    loop {
        let event = json!({ "event": "purchase", "event_id": "after", "value": 1, "currency": "EUR",
            "user": { "email": "ada@example.com" } });
        if relay.post("/v1/events", &event).await.0 == 202 {
            acknowledged.push("after".to_owned());
            break;
        }
        assert!(began.elapsed() < crate::support::PATIENCE, "it never recovered");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let balance = relay.settled().await;
    assert_eq!(balance["accepted"], acknowledged.len(), "{balance}");
    relay.kill();
    let relay = setup.start();
    assert_eq!(relay.settled().await, balance, "and a restart reads the same");
    let arrived: std::collections::BTreeSet<String> = platforms
        .sandbox
        .received_meta()
        .into_iter()
        .map(|received| received["event"]["event_id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(arrived, acknowledged.into_iter().collect(), "each that was acknowledged arrived, and no other");
    drop(relay);
    drop(disk);
}

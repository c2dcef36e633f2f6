//! What the tests of every source share: fixtures in `fixtures/KIND/NAME.json`, each with what it reads as in
//! `NAME.event.json`. `UPDATE_SNAPSHOTS=1` writes those anew, for a second reading with `git diff`.

use std::{fs, path::Path, sync::Arc};

use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::{Common, Descriptor, Inbound, Mapping, Parsed, Report, Source, TestEvents, Verified};
use crate::{
    intake::webhooks::{SourceConfig, entry_id, mapped as mapped_event},
    model::{Settings, SourceName, Time},
};

/// The clock of these tests: 2026-11-20T09:00:00Z.
pub(super) const NOW: Time = Time::from_secs(1_795_165_200);

/// A source of this kind and configuration.
pub(super) fn build(descriptor: &Descriptor, config: &str) -> Arc<dyn Source> {
    let common = Common {
        name: SourceName::new("shop").expect("valid"),
        address: Some("https://relay.example/webhooks/shop".to_owned()),
        test_events: TestEvents::Ignore,
        mapped: Vec::new(),
    };
    let mut settings = Settings::new("", config.parse().expect("TOML"));
    let source = (descriptor.build)(&common, &mut settings);
    let problems = settings.finish();
    assert!(problems.is_empty(), "{problems:?}");
    source.expect("built")
}

/// A source of this kind and configuration, whose map sets the event.
pub(super) fn mapped(descriptor: &Descriptor, config: &str) -> Arc<dyn Source> {
    let (built, problems) = configured(descriptor, &format!("{config}\nmap.event = \"'test'\""));
    assert!(problems.is_empty(), "{problems:?}");
    built.expect("built").source
}

/// What is wrong with this configuration of a source.
pub(super) fn told(descriptor: &Descriptor, config: &str) -> Vec<String> {
    configured(descriptor, config).1
}

/// A source with its map, as the configuration reads it.
fn configured(descriptor: &Descriptor, config: &str) -> (Option<SourceConfig>, Vec<String>) {
    let mut settings = Settings::new("", config.parse().expect("TOML"));
    let map = Mapping::read(&mut settings).map(Arc::new);
    let mapped = map.iter().flat_map(|map| map.fields().map(str::to_owned)).collect();
    let name = SourceName::new("shop").expect("valid");
    let common = Common { name: name.clone(), address: None, test_events: TestEvents::Ignore, mapped };
    let source = (descriptor.build)(&common, &mut settings);
    let built = source.map(|source| SourceConfig {
        name,
        kind: descriptor.kind,
        source,
        map,
        reconcile: None,
        transaction_prefix: None,
    });
    (built, settings.finish().iter().map(ToString::to_string).collect())
}

/// [`snapshots`] of what the map makes of every report, with the event's id.
pub(super) fn mapped_snapshots(kind: &str, descriptor: &Descriptor, config: &str) {
    let (built, problems) = configured(descriptor, config);
    assert!(problems.is_empty(), "{problems:?}");
    let config = built.expect("built");
    compare(kind, |headers, body| {
        let inbound = Inbound { headers, query: None, body };
        match config.source.parse(&Verified::trusted(&inbound)) {
            Ok(Parsed { delivery_id, reports }) => {
                let delivery = |i| delivery_id.as_deref().map(|delivery| entry_id(delivery, i));
                let report = |(i, report): (usize, Report)| match report {
                    Report::Refused(refusal) => json!({ "refused": refusal.reason, "problem": refusal.problem }),
                    Report::Ignored { topic, reason } => json!({ "ignored": reason, "topic": topic }),
                    Report::Event(told) => match mapped_event(&config, headers, *told, delivery(i)) {
                        Ok((draft, _)) if draft.event.is_none() => json!({ "ignored": "not mapped" }),
                        Ok((draft, left_out)) if left_out.is_empty() => json!({ "event": draft.shown() }),
                        Ok((draft, left_out)) => json!({ "event": draft.shown(), "left_out": left_out }),
                        Err(problem) => json!({ "problem": problem }),
                    },
                };
                json!({ "delivery_id": delivery_id, "reports": reports.into_iter().enumerate().map(report).collect::<Vec<_>>() })
            }
            Err(refusal) => json!({ "refused": refusal.reason, "problem": refusal.problem }),
        }
    });
}

/// Headers.
pub(super) fn headers<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let header = |(name, value): (&str, &str)| Some((name.parse().ok()?, value.parse().ok()?));
    HeaderMap::from_iter(pairs.into_iter().filter_map(header))
}

/// What a body reads as. Contact details are those of the fixture.
pub(super) fn reads(source: &dyn Source, headers: &HeaderMap, body: &[u8]) -> Value {
    let inbound = Inbound { headers, query: None, body };
    match source.parse(&Verified::trusted(&inbound)) {
        Ok(parsed) => shown(&parsed),
        Err(refusal) => json!({ "refused": refusal.reason, "problem": refusal.problem }),
    }
}

/// The reports of a body, as JSON.
pub(super) fn shown(parsed: &Parsed) -> Value {
    let report = |report: &Report| match report {
        Report::Refused(refusal) => json!({ "refused": refusal.reason, "problem": refusal.problem }),
        Report::Ignored { topic, reason } => json!({ "ignored": reason, "topic": topic }),
        Report::Event(told) => {
            let mut shown = json!({ "event": told.draft.shown() });
            if let Some(key) = &told.key {
                shown["key"] = key.as_str().into();
            }
            if let Some((what, limit)) = &told.lookup {
                shown["lookup"] = json!({ "what": what, "limit_s": limit.as_secs() });
            }
            shown
        }
    };
    json!({ "delivery_id": parsed.delivery_id, "reports": parsed.reports.iter().map(report).collect::<Vec<_>>() })
}

/// Compares every fixture of `kind` with its snapshot. A fixture `{"headers": {…}, "body": …}` has headers; any other is
/// the body itself; a file that is no JSON is the body as it is.
pub(super) fn snapshots(kind: &str, descriptor: &Descriptor, config: &str) {
    let source = build(descriptor, config);
    compare(kind, |headers, body| reads(source.as_ref(), headers, body));
}

/// Compares what `reads` makes of every fixture of `kind` with its snapshot.
fn compare(kind: &str, reads: impl Fn(&HeaderMap, &[u8]) -> Value) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/intake/sources/fixtures").join(kind);
    let mut fixtures: Vec<_> = fs::read_dir(&directory)
        .expect("fixtures")
        .map(|entry| entry.expect("reads").path())
        .filter(|path| !path.to_string_lossy().ends_with(".event.json"))
        .collect();
    fixtures.sort();
    assert!(!fixtures.is_empty(), "no fixtures of {kind}");
    let mut wrong = Vec::new();
    for path in fixtures {
        let bytes = fs::read(&path).expect("reads");
        let (mut map, mut body) = (HeaderMap::new(), bytes.clone());
        if let Ok(Value::Object(fixture)) = serde_json::from_slice::<Value>(&bytes)
            && let (Some(Value::Object(given)), Some(inner)) = (fixture.get("headers"), fixture.get("body"))
            && fixture.len() == 2
        {
            map = headers(given.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))));
            body = inner.to_string().into_bytes();
        }
        let read = serde_json::to_string_pretty(&reads(&map, &body)).expect("JSON") + "\n";
        let snapshot = path.with_extension("event.json");
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            fs::write(&snapshot, read).expect("writes");
        } else if fs::read_to_string(&snapshot).ok().as_deref() != Some(read.as_str()) {
            wrong.push(path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
        }
    }
    assert!(wrong.is_empty(), "{kind}: these read otherwise than their snapshots say: {wrong:?}");
}

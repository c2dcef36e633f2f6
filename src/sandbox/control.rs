//! The control API: what came in, counters, faults. JSON in and out; a mistake gets a 400 with `{"error": "…"}`.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeSeq};
use serde_json::{json, value::RawValue};

use super::{
    Fault, FaultMode, Platform, Sandbox, json,
    ledger::{Ledger, Recorded},
    shape,
};

/// An accepted event as the control API shows it.
#[derive(Serialize)]
struct Entry<'a> {
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pixel_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_destination_id: Option<&'a str>,
    duplicate: bool,
    event: &'a RawValue,
}

fn entry(platform: Platform, recorded: &Recorded) -> Entry<'_> {
    let to = Some(&*recorded.to);
    let (pixel_id, product_destination_id) = if platform == Platform::Meta { (to, None) } else { (None, to) };
    let (at, duplicate, event) = (recorded.at.to_string(), recorded.duplicate, &*recorded.event);
    Entry { at, pixel_id, product_destination_id, duplicate, event }
}

/// The recorded events of one platform.
pub(super) fn entries(sandbox: &Sandbox, platform: Platform) -> Vec<serde_json::Value> {
    let ledger = sandbox.ledger(platform);
    let values = ledger.recorded().map(|recorded| serde_json::to_value(entry(platform, recorded)));
    values.map(|value| value.expect("an entry has string keys and a checked event")).collect()
}

/// A platform's recorded events of one id, or all of them, as a JSON list.
struct Matching<'a> {
    platform: Platform,
    ledger: Option<&'a Ledger>,
    id: Option<&'a str>,
}

impl Serialize for Matching<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        let all = self.ledger.into_iter().flat_map(Ledger::recorded);
        for recorded in all.filter(|recorded| self.id.is_none_or(|id| id == &*recorded.id)) {
            list.serialize_element(&entry(self.platform, recorded))?;
        }
        list.end()
    }
}

#[derive(Serialize)]
struct Received<'a> {
    meta: Matching<'a>,
    data_manager: Matching<'a>,
}

/// `GET /_sandbox/received?platform=&event_id=`; `event_id` is compared with the `transactionId` at Data Manager.
pub(super) async fn received(State(sandbox): State<Arc<Sandbox>>, RawQuery(query): RawQuery) -> Response {
    let (mut platform, mut id) = (None, None);
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match (&*name, &*value) {
            ("platform", "meta") => platform = Some(Platform::Meta),
            ("platform", "data_manager") => platform = Some(Platform::DataManager),
            ("event_id", _) => id = Some(value.into_owned()),
            _ => return mistake("only platform=meta, platform=data_manager and event_id=… are known"),
        }
    }
    let wanted = |of: Platform| platform.is_none_or(|only| only == of);
    let (meta, data_manager) = (sandbox.ledger(Platform::Meta), sandbox.ledger(Platform::DataManager));
    let matching = |platform: Platform, ledger| Matching {
        platform,
        ledger: wanted(platform).then_some(ledger),
        id: id.as_deref(),
    };
    let received = Received {
        meta: matching(Platform::Meta, &*meta),
        data_manager: matching(Platform::DataManager, &*data_manager),
    };
    json(StatusCode::OK, &received)
}

/// `GET /_sandbox/stats`.
pub(super) async fn stats(State(sandbox): State<Arc<Sandbox>>) -> Response {
    json(StatusCode::OK, &sandbox.stats())
}

/// A fault as the control API spells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultBody {
    platform: Platform,
    mode: FaultMode,
    #[serde(default)]
    delay_ms: u64,
    retry_after_s: Option<u64>,
    for_requests: Option<u64>,
}

/// `POST /_sandbox/faults`; answers like [`faults`].
pub(super) async fn set_fault(state: State<Arc<Sandbox>>, body: Bytes) -> Response {
    let read = str::from_utf8(&body).ok().and_then(|text| shape::read::<FaultBody>(text).ok());
    let Some(wanted) = read else {
        return mistake(
            "wants {\"platform\": meta|data_manager|oauth, \"mode\": \
             outage|throttle|slow|expired_token|partial|reset|none, delay_ms?, retry_after_s?, for_requests?}",
        );
    };
    let fault = Fault {
        mode: wanted.mode,
        delay: Duration::from_millis(wanted.delay_ms),
        retry_after: wanted.retry_after_s.map(Duration::from_secs),
        for_requests: wanted.for_requests,
    };
    state.set_fault(wanted.platform, fault);
    faults(state).await
}

/// `GET /_sandbox/faults`: the fault of every platform.
pub(super) async fn faults(State(sandbox): State<Arc<Sandbox>>) -> Response {
    let [meta, data_manager, oauth] = Platform::ALL.map(|platform| {
        let fault = sandbox.fault(platform);
        json!({
            "mode": fault.mode,
            "delay_ms": u64::try_from(fault.delay.as_millis()).unwrap_or(u64::MAX),
            "retry_after_s": fault.retry_after.map(|after| after.as_secs()),
            "for_requests": fault.for_requests,
        })
    });
    json(StatusCode::OK, &json!({"meta": meta, "data_manager": data_manager, "oauth": oauth}))
}

/// `POST /_sandbox/reset`.
pub(super) async fn reset(State(sandbox): State<Arc<Sandbox>>) -> Response {
    sandbox.reset();
    json(StatusCode::OK, &json!({}))
}

fn mistake(message: &str) -> Response {
    json(StatusCode::BAD_REQUEST, &json!({ "error": message }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::sandbox::testing::{Running, conversion, ingest, purchase};

    #[tokio::test]
    async fn what_came_in_can_be_asked_for_by_platform_and_id() {
        let running = Running::start().await;
        let token = running.token().await;
        running.post("/meta/v25.0/1/events", "t", &json!({"data": [purchase("a"), purchase("b")]})).await;
        running.post("/google/v1/events:ingest", &token, &ingest(&[conversion("b")])).await;
        let (_, all) = running.get("/_sandbox/received", "").await;
        let lengths = |of: &Value| ["meta", "data_manager"].map(|name| of[name].as_array().unwrap().len());
        assert_eq!(lengths(&all), [2, 1]);
        assert_eq!(all["meta"], json!(running.sandbox.received_meta()));
        let (_, b) = running.get("/_sandbox/received?event_id=b", "").await;
        assert_eq!(lengths(&b), [1, 1]);
        let (_, b) = running.get("/_sandbox/received?platform=meta&event_id=b", "").await;
        assert_eq!((lengths(&b), &b["meta"][0]["event"]), ([1, 0], &purchase("b")));
        assert_eq!(running.get("/_sandbox/received?platform=tiktok", "").await.0, 400);
    }

    #[tokio::test]
    async fn faults_counters_and_the_reset_are_there_over_http() {
        let running = Running::start().await;
        let fault = json!({"platform": "meta", "mode": "outage", "retry_after_s": 7, "for_requests": 1});
        let (status, faults) = running.post("/_sandbox/faults", "", &fault).await;
        assert_eq!(
            (status, &faults["meta"]["mode"], &faults["oauth"]["mode"]),
            (200, &json!("outage"), &json!("none"))
        );
        let body = json!({"data": [purchase("a")]});
        assert_eq!(running.post("/meta/v25.0/1/events", "t", &body).await.0, 503);
        assert_eq!(running.post("/meta/v25.0/1/events", "t", &body).await.0, 200);
        let (_, stats) = running.get("/_sandbox/stats", "").await;
        assert_eq!((&stats["meta"]["refused"]["outage"], &stats["meta"]["accepted"]), (&json!(1), &json!(1)));
        for wrong in [json!({"platform": "meta"}), json!({"platform": "x", "mode": "none"}), json!([])] {
            assert_eq!(running.post("/_sandbox/faults", "", &wrong).await.0, 400);
        }
        running.post("/_sandbox/reset", "", &json!({})).await;
        let (_, received) = running.get("/_sandbox/received", "").await;
        assert_eq!(received, json!({"meta": [], "data_manager": []}));
        assert_eq!(running.sandbox.stats(), super::super::Stats::default());
    }
}

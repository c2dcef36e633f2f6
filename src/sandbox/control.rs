//! The control API: what came in, counters, faults. JSON in and out; a mistake gets a 400 with `{"error": "…"}`.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
};
use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::{json, value::RawValue};

use super::{
    Fault, FaultMode, FaultRequest, Platform, Sandbox, google_ads, json,
    ledger::{Ledger, Recorded},
    shape,
};

/// An accepted event as the control API shows it.
#[derive(Serialize)]
struct Entry<'a> {
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pixel_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_destination_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion_action: Option<&'a str>,
    measurement_id: Option<&'a str>,
    duplicate: bool,
    event: &'a RawValue,
}

fn entry(platform: Platform, recorded: &Recorded) -> Entry<'_> {
    let (kind, to) = google_ads::kind_and_action(&recorded.to);
    let of = |wanted: Platform| (platform == wanted).then_some(to);
    Entry {
        at: recorded.at.to_string(),
        kind,
        pixel_id: of(Platform::Meta),
        product_destination_id: of(Platform::DataManager),
        conversion_action: of(Platform::GoogleAds),
        measurement_id: of(Platform::Ga4),
        duplicate: recorded.duplicate,
        event: &recorded.event,
    }
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
    google_ads: Matching<'a>,
    ga4: Matching<'a>,
}

/// `GET /_sandbox/received?platform=&event_id=`; `event_id` is compared with the `transactionId` at Data Manager, with the
/// `orderId` at Google Ads, and with the `transaction_id` at GA4, or the parameter `event_id` of an event that has none.
pub(super) async fn received(State(sandbox): State<Arc<Sandbox>>, RawQuery(query): RawQuery) -> Response {
    let (mut platform, mut id) = (None, None);
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match (&*name, &*value) {
            ("platform", "meta") => platform = Some(Platform::Meta),
            ("platform", "data_manager") => platform = Some(Platform::DataManager),
            ("platform", "google_ads") => platform = Some(Platform::GoogleAds),
            ("platform", "ga4") => platform = Some(Platform::Ga4),
            ("event_id", _) => id = Some(value.into_owned()),
            _ => return mistake("only platform=meta, data_manager, google_ads or ga4 and event_id=… are known"),
        }
    }
    let wanted = |of: Platform| platform.is_none_or(|only| only == of);
    let (meta, data_manager) = (sandbox.ledger(Platform::Meta), sandbox.ledger(Platform::DataManager));
    let google_ads = sandbox.ledger(Platform::GoogleAds);
    let ga4 = sandbox.ledger(Platform::Ga4);
    let matching = |platform: Platform, ledger| Matching {
        platform,
        ledger: wanted(platform).then_some(ledger),
        id: id.as_deref(),
    };
    let received = Received {
        meta: matching(Platform::Meta, &*meta),
        data_manager: matching(Platform::DataManager, &*data_manager),
        google_ads: matching(Platform::GoogleAds, &*google_ads),
        ga4: matching(Platform::Ga4, &*ga4),
    };
    json(StatusCode::OK, &received)
}

/// `GET /_sandbox/stats`.
pub(super) async fn stats(State(sandbox): State<Arc<Sandbox>>) -> Response {
    json(StatusCode::OK, &sandbox.stats())
}

/// `POST /faults`, also at `/_sandbox/faults`: a [`FaultRequest`]; answers like [`faults`].
pub(super) async fn set_fault(state: State<Arc<Sandbox>>, body: Bytes) -> Response {
    let Some(wanted) = str::from_utf8(&body).ok().and_then(|text| shape::read::<FaultRequest>(text).ok()) else {
        return mistake(
            "wants {\"platform\": meta|data_manager|google_ads|oauth|ga4, \"mode\": outage|error_rate|throttle|slow|hang|\
             expired_token|partial|poison|cut|reset|usage|none, add?, from?, for?, for_requests?, delay_ms?, \
             delay_max_ms?, retry_after_s?, share?, status?, ids?, poison_every?, percent?, minutes?}",
        );
    };
    match state.request_fault(&wanted) {
        Ok(()) => faults(state).await,
        Err(why) => mistake(&why.to_string()),
    }
}

/// A fault as the control API shows it.
#[derive(Serialize)]
struct Shown<'a> {
    mode: FaultMode,
    delay_ms: u64,
    retry_after_s: Option<u64>,
    for_requests: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_max_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ids: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    poison_every: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minutes: Option<u64>,
}

impl<'a> Shown<'a> {
    fn of(fault: &'a Fault) -> Self {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let only = |mode: FaultMode| fault.mode == mode;
        Self {
            mode: fault.mode,
            delay_ms: ms(fault.delay),
            retry_after_s: fault.retry_after.map(|after| after.as_secs()),
            for_requests: fault.for_requests,
            from: fault.begins.map(|at| at.to_string()),
            until: fault.ends.map(|at| at.to_string()),
            delay_max_ms: fault.delay_max.map(ms),
            share: only(FaultMode::ErrorRate).then(|| f64::from(fault.share_ppm) / 1e6),
            status: fault.status,
            ids: &fault.ids,
            poison_every: fault.every,
            percent: only(FaultMode::Usage).then_some(fault.percent),
            minutes: only(FaultMode::Usage).then_some(fault.minutes),
        }
    }
}

/// `GET /faults`, also at `/_sandbox/faults`: the oldest fault of every platform, and all of them in `in_force`, those
/// that are still to come included.
pub(super) async fn faults(State(sandbox): State<Arc<Sandbox>>) -> Response {
    let all = Platform::ALL.map(|platform| {
        let faults = sandbox.faults(platform);
        let mut shown = json!(Shown::of(faults.first().unwrap_or(&Fault::default())));
        shown["in_force"] = json!(faults.iter().map(Shown::of).collect::<Vec<_>>());
        (platform.as_str().to_owned(), shown)
    });
    json(StatusCode::OK, &serde_json::Map::from_iter(all))
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
        assert_eq!(received, json!({"meta": [], "data_manager": [], "google_ads": [], "ga4": []}));
        assert_eq!(running.sandbox.stats(), super::super::Stats::default());
    }
}

//! The stand-in for `uploadClickConversions` and `uploadConversionAdjustments` of the Google Ads API: rows are judged one
//! by one, and a 200 says which of them were not taken.
//!
//! It cannot know when a click was, so that it takes young ones. For it every caller is allow-listed, every action is one
//! for imports of clicks, and conversions can be adjusted as soon as they are 24 hours old.
//! Source: google-ads 34.0.0, `google/ads/googleads/v26/`, checked 2026-11-20.

mod books;
mod rules;
mod wire;

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Value, json, value::RawValue};

pub(super) use self::books::Books;
use self::{
    rules::{Adjustment, Conversion, Flaw, of_adjustment, of_upload, order_id},
    wire::{Adjustments, ClickConversion, Clicks, ConversionAdjustment, Options},
};
use super::{
    FaultMode, Platform, Sandbox,
    fault::Met,
    json,
    ledger::{Recorded, key},
    lock, oauth,
    shape::{self, Malformed, MalformedKind},
};
use crate::model::Time;

/// The versions that are served.
/// Source: developers.google.com/google-ads/api/docs/sunset-dates and google-ads 34.0.0, read 2026-11-20.
const VERSIONS: [&str; 4] = ["v23", "v24", "v25", "v26"];
/// The most rows in one request.
/// Source: google-ads 34.0.0, v26/errors/types/conversion_upload_error.py, checked 2026-11-20.
const ROWS_MAX: usize = 2000;

/// A refused request.
struct Refusal {
    status: StatusCode,
    /// The canonical code's name.
    canonical: &'static str,
    /// The enum and the code of the `GoogleAdsFailure`; `None` for what is refused before the service looks at it.
    error: Option<(&'static str, &'static str)>,
    /// For the ledger.
    reason: &'static str,
    /// For the ledger, and for a body that cannot be read.
    place: String,
    message: &'static str,
}

impl Refusal {
    const fn of(status: StatusCode, canonical: &'static str, flaw: Flaw) -> Self {
        Self {
            status,
            canonical,
            reason: flaw.code,
            place: String::new(),
            message: flaw.message,
            error: Some((flaw.kind, flaw.code)),
        }
    }

    const fn invalid(flaw: Flaw) -> Self {
        Self::of(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", flaw)
    }

    fn unreadable(reason: &'static str, place: String) -> Self {
        let (status, canonical) = (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT");
        Self { status, canonical, error: None, reason, place, message: "Invalid JSON payload received." }
    }
}

const fn flaw(kind: &'static str, code: &'static str, message: &'static str) -> Flaw {
    Flaw { kind, code, field: "", message }
}

/// `POST /google-ads/{version}/customers/{customer}:{call}`.
pub(super) async fn upload(
    State(sandbox): State<Arc<Sandbox>>,
    Path((version, call)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = sandbox.meet(Platform::GoogleAds);
    let id = format!("sandbox-{:012x}", sandbox.serial());
    let answer = check_address(&version, &call)
        .and_then(|call| admit(&sandbox, &fault, &headers).map(|()| call))
        .and_then(|call| take_in(&sandbox, &fault, call, &body, &id));
    let mut response = match answer {
        Ok(body) => json(StatusCode::OK, &body),
        Err(refusal) => {
            sandbox.ledger(Platform::GoogleAds).refuse(sandbox.now(), refusal.reason, &refusal.place);
            refused(&refusal, &fault, &id)
        }
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("request-id", id);
    }
    fault.apply(response).await
}

/// One of the two calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Clicks,
    Adjustments,
}

impl Call {
    /// The list in its body, as errors call it.
    const fn list(self) -> &'static str {
        match self {
            Self::Clicks => "conversions",
            Self::Adjustments => "conversion_adjustments",
        }
    }

    /// The word for its rows among what came in.
    const fn word(self) -> &'static str {
        match self {
            Self::Clicks => "click",
            Self::Adjustments => "adjustment",
        }
    }
}

fn check_address(version: &str, call: &str) -> Result<Call, Refusal> {
    if !VERSIONS.contains(&version) {
        let unsupported = flaw("requestError", "UNSUPPORTED_VERSION", "Version is deprecated or does not exist.");
        return Err(Refusal::invalid(unsupported));
    }
    let (customer, call) = call.split_once(':').unwrap_or((call, ""));
    if !shape::is_digits(customer) {
        return Err(Refusal::invalid(flaw("requestError", "INVALID_CUSTOMER_ID", "Invalid customer ID.")));
    }
    match call {
        "uploadClickConversions" => Ok(Call::Clicks),
        "uploadConversionAdjustments" => Ok(Call::Adjustments),
        _ => Err(Refusal { status: StatusCode::NOT_FOUND, ..Refusal::unreadable("unknown_call", String::new()) }),
    }
}

/// The faults that stop a request before it is looked at, the access token, and the manager.
fn admit(sandbox: &Sandbox, fault: &Met, headers: &HeaderMap) -> Result<(), Refusal> {
    let token = oauth::bearer(headers);
    match fault.mode {
        FaultMode::Outage => {
            let transient = flaw("internalError", "TRANSIENT_ERROR", "The service is currently unavailable.");
            let refusal = Refusal::of(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", transient);
            return Err(Refusal { reason: "outage", ..refusal });
        }
        FaultMode::Throttle => {
            let quota = flaw("quotaError", "RESOURCE_TEMPORARILY_EXHAUSTED", "Too many requests. Retry later.");
            let refusal = Refusal::of(StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", quota);
            return Err(Refusal { reason: "throttle", ..refusal });
        }
        FaultMode::ExpiredToken => lock(&sandbox.tokens).revoke(token.unwrap_or_default()),
        FaultMode::ErrorRate => {
            let internal = flaw("internalError", "INTERNAL_ERROR", "An internal error has occurred.");
            return Err(Refusal { reason: "error_rate", ..Refusal::of(fault.status(), "INTERNAL", internal) });
        }
        _ => {}
    }
    if !token.is_some_and(|token| lock(&sandbox.tokens).is_good(token, sandbox.now())) {
        let code = if token.is_some() { "OAUTH_TOKEN_INVALID" } else { "AUTHENTICATION_ERROR" };
        let message = "Request had invalid authentication credentials.";
        let flaw = flaw("authenticationError", code, message);
        return Err(Refusal::of(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", flaw));
    }
    let login = headers.get("login-customer-id").map(HeaderValue::to_str);
    if login.is_some_and(|login| !login.is_ok_and(shape::is_digits)) {
        let message = "The login customer ID is not digits.";
        return Err(Refusal::invalid(flaw("headerError", "INVALID_LOGIN_CUSTOMER_ID", message)));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !content_type.starts_with("application/json") {
        return Err(Refusal::unreadable("content_type", String::new()));
    }
    Ok(())
}

/// A row that is good by itself.
enum Good {
    Conversion(Conversion),
    Adjustment(Adjustment),
}

/// A row, judged.
struct Row<'a> {
    raw: &'a RawValue,
    order_id: Arc<str>,
    /// What is told of it if it is taken.
    result: Value,
    judged: Result<Good, Flaw>,
}

/// Takes in the rows that are good, and tells of the others.
fn take_in(sandbox: &Sandbox, fault: &Met, call: Call, body: &[u8], id: &str) -> Result<Value, Refusal> {
    let text = str::from_utf8(body).map_err(|_| Refusal::unreadable("malformed", String::new()))?;
    let unreadable = |wrong: Malformed| Refusal::unreadable(reason_of(&wrong), wrong.field());
    let (rows, options) = match call {
        Call::Clicks => shape::read::<Clicks<'_>>(text).map(|body| (body.options(), body.conversions)),
        Call::Adjustments => {
            shape::read::<Adjustments<'_>>(text).map(|body| (body.options(), body.conversion_adjustments))
        }
    }
    .map(|(options, rows)| (rows, options))
    .map_err(unreadable)?;
    check_request(call, rows.len(), options)?;
    let now = sandbox.now();
    let mut rows = rows
        .into_iter()
        .enumerate()
        .map(|(index, raw)| {
            judge(call, raw, now).map_err(|wrong| {
                let place = format!("{}[{index}].{}", call.list(), wrong.field());
                Refusal::unreadable(reason_of(&wrong), place)
            })
        })
        .collect::<Result<Vec<Row<'_>>, Refusal>>()?;
    mark_twins(&mut rows);
    let sent = rows.len();
    for (index, row) in rows.iter_mut().enumerate() {
        if fault.poisons(&[&row.order_id], row.raw.get()) {
            let of = match call {
                Call::Clicks => of_upload,
                Call::Adjustments => of_adjustment,
            };
            row.judged = Err(of("INVALID_USER_IDENTIFIER", "", "This row is refused on demand."));
        } else if fault.drops(&[&row.order_id], index + 1 == sent) {
            row.judged = Err(flaw("internalError", "INTERNAL_ERROR", "An internal error has occurred."));
        }
    }
    let flaws = settle(sandbox, call, &mut rows, options.validate_only);
    let mut answer = json!({});
    if !options.validate_only {
        let failed = |index: usize| flaws.iter().any(|(of, _)| *of == index);
        let results = rows.iter_mut().enumerate();
        let results = results.map(|(index, row)| if failed(index) { json!({}) } else { row.result.take() });
        answer["results"] = results.collect();
        answer["jobId"] = json!(options.job_id.map_or(i64::from(i32::MAX) + 1, i64::from).to_string());
    }
    if !flaws.is_empty() {
        let errors: Vec<Value> =
            flaws.iter().map(|(index, flaw)| error_of(flaw, Some((call, *index)), fault)).collect();
        let message = "Some rows were not taken; see the details.";
        answer["partialFailureError"] = json!({"code": 3, "message": message, "details": [failure(&errors, id)]});
    }
    Ok(answer)
}

fn check_request(call: Call, rows: usize, options: Options) -> Result<(), Refusal> {
    let of = |code, message| match call {
        Call::Clicks => of_upload(code, "", message),
        Call::Adjustments => of_adjustment(code, "", message),
    };
    if !options.partial_failure {
        let message = "The partial_failure mode must be set to true.";
        let required = flaw("partialFailureError", "PARTIAL_FAILURE_MODE_REQUIRED", message);
        return Err(Refusal::invalid(required));
    }
    if rows == 0 {
        return Err(Refusal::invalid(flaw("fieldError", "REQUIRED", "The required field was not present.")));
    }
    if rows > ROWS_MAX {
        let code = match call {
            Call::Clicks => "TOO_MANY_CONVERSIONS_IN_REQUEST",
            Call::Adjustments => "TOO_MANY_ADJUSTMENTS_IN_REQUEST",
        };
        return Err(Refusal::invalid(of(code, "more than 2000 rows")));
    }
    if options.job_id.is_some_and(|id| id < 1) {
        return Err(Refusal::invalid(of("INVALID_JOB_ID", "the job id must be in [1, 2^31)")));
    }
    Ok(())
}

fn judge(call: Call, raw: &RawValue, now: Time) -> Result<Row<'_>, Malformed> {
    let mut result = json!({});
    let mut tell = |fields: &[(&str, Option<&str>)]| {
        for (name, value) in fields {
            if let Some(value) = value {
                result[*name] = json!(value);
            }
        }
    };
    let (order_id, judged) = match call {
        Call::Clicks => {
            let row: ClickConversion<'_> = shape::read(raw.get())?;
            tell(&[
                ("gclid", row.gclid.as_deref()),
                ("gbraid", row.gbraid.as_deref()),
                ("wbraid", row.wbraid.as_deref()),
                ("conversionAction", row.conversion_action.as_deref()),
                ("conversionDateTime", row.conversion_date_time.as_deref()),
            ]);
            (Arc::from(order_id(&row.order_id)), row.check(now).map(Good::Conversion))
        }
        Call::Adjustments => {
            let row: ConversionAdjustment<'_> = shape::read(raw.get())?;
            tell(&[
                ("orderId", row.order_id.as_deref()),
                ("conversionAction", row.conversion_action.as_deref()),
                ("adjustmentDateTime", row.adjustment_date_time.as_deref()),
            ]);
            (Arc::from(order_id(&row.order_id)), row.check().map(Good::Adjustment))
        }
    };
    Ok(Row { raw, order_id, result, judged })
}

/// Of rows that say the same none is taken.
fn mark_twins(rows: &mut [Row<'_>]) {
    let same_order =
        of_upload("DUPLICATE_ORDER_ID", "order_id", "several conversions of the request have the same order id");
    let same_click =
        of_upload("DUPLICATE_CLICK_CONVERSION_IN_REQUEST", "", "several conversions of the request are the same");
    let same_adjustment =
        of_adjustment("DUPLICATE_ADJUSTMENT_IN_REQUEST", "", "several adjustments of the request are the same");
    let marks = |row: &Row<'_>| match &row.judged {
        Ok(Good::Conversion(it)) => [it.order.map(|key| (key, same_order)), it.click.map(|key| (key, same_click))],
        Ok(Good::Adjustment(it)) => [Some((key((it.conversion, it.at.as_ms())), same_adjustment)), None],
        Err(_) => [None, None],
    };
    let mut counts = HashMap::<u64, u32>::new();
    for (mark, _) in rows.iter().flat_map(marks).flatten() {
        *counts.entry(mark).or_default() += 1;
    }
    for row in rows {
        let twin = marks(row).into_iter().flatten().find(|(mark, _)| counts.get(mark).is_some_and(|count| *count > 1));
        if let Some((_, flaw)) = twin {
            row.judged = Err(flaw);
        }
    }
}

/// Takes what is good, unless it is only validated, and returns what is wrong with the other rows.
fn settle(sandbox: &Sandbox, call: Call, rows: &mut [Row<'_>], validate_only: bool) -> Vec<(usize, Flaw)> {
    let now = sandbox.now();
    let mut books = lock(&sandbox.ads);
    let mut ledger = sandbox.ledger(Platform::GoogleAds);
    let mut flaws = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let (checked, action) = match &row.judged {
            Ok(Good::Conversion(it)) => (books.check_conversion(it), it.action.as_str()),
            Ok(Good::Adjustment(it)) => (books.check_adjustment(it, now), it.action.as_str()),
            Err(flaw) => (Err(*flaw), ""),
        };
        if let Err(flaw) = checked {
            flaws.push((index, flaw));
            if !validate_only && !is_there_already(flaw.code) {
                *ledger.stats.failed_afterwards.entry(flaw.code).or_default() += 1;
            }
        }
        if validate_only || checked.is_err_and(|flaw| !is_there_already(flaw.code)) {
            continue;
        }
        let dedupe = match &row.judged {
            Ok(Good::Conversion(it)) => {
                if checked.is_ok() {
                    books.take_conversion(it, sandbox.config.ids_max);
                }
                books.serial_of(it).map(key)
            }
            Ok(Good::Adjustment(it)) => {
                if checked.is_ok() {
                    books.take_adjustment(it);
                }
                Some(key((it.conversion, it.at.as_ms())))
            }
            Err(_) => None,
        };
        let (to, id) = (Arc::from(format!("{}:{action}", call.word())), Arc::clone(&row.order_id));
        let event = Arc::<RawValue>::from(row.raw.to_owned());
        ledger.accept(dedupe, Recorded { at: now, to, id, event, duplicate: false }, &sandbox.config);
    }
    flaws
}

/// Whether Google has the row itself, not only another about the same conversion.
fn is_there_already(code: &str) -> bool {
    ["ORDER_ID_ALREADY_IN_USE", "CLICK_CONVERSION_ALREADY_EXISTS", "RESTATEMENT_ALREADY_EXISTS"].contains(&code)
}

/// The kind and the conversion action of what is recorded.
pub(super) fn kind_and_action(to: &str) -> (Option<&str>, &str) {
    to.split_once(':').map_or((None, to), |(kind, action)| (Some(kind), action))
}

fn reason_of(wrong: &Malformed) -> &'static str {
    match wrong.kind {
        MalformedKind::UnknownField(_) => "unknown_field",
        MalformedKind::MissingField(_) => "missing_field",
        MalformedKind::Syntax | MalformedKind::UnknownValue | MalformedKind::WrongType => "malformed",
    }
}

/// An error of a `GoogleAdsFailure`, about a row or about the request.
fn error_of(flaw: &Flaw, row: Option<(Call, usize)>, fault: &Met) -> Value {
    let mut error = json!({"errorCode": {flaw.kind: flaw.code}, "message": flaw.message});
    if let Some((call, index)) = row {
        let mut path = vec![json!({"fieldName": call.list(), "index": index})];
        if !flaw.field.is_empty() {
            path.push(json!({"fieldName": flaw.field}));
        }
        error["location"] = json!({ "fieldPathElements": path });
    }
    if let Some(after) = fault.retry_after.filter(|_| flaw.kind == "quotaError") {
        let quota = json!({"rateScope": "ACCOUNT", "rateName": "Requests per day", "retryDelay": format!("{}s", after.as_secs())});
        error["details"] = json!({ "quotaErrorDetails": quota });
    }
    error
}

fn failure(errors: &[Value], id: &str) -> Value {
    let kind = "type.googleapis.com/google.ads.googleads.v26.errors.GoogleAdsFailure";
    json!({"@type": kind, "errors": errors, "requestId": id})
}

/// The error answer.
/// Source: google-ads 34.0.0, v26/errors/types/errors.py, checked 2026-11-20.
fn refused(refusal: &Refusal, fault: &Met, id: &str) -> Response {
    let details = match refusal.error {
        Some((kind, code)) => vec![failure(&[error_of(&flaw(kind, code, refusal.message), None, fault)], id)],
        None if refusal.place.is_empty() => Vec::new(),
        None => {
            let violation = json!({"field": refusal.place, "description": refusal.message});
            vec![json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})]
        }
    };
    let (code, message, status) = (refusal.status.as_u16(), refusal.message, refusal.canonical);
    json(refusal.status, &json!({"error": {"code": code, "message": message, "status": status, "details": details}}))
}

#[cfg(test)]
mod tests;

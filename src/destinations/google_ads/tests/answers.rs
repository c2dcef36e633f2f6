//! What each answer of Google's means.

use serde_json::{Value, json};

use super::*;
use crate::destinations::google_ads::codes::{self, Class};

const UPLOAD: &str = "conversionUploadError";
const ADJUSTMENT: &str = "conversionAdjustmentUploadError";

fn response(status: u16, body: &Value) -> Response {
    Response::Http { status, retry_after: None, headers: Vec::new(), body: Bytes::from(body.to_string()) }
}

fn interpret(batch: &[SealedEvent], status: u16, body: &Value) -> Vec<Verdict> {
    google().interpret(batch, &response(status, body))
}

/// The verdicts for so many purchases.
fn verdicts(events: usize, status: u16, body: &Value) -> Vec<Verdict> {
    interpret(&vec![full(); events], status, body)
}

/// An error of a row as Google writes it, or of the whole request.
fn fault(kind: &str, code: &str, row: Option<usize>) -> Value {
    let path = row.map(|row| json!([{ "fieldName": "conversions", "index": row }, { "fieldName": "order_id" }]));
    json!({ "errorCode": { kind: code }, "message": "Not good.", "location": { "fieldPathElements": path.unwrap_or(json!([])) } })
}

fn details(faults: &[Value]) -> Value {
    json!([{
        "@type": "type.googleapis.com/google.ads.googleads.v26.errors.GoogleAdsFailure",
        "errors": faults,
        "requestId": "in-the-body",
    }])
}

/// A 200 for so many rows; those with a fault of their own have an empty result.
fn partial(rows: usize, faults: &[Value]) -> Value {
    let failed =
        |row: usize| faults.iter().any(|fault| fault["location"]["fieldPathElements"][0]["index"] == json!(row));
    let result = |row| if failed(row) { json!({}) } else { json!({ "gclid": "c", "conversionAction": "a" }) };
    let results: Vec<Value> = (0..rows).map(result).collect();
    let error = json!({ "code": 3, "message": "Multiple errors.", "details": details(faults) });
    json!({ "results": results, "partialFailureError": error, "jobId": "2147483648" })
}

fn error(status: &str, faults: &[Value]) -> Value {
    json!({ "error": { "code": 400, "message": "Not good.", "status": status, "details": details(faults) } })
}

fn failed(code: &str, row: usize) -> Failure {
    let field = Some(format!("conversions[{row}].order_id"));
    Failure { code: code.into(), field, message: "Not good.".into() }
}

fn kinds(verdicts: &[Verdict]) -> Vec<&'static str> {
    let kind = |verdict: &Verdict| match verdict {
        Verdict::Delivered => "delivered",
        Verdict::Retry { .. } => "retry",
        Verdict::Blocked(_) => "blocked",
        Verdict::Rejected(_) => "rejected",
        Verdict::Misconfigured(_) => "misconfigured",
        Verdict::Isolate(_) => "isolate",
        Verdict::Resend => "resend",
    };
    verdicts.iter().map(kind).collect()
}

fn hours(verdict: &Verdict) -> Option<u64> {
    match verdict {
        Verdict::Retry { after, .. } => after.map(|after| after.as_secs() / 3600),
        _ => None,
    }
}

/// Every value of the two enums as the reference lists them by class.
const UPLOAD_CODES: &[(&str, &str)] = &[
    ("retry", "TOO_RECENT_EVENT TOO_RECENT_CALL TOO_RECENT_CONVERSION_ACTION UNSPECIFIED UNKNOWN"),
    ("delivered", "CLICK_CONVERSION_ALREADY_EXISTS CALL_CONVERSION_ALREADY_EXISTS ORDER_ID_ALREADY_IN_USE"),
    (
        "isolate",
        "DUPLICATE_CLICK_CONVERSION_IN_REQUEST DUPLICATE_CALL_CONVERSION_IN_REQUEST DUPLICATE_ORDER_ID \
         TOO_MANY_CONVERSIONS_IN_REQUEST INVALID_JOB_ID",
    ),
    (
        "rejected",
        "CLICK_NOT_FOUND EVENT_NOT_FOUND CALL_NOT_FOUND EXPIRED_EVENT EXPIRED_CALL CONVERSION_PRECEDES_EVENT \
         CONVERSION_PRECEDES_CALL CONVERSION_TRACKING_NOT_ENABLED_AT_IMPRESSION_TIME \
         CONVERSION_TRACKING_NOT_ENABLED_AT_CALL_TIME UNPARSEABLE_GCLID UNPARSEABLE_GBRAID UNPARSEABLE_WBRAID \
         UNPARSEABLE_CALLERS_PHONE_NUMBER GBRAID_WBRAID_BOTH_SET INVALID_USER_IDENTIFIER UNSUPPORTED_USER_IDENTIFIER \
         ORDER_ID_CONTAINS_PII CUSTOM_VARIABLE_VALUE_CONTAINS_PII CONVERSION_NOT_COMPLIANT_WITH_ATT_POLICY",
    ),
    (
        "misconfigured",
        "UNAUTHORIZED_CUSTOMER INVALID_CUSTOMER_FOR_CLICK INVALID_CUSTOMER_FOR_CALL \
         ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID \
         EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION_NOT_PERMITTED_WITH_USER_IDENTIFIER",
    ),
    (
        "blocked",
        "NO_CONVERSION_ACTION_FOUND INVALID_CONVERSION_ACTION_TYPE CUSTOM_VARIABLE_NOT_ENABLED \
         CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS CUSTOMER_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS \
         CUSTOMER_DATA_POLICY_PROHIBITS_ENHANCED_CONVERSIONS \
         EXTERNAL_ATTRIBUTION_DATA_SET_FOR_NON_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION \
         EXTERNAL_ATTRIBUTION_DATA_NOT_SET_FOR_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION \
         ORDER_ID_NOT_PERMITTED_FOR_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION",
    ),
];

const ADJUSTMENT_CODES: &[(&str, &str)] = &[
    ("retry", "TOO_RECENT_CONVERSION TOO_RECENT_CONVERSION_ACTION CONVERSION_NOT_FOUND UNSPECIFIED UNKNOWN"),
    (
        "delivered",
        "CONVERSION_ALREADY_RETRACTED CONVERSION_ALREADY_ENHANCED RESTATEMENT_ALREADY_EXISTS \
         MORE_RECENT_RESTATEMENT_FOUND",
    ),
    (
        "isolate",
        "DUPLICATE_ADJUSTMENT_IN_REQUEST DUPLICATE_ENHANCEMENT_IN_REQUEST TOO_MANY_ADJUSTMENTS_IN_REQUEST \
         INVALID_JOB_ID",
    ),
    (
        "rejected",
        "CONVERSION_EXPIRED ADJUSTMENT_PRECEDES_CONVERSION TOO_MANY_ADJUSTMENTS INVALID_USER_IDENTIFIER \
         UNSUPPORTED_USER_IDENTIFIER GCLID_DATE_TIME_PAIR_AND_ORDER_ID_BOTH_SET MISSING_ORDER_ID_FOR_WEBPAGE \
         ORDER_ID_CONTAINS_PII CONVERSION_ACTION_NOT_ELIGIBLE_FOR_ENHANCEMENT",
    ),
    ("misconfigured", "CANNOT_RESTATE_CONVERSION_ACTION_THAT_ALWAYS_USES_DEFAULT_CONVERSION_VALUE"),
    (
        "blocked",
        "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS CUSTOMER_DATA_POLICY_PROHIBITS_ENHANCEMENT \
         NO_CONVERSION_ACTION_FOUND INVALID_CONVERSION_ACTION_TYPE",
    ),
];

#[test]
fn every_code_of_both_enums_has_its_verdict() {
    let known_change = change_of("refund", full(), money("0", "USD"));
    let google = build_with(TABLE, &[("purchase", "987654321"), ("refund", "adjust")]);
    for (kind, classes, event) in [(UPLOAD, UPLOAD_CODES, full()), (ADJUSTMENT, ADJUSTMENT_CODES, known_change)] {
        let mut told = 0;
        for (expected, listed) in classes {
            for code in listed.split(' ') {
                let answer = partial(2, &[fault(kind, code, Some(0)), fault(kind, code, Some(1))]);
                let verdicts = google.interpret(&[event.clone(), event.clone()], &response(200, &answer));
                assert_eq!(kinds(&verdicts), [*expected; 2], "{code}");
                told += 1;
            }
        }
        let (_, table) = codes::TABLE.iter().find(|(known, _)| *known == kind).expect("the enum");
        assert_eq!(table.len(), told, "{kind}: the table has what the reference has and no more");
    }
}

#[test]
fn what_is_too_early_is_tried_again_when_google_takes_it() {
    for (kind, code, wait) in [
        (UPLOAD, "TOO_RECENT_EVENT", 6),
        (UPLOAD, "TOO_RECENT_CONVERSION_ACTION", 6),
        (ADJUSTMENT, "TOO_RECENT_CONVERSION", 24),
        (ADJUSTMENT, "TOO_RECENT_CONVERSION_ACTION", 6),
        (ADJUSTMENT, "CONVERSION_NOT_FOUND", 6),
    ] {
        let event = if kind == UPLOAD { full() } else { change_of("refund", full(), money("0", "USD")) };
        let verdicts = interpret(&[event], 200, &partial(1, &[fault(kind, code, Some(0))]));
        assert_eq!(hours(&verdicts[0]), Some(wait), "{code}");
    }
    let strange =
        interpret(&[change("refund")], 200, &partial(1, &[fault(ADJUSTMENT, "CONVERSION_NOT_FOUND", Some(0))]));
    assert_eq!(kinds(&strange), ["rejected"], "no conversion of ours can be on its way");
}

#[test]
fn a_conversion_that_was_taken_back_can_have_no_new_value() {
    let answer = partial(1, &[fault(ADJUSTMENT, "CONVERSION_ALREADY_RETRACTED", Some(0))]);
    let verdict = |event| kinds(&interpret(&[event], 200, &answer));
    assert_eq!(verdict(change_of("restatement", full(), money("20", "USD"))), ["rejected"], "its value is lost");
    assert_eq!(verdict(change_of("restatement", full(), money("0", "USD"))), ["delivered"]);
    assert_eq!(verdict(change_of("refund", full(), money("20", "USD"))), ["delivered"], "more than that is taken back");
    assert_eq!(verdict(change("refund")), ["delivered"]);
}

#[test]
fn rows_are_settled_one_by_one() {
    let answer = partial(4, &[fault(UPLOAD, "CLICK_NOT_FOUND", Some(1)), fault(UPLOAD, "TOO_RECENT_EVENT", Some(2))]);
    let verdicts = verdicts(4, 200, &answer);
    assert_eq!(kinds(&verdicts), ["delivered", "rejected", "retry", "delivered"]);
    assert_eq!(verdicts[1], Verdict::Rejected(failed("CLICK_NOT_FOUND", 1)));
}

#[test]
fn what_was_not_in_the_request_goes_in_the_next() {
    let answer = partial(2, &[fault(UPLOAD, "CLICK_NOT_FOUND", Some(1))]);
    let verdicts = interpret(&[full(), change("refund"), full()], 200, &answer);
    assert_eq!(kinds(&verdicts), ["delivered", "resend", "rejected"]);
}

#[test]
fn only_what_google_confirms_is_delivered() {
    let row = json!({ "conversionAction": "a" });
    assert_eq!(kinds(&verdicts(2, 200, &json!({ "results": [row, {}] }))), ["delivered", "retry"]);
    assert_eq!(kinds(&verdicts(2, 200, &json!({ "results": [row] }))), ["delivered", "retry"]);
    assert_eq!(kinds(&verdicts(2, 200, &json!({}))), ["retry"; 2]);
    let hidden =
        json!({ "results": [{}, row], "partialFailureError": { "code": 3, "details": ["?", { "@type": 5 }] } });
    assert_eq!(kinds(&verdicts(2, 200, &hidden)), ["retry", "delivered"]);
    let html = Response::Http { status: 200, retry_after: None, headers: Vec::new(), body: Bytes::from("<html>") };
    assert_eq!(kinds(&google().interpret(&[full()], &html)), ["retry"]);
    assert_eq!(kinds(&google().interpret(&[full()], &Response::Written)), ["retry"]);
}

#[test]
fn an_error_without_an_index_is_about_the_request_unless_it_has_one_row() {
    let nameless = |rows| {
        let error = json!({ "details": details(&[fault(UPLOAD, "CLICK_NOT_FOUND", None)]) });
        json!({ "results": vec![json!({}); rows], "partialFailureError": error })
    };
    assert_eq!(kinds(&verdicts(1, 200, &nameless(1))), ["rejected"]);
    assert_eq!(kinds(&verdicts(3, 200, &nameless(3))), ["isolate"; 3]);
    let mut half = nameless(2);
    half["results"][0] = json!({ "gclid": "c" });
    assert_eq!(kinds(&verdicts(2, 200, &half)), ["delivered", "isolate"]);
    let outside = partial(2, &[fault(UPLOAD, "CLICK_NOT_FOUND", Some(7))]);
    assert_eq!(kinds(&verdicts(2, 200, &outside)), ["delivered"; 2]);
    let mut unconfirmed = outside;
    unconfirmed["results"] = json!([{}, {}]);
    assert_eq!(kinds(&verdicts(2, 200, &unconfirmed)), ["isolate"; 2], "a row that was not sent");
}

#[test]
fn of_several_errors_of_a_row_the_most_final_counts() {
    for (codes, expected) in [
        (["TOO_RECENT_EVENT", "CLICK_NOT_FOUND"], "rejected"),
        (["CLICK_NOT_FOUND", "TOO_RECENT_EVENT"], "rejected"),
        (["NO_CONVERSION_ACTION_FOUND", "UNPARSEABLE_GCLID"], "rejected"),
        (["UNAUTHORIZED_CUSTOMER", "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS"], "misconfigured"),
        (["A_CODE_OF_TOMORROW", "TOO_RECENT_EVENT"], "retry"),
        (["ORDER_ID_ALREADY_IN_USE", "EXPIRED_EVENT"], "delivered"),
    ] {
        let answer = partial(1, &codes.map(|code| fault(UPLOAD, code, Some(0))));
        assert_eq!(kinds(&verdicts(1, 200, &answer)), [expected], "{codes:?}");
    }
}

#[test]
fn a_wrong_action_does_not_stop_the_others() {
    let answer = partial(2, &[fault(UPLOAD, "NO_CONVERSION_ACTION_FOUND", Some(0))]);
    assert_eq!(kinds(&verdicts(2, 200, &answer)), ["misconfigured", "delivered"]);
    let alone = partial(1, &[fault(UPLOAD, "NO_CONVERSION_ACTION_FOUND", Some(0))]);
    assert_eq!(
        kinds(&verdicts(1, 200, &alone)),
        ["misconfigured"],
        "a probe that is refused for ever stops the others"
    );
    let change = change_of("restatement", full(), money("20", "USD"));
    let of_change = partial(1, &[fault(ADJUSTMENT, "NO_CONVERSION_ACTION_FOUND", Some(0))]);
    assert_eq!(kinds(&interpret(&[change], 200, &of_change)), ["misconfigured"]);
    let refused = error("INVALID_ARGUMENT", &[fault(UPLOAD, "NO_CONVERSION_ACTION_FOUND", Some(0))]);
    assert_eq!(kinds(&verdicts(2, 400, &refused)), ["misconfigured", "resend"]);
    let both = [full(), SealedEvent { name: name("sign_up"), ..full() }];
    let codes = [0, 1].map(|row| fault(UPLOAD, "NO_CONVERSION_ACTION_FOUND", Some(row)));
    assert_eq!(kinds(&interpret(&both, 200, &partial(2, &codes))), ["blocked"; 2], "nothing works");
    let only = build_with(TABLE, &[("purchase", "987654321"), ("refund", "adjust")]);
    assert_eq!(kinds(&only.interpret(&[full()], &response(200, &alone))), ["blocked"], "there is no other");
    let account = partial(2, &[fault(UPLOAD, "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS", Some(0))]);
    assert_eq!(kinds(&verdicts(2, 200, &account)), ["blocked", "delivered"]);
}

#[test]
fn unknown_codes_are_tried_again_and_field_errors_are_final() {
    for (kind, code, expected) in [
        (UPLOAD, "A_CODE_OF_TOMORROW", "retry"),
        ("errorOfTomorrow", "ANYTHING", "retry"),
        ("internalError", "TRANSIENT_ERROR", "retry"),
        ("internalError", "A_CODE_OF_TOMORROW", "retry"),
        ("databaseError", "CONCURRENT_MODIFICATION", "retry"),
        ("databaseError", "REQUEST_TOO_LARGE", "isolate"),
        ("quotaError", "RESOURCE_EXHAUSTED", "retry"),
        ("quotaError", "ACCESS_PROHIBITED", "blocked"),
        ("countryCodeError", "INVALID_COUNTRY_CODE", "misconfigured"),
        ("languageCodeError", "INVALID_LANGUAGE_CODE", "misconfigured"),
        ("dateError", "INVALID_STRING_DATE_TIME_SECONDS_WITH_OFFSET", "rejected"),
        ("fieldError", "VALUE_MUST_BE_UNSET", "rejected"),
        ("stringLengthError", "TOO_SHORT", "rejected"),
        ("currencyCodeError", "UNSUPPORTED", "rejected"),
        ("notAllowlistedError", "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE", "blocked"),
    ] {
        let answer = partial(2, &[fault(kind, code, Some(0))]);
        assert_eq!(kinds(&verdicts(2, 200, &answer)), [expected, "delivered"], "{kind} {code}");
    }
    let mut hidden = fault("internalError", "ERROR_CODE_NOT_PUBLISHED", Some(0));
    hidden["details"] = json!({ "unpublishedErrorCode": "ConversionUploadError.NEW_ONE" });
    let verdicts = verdicts(1, 200, &partial(1, &[hidden]));
    let [Verdict::Retry { failure, .. }] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    assert_eq!(failure.code, "ConversionUploadError.NEW_ONE");
    assert_eq!(codes::class("", ""), Class::Unknown);
}

#[test]
fn refused_requests_are_read_too() {
    for (status, kind, code, expected) in [
        (401, "authenticationError", "OAUTH_TOKEN_EXPIRED", "blocked"),
        (403, "authorizationError", "USER_PERMISSION_DENIED", "blocked"),
        (403, "quotaError", "RESOURCE_EXHAUSTED", "retry"),
        (400, "requestError", "UNSUPPORTED_VERSION", "blocked"),
        (400, "partialFailureError", "PARTIAL_FAILURE_MODE_REQUIRED", "isolate"),
        (400, UPLOAD, "TOO_MANY_CONVERSIONS_IN_REQUEST", "isolate"),
        (400, "errorOfTomorrow", "ANYTHING", "retry"),
        (404, "errorOfTomorrow", "ANYTHING", "blocked"),
        (500, "internalError", "INTERNAL_ERROR", "retry"),
        (503, "fieldError", "REQUIRED", "retry"),
        (413, "fieldError", "REQUIRED", "isolate"),
    ] {
        let answer = error("INVALID_ARGUMENT", &[fault(kind, code, None)]);
        assert_eq!(kinds(&verdicts(2, status, &answer)), [expected; 2], "{status} {code}");
    }
    let named = error("INVALID_ARGUMENT", &[fault("fieldError", "REQUIRED", Some(1))]);
    assert_eq!(kinds(&verdicts(3, 400, &named)), ["resend", "rejected", "resend"]);
    let json = json!({ "error": { "code": 400, "status": "INVALID_ARGUMENT", "message": "Unknown name." } });
    assert_eq!(kinds(&verdicts(2, 400, &json)), ["isolate"; 2]);
    assert_eq!(kinds(&verdicts(1, 400, &json)), ["rejected"]);
    for (status, expected) in
        [(401, "blocked"), (403, "blocked"), (404, "blocked"), (413, "isolate"), (429, "retry"), (302, "retry")]
    {
        assert_eq!(kinds(&verdicts(2, status, &json!("<html>"))), [expected; 2], "{status}");
    }
}

#[test]
fn the_wait_that_google_asks_for_is_kept() {
    let mut quota = fault("quotaError", "RESOURCE_EXHAUSTED", None);
    quota["details"] =
        json!({ "quotaErrorDetails": { "rateScope": "ACCOUNT", "rateName": "x", "retryDelay": "7200s" } });
    let answer = error("RESOURCE_EXHAUSTED", &[quota]);
    assert_eq!(hours(&verdicts(1, 429, &answer)[0]), Some(2));
    let header = Response::Http {
        status: 429,
        retry_after: Some(Duration::from_secs(3600)),
        headers: Vec::new(),
        body: Bytes::new(),
    };
    assert_eq!(hours(&google().interpret(&[full()], &header)[0]), Some(1));
}

#[test]
fn who_is_not_allow_listed_is_told_what_to_use() {
    let answer =
        error("PERMISSION_DENIED", &[fault("notAllowlistedError", "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE", None)]);
    let verdicts = verdicts(1, 403, &answer);
    let [Verdict::Blocked(failure)] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    assert!(failure.message.contains("kind = \"data_manager\""), "{failure:?}");
}

#[test]
fn nothing_personal_is_kept_of_an_answer() {
    let mut personal = fault("fieldError", "INVALID_VALUE", Some(0));
    personal["message"] = json!("bad value 'ada@example.com'");
    personal["trigger"] = json!({ "stringValue": "ada@example.com" });
    let verdicts = verdicts(1, 200, &partial(1, &[personal]));
    assert!(matches!(verdicts[0], Verdict::Rejected(_)));
    assert!(!format!("{verdicts:?}").contains("ada"), "{verdicts:?}");
}

#[test]
fn the_request_id_is_that_of_the_header_else_that_of_the_error() {
    let trace = |headers, body: &Value| {
        let body = Bytes::from(body.to_string());
        google().trace_id(&Response::Http { status: 200, retry_after: None, headers, body })
    };
    let header = |id: &str| vec![("request-id", id.to_owned())];
    assert_eq!(trace(header("A-b_1"), &json!({})).as_deref(), Some("A-b_1"));
    assert_eq!(trace(Vec::new(), &error("X", &[])).as_deref(), Some("in-the-body"));
    assert_eq!(trace(header("no id"), &json!({})), None);
    assert_eq!(trace(Vec::new(), &json!({})), None);
    assert_eq!(google().trace_id(&Response::Written), None);
}

#[test]
fn a_rehearsal_tells_what_to_put_right() {
    let read = |status, body: &Value| (google().rehearsals(&full())[0].read)(&response(status, body));
    assert!(read(200, &json!({})).is_ok());
    let of_rows = |codes: &[&str]| {
        let faults: Vec<Value> = codes.iter().enumerate().map(|(row, code)| fault(UPLOAD, code, Some(row))).collect();
        json!({ "partialFailureError": { "details": details(&faults) } })
    };
    assert!(read(200, &of_rows(&["CLICK_NOT_FOUND"])).is_ok_and(|text| text.contains("CLICK_NOT_FOUND")));
    let wrong = read(200, &of_rows(&["CLICK_NOT_FOUND", "NO_CONVERSION_ACTION_FOUND"])).expect_err("is wrong");
    assert!(wrong.contains("conversions[1]") && wrong.contains("correct the id in events"), "{wrong}");
    let denied = error("PERMISSION_DENIED", &[fault("authorizationError", "USER_PERMISSION_DENIED", None)]);
    assert!(read(403, &denied).is_err_and(|text| text.contains("login_customer_id")));
    assert!(read(502, &json!("<html>")).is_err());
}

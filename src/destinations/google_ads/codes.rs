//! Google's error codes, and what each means for a row.
//!
//! `conversionUploadError` and `conversionAdjustmentUploadError` are complete; of the other enums those codes are here
//! that an upload can meet. A code that is not known is tried again: it may be newer than this table.
//! Source: google-ads 34.0.0, `google/ads/googleads/v26/errors/types/`; for the enums that any call can answer with also
//! googleapis/googleapis, `google/ads/googleads/v20/errors/`; read 2026-11-20. The classes are ours.

use std::time::Duration;

/// What a code means for the row, or the request, that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Not known: to be tried again.
    Unknown,
    /// Google is busy.
    Busy,
    /// Too early: to be tried again after this.
    Later(Duration),
    /// The conversion to adjust is not there: to be tried again if it is one of ours, which may still be on its way.
    NotFound,
    /// Something about the batch: what is in it has to go apart.
    Apart,
    /// The account is not set up: no row would be taken.
    Account,
    /// The conversion action is not set up: no row for it would be taken.
    Action,
    /// Not acceptable with our settings, though others are.
    Row,
    /// Never acceptable.
    Final,
    /// Google has it already.
    Taken,
}

impl Class {
    /// The more final class of two errors of one row has the larger number. What Google has already is delivered, whatever
    /// else it says.
    pub(super) fn finality(self) -> u8 {
        match self {
            Self::Unknown | Self::Busy => 0,
            Self::Later(_) => 1,
            Self::NotFound => 2,
            Self::Apart => 3,
            Self::Account => 4,
            Self::Action => 5,
            Self::Row => 6,
            Self::Final => 7,
            Self::Taken => 8,
        }
    }
}

const HOURS_6: Class = Class::Later(Duration::from_secs(6 * 60 * 60));
const HOURS_24: Class = Class::Later(Duration::from_secs(24 * 60 * 60));

/// Stands for every code of an enum that has no line of its own.
const ANY: &str = "*";

/// The enum's key in `errorCode`, its codes, and what they mean.
pub(super) static TABLE: &[(&str, &[(&str, Class)])] = &[
    (
        "conversionUploadError",
        &[
            ("UNSPECIFIED", Class::Unknown),
            ("UNKNOWN", Class::Unknown),
            ("TOO_RECENT_EVENT", HOURS_6),
            ("TOO_RECENT_CALL", HOURS_6),
            ("TOO_RECENT_CONVERSION_ACTION", HOURS_6),
            ("CLICK_CONVERSION_ALREADY_EXISTS", Class::Taken),
            ("CALL_CONVERSION_ALREADY_EXISTS", Class::Taken),
            ("ORDER_ID_ALREADY_IN_USE", Class::Taken),
            ("DUPLICATE_CLICK_CONVERSION_IN_REQUEST", Class::Apart),
            ("DUPLICATE_CALL_CONVERSION_IN_REQUEST", Class::Apart),
            ("DUPLICATE_ORDER_ID", Class::Apart),
            ("TOO_MANY_CONVERSIONS_IN_REQUEST", Class::Apart),
            ("INVALID_JOB_ID", Class::Apart),
            ("CLICK_NOT_FOUND", Class::Final),
            ("EVENT_NOT_FOUND", Class::Final),
            ("CALL_NOT_FOUND", Class::Final),
            ("EXPIRED_EVENT", Class::Final),
            ("EXPIRED_CALL", Class::Final),
            ("CONVERSION_PRECEDES_EVENT", Class::Final),
            ("CONVERSION_PRECEDES_CALL", Class::Final),
            ("CONVERSION_TRACKING_NOT_ENABLED_AT_IMPRESSION_TIME", Class::Final),
            ("CONVERSION_TRACKING_NOT_ENABLED_AT_CALL_TIME", Class::Final),
            ("UNPARSEABLE_GCLID", Class::Final),
            ("UNPARSEABLE_GBRAID", Class::Final),
            ("UNPARSEABLE_WBRAID", Class::Final),
            ("UNPARSEABLE_CALLERS_PHONE_NUMBER", Class::Final),
            ("GBRAID_WBRAID_BOTH_SET", Class::Final),
            ("INVALID_USER_IDENTIFIER", Class::Final),
            ("UNSUPPORTED_USER_IDENTIFIER", Class::Final),
            ("ORDER_ID_CONTAINS_PII", Class::Final),
            ("CUSTOM_VARIABLE_VALUE_CONTAINS_PII", Class::Final),
            ("CONVERSION_NOT_COMPLIANT_WITH_ATT_POLICY", Class::Final),
            ("UNAUTHORIZED_CUSTOMER", Class::Row),
            ("INVALID_CUSTOMER_FOR_CLICK", Class::Row),
            ("INVALID_CUSTOMER_FOR_CALL", Class::Row),
            ("ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID", Class::Row),
            ("EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION_NOT_PERMITTED_WITH_USER_IDENTIFIER", Class::Row),
            ("NO_CONVERSION_ACTION_FOUND", Class::Action),
            ("INVALID_CONVERSION_ACTION_TYPE", Class::Action),
            ("CUSTOM_VARIABLE_NOT_ENABLED", Class::Action),
            ("EXTERNAL_ATTRIBUTION_DATA_SET_FOR_NON_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION", Class::Action),
            ("EXTERNAL_ATTRIBUTION_DATA_NOT_SET_FOR_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION", Class::Action),
            ("ORDER_ID_NOT_PERMITTED_FOR_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION", Class::Action),
            ("CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS", Class::Account),
            ("CUSTOMER_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS", Class::Account),
            ("CUSTOMER_DATA_POLICY_PROHIBITS_ENHANCED_CONVERSIONS", Class::Account),
        ],
    ),
    (
        "conversionAdjustmentUploadError",
        &[
            ("UNSPECIFIED", Class::Unknown),
            ("UNKNOWN", Class::Unknown),
            ("TOO_RECENT_CONVERSION", HOURS_24),
            ("TOO_RECENT_CONVERSION_ACTION", HOURS_6),
            ("CONVERSION_NOT_FOUND", Class::NotFound),
            ("CONVERSION_ALREADY_RETRACTED", Class::Taken),
            ("CONVERSION_ALREADY_ENHANCED", Class::Taken),
            ("RESTATEMENT_ALREADY_EXISTS", Class::Taken),
            ("MORE_RECENT_RESTATEMENT_FOUND", Class::Taken),
            ("DUPLICATE_ADJUSTMENT_IN_REQUEST", Class::Apart),
            ("DUPLICATE_ENHANCEMENT_IN_REQUEST", Class::Apart),
            ("TOO_MANY_ADJUSTMENTS_IN_REQUEST", Class::Apart),
            ("INVALID_JOB_ID", Class::Apart),
            ("CONVERSION_EXPIRED", Class::Final),
            ("ADJUSTMENT_PRECEDES_CONVERSION", Class::Final),
            ("TOO_MANY_ADJUSTMENTS", Class::Final),
            ("INVALID_USER_IDENTIFIER", Class::Final),
            ("UNSUPPORTED_USER_IDENTIFIER", Class::Final),
            ("GCLID_DATE_TIME_PAIR_AND_ORDER_ID_BOTH_SET", Class::Final),
            ("MISSING_ORDER_ID_FOR_WEBPAGE", Class::Final),
            ("ORDER_ID_CONTAINS_PII", Class::Final),
            ("CONVERSION_ACTION_NOT_ELIGIBLE_FOR_ENHANCEMENT", Class::Final),
            ("CANNOT_RESTATE_CONVERSION_ACTION_THAT_ALWAYS_USES_DEFAULT_CONVERSION_VALUE", Class::Row),
            ("NO_CONVERSION_ACTION_FOUND", Class::Action),
            ("INVALID_CONVERSION_ACTION_TYPE", Class::Action),
            ("CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS", Class::Account),
            ("CUSTOMER_DATA_POLICY_PROHIBITS_ENHANCEMENT", Class::Account),
        ],
    ),
    ("authenticationError", &[(ANY, Class::Account)]),
    ("authorizationError", &[(ANY, Class::Account)]),
    ("notAllowlistedError", &[(ANY, Class::Account)]),
    ("headerError", &[(ANY, Class::Account)]),
    ("operationAccessDeniedError", &[(ANY, Class::Account)]),
    ("resourceAccessDeniedError", &[(ANY, Class::Account)]),
    ("quotaError", &[("ACCESS_PROHIBITED", Class::Account), (ANY, Class::Busy)]),
    ("databaseError", &[("REQUEST_TOO_LARGE", Class::Apart), (ANY, Class::Busy)]),
    (
        "internalError",
        &[
            ("INTERNAL_ERROR", Class::Busy),
            ("TRANSIENT_ERROR", Class::Busy),
            ("DEADLINE_EXCEEDED", Class::Busy),
            ("ERROR_CODE_NOT_PUBLISHED", Class::Unknown),
        ],
    ),
    (
        "requestError",
        &[
            ("INVALID_CUSTOMER_ID", Class::Account),
            ("UNSUPPORTED_VERSION", Class::Account),
            ("CLOUD_PROJECT_NOT_FOUND", Class::Account),
            ("LOGIN_CUSTOMER_ID_PARAMETER_MISSING", Class::Account),
            ("DEVELOPER_TOKEN_PARAMETER_MISSING", Class::Account),
            ("CANNOT_BE_EXECUTED_BY_MANAGER_ACCOUNT", Class::Account),
            ("RPC_DEADLINE_TOO_SHORT", Class::Busy),
            ("TOO_MANY_MUTATE_OPERATIONS", Class::Apart),
            ("UNSPECIFIED", Class::Unknown),
            ("UNKNOWN", Class::Unknown),
            (ANY, Class::Final),
        ],
    ),
    ("sizeLimitError", &[(ANY, Class::Apart)]),
    ("partialFailureError", &[(ANY, Class::Final)]),
    ("collectionSizeError", &[(ANY, Class::Final)]),
    // Country and language are those of the configured feed.
    ("countryCodeError", &[(ANY, Class::Row)]),
    ("currencyCodeError", &[(ANY, Class::Final)]),
    ("dateError", &[(ANY, Class::Final)]),
    ("distinctError", &[(ANY, Class::Final)]),
    ("enumError", &[(ANY, Class::Final)]),
    ("fieldError", &[(ANY, Class::Final)]),
    ("idError", &[(ANY, Class::Final)]),
    ("languageCodeError", &[(ANY, Class::Row)]),
    ("notEmptyError", &[(ANY, Class::Final)]),
    ("nullError", &[(ANY, Class::Final)]),
    ("rangeError", &[(ANY, Class::Final)]),
    ("stringFormatError", &[(ANY, Class::Final)]),
    ("stringLengthError", &[(ANY, Class::Final)]),
];

/// What code `code` of enum `kind` means.
pub(super) fn class(kind: &str, code: &str) -> Class {
    let codes = TABLE.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, codes)| *codes);
    let line = |wanted: &str| codes.iter().find(|(known, _)| *known == wanted).map(|(_, class)| *class);
    line(code).or_else(|| line(ANY)).unwrap_or(Class::Unknown)
}

/// What the operator can do about a code.
pub(super) fn advice(code: &str) -> Option<&'static str> {
    let advice = match code {
        "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE" => {
            "Google has closed this upload to accounts that did not use it before 2026-06-15: configure the destination \
             with kind = \"data_manager\" instead"
        }
        "NO_CONVERSION_ACTION_FOUND" => {
            "correct the id in events; customer_id has to be the account that owns the conversion action"
        }
        "INVALID_CONVERSION_ACTION_TYPE" => {
            "the conversion action in events has to be one for imports of clicks (UPLOAD_CLICKS)"
        }
        "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS" => "accept the customer data terms in Google Ads, Goals, Settings",
        "CUSTOMER_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS" => {
            "turn on enhanced conversions for leads in Google Ads, Goals, Settings"
        }
        "USER_PERMISSION_DENIED" | "INVALID_LOGIN_CUSTOMER_ID_SERVING_CUSTOMER_ID_COMBINATION" => {
            "give the credentials' user access to customer_id, or set login_customer_id to the manager it has access by"
        }
        "CLOUD_PROJECT_NOT_APPROVED_FOR_PRODUCTION" | "PROJECT_DISABLED" => {
            "the Google Cloud project of the credentials needs access to the Google Ads API"
        }
        "CUSTOMER_NOT_ENABLED" => "the account customer_id is not active",
        "MISSING_TOS" => "accept the terms of the Google Ads API",
        "UNSUPPORTED_VERSION" => "set api_version to a version that Google still serves",
        "INVALID_CUSTOMER_ID" => "correct customer_id",
        "OAUTH_TOKEN_REVOKED" | "OAUTH_TOKEN_DISABLED" | "OAUTH_TOKEN_INVALID" => {
            "make new credentials with the scope https://www.googleapis.com/auth/adwords"
        }
        _ => return None,
    };
    Some(advice)
}

/// Whether a code is about what no invented conversion can have: a real click, the right moment.
pub(super) fn is_about_the_sample(code: &str) -> bool {
    const ABOUT_IT: [&str; 12] = [
        "CLICK_NOT_FOUND",
        "EVENT_NOT_FOUND",
        "UNPARSEABLE_GCLID",
        "UNPARSEABLE_GBRAID",
        "UNPARSEABLE_WBRAID",
        "TOO_RECENT_EVENT",
        "EXPIRED_EVENT",
        "CONVERSION_PRECEDES_EVENT",
        "UNAUTHORIZED_CUSTOMER",
        "INVALID_CUSTOMER_FOR_CLICK",
        "ORDER_ID_ALREADY_IN_USE",
        "CLICK_CONVERSION_ALREADY_EXISTS",
    ];
    ABOUT_IT.contains(&code)
}

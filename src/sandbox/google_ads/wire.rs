//! The requests as Google documents them: camelCase names, and nothing but the documented fields.
//! Source: google-ads 34.0.0, `google/ads/googleads/v26/services/types/conversion_upload_service.py`,
//! `conversion_adjustment_upload_service.py` and `common/types/`, checked 2026-11-20.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::sandbox::shape::{Digits, Text};

/// What the bodies of both calls have next to their list.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub(super) partial_failure: bool,
    pub(super) validate_only: bool,
    pub(super) job_id: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Clicks<'a> {
    #[serde(borrow, default)]
    pub(super) conversions: Vec<&'a RawValue>,
    #[serde(default)]
    partial_failure: bool,
    #[serde(default)]
    validate_only: bool,
    job_id: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Adjustments<'a> {
    #[serde(borrow, default)]
    pub(super) conversion_adjustments: Vec<&'a RawValue>,
    #[serde(default)]
    partial_failure: bool,
    #[serde(default)]
    validate_only: bool,
    job_id: Option<i32>,
}

impl Clicks<'_> {
    pub(super) const fn options(&self) -> Options {
        let Self { partial_failure, validate_only, job_id, .. } = *self;
        Options { partial_failure, validate_only, job_id }
    }
}

impl Adjustments<'_> {
    pub(super) const fn options(&self) -> Options {
        let Self { partial_failure, validate_only, job_id, .. } = *self;
        Options { partial_failure, validate_only, job_id }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "some are read for their types only")]
pub(super) struct ClickConversion<'a> {
    #[serde(borrow)]
    pub(super) gclid: Option<Text<'a>>,
    pub(super) gbraid: Option<Text<'a>>,
    pub(super) wbraid: Option<Text<'a>>,
    pub(super) conversion_action: Option<Text<'a>>,
    pub(super) conversion_date_time: Option<Text<'a>>,
    pub(super) conversion_value: Option<f64>,
    pub(super) currency_code: Option<Text<'a>>,
    pub(super) order_id: Option<Text<'a>>,
    #[serde(default)]
    pub(super) user_identifiers: Vec<UserIdentifier<'a>>,
    pub(super) consent: Option<Consent>,
    pub(super) conversion_environment: Option<ConversionEnvironment>,
    pub(super) customer_type: Option<CustomerType>,
    pub(super) cart_data: Option<CartData<'a>>,
    #[serde(default)]
    pub(super) custom_variables: Vec<CustomVariable<'a>>,
    pub(super) external_attribution_data: Option<IgnoredAny>,
    pub(super) user_ip_address: Option<Text<'a>>,
    pub(super) session_attributes_encoded: Option<Text<'a>>,
    pub(super) session_attributes_key_value_pairs: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "some are read for their types only")]
pub(super) struct UserIdentifier<'a> {
    pub(super) user_identifier_source: Option<UserIdentifierSource>,
    #[serde(borrow)]
    pub(super) hashed_email: Option<Text<'a>>,
    pub(super) hashed_phone_number: Option<Text<'a>>,
    pub(super) mobile_id: Option<Text<'a>>,
    pub(super) third_party_user_id: Option<Text<'a>>,
    pub(super) address_info: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum UserIdentifierSource {
    FirstParty,
    ThirdParty,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "some are read for their types only")]
pub(super) struct Consent {
    pub(super) ad_user_data: Option<ConsentStatus>,
    pub(super) ad_personalization: Option<ConsentStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ConsentStatus {
    Granted,
    Denied,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ConversionEnvironment {
    App,
    Web,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum CustomerType {
    New,
    Returning,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "some are read for their types only")]
pub(super) struct CartData<'a> {
    pub(super) merchant_id: Option<Digits>,
    #[serde(borrow)]
    pub(super) feed_country_code: Option<Text<'a>>,
    pub(super) feed_language_code: Option<Text<'a>>,
    pub(super) local_transaction_cost: Option<f64>,
    #[serde(default)]
    pub(super) items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "some are read for their types only")]
pub(super) struct Item<'a> {
    #[serde(borrow)]
    pub(super) product_id: Option<Text<'a>>,
    pub(super) quantity: Option<i32>,
    pub(super) unit_price: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types only")]
pub(super) struct CustomVariable<'a> {
    #[serde(borrow)]
    pub(super) conversion_custom_variable: Option<Text<'a>>,
    pub(super) value: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConversionAdjustment<'a> {
    pub(super) adjustment_type: Option<AdjustmentType>,
    #[serde(borrow)]
    pub(super) conversion_action: Option<Text<'a>>,
    pub(super) order_id: Option<Text<'a>>,
    pub(super) gclid_date_time_pair: Option<GclidDateTimePair<'a>>,
    pub(super) adjustment_date_time: Option<Text<'a>>,
    pub(super) restatement_value: Option<RestatementValue<'a>>,
    #[serde(default)]
    pub(super) user_identifiers: Vec<UserIdentifier<'a>>,
    pub(super) user_agent: Option<Text<'a>>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum AdjustmentType {
    Retraction,
    Restatement,
    Enhancement,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GclidDateTimePair<'a> {
    #[serde(borrow)]
    pub(super) gclid: Option<Text<'a>>,
    pub(super) conversion_date_time: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RestatementValue<'a> {
    pub(super) adjusted_value: Option<f64>,
    #[serde(borrow)]
    pub(super) currency_code: Option<Text<'a>>,
}

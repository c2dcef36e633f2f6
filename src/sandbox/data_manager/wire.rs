//! The request as Data Manager documents it: camelCase names, and nothing but the documented fields.
//! Source: google-ads-datamanager 0.9.4, `google/ads/datamanager_v1/types/`, checked 2026-11-20.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::sandbox::shape::{Digits, Text};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "some are read for their types only")]
pub(super) struct Request<'a> {
    #[serde(borrow, default)]
    pub(super) destinations: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) events: Vec<&'a RawValue>,
    pub(super) consent: Option<Consent>,
    pub(super) encoding: Option<Encoding>,
    pub(super) encryption_info: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) validate_only: bool,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Encoding {
    Hex,
    Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Destination<'a> {
    #[serde(borrow)]
    pub(super) reference: Option<Text<'a>>,
    pub(super) operating_account: Option<Account<'a>>,
    pub(super) login_account: Option<Account<'a>>,
    pub(super) linked_account: Option<Account<'a>>,
    pub(super) product_destination_id: Option<Text<'a>>,
}

/// `product`, the deprecated spelling of `accountType`, is refused: nobody has to write it any more.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Account<'a> {
    pub(super) account_type: Option<AccountType>,
    #[serde(borrow)]
    pub(super) account_id: Option<Text<'a>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum AccountType {
    GoogleAds,
    DisplayVideoPartner,
    DisplayVideoAdvertiser,
    DataPartner,
    GoogleAnalyticsProperty,
    GoogleAdManagerAudienceLink,
    FloodlightConfig,
    GoogleAdManager,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "some are read for their types only")]
pub(super) struct Event<'a> {
    #[serde(borrow)]
    pub(super) event_timestamp: Option<Text<'a>>,
    pub(super) last_updated_timestamp: Option<Text<'a>>,
    pub(super) transaction_id: Option<Text<'a>>,
    pub(super) event_source: Option<EventSource>,
    pub(super) ad_identifiers: Option<AdIdentifiers<'a>>,
    pub(super) user_data: Option<UserData<'a>>,
    pub(super) consent: Option<Consent>,
    pub(super) conversion_value: Option<f64>,
    pub(super) conversion_count: Option<f64>,
    pub(super) currency: Option<Text<'a>>,
    pub(super) cart_data: Option<CartData<'a>>,
    #[serde(default)]
    pub(super) custom_variables: Vec<CustomVariable<'a>>,
    pub(super) user_properties: Option<UserProperties<'a>>,
    pub(super) event_name: Option<Text<'a>>,
    pub(super) client_id: Option<Text<'a>>,
    pub(super) app_instance_id: Option<Text<'a>>,
    pub(super) user_id: Option<Text<'a>>,
    #[serde(default)]
    pub(super) additional_event_parameters: Vec<Parameter<'a>>,
    pub(super) event_location: Option<EventLocation<'a>>,
    pub(super) event_device_info: Option<DeviceInfo<'a>>,
    #[serde(default)]
    pub(super) destination_references: Vec<Text<'a>>,
    pub(super) third_party_user_data: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) experimental_fields: Vec<ExperimentalField<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum EventSource {
    Web,
    App,
    InStore,
    Phone,
    Message,
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its spelling only")]
pub(super) struct Consent {
    pub(super) ad_user_data: Option<ConsentStatus>,
    pub(super) ad_personalization: Option<ConsentStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ConsentStatus {
    ConsentGranted,
    ConsentDenied,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AdIdentifiers<'a> {
    #[serde(borrow)]
    pub(super) gclid: Option<Text<'a>>,
    pub(super) gbraid: Option<Text<'a>>,
    pub(super) wbraid: Option<Text<'a>>,
    pub(super) dclid: Option<Text<'a>>,
    pub(super) impression_id: Option<Text<'a>>,
    pub(super) match_id: Option<Text<'a>>,
    pub(super) mobile_device_id: Option<Text<'a>>,
    pub(super) session_attributes: Option<Text<'a>>,
    pub(super) landing_page_device_info: Option<DeviceInfo<'a>>,
    #[serde(default)]
    pub(super) encrypted_user_ids: Vec<IgnoredAny>,
    pub(super) ppid: Option<Text<'a>>,
    pub(super) visitor_ppid: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "most are read for their types only")]
pub(super) struct DeviceInfo<'a> {
    #[serde(borrow)]
    pub(super) user_agent: Option<Text<'a>>,
    pub(super) ip_address: Option<Text<'a>>,
    pub(super) category: Option<Text<'a>>,
    pub(super) language_code: Option<Text<'a>>,
    pub(super) screen_height: Option<i32>,
    pub(super) screen_width: Option<i32>,
    pub(super) operating_system: Option<Text<'a>>,
    pub(super) operating_system_version: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) brand: Option<Text<'a>>,
    pub(super) browser: Option<Text<'a>>,
    pub(super) browser_version: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UserData<'a> {
    #[serde(borrow, default)]
    pub(super) user_identifiers: Vec<UserIdentifier<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UserIdentifier<'a> {
    #[serde(borrow)]
    pub(super) email_address: Option<Text<'a>>,
    pub(super) phone_number: Option<Text<'a>>,
    pub(super) address: Option<Address<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "some are read for their types only")]
pub(super) struct Address<'a> {
    #[serde(borrow)]
    pub(super) given_name: Option<Text<'a>>,
    pub(super) family_name: Option<Text<'a>>,
    pub(super) region_code: Option<Text<'a>>,
    pub(super) postal_code: Option<Text<'a>>,
    pub(super) address_line: Option<Text<'a>>,
    pub(super) city: Option<Text<'a>>,
    pub(super) administrative_area: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "some are read for their types only")]
pub(super) struct CartData<'a> {
    #[serde(borrow)]
    pub(super) merchant_id: Option<Text<'a>>,
    pub(super) merchant_feed_label: Option<Text<'a>>,
    pub(super) merchant_feed_language_code: Option<Text<'a>>,
    pub(super) transaction_discount: Option<f64>,
    #[serde(default)]
    pub(super) items: Vec<Item<'a>>,
    #[serde(default)]
    pub(super) coupon_codes: Vec<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types only")]
pub(super) struct Item<'a> {
    #[serde(borrow)]
    pub(super) merchant_product_id: Option<Text<'a>>,
    pub(super) quantity: Option<Digits>,
    pub(super) unit_price: Option<f64>,
    pub(super) item_id: Option<Text<'a>>,
    #[serde(default)]
    pub(super) additional_item_parameters: Vec<Parameter<'a>>,
    pub(super) merchant_id: Option<Text<'a>>,
    pub(super) merchant_feed_label: Option<Text<'a>>,
    pub(super) merchant_feed_language_code: Option<Text<'a>>,
    pub(super) conversion_value: Option<f64>,
    #[serde(default)]
    pub(super) custom_variables: Vec<CustomVariable<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types only")]
pub(super) struct Parameter<'a> {
    #[serde(borrow)]
    pub(super) parameter_name: Text<'a>,
    pub(super) value: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types only")]
pub(super) struct CustomVariable<'a> {
    #[serde(borrow)]
    pub(super) variable: Text<'a>,
    pub(super) value: Text<'a>,
    #[serde(default)]
    pub(super) destination_references: Vec<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types only")]
pub(super) struct UserProperties<'a> {
    pub(super) customer_type: Option<CustomerType>,
    pub(super) customer_value_bucket: Option<CustomerValueBucket>,
    #[serde(borrow, default)]
    pub(super) additional_user_properties: Vec<UserProperty<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum CustomerType {
    New,
    Returning,
    Reengaged,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum CustomerValueBucket {
    Low,
    Medium,
    High,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types only")]
pub(super) struct UserProperty<'a> {
    #[serde(borrow)]
    pub(super) property_name: Text<'a>,
    pub(super) value: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types only")]
pub(super) struct EventLocation<'a> {
    #[serde(borrow)]
    pub(super) store_id: Option<Text<'a>>,
    pub(super) city: Option<Text<'a>>,
    pub(super) subdivision_code: Option<Text<'a>>,
    pub(super) region_code: Option<Text<'a>>,
    pub(super) subcontinent_code: Option<Text<'a>>,
    pub(super) continent_code: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types only")]
pub(super) struct ExperimentalField<'a> {
    #[serde(borrow)]
    pub(super) field: Text<'a>,
    pub(super) value: Text<'a>,
}

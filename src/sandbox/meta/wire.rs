//! One event as Meta documents it: nothing but the documented fields, each of its documented type.
//! Source: conversions-api/parameters/server-event, …/customer-information-parameters, …/custom-data (copies of
//! 2026-09-12), and facebook-business 26.0.3 `adobjects/serverside/`, checked 2026-11-20.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use crate::sandbox::shape::{Digits, Text, Texts};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some are read for their types only")]
pub(super) struct Event<'a> {
    #[serde(borrow)]
    pub(super) event_name: Text<'a>,
    pub(super) event_time: i64,
    pub(super) user_data: UserData<'a>,
    pub(super) action_source: ActionSource,
    pub(super) event_source_url: Option<Text<'a>>,
    pub(super) event_id: Option<Text<'a>>,
    pub(super) opt_out: Option<bool>,
    pub(super) data_processing_options: Option<Vec<Text<'a>>>,
    pub(super) data_processing_options_country: Option<u32>,
    pub(super) data_processing_options_state: Option<u32>,
    pub(super) referrer_url: Option<Text<'a>>,
    pub(super) custom_data: Option<CustomData<'a>>,
    pub(super) app_data: Option<AppData<'a>>,
    pub(super) original_event_data: Option<OriginalEvent<'a>>,
    pub(super) attribution_data: Option<BTreeMap<String, IgnoredAny>>,
    pub(super) messaging_channel: Option<MessagingChannel>,
    pub(super) customer_segmentation: Option<CustomerSegmentation>,
    pub(super) store_data: Option<StoreData<'a>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum ActionSource {
    Email,
    Website,
    App,
    PhoneCall,
    Chat,
    PhysicalStore,
    SystemGenerated,
    BusinessMessaging,
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MessagingChannel {
    Whatsapp,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CustomerSegmentation {
    NewCustomerToBusiness,
    NewCustomerToBusinessLine,
    NewCustomerToProductArea,
    NewCustomerToMedium,
    ExistingCustomerToBusiness,
    ExistingCustomerToBusinessLine,
    ExistingCustomerToProductArea,
    ExistingCustomerToMedium,
    CustomerInLoyaltyProgram,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserData<'a> {
    #[serde(borrow)]
    pub(super) em: Option<Texts<'a>>,
    pub(super) ph: Option<Texts<'a>>,
    pub(super) r#fn: Option<Texts<'a>>,
    pub(super) ln: Option<Texts<'a>>,
    pub(super) db: Option<Texts<'a>>,
    pub(super) ge: Option<Texts<'a>>,
    pub(super) ct: Option<Texts<'a>>,
    pub(super) st: Option<Texts<'a>>,
    pub(super) zp: Option<Texts<'a>>,
    pub(super) country: Option<Texts<'a>>,
    pub(super) f5first: Option<Texts<'a>>,
    pub(super) f5last: Option<Texts<'a>>,
    pub(super) fi: Option<Texts<'a>>,
    pub(super) dobd: Option<Texts<'a>>,
    pub(super) dobm: Option<Texts<'a>>,
    pub(super) doby: Option<Texts<'a>>,
    pub(super) external_id: Option<Texts<'a>>,
    pub(super) client_ip_address: Option<Text<'a>>,
    pub(super) client_user_agent: Option<Text<'a>>,
    pub(super) fbc: Option<Text<'a>>,
    pub(super) fbp: Option<Text<'a>>,
    pub(super) subscription_id: Option<Text<'a>>,
    pub(super) fb_login_id: Option<Digits>,
    pub(super) lead_id: Option<Digits>,
    pub(super) anon_id: Option<Text<'a>>,
    pub(super) madid: Option<Text<'a>>,
    pub(super) page_id: Option<Text<'a>>,
    pub(super) page_scoped_user_id: Option<Text<'a>>,
    pub(super) ctwa_clid: Option<Text<'a>>,
    pub(super) ig_account_id: Option<Text<'a>>,
    pub(super) ig_sid: Option<Text<'a>>,
    pub(super) partner_id: Option<Text<'a>>,
    pub(super) partner_name: Option<Text<'a>>,
}

/// Any other key is a custom property.
#[derive(Deserialize)]
#[expect(dead_code, reason = "most are read for their types only")]
pub(super) struct CustomData<'a> {
    pub(super) value: Option<f64>,
    #[serde(borrow)]
    pub(super) currency: Option<Text<'a>>,
    pub(super) content_ids: Option<Vec<Text<'a>>>,
    pub(super) contents: Option<Vec<Content<'a>>>,
    pub(super) content_type: Option<ContentType>,
    pub(super) content_name: Option<Text<'a>>,
    pub(super) content_category: Option<Text<'a>>,
    pub(super) order_id: Option<Text<'a>>,
    pub(super) num_items: Option<u64>,
    pub(super) search_string: Option<Text<'a>>,
    pub(super) predicted_ltv: Option<f64>,
    pub(super) net_revenue: Option<f64>,
    pub(super) item_number: Option<Text<'a>>,
    pub(super) delivery_category: Option<DeliveryCategory>,
    pub(super) lead_event_source: Option<Text<'a>>,
    pub(super) event_source: Option<Text<'a>>,
    pub(super) customer_segmentation: Option<CustomerSegmentation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types only")]
pub(super) struct Content<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    pub(super) quantity: Option<u64>,
    pub(super) item_price: Option<f64>,
    pub(super) title: Option<Text<'a>>,
    pub(super) description: Option<Text<'a>>,
    pub(super) brand: Option<Text<'a>>,
    pub(super) category: Option<Text<'a>>,
    pub(super) delivery_category: Option<DeliveryCategory>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ContentType {
    Product,
    ProductGroup,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeliveryCategory {
    InStore,
    Curbside,
    HomeDelivery,
}

/// Its other keys are not checked: the relay sends none.
#[derive(Deserialize)]
pub(super) struct AppData<'a> {
    #[serde(borrow)]
    pub(super) extinfo: Vec<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types only")]
pub(super) struct OriginalEvent<'a> {
    #[serde(borrow)]
    pub(super) event_name: Option<Text<'a>>,
    pub(super) event_time: Option<i64>,
    pub(super) order_id: Option<Text<'a>>,
    pub(super) event_id: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types only")]
pub(super) struct StoreData<'a> {
    #[serde(borrow)]
    pub(super) store_page_id: Option<Text<'a>>,
    pub(super) brand_page_id: Option<Text<'a>>,
    pub(super) store_code: Option<Text<'a>>,
}

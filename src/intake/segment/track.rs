//! Tracks: which of our events they are, and what they are worth.

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::{
    Config,
    message::{self, Message, amount},
};
use crate::{
    intake::{
        Draft,
        sources::{Worth, json::said as text},
    },
    model::{ActionSource, Digest, EventName, Item},
    privacy::scrub::{self, Posted},
    web::Problem,
};

/// The names of Segment's spec that have one of ours, as [`folded`] writes them: e-commerce v2, the v1 names that it keeps
/// as aliases, and B2B SaaS.
const EVENTS: [(&str, &str); 33] = [
    ("order_completed", "purchase"),
    ("completed_order", "purchase"),
    ("order_refunded", "refund"),
    ("refunded_order", "refund"),
    ("product_added", "add_to_cart"),
    ("added_product", "add_to_cart"),
    ("wishlist_product_added_to_cart", "add_to_cart"),
    ("product_removed", "remove_from_cart"),
    ("removed_product", "remove_from_cart"),
    ("product_added_to_wishlist", "add_to_wishlist"),
    ("cart_viewed", "view_cart"),
    ("viewed_cart", "view_cart"),
    ("checkout_started", "begin_checkout"),
    ("started_order", "begin_checkout"),
    ("payment_info_entered", "add_payment_info"),
    ("entered_payment_info", "add_payment_info"),
    ("product_viewed", "view_item"),
    ("viewed_product", "view_item"),
    ("product_clicked", "select_item"),
    ("clicked_product", "select_item"),
    ("product_list_viewed", "view_item_list"),
    ("viewed_product_category", "view_item_list"),
    ("products_searched", "search"),
    ("promotion_viewed", "view_promotion"),
    ("viewed_promotion", "view_promotion"),
    ("promotion_clicked", "select_promotion"),
    ("clicked_promotion", "select_promotion"),
    ("product_shared", "share"),
    ("cart_shared", "share"),
    ("signed_up", "sign_up"),
    ("account_created", "sign_up"),
    ("signed_in", "login"),
    ("lead_generated", "generate_lead"),
];

/// Properties that have a field of their own.
const FIELDS: [&str; 7] = ["order_id", "orderId", "transaction_id", "value", "currency", "products", "action_source"];
/// Properties of a product that is not in a list.
const OF_PRODUCT: [&str; 5] = ["product_id", "sku", "name", "price", "quantity"];
/// Properties that are read as contact details.
const OF_PERSON: [&str; 10] = [
    "email",
    "phone",
    "firstName",
    "first_name",
    "firstname",
    "lastName",
    "last_name",
    "lastname",
    "address",
    "username",
];
/// Properties that are, if the track is about a person; else they may be of a product or a place.
const OF_PERSON_ONLY: [&str; 4] = ["name", "gender", "birthday", "street"];
/// What a track is to us.
pub(super) enum Read {
    /// An event, and what it is known by next to its transaction.
    Event(Box<Draft>, Option<String>),
    /// Nothing that has a name of ours: its topic, and why.
    Ignored(String, &'static str),
}

/// Reads a track; `draft` is what the fields that all calls share tell.
///
/// # Errors
/// If it has no name, or an amount is no number.
pub(super) fn read(message: &Message<'_>, mut draft: Draft, config: &Config) -> Result<Read, Problem> {
    let Some(given) = message.text("/event") else {
        return Err(Problem::invalid("/event", "event: is missing; a track says what happened"));
    };
    let properties = message.at("/properties").unwrap_or(&Value::Null);
    let folded = folded(&given);
    let known = EVENTS.iter().find(|(theirs, _)| *theirs == folded).map(|(_, ours)| *ours);
    let name = known.unwrap_or(&folded);
    let of_person = matches!(name, "sign_up" | "login" | "generate_lead");
    message::person(properties, of_person, &mut draft.user);
    let fits = EventName::new(name).is_ok() && !scrub::identifies(&given, &Posted::of(&draft.user));
    if known.is_none() && !fits {
        return Ok(Read::Ignored("track".to_owned(), "the name does not fit"));
    }
    let change = matches!(name, "refund" | EventName::RESTATEMENT);
    let sale = change || name == "purchase";
    draft.items = items(properties);
    let currency = properties.get("currency").and_then(text);
    draft.currency = currency.or_else(|| config.currency.map(|currency| currency.code().to_owned()));
    draft.value =
        value(properties, config.worth, sale, &draft.items)?.map(|value| if change { value.abs() } else { value });
    // A step is one without a value too; a sale without a currency is refused, and the log says so.
    if !sale && draft.currency.is_none() {
        draft.value = None;
    }
    let order = ["order_id", "orderId", "transaction_id"].iter().find_map(|name| text(properties.get(*name)?));
    // Steps of one order, such as its coupons, may be many; what has a value counts once for each.
    draft.transaction_id = order.filter(|_| sale || draft.value.is_some());
    // Some count the refunds of each order.
    let refund_id = || {
        let refund = properties.get("refund_id").and_then(text)?;
        Some(draft.transaction_id.as_ref().map_or_else(|| refund.clone(), |order| format!("{order}:{refund}")))
    };
    let key = match name {
        "refund" => refund_id().or_else(|| message.id()),
        _ if draft.transaction_id.is_some() => None,
        _ => message.id().or_else(|| content(message, &given, properties)),
    };
    let action_source = properties.get("action_source").cloned();
    draft.action_source = action_source.and_then(|source| serde_json::from_value::<ActionSource>(source).ok());
    draft.properties = rest(properties, of_person, !draft.items.is_empty());
    if name == "search"
        && let Some(query) = draft.properties.remove("query")
    {
        draft.properties.insert("search_term".to_owned(), query);
    }
    for (name, slot) in [("checkout_id", &mut draft.context.checkout_token), ("cart_id", &mut draft.context.cart_token)]
    {
        *slot = slot.take().or_else(|| text(properties.get(name)?));
    }
    draft.event = Some(name.to_owned());
    Ok(Read::Event(Box::new(draft), key))
}

/// `Order Completed`, `orderCompleted` and `order-completed` as `order_completed`.
fn folded(name: &str) -> String {
    let mut folded = String::new();
    let mut small = false;
    for c in name.chars() {
        let divides = !c.is_alphanumeric() || (c.is_uppercase() && small);
        if divides && !folded.is_empty() && !folded.ends_with('_') {
            folded.push('_');
        }
        if c.is_alphanumeric() {
            folded.extend(c.to_lowercase());
        }
        small = c.is_lowercase() || c.is_ascii_digit();
    }
    folded.trim_end_matches('_').to_owned()
}

/// What it is worth. `total` includes tax and shipping, `subtotal` and `revenue` do not; which of them stands for the order
/// is a setting, and whatever there is stands in. Of a step the spec calls it `value`; a product without any is worth its
/// price.
///
/// # Errors
/// If one of them is no number.
fn value(properties: &Value, worth: Worth, sale: bool, items: &[Item]) -> Result<Option<Decimal>, Problem> {
    let of = |name| amount(properties, name);
    let (total, revenue, value) = (of("total")?, of("revenue")?, of("value")?);
    let found = match worth {
        Worth::Total if sale => total.or(revenue),
        Worth::Total => total.or(value).or(revenue),
        Worth::Subtotal => {
            let rest = of("tax")?.unwrap_or_default() + of("shipping")?.unwrap_or_default();
            let goods = || total.map(|total| (total - rest).max(Decimal::ZERO));
            of("subtotal")?.or(revenue).or_else(goods)
        }
    };
    let priced = |item: &Item| item.price?.checked_mul(item.quantity.unwrap_or(Decimal::ONE));
    let product = || items.first().filter(|_| properties.get("products").is_none()).and_then(priced);
    Ok(found.or(value).or_else(product))
}

/// The products in the list, or the one that the track is about. A number in one that cannot be read is left out.
fn items(properties: &Value) -> Vec<Item> {
    let item = |product: &Value| Item {
        id: ["product_id", "sku", "id"].iter().find_map(|name| text(product.get(*name)?)),
        name: product.get("name").and_then(text),
        quantity: amount(product, "quantity").ok().flatten(),
        price: amount(product, "price").ok().flatten(),
    };
    match properties.get("products") {
        Some(Value::Array(products)) => products.iter().filter(|product| product.is_object()).map(item).collect(),
        _ if properties.get("product_id").or(properties.get("sku")).and_then(text).is_some() => vec![item(properties)],
        _ => Vec::new(),
    }
}

/// What tells a message that has no id from others: its content, if that says when. Without a time, Segment too takes two
/// calls for two events.
fn content(message: &Message<'_>, event: &str, properties: &Value) -> Option<String> {
    let when = message.text("/timestamp").or_else(|| message.text("/originalTimestamp"))?;
    let who: Vec<String> = message.ids().collect();
    Some(format!("content.{}", Digest::of_token(&format!("{event}\n{when}\n{who:?}\n{properties}")).hex()))
}

/// The properties that have no field of their own.
fn rest(properties: &Value, of_person: bool, of_product: bool) -> Map<String, Value> {
    let listed = properties.get("products").is_some();
    let mut known = Draft::default();
    let mut kept = |(name, value): &(&String, &Value)| {
        let name = name.as_str();
        let field = FIELDS.contains(&name)
            || OF_PERSON.contains(&name)
            || (of_person && OF_PERSON_ONLY.contains(&name))
            || (of_product && !listed && OF_PRODUCT.contains(&name));
        let carried = text(value).is_some_and(|text| known.carry(name, &text));
        !field && !carried && !value.is_null()
    };
    let fields = properties.as_object().into_iter().flatten();
    fields.filter(|field| kept(field)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

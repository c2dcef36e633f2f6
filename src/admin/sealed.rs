//! A stored event as JSON, without what tells who the person is: hashes are shown, what is kept in clear for the platforms
//! (IP address, user agent, pages, postal code) is only said to be there.

use serde_json::{Value, json};

use super::timeline;
use crate::model::{Digest, SealedEvent, SealedUser, Sensitive, Spelled};

/// What stands for a value that is not shown.
const KEPT_BACK: &str = "(kept back)";

/// The event.
pub(super) fn render(event: &SealedEvent) -> Value {
    let mut shown = timeline::head(event);
    let context = &event.context;
    let items: Vec<Value> = event
        .items
        .iter()
        .map(|item| {
            let text = |number: Option<rust_decimal::Decimal>| number.map(|number| number.to_string());
            json!({ "id": item.id, "name": item.name, "quantity": text(item.quantity), "price": text(item.price) })
        })
        .collect();
    shown["value"] = event.money.as_ref().map(|money| money.text()).into();
    shown["currency"] = event.money.as_ref().map(|money| money.currency().code()).into();
    shown["action_source"] = json!(event.action_source);
    shown["items"] = items.into();
    shown["user"] = user(&event.user);
    shown["context"] = json!({
        "ip": kept_back(&context.ip), "user_agent": kept_back(&context.user_agent), "url": kept_back(&context.url),
        "referrer": kept_back(&context.referrer), "fbc": context.cookies.fbc, "fbp": context.cookies.fbp,
        "ga_client_id": context.cookies.ga_client_id, "ga_session_id": context.cookies.ga_session_id,
    });
    // Their values are the giver's own texts.
    shown["properties"] = event.properties.object().into_iter().map(|(name, _)| Value::from(name)).collect();
    shown
}

fn kept_back<T>(value: &Option<Sensitive<T>>) -> Option<&'static str> {
    value.as_ref().map(|_| KEPT_BACK)
}

fn user(user: &SealedUser) -> Value {
    let hex = |digest: Option<Digest>| digest.map(|digest| digest.hex());
    let spelled = |value: &Spelled| match value.is_empty() {
        true => Value::Null,
        false => json!({ "meta": hex(value.meta), "google": hex(value.google) }),
    };
    json!({
        "email": user.emails.iter().map(spelled).collect::<Vec<_>>(),
        "phone": user.phones.iter().map(spelled).collect::<Vec<_>>(),
        "first_name": spelled(&user.first_name), "last_name": spelled(&user.last_name),
        "street": spelled(&user.street), "city": spelled(&user.city), "region": spelled(&user.region),
        "postal_code": spelled(&user.postal_code), "country": spelled(&user.country),
        "date_of_birth": spelled(&user.date_of_birth), "gender": spelled(&user.gender),
        "external_id": user.external_ids.iter().map(|digest| digest.hex()).collect::<Vec<_>>(),
        "country_code": kept_back(&user.country_code), "postal_code_clear": kept_back(&user.postal_code_clear),
        "lead_id": user.lead_id.map(|_| KEPT_BACK),
    })
}

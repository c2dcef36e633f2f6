//! The Admin API, as far as it lists orders.
//!
//! The REST Admin API is a legacy API since 2024-10-01: apps of the App Store must not use it, apps of one's own shop may, and
//! version 2026-10 has it (reference of the resource order, read 2026-11-20). Its orders are those of the webhooks to the
//! letter, which those of the GraphQL Admin API are not.

use axum::http::HeaderMap;
use serde_json::{Value, json};
use url::Url;

use super::{SHOP, json as read, shop_name};
use crate::{
    intake::fetch::{Credential, FetchError, Fetcher},
    model::{Secret, Settings, Time},
};

/// The version asked for. Shopify answers a version that it no longer supports with the oldest that it does.
const VERSION: &str = "2026-10";
/// Orders on a page: the most there are.
const LIMIT: &str = "250";

/// Where orders are listed, and how it is asked.
pub(super) struct Api {
    base: String,
    version: String,
    access: Access,
}

enum Access {
    /// The token of an app that was made in the shop's admin.
    Token(Secret),
    /// The credentials of an app of the Dev Dashboard, which get tokens that are good for a day.
    Client { id: String, secret: Secret },
}

impl Api {
    /// Reads the table `api` of a source, or notes what is wrong with it.
    pub(super) fn read(settings: &mut Settings, shop: Option<&str>) -> Option<Self> {
        if !settings.has("shop") && shop.is_none() && !settings.has("base_url") {
            settings.problem("shop", format!("is missing: {SHOP}"));
        }
        let named = settings.parsed("shop", SHOP, shop_name);
        let shop = named.or_else(|| shop.map(str::to_owned));
        let base = settings.base_url(&shop.map(|shop| format!("https://{shop}")).unwrap_or_default());
        let version = settings.parsed("version", "a version of the API such as 2026-10", |text| {
            let sound = text.len() == 7 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
            (sound || text == "unstable").then(|| text.to_owned())
        });
        let (given, half) = (settings.has("token"), settings.has("client_id") || settings.has("client_secret"));
        let token = settings.secret("token");
        let id = settings.text("client_id");
        let secret = settings.secret("client_secret");
        match (given, half) {
            (true, true) => settings.problem("token", "must not stand beside client_id and client_secret"),
            (false, false) => {
                settings.problem("token", "is missing: that of the app, or its client_id and client_secret")
            }
            _ => {}
        }
        let access = match (token, id, secret) {
            (Some(token), None, None) => Access::Token(token),
            (None, Some(id), Some(secret)) => Access::Client { id, secret },
            (None, Some(_), None) if !given => {
                settings.need("client_secret", "that of the app");
                return None;
            }
            (None, None, Some(_)) if !given => {
                settings.need("client_id", "that of the app");
                return None;
            }
            _ => return None,
        };
        Some(Self { base, version: version.unwrap_or_else(|| VERSION.to_owned()), access })
    }

    /// One page of the orders that changed since then, those that changed first before the others, and where the next begins.
    ///
    /// # Errors
    /// If it cannot be had.
    pub(super) async fn orders(
        &self,
        fetcher: &Fetcher,
        since: Time,
        cursor: Option<&str>,
    ) -> Result<(Vec<Value>, Option<String>), FetchError> {
        let token = self.token(fetcher).await?;
        let url = format!("{}/admin/api/{}/orders.json", self.base, self.version);
        let since = since.to_string();
        let query = match cursor {
            // Beside a cursor Shopify takes nothing but the limit.
            Some(cursor) => vec![("limit", LIMIT), ("page_info", cursor)],
            None => vec![
                ("status", "any"),
                ("updated_at_min", since.as_str()),
                ("order", "updated_at asc"),
                ("limit", LIMIT),
            ],
        };
        let credential = Credential::Header("x-shopify-access-token", token);
        let mut answer = fetcher.get(&url, &query, &credential).await.map_err(unknown)?;
        let Some(Value::Array(orders)) = answer.body.get_mut("orders").map(Value::take) else {
            return Err(FetchError::unexpected("no list of orders"));
        };
        Ok((orders, next(&answer.headers)))
    }

    /// The token to ask with. One of a client is fetched for each page anew: that is rare, and nothing has to be kept.
    async fn token(&self, fetcher: &Fetcher) -> Result<Secret, FetchError> {
        let (id, secret) = match &self.access {
            Access::Token(token) => return Ok(token.clone()),
            Access::Client { id, secret } => (id, secret),
        };
        let url = format!("{}/admin/oauth/access_token", self.base);
        let body = json!({ "client_id": id, "client_secret": secret.expose(), "grant_type": "client_credentials" });
        let answer = fetcher.post(&url, &body, &Credential::None).await.map_err(unknown)?;
        let token =
            read::text(&answer.body, "/access_token").ok_or_else(|| FetchError::unexpected("no access token"))?;
        Ok(Secret::new(token))
    }
}

/// A shop or version that is not known is a matter of settings.
fn unknown(error: FetchError) -> FetchError {
    match error {
        FetchError::Gone => {
            FetchError::Settings("Shopify knows no such shop or version; check `api.shop` and `api.version`".to_owned())
        }
        error => error,
    }
}

/// Where the next page begins: `page_info` of the `Link` whose relation is `next`. Its address is not followed: the token goes
/// where it is configured to go.
fn next(headers: &HeaderMap) -> Option<String> {
    let links =
        headers.get_all("link").iter().filter_map(|value| value.to_str().ok()).flat_map(|links| links.split(','));
    let mut next = links.filter_map(|link| {
        let (address, relation) = link.trim().split_once('>')?;
        relation.contains("rel=\"next\"").then(|| address.strip_prefix('<')).flatten()
    });
    let address = Url::parse(next.next()?).ok()?;
    let page = address.query_pairs().find(|(name, _)| name == "page_info")?;
    Some(page.1.into_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    #[test]
    fn the_next_page_is_that_of_the_link() {
        let next_of = |links: &[&'static str]| {
            let link = |link: &&'static str| (header::LINK, HeaderValue::from_static(link));
            next(&links.iter().map(link).collect())
        };
        const NEXT: &str =
            "<https://x.myshopify.com/admin/api/2026-10/orders.json?limit=250&page_info=eyJh%3D>; rel=\"next\"";
        const BACK: &str = "<https://x.myshopify.com/admin/api/2026-10/orders.json?page_info=old>; rel=\"previous\"";
        assert_eq!(next_of(&[NEXT]).as_deref(), Some("eyJh="));
        assert_eq!(next_of(&[BACK, NEXT]).as_deref(), Some("eyJh="));
        assert_eq!(next_of(&[BACK]), None);
        assert_eq!(next_of(&[]), None);
        assert_eq!(next_of(&["nonsense", "<nonsense>; rel=\"next\"", "<>; rel=\"next\""]), None);
        const BOTH: &str = "<https://x/o?page_info=old>; rel=\"previous\", <https://x/o?page_info=new>; rel=\"next\"";
        assert_eq!(next_of(&[BOTH]).as_deref(), Some("new"));
    }
}

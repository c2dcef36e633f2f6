//! The list of links with their figures.

use std::collections::HashMap;

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use minijinja::{Value, context};

use super::{
    super::{
        Admin,
        asked::Asked,
        clicks::days_ago,
        links::{Filter, found},
        reports::table,
        tracked::state,
    },
    of, percent, show as page, wrong,
};
use crate::{
    tracking::reports::{Dimension, Figures, Selection},
    web::Problem,
};

/// Links on one page.
const LINKS_MAX: usize = 100;
/// Days that the figures are of, unless asked for otherwise.
const DAYS: u64 = 30;

/// `GET /links`
pub(super) async fn show(State(admin): State<Admin>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    listed(&admin, query.as_deref(), &headers).await.unwrap_or_else(|problem| wrong(&headers, &problem))
}

async fn listed(admin: &Admin, query: Option<&str>, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut asked = Asked::query(query)?;
    let filter = Filter::of(&mut asked)?;
    let days = asked.number("days", 1..=3650)?.unwrap_or(DAYS);
    let number = asked.number("page", 1..=100_000)?.unwrap_or(1);
    asked.finish()?;
    let now = admin.clock.now();
    let links = found(admin, &filter);
    let pages = links.len().div_ceil(LINKS_MAX).max(1);
    let number = usize::try_from(number).unwrap_or(1).min(pages);
    let rows = Selection { from: days_ago(now, days), ..Selection::ALL };
    let figures: HashMap<String, Figures> = table(admin, vec![Dimension::Link], rows)
        .await?
        .groups
        .into_iter()
        .filter_map(|group| Some((group.values.into_iter().next()??, group.figures)))
        .collect();
    let policy = admin.tracked.policy();
    let row = |link: &std::sync::Arc<crate::model::Link>| -> Value {
        let key = link.key.to_string();
        let counted = figures.get(&key).cloned().unwrap_or_default();
        let source = link.utm.source.as_deref().map(|raw| policy.normal(crate::links::policy::Field::Source, raw));
        context! {
            key, url => admin.tracked.registry.places().url(&link.key), state => state(link, now),
            destination => link.destination.clone(), splits => link.split.len(), source => source.map(std::borrow::Cow::into_owned),
            campaign => link.utm.campaign.clone(), placement => link.placement.clone(), owner => link.owner.clone(),
            health => of(admin.tracked.health(&link.key)), all => counted.all, human => counted.human,
            unique => counted.unique, sessions => counted.sessions, ratio => percent(counted.click_to_session()),
        }
    };
    let begin = (number - 1) * LINKS_MAX;
    let rows: Vec<Value> = links.iter().skip(begin).take(LINKS_MAX).map(row).collect();
    let hosts = &admin.tracked.registry.places().hosts;
    let with = |page: usize| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let fields = [
            ("host", &filter.host),
            ("campaign", &filter.campaign),
            ("owner", &filter.owner),
            ("placement", &filter.placement),
            ("state", &filter.state),
            ("q", &filter.q),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.append_pair("days", &days.to_string()).append_pair("page", &page.to_string()).finish()
    };
    let told = context! {
        rows, hosts => hosts.clone(), days, count => links.len(), page => number, pages,
        before => (number > 1).then(|| with(number - 1)), after => (number < pages).then(|| with(number + 1)),
        host => filter.host, campaign => filter.campaign, owner => filter.owner, placement => filter.placement,
        state => filter.state, q => filter.q, any => !admin.tracked.links.all().is_empty(),
    };
    Ok(page(headers, StatusCode::OK, "Links", "list.html", told))
}

//! `GET /privacy`: what is kept of a visitor, what for, how long, and who gets it. Made from the configuration that runs, so
//! that it cannot say anything else. As a page for people, or as JSON for `Accept: application/json`.

mod kept;
mod recipients;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use minijinja::{Environment, context, value::Serde};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use self::{
    kept::{Kept, RECORDS, span},
    recipients::{RECIPIENTS, Recipient},
};
use super::{Attribution, Countries};
use crate::{destinations::OnUnknownConsent, web::Problem};

/// The page; its name tells that values in it are to be escaped.
const TEMPLATE: (&str, &str) = ("page.html", include_str!("page.html"));
const STYLE: &str = include_str!("page.css");
/// Browsers and proxies may show it for this long after a change of the configuration.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");
/// How long Meta's own cookies last. Source: capi-param-builder 1.3.2, read 2026-11-20.
const META_COOKIE_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// How long what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Visitors, after they were last seen.
    pub visits: Duration,
    /// Requests for tracked links.
    pub clicks: Duration,
    /// Events, after their last delivery ended.
    pub delivered: Duration,
    /// Events with a dead letter.
    pub dead_letters: Duration,
    /// Ids that events are deduplicated by.
    pub dedupe: Duration,
}

/// Whom to ask; `capture.privacy_contact`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// As it is shown.
    text: String,
    /// Where a click on it leads.
    href: Option<String>,
}

impl Contact {
    /// A web address, a mail address, or whatever else says how.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let text = text.trim().to_owned();
        let web = ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme));
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"@._+-".contains(&b));
        let mail = plain && text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
        let href = if web { Some(text.clone()) } else { mail.then(|| format!("mailto:{text}")) };
        Self { text, href }
    }
}

/// What the page is made from.
#[derive(Clone, Debug)]
pub struct PrivacyFacts {
    /// Whom to ask.
    pub contact: Option<Contact>,
    /// Nothing is kept before the visitor agrees; `capture.require_consent`.
    pub require_consent: bool,
    /// Global Privacy Control counts as a no; `capture.respect_gpc`.
    pub respect_gpc: bool,
    /// Meta's cookies are set where its own tag does not; `capture.meta_cookies`.
    pub meta_cookies: bool,
    /// How long our cookie lasts; `capture.cookie_days`.
    pub cookie_life: Duration,
    /// Sites that the visitor's id is handed to; `capture.own_domains`.
    pub own_domains: Vec<String>,
    /// `[retention]`.
    pub retention: Retention,
    /// The kind of each destination, and what it gets of visitors who were not asked.
    pub destinations: Vec<(&'static str, OnUnknownConsent)>,
}

#[derive(Clone)]
struct Page {
    facts: Arc<PrivacyFacts>,
    countries: Arc<Countries>,
    templates: Arc<Environment<'static>>,
    policy: HeaderValue,
}

/// The route of the page.
///
/// # Panics
/// Never: the template is compiled in, and a test renders it.
pub fn router(path: &str, facts: PrivacyFacts, countries: Arc<Countries>) -> Router {
    Router::new().route(path, get(show)).with_state(Page::new(facts, countries))
}

impl Page {
    fn new(facts: PrivacyFacts, countries: Arc<Countries>) -> Self {
        let mut templates = Environment::new();
        templates.add_template(TEMPLATE.0, TEMPLATE.1).expect("the template is sound: a test renders it");
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let policy = HeaderValue::from_str(&policy).expect("base64 and ASCII");
        Self { facts: Arc::new(facts), countries, templates: Arc::new(templates), policy }
    }
}

async fn show(State(page): State<Page>, headers: HeaderMap) -> Result<Response, Problem> {
    let told = Told::of(&page.facts, page.countries.is_known(), page.countries.attribution());
    let mut answer = if wants_json(&headers) {
        let body = serde_json::to_vec_pretty(&told).map_err(|_| Problem::internal())?;
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    } else {
        let page = page
            .templates
            .get_template(TEMPLATE.0)
            .and_then(|template| template.render(context! { style => STYLE, told => Serde(&told) }));
        let page = page.map_err(|error| {
            tracing::error!(%error, "cannot write the privacy page");
            Problem::internal()
        })?;
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
    };
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, page.policy);
    headers.insert(header::CACHE_CONTROL, CACHED);
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(answer)
}

/// Whether JSON is asked for, and no page. Browsers ask for pages.
fn wants_json(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let mut kinds =
        lists.flat_map(|list| list.split(',')).map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let mut json = false;
    let page = kinds.any(|kind| {
        json |= kind.eq_ignore_ascii_case("application/json");
        kind.eq_ignore_ascii_case("text/html")
    });
    json && !page
}

/// What the page says, in its order.
#[derive(Serialize)]
struct Told {
    /// What the visitor decides.
    consent: ConsentTold,
    /// What is kept.
    kept: Vec<RecordTold>,
    cookies: Vec<CookieTold>,
    /// Who gets what.
    recipients: Vec<Recipient>,
    /// Sites that get the visitor's id.
    own_domains: Vec<String>,
    never: &'static [&'static str],
    /// How to have it deleted.
    deletion: Deletion,
    /// How long ids of what was reported are kept, so that nothing is reported twice.
    ids_kept_for: String,
    attribution: Option<AttributionTold>,
}

#[derive(Serialize)]
struct ConsentTold {
    required: bool,
    respects_gpc: bool,
    rules: Vec<String>,
}

#[derive(Serialize)]
struct RecordTold {
    title: &'static str,
    kept_for: String,
    fields: Vec<Kept>,
}

#[derive(Serialize)]
struct CookieTold {
    name: &'static str,
    why: &'static str,
    kept_for: String,
}

#[derive(Serialize)]
struct Deletion {
    contact: Option<Contact>,
    how: &'static str,
}

#[derive(Serialize)]
struct AttributionTold {
    text: &'static str,
    url: &'static str,
}

const NEVER: &[&str] = &[
    "Your e-mail address, phone number, name, street and date of birth in readable form: as soon as they arrive they are \
     turned into hashes, and only those are kept and passed on",
    "What you type into forms: the script on the pages does not read it; the site itself may tell who you are when you \
     order or sign up, which is then hashed",
    "Contact details that stand in addresses of pages: they are cut out",
    "Your IP address next to requests for short links, or in log files",
];

const HOW_TO_DELETE: &str = "Ask the operator of this site. Name the value of the cookie cr_vid of your browser, or the \
    e-mail address or phone number that you used: everything that leads to you is erased, in events that were kept too. \
    What was passed on already, the recipients have to delete. Deleting the cookie makes you somebody new here.";

impl Told {
    fn of(facts: &PrivacyFacts, countries: bool, attribution: Option<Attribution>) -> Self {
        let kinds = |kind: &str| facts.destinations.iter().any(|(configured, _)| *configured == kind);
        let record = |record: &kept::Record| RecordTold {
            title: record.title,
            kept_for: (record.kept_for)(&facts.retention),
            fields: record
                .fields
                .iter()
                .filter(|kept| countries || kept.fields != ["click.country"])
                .copied()
                .collect(),
        };
        Self {
            consent: consent(facts),
            kept: RECORDS.iter().map(record).collect(),
            cookies: cookies(facts),
            recipients: RECIPIENTS.iter().filter(|recipient| kinds(recipient.kind)).copied().collect(),
            own_domains: facts.own_domains.clone(),
            never: NEVER,
            deletion: Deletion { contact: facts.contact.clone(), how: HOW_TO_DELETE },
            ids_kept_for: span(facts.retention.dedupe),
            attribution: attribution.map(|Attribution { text, url }| AttributionTold { text, url }),
        }
    }
}

fn consent(facts: &PrivacyFacts) -> ConsentTold {
    let mut rules = Vec::new();
    if facts.require_consent {
        rules.push(
            "Before you agree, nothing about you is kept: no cookie is set, no id is made, no address is noted. Your visit \
             is counted, and that is all: a number that says nothing about you."
                .to_owned(),
        );
    } else {
        rules.push(
            "What is listed here is kept unless you decline. If you decline that your data are used for advertising, only \
             that is kept, with a random id, so that your no is found again at a purchase. If you decline storage, nothing is \
             kept and no cookie is set: your visit is counted, a number that says nothing about you."
                .to_owned(),
        );
    }
    rules.push(
        "If you decline that your data are used for advertising, nothing about you is sent to a platform.".into(),
    );
    rules.push(
        "You can change your mind at any time where you were asked. What was kept of your visits is then dropped; what \
         stays is your no, and how it is found again at a purchase."
            .to_owned(),
    );
    if facts.respect_gpc {
        rules.push("The signal Global Privacy Control of your browser counts as a no to advertising.".to_owned());
    }
    let sends = facts.destinations.iter().any(|(_, unknown)| *unknown == OnUnknownConsent::Send);
    rules.push(if facts.destinations.is_empty() {
        "Nothing is sent to anybody.".to_owned()
    } else if sends {
        "Where you were not asked, as when you order by phone, what you buy may be reported without a statement about your \
         choice."
            .to_owned()
    } else {
        "Where you were not asked, nothing is sent.".to_owned()
    });
    ConsentTold { required: facts.require_consent, respects_gpc: facts.respect_gpc, rules }
}

fn cookies(facts: &PrivacyFacts) -> Vec<CookieTold> {
    let why = "A random id, by which a purchase is joined to the visit that led to it";
    let mut cookies = vec![CookieTold { name: "cr_vid", why, kept_for: span(facts.cookie_life) }];
    if facts.meta_cookies {
        let why = "An id of your browser, as Meta's own script makes it; set where that has not";
        cookies.push(CookieTold { name: "_fbp", why, kept_for: span(META_COOKIE_LIFE) });
        let why = "The id of your click on an advertisement at Meta; set if you came by one";
        cookies.push(CookieTold { name: "_fbc", why, kept_for: span(META_COOKIE_LIFE) });
    }
    cookies
}

#[cfg(test)]
mod tests;

//! What came of following links as their visitors do: the latest for each link and placement. The requests are made by
//! `links qa`, where the links are for everybody.

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::HeaderMap,
    response::Response,
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Admin, answer, asked::Asked, finished};
use crate::{
    links::contact,
    model::{Link, LinkKey, LinkState, Time, UtmRule, contains_email, looks_like_contact_data},
    store::Entry,
    web::{Problem, read_body, read_json, require_json},
};

/// The shelves of the book that results and links are on.
const SHELF: &str = "qa";
const LINKS: &str = "link";
/// A few hundred results of a few hundred characters.
const BODY_BYTES_MAX: usize = 256 << 10;
const RESULTS_MAX: usize = 500;
const NAME_CHARS_MAX: usize = 40;
const NOTE_CHARS_MAX: usize = 500;
const BY_CHARS_MAX: usize = 120;

/// What tests of links have to know of the configuration.
#[derive(Clone, Debug)]
pub struct QaSettings {
    /// Where the tag is served; `capture.tag_path`.
    pub tag_path: String,
    /// Whose UTM values win; `links.utm`.
    pub utm: UtmRule,
}

impl Default for QaSettings {
    fn default() -> Self {
        Self { tag_path: "/t.js".to_owned(), utm: UtmRule::default() }
    }
}

/// How a step went; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Pass,
    Warn,
    Fail,
}

/// One step as one browser.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    profile: String,
    step: String,
    result: Verdict,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    by: Option<String>,
    results: Vec<Step>,
}

/// A run as it is in the book.
#[derive(Serialize, Deserialize)]
struct Run {
    at: Time,
    by: String,
    placement: Option<String>,
    result: Verdict,
    results: Vec<Step>,
}

pub(super) fn routes() -> Router<Admin> {
    Router::new().route("/v1/qa", get(list)).route("/v1/links/{slug}/qa", get(show).post(record))
}

/// `GET /v1/qa`: when each link, and each placement, was looked at last.
async fn list(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    Asked::query(query.as_deref())?.finish()?;
    let mut placements: Vec<Placement> = Vec::new();
    let mut links = Vec::new();
    for (key, value) in admin.stores.book.list(LINKS) {
        let Ok(link) = serde_json::from_str::<Link>(&value) else { continue };
        let run = latest(&admin, &key, link.placement.as_deref());
        if link.state == LinkState::Live {
            Placement::of(&mut placements, &link).note(run.as_ref());
        }
        links.push(json!({
            "link": key, "placement": link.placement, "verified_at": run.as_ref().map(|run| run.at.to_string()),
            "result": run.as_ref().map(|run| run.result), "by": run.map(|run| run.by),
        }));
    }
    let placements: Vec<Value> = placements.iter().map(Placement::told).collect();
    Ok(answer(&json!({
        "settings": { "tag_path": admin.qa.tag_path, "utm": admin.qa.utm },
        "placements": placements, "links": links,
    })))
}

/// The live links of one placement.
struct Placement {
    name: Option<String>,
    links: usize,
    unseen: usize,
    failing: usize,
    /// Oldest and newest look.
    looked: Option<(Time, Time)>,
}

impl Placement {
    fn of<'a>(all: &'a mut Vec<Self>, link: &Link) -> &'a mut Self {
        let at = all.iter().position(|known| known.name == link.placement).unwrap_or_else(|| {
            all.push(Self { name: link.placement.clone(), links: 0, unseen: 0, failing: 0, looked: None });
            all.len() - 1
        });
        &mut all[at]
    }

    fn note(&mut self, run: Option<&Run>) {
        self.links += 1;
        let Some(run) = run else {
            self.unseen += 1;
            return;
        };
        self.failing += usize::from(run.result == Verdict::Fail);
        let (oldest, newest) = self.looked.unwrap_or((run.at, run.at));
        self.looked = Some((oldest.min(run.at), newest.max(run.at)));
    }

    fn told(&self) -> Value {
        json!({
            "placement": self.name, "links": self.links, "never_verified": self.unseen, "failing": self.failing,
            "verified_at": self.looked.map(|(_, newest)| newest.to_string()),
            "oldest_verified_at": self.looked.map(|(oldest, _)| oldest.to_string()),
        })
    }
}

/// `GET /v1/links/{slug}/qa`: the latest results of a link.
async fn show(
    State(admin): State<Admin>,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (key, link) = link_of(&admin, &slug, query.as_deref())?;
    let run = latest(&admin, &key, link.placement.as_deref());
    let run = run.ok_or_else(|| Problem::unknown("this link was not tested where it is placed now; run links qa"))?;
    Ok(answer(&json!({
        "link": key, "placement": run.placement, "verified_at": run.at.to_string(), "by": run.by, "result": run.result,
        "results": run.results,
    })))
}

/// `POST /v1/links/{slug}/qa`: what a run of `links qa` found.
async fn record(
    State(admin): State<Admin>,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = read_body(body, BODY_BYTES_MAX).await?;
    require_json(&headers)?;
    let posted: Posted = read_json(&body, "")?;
    if let Some((field, why)) = wrong(&posted) {
        return Err(Problem::invalid_request(
            Some(field.to_owned()),
            format!("{}: {why}", field.trim_start_matches('/')),
        ));
    }
    let (key, link) = link_of(&admin, &slug, query.as_deref())?;
    let at = admin.clock.now();
    let result = posted.results.iter().map(|step| step.result).max().unwrap_or(Verdict::Pass);
    let by = posted.by.filter(|by| !by.trim().is_empty()).unwrap_or_else(|| "operator".to_owned());
    let run = Run { at, by: by.clone(), placement: link.placement.clone(), result, results: posted.results };
    let value = serde_json::to_string(&run).map_err(|_| Problem::internal())?;
    let record = place(&key, link.placement.as_deref());
    let entry = Entry { at, by, shelf: SHELF.to_owned(), key: record, value: Some(value), audited: false };
    finished(async move {
        admin.stores.book.write(vec![entry]).await?;
        Ok(json!({ "link": key, "placement": run.placement, "verified_at": at.to_string(), "result": result }))
    })
    .await
}

/// The field that is not what it has to be, and why.
fn wrong(posted: &Posted) -> Option<(&'static str, String)> {
    let line = |text: &str, max: usize| text.chars().count() <= max && !text.chars().any(char::is_control);
    let named = |text: &str| !text.is_empty() && line(text, NAME_CHARS_MAX) && !looks_like_contact_data(text);
    if posted.by.as_ref().is_some_and(|by| !line(by, BY_CHARS_MAX) || contains_email(by)) {
        return Some(("/by", format!("must be a name of at most {BY_CHARS_MAX} characters, and no e-mail address")));
    }
    if posted.results.is_empty() || posted.results.len() > RESULTS_MAX {
        return Some(("/results", format!("must have 1 to {RESULTS_MAX} entries")));
    }
    let sound = |step: &Step| {
        named(&step.profile) && named(&step.step) && line(&step.note, NOTE_CHARS_MAX) && !contact::holds(&step.note)
    };
    let at = posted.results.iter().position(|step| !sound(step))?;
    Some((
        "/results",
        format!(
            "entry {at}: profile and step must have 1 to {NAME_CHARS_MAX} characters, a note at most {NOTE_CHARS_MAX}, on \
             one line and without e-mail addresses"
        ),
    ))
}

/// The link that a path and `?host=` name.
fn link_of(admin: &Admin, slug: &str, query: Option<&str>) -> Result<(String, Link), Problem> {
    let mut asked = Asked::query(query)?;
    let host = asked.text("host")?;
    asked.finish()?;
    let key = LinkKey::of(&host.map_or_else(|| slug.to_owned(), |host| format!("{host}/{slug}"))).to_string();
    let unknown = || Problem::unknown("there is no link of this slug; a link on a host of its own is HOST/SLUG");
    let value = admin.stores.book.get(LINKS, &key).ok_or_else(unknown)?;
    Ok((key, serde_json::from_str(&value).map_err(|_| unknown())?))
}

fn latest(admin: &Admin, key: &str, placement: Option<&str>) -> Option<Run> {
    serde_json::from_str(&admin.stores.book.get(SHELF, &place(key, placement))?).ok()
}

/// The key of a link at a placement: no link's key has a space.
fn place(key: &str, placement: Option<&str>) -> String {
    placement.map_or_else(|| key.to_owned(), |placement| format!("{key} {placement}"))
}

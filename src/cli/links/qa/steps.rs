//! What is wrong with what was seen, step by step. Pure.

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::{
    http::{Answer, Lost},
    page,
};
use crate::model::{LinkKey, UtmRule};

/// Redirects behind the link's own that are followed.
pub(super) const HOPS_MAX: usize = 10;
/// Click ids as the platforms make them: their case, and every character, has to arrive.
pub(super) const CLICK_IDS: [(&str, &str); 2] =
    [("gclid", "Te-St_AbCdEfG-09xYz"), ("fbclid", "IwZXh0bgNhZW0CMTEAAR-Te_StQaLiNk")];
/// A goal that was not seen for longer is no longer trusted; the admin listener looks no further back either.
const GOAL_DAYS: u64 = 7;
/// Longer paths are cut in notes.
const PATH_CHARS_MAX: usize = 60;
const UTM: [&str; 5] = ["source", "medium", "campaign", "content", "term"];

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Pass,
    Warn,
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

/// One line of the checklist.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) profile: &'static str,
    pub(super) step: &'static str,
    pub(super) result: Verdict,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) note: String,
}

/// The link as it should be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) key: LinkKey,
    pub(super) url: String,
    pub(super) state: String,
    pub(super) placement: Option<String>,
    pub(super) destinations: Vec<String>,
    pub(super) utm: Vec<(&'static str, String)>,
    pub(super) rule: UtmRule,
    pub(super) goal: Option<String>,
}

impl Wanted {
    /// Reads a link of the admin API.
    pub(super) fn of(link: &Value, rule: UtmRule) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let slug = link["slug"].as_str().unwrap_or_default();
        let key = LinkKey { host: text(&link["host"]), slug: slug.to_owned() };
        let split = link["split"].as_array().into_iter().flatten().filter_map(|part| text(&part["destination"]));
        let mut destinations: Vec<String> = split.collect();
        if destinations.is_empty() {
            destinations.extend(text(&link["destination"]));
        }
        let rule = serde_json::from_value(link["utm_rule"].clone()).unwrap_or(rule);
        let utm = UTM.into_iter().filter_map(|field| Some((field, text(&link["utm"][field])?))).collect();
        Self {
            key,
            url: text(&link["url"]).unwrap_or_default(),
            state: text(&link["state"]).unwrap_or_else(|| "live".to_owned()),
            placement: text(&link["placement"]),
            destinations,
            utm,
            rule,
            goal: text(&link["goal"]),
        }
    }

    /// The UTM values that a visitor sent to this destination arrives with.
    fn utm_at(&self, destination: &str) -> Vec<(&'static str, String)> {
        let own = query_of(destination);
        let value = |field: &'static str| {
            let link = self.utm.iter().find(|(name, _)| *name == field).map(|(_, value)| value.clone());
            let own = form_urlencoded::parse(own.as_bytes()).find(|(name, _)| *name == format!("utm_{field}"));
            let own = own.map(|(_, value)| value.into_owned());
            let value = if self.rule == UtmRule::Keep { own.or(link) } else { link.or(own) };
            value.map(|value| (field, value))
        };
        UTM.into_iter().filter_map(value).collect()
    }
}

/// What was seen on the way of one browser.
pub(super) struct Walk {
    /// The link's answer to GET and to HEAD.
    pub(super) get: Result<Answer, Lost>,
    pub(super) head: Result<Answer, Lost>,
    /// The addresses behind it, the page's last.
    pub(super) hops: Vec<Url>,
    /// What answered at the last one; nothing if the link led nowhere.
    pub(super) end: Option<Result<Answer, Lost>>,
    /// Whether the page loads the tag.
    pub(super) tag: TagSeen,
}

/// Whether the tag is on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TagSeen {
    Yes,
    No,
    /// There is a tag manager, which may load it.
    Perhaps,
}

type Judged = (Verdict, String);

fn pass() -> Judged {
    (Verdict::Pass, String::new())
}

fn warn(note: impl Into<String>) -> Judged {
    (Verdict::Warn, note.into())
}

fn fail(note: impl Into<String>) -> Judged {
    (Verdict::Fail, note.into())
}

/// Every step of one browser, in order. What was never reached is left out.
pub(super) fn judge(wanted: &Wanted, walk: &Walk, profile: &'static str) -> Vec<Finding> {
    let mut steps: Vec<(&'static str, Judged)> = vec![("link host", host(wanted, walk))];
    if let Ok(get) = &walk.get {
        steps.push(("redirect", redirect(wanted, get, &walk.head)));
    }
    let led = walk.get.as_ref().ok().and_then(|get| get.header("location")).filter(|_| !walk.hops.is_empty());
    if let Some(location) = led {
        let stored = wanted.destinations.iter().find(|stored| place(stored) == place(location));
        steps.push(("chain", chain(walk)));
        steps.push(("destination", destination(stored, walk)));
        if let Some(Ok(_)) = &walk.end {
            let fallback = wanted.destinations.first().map_or("", String::as_str);
            steps.push(("utm", utm(&wanted.utm_at(stored.map_or(fallback, String::as_str)), &walk.hops)));
            steps.push(("click ids", click_ids(&walk.hops)));
            steps.push(("tag", tag(walk)));
        }
    }
    steps.into_iter().map(|(step, (result, note))| Finding { profile, step, result, note }).collect()
}

/// The goal event, which is nobody's browser's.
pub(super) fn goal(wanted: &Wanted, link: &Value, days_ago: impl Fn(&str) -> Option<u64>) -> Option<Finding> {
    let goal = wanted.goal.as_ref()?;
    let (result, note) = match link.get("goal_last_seen") {
        None => warn(format!("when {goal} was received last is not known")),
        Some(Value::String(seen)) => match days_ago(seen) {
            Some(days) if days <= GOAL_DAYS => pass(),
            Some(days) => warn(format!("{goal} was received last {days} days ago")),
            None => warn(format!("when {goal} was received last is not known")),
        },
        Some(_) => fail(format!("{goal} was not received in the last {GOAL_DAYS} days")),
    };
    Some(Finding { profile: "-", step: "goal", result, note })
}

fn host(wanted: &Wanted, walk: &Walk) -> Judged {
    match &walk.get {
        Err(lost) => fail(lost.why()),
        // Every answer of a relay has an id.
        Ok(answer) if answer.header("x-request-id").is_none() => {
            let own = if wanted.key.host.is_some() { "the link's host" } else { "public.url" };
            fail(format!(
                "what answers is no relay, or something in front of it takes its headers away: does {own} lead to it?"
            ))
        }
        Ok(_) => pass(),
    }
}

fn redirect(wanted: &Wanted, get: &Answer, head: &Result<Answer, Lost>) -> Judged {
    if get.status != 302 {
        let state = if wanted.state == "live" { String::new() } else { format!("; the link is {}", wanted.state) };
        return fail(format!("answers {} where it should be 302{state}", get.status));
    }
    if get.header("location").is_none() {
        return fail("302 without an address");
    }
    let cache = get.header("cache-control").unwrap_or_default().to_ascii_lowercase();
    if !cache.contains("no-store") {
        return fail("may be kept in caches: Cache-Control has no no-store, so clicks would not be seen");
    }
    let Ok(head) = head else { return fail("HEAD is not answered, as apps ask that show previews") };
    let leads = |answer: &Answer| answer.header("location").map(|location| place(location).to_owned());
    // Each of several destinations has its share, also of these two requests.
    if head.status != 302 || (wanted.destinations.len() < 2 && leads(head) != leads(get)) {
        return fail(format!("HEAD is answered otherwise than GET, with {}", head.status));
    }
    pass()
}

fn chain(walk: &Walk) -> Judged {
    for (at, url) in walk.hops.iter().enumerate() {
        if walk.hops[..at].contains(url) {
            return fail(format!("goes round: hop {at} leads back to one before it, at {}", shown(url)));
        }
        if at > 0 && walk.hops[at - 1].scheme() == "https" && url.scheme() == "http" {
            return fail(format!("hop {at} leaves https for http, at {}", shown(url)));
        }
    }
    match &walk.end {
        Some(Ok(answer)) if answer.redirects() && walk.hops.len() > HOPS_MAX => {
            fail(format!("more than {HOPS_MAX} redirects"))
        }
        Some(Ok(answer)) if answer.redirects() => fail("the last redirect leads nowhere on the web"),
        _ if walk.hops.len() > 4 => {
            warn(format!("{} redirects behind the link: each costs visitors", walk.hops.len() - 1))
        }
        _ => pass(),
    }
}

fn destination(stored: Option<&String>, walk: &Walk) -> Judged {
    let Some(stored) = stored else { return fail("redirects elsewhere than to what is stored for it") };
    let (Some(last), Some(end)) = (walk.hops.last(), &walk.end) else { return fail("there is no page") };
    let answer = match end {
        Err(lost) => return fail(format!("{}: {}", shown(last), lost.why())),
        Ok(answer) => answer,
    };
    if answer.status != 200 {
        let blocks = if matches!(answer.status, 401 | 403 | 429) { "; it may keep programs out" } else { "" };
        return fail(format!("{} answers {}{blocks}", shown(last), answer.status));
    }
    let host = |url: &Url| url.host_str().map(|host| host.trim_start_matches("www.").to_owned());
    if Url::parse(stored).ok().as_ref().and_then(host) != host(last) {
        return warn(format!("ends on another host than its destination's: {}", shown(last)));
    }
    match page::canonical(&answer.body, last) {
        Some(canonical) if host(&canonical) != host(last) => {
            warn(format!("the page says that its address is on {}", shown(&canonical)))
        }
        _ => pass(),
    }
}

fn utm(wanted: &[(&'static str, String)], hops: &[Url]) -> Judged {
    let values = |url: &Url, field: &str| -> Vec<String> {
        let pairs = url.query_pairs().filter(|(name, _)| *name == format!("utm_{field}"));
        pairs.map(|(_, value)| value.into_owned()).collect()
    };
    let mut wrong = Vec::new();
    for field in UTM {
        let wanted: Vec<String> =
            wanted.iter().filter(|(name, _)| *name == field).map(|(_, value)| value.clone()).collect();
        let Some(last) = hops.last() else { continue };
        let found = values(last, field);
        if found == wanted {
            continue;
        }
        let since = since(hops, |url| values(url, field) == wanted);
        wrong.push(match (found.len(), wanted.len()) {
            (2.., _) => format!("utm_{field} is there {} times{since}", found.len()),
            (1, 0) => format!("utm_{field} is there, and neither link nor destination has one{since}"),
            (0, _) => format!("utm_{field} is missing{since}"),
            _ => format!("utm_{field} has another value{since}"),
        });
    }
    if wrong.is_empty() { pass() } else { fail(wrong.join("; ")) }
}

fn click_ids(hops: &[Url]) -> Judged {
    let has = |url: &Url, name: &str, value: &str| {
        let pieces = url.query().unwrap_or_default().split('&').filter(|piece| piece.split('=').next() == Some(name));
        pieces.collect::<Vec<_>>() == [format!("{name}={value}")]
    };
    let mut wrong = Vec::new();
    for (name, value) in CLICK_IDS {
        if hops.last().is_some_and(|last| !has(last, name, value)) {
            let since = since(hops, |url| has(url, name, value));
            wrong.push(format!("{name} does not arrive as it was{since}"));
        }
    }
    if wrong.is_empty() { pass() } else { fail(wrong.join("; ")) }
}

/// From which hop on something no longer holds.
fn since(hops: &[Url], holds: impl Fn(&Url) -> bool) -> String {
    let lost = hops.iter().position(|url| !holds(url)).unwrap_or_default();
    match lost.checked_sub(1) {
        None => ", already behind the link".to_owned(),
        Some(before) => format!(", since the redirect of {}", shown(&hops[before])),
    }
}

fn tag(walk: &Walk) -> Judged {
    match walk.tag {
        TagSeen::Yes => pass(),
        TagSeen::Perhaps => {
            warn("no tag in the page's source; a tag manager may load it, which is not seen without running scripts")
        }
        TagSeen::No => fail("no tag in the page's source: its visits are not seen"),
    }
}

/// An address without what is behind `?` and `#`.
fn place(address: &str) -> &str {
    address.split(['?', '#']).next().unwrap_or_default()
}

fn query_of(address: &str) -> &str {
    let page = address.split('#').next().unwrap_or_default();
    page.split_once('?').map_or("", |(_, query)| query)
}

/// An address for people: what is behind `?` may be anything, and paths may be long or name somebody.
pub(super) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let path = url.path();
    if path.contains('@') || path.contains("%40") {
        return format!("{host}/…");
    }
    let short: String = path.chars().take(PATH_CHARS_MAX).collect();
    let cut = if short.len() < path.len() { "…" } else { "" };
    format!("{host}{short}{cut}")
}

#[cfg(test)]
mod tests;

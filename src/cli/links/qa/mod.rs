//! `conversion-relay links qa`: follows links as browsers and apps do, and says step by step what is wrong. It asks the links
//! where they are for everybody, not the relay's store: what stands in between is what breaks.

mod http;
mod page;
mod profiles;
mod steps;
mod walk;

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, Semaphore},
    task::JoinSet,
};
use url::Url;

use self::{
    http::Http,
    profiles::{MARK, PROFILES},
    steps::{Finding, Verdict, Wanted},
    walk::Walker,
};
use crate::{
    cli::{
        relay::{Relay, base, part},
        table,
    },
    model::{Clock as _, SystemClock, Time, UtmRule},
};

/// The variable that holds the token by which the relay knows tests.
const TOKEN_VARIABLE: &str = "RELAY_QA_TOKEN";
/// Links that are followed at the same time.
const AT_ONCE: usize = 4;
/// Links that the admin listener tells at once.
const PAGE: u32 = 500;

/// Follow links as browsers and apps do, and list what is wrong with each; exits with 1 if anything fails
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Slugs of links; HOST/SLUG for one on a host of its own
    #[arg(value_name = "KEY", required_unless_present = "all")]
    keys: Vec<String>,
    /// Every link that is live
    #[arg(long, conflicts_with = "keys")]
    all: bool,
    /// Ask here instead of at the links' own hosts: for staging and tests
    #[arg(long, value_name = "URL")]
    base: Option<String>,
    /// Requests to each host in a second
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    rate: f64,
    /// Do not store the results at the relay
    #[arg(long)]
    no_record: bool,
    /// Who runs it; stored with the results
    #[arg(long, default_value = "operator")]
    by: String,
    #[command(flatten)]
    relay: Relay,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=1000.0).contains(rate));
    rate.ok_or_else(|| "must be from 0.01 to 1000".to_owned())
}

/// What came of one link.
struct Checked {
    wanted: Wanted,
    /// The page it led to, without its query.
    page: Option<String>,
    findings: Vec<Finding>,
}

impl Checked {
    fn worst(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.result).max().unwrap_or(Verdict::Pass)
    }
}

pub(in crate::cli) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = arguments.relay.get("/v1/qa", &[]).await?;
    let settings = &settings["settings"];
    let rule: UtmRule = serde_json::from_value(settings["utm"].clone()).unwrap_or_default();
    let token = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
    if token.is_none() {
        eprintln!(
            "{TOKEN_VARIABLE} is not set: these requests are rows of clicks, told apart by ConversionRelay-QA in their user \
             agent; set it to links.qa_token, and they count as tests"
        );
    }
    let stand_in = arguments.base.as_deref().map(|text| Url::parse(&base(text)).context("--base: must be an address"));
    let walker = Arc::new(Walker {
        http: Http::new(arguments.rate, if token.is_some() { "" } else { MARK })?,
        base: stand_in.transpose()?,
        token,
        tag_path: settings["tag_path"].as_str().unwrap_or("/t.js").to_owned(),
        scripts: Mutex::default(),
    });
    let links = links(&arguments).await?;
    if links.is_empty() {
        bail!("there is no live link; make one with links add");
    }
    let checked = check_all(&walker, links, rule).await?;
    if !arguments.no_record {
        for one in &checked {
            // What was found is to be seen all the same.
            if let Err(error) = record(&arguments, one).await {
                eprintln!("{}: the results are not stored: {error:#}", one.wanted.key);
            }
        }
    }
    let failed = checked.iter().filter(|one| one.worst() == Verdict::Fail).count();
    if !arguments.relay.printed(&as_json(&checked, failed))? {
        checked.iter().for_each(print);
        println!("{} links: {} in order, {failed} with failures", checked.len(), checked.len() - failed);
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The links that are meant, as the admin listener tells them.
async fn links(arguments: &Arguments) -> anyhow::Result<Vec<Value>> {
    let mut links = Vec::new();
    for key in &arguments.keys {
        links.push(arguments.relay.get(&format!("/v1/links/{}", part(key)), &[]).await?);
    }
    let mut after: Option<String> = None;
    let mut more = arguments.all;
    while more {
        let mut query = vec![("limit", PAGE.to_string()), ("state", "live".to_owned())];
        query.extend(after.take().map(|after| ("after", after)));
        let page = arguments.relay.get("/v1/links", &query).await?;
        let live = page["links"].as_array().into_iter().flatten();
        links.extend(live.filter(|link| link["state"].as_str().is_none_or(|state| state == "live")).cloned());
        after = page["next"].as_str().map(str::to_owned);
        more = after.is_some();
    }
    // When its goal was seen last is looked up for one link at a time.
    for link in links.iter_mut().filter(|link| link["goal"].is_string() && link.get("goal_last_seen").is_none()) {
        let key = Wanted::of(link, UtmRule::default()).key.to_string();
        *link = arguments.relay.get(&format!("/v1/links/{}", part(&key)), &[]).await?;
    }
    Ok(links)
}

async fn check_all(walker: &Arc<Walker>, links: Vec<Value>, rule: UtmRule) -> anyhow::Result<Vec<Checked>> {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for (at, link) in links.into_iter().enumerate() {
        let (walker, slots) = (Arc::clone(walker), Arc::clone(&slots));
        tasks.spawn(async move {
            let _slot = slots.acquire_owned().await;
            check(&walker, &link, rule).await.map(|checked| (at, checked))
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.push(done??);
    }
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, checked)| checked).collect())
}

async fn check(walker: &Walker, link: &Value, rule: UtmRule) -> anyhow::Result<Checked> {
    let wanted = Wanted::of(link, rule);
    let (url, host) = walker.start(&wanted)?;
    let mut checked = Checked { findings: Vec::new(), page: None, wanted };
    for profile in &PROFILES {
        let walk = walker.walk(&url, host.as_deref(), profile).await;
        checked.findings.extend(steps::judge(&checked.wanted, &walk, profile.name));
        checked.page = checked.page.or_else(|| walk.hops.last().map(steps::shown));
    }
    let now = SystemClock.now();
    let days = |seen: &str| Time::parse(seen).ok().map(|seen| now.since(seen).as_secs() / 86_400);
    checked.findings.extend(steps::goal(&checked.wanted, link, days));
    Ok(checked)
}

/// Stores the results, so that it is known when each placement was looked at last.
async fn record(arguments: &Arguments, checked: &Checked) -> anyhow::Result<()> {
    let path = format!("/v1/links/{}/qa", part(&checked.wanted.key.to_string()));
    arguments.relay.post(&path, &json!({ "by": arguments.by, "results": checked.findings })).await?;
    Ok(())
}

fn as_json(checked: &[Checked], failed: usize) -> Value {
    let link = |one: &Checked| {
        json!({
            "link": one.wanted.key, "url": one.wanted.url, "placement": one.wanted.placement, "page": one.page,
            "result": one.worst(), "results": one.findings,
        })
    };
    json!({ "links": checked.iter().map(link).collect::<Vec<_>>(), "failed": failed })
}

fn print(checked: &Checked) {
    let placement = checked.wanted.placement.as_deref().map(|text| format!("  ({text})")).unwrap_or_default();
    println!("{}{}", checked.wanted.key, table::line(&placement));
    if let Some(page) = &checked.page {
        println!("  leads to {}", table::line(page));
    }
    let mut head = vec!["step"];
    head.extend(PROFILES.iter().map(|profile| profile.name));
    let mut steps: Vec<&'static str> = Vec::new();
    for finding in &checked.findings {
        if !steps.contains(&finding.step) {
            steps.push(finding.step);
        }
    }
    let row = |step: &&'static str| {
        let of = |profile: &str| checked.findings.iter().find(|found| found.step == *step && found.profile == profile);
        let everybody = of("-").map(|found| found.result.to_string());
        let cells = PROFILES.iter().map(|profile| of(profile.name).map(|found| found.result.to_string()));
        let cells = cells.map(|cell| cell.or_else(|| everybody.clone()).unwrap_or_else(|| "-".to_owned()));
        std::iter::once((*step).to_owned()).chain(cells).collect()
    };
    table::print(&head, &steps.iter().map(row).collect::<Vec<_>>());
    for (result, step, note, profiles) in notes(&checked.findings) {
        let whose = if profiles.len() == PROFILES.len() || profiles == ["-"] {
            String::new()
        } else {
            format!(" ({})", profiles.join(", "))
        };
        println!("  {result} {step}{whose}: {}", table::line(&note));
    }
    println!();
}

/// What is to be said, each once, with the browsers it holds for; the worst first.
fn notes(findings: &[Finding]) -> Vec<(Verdict, &'static str, String, Vec<&'static str>)> {
    let mut notes: Vec<(Verdict, &'static str, String, Vec<&'static str>)> = Vec::new();
    for finding in findings.iter().filter(|finding| !finding.note.is_empty()) {
        let same = notes.iter_mut().find(|(_, step, note, _)| *step == finding.step && *note == finding.note);
        match same {
            Some((.., profiles)) => profiles.push(finding.profile),
            None => notes.push((finding.result, finding.step, finding.note.clone(), vec![finding.profile])),
        }
    }
    notes.sort_by_key(|(result, ..)| std::cmp::Reverse(*result));
    notes
}

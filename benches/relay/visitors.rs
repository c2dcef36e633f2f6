//! Fills a data directory with visitors, through the library, before a relay is started on it.

use std::path::PathBuf;

use anyhow::Context as _;
use conversion_relay::{
    model::{
        Choice, ClickId, ClickKind, Clock as _, Consent, Cookies, IdentityKey, IdentityKind, Observation, Sensitive,
        SystemClock, Utm, Visit, VisitorId,
    },
    store::{VisitStore as _, sled::Visitors},
};

use crate::event::VISITOR;

/// Visitors in one durable write; each has one identifier, and the store takes 256 changes at a time.
const BATCH: u64 = 128;
/// The cache while filling.
const CACHE_BYTES: u64 = 256 << 20;

/// The hidden command `visitors`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    count: u64,
}

/// Fills the store.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    std::fs::create_dir_all(&arguments.data)?;
    let store = Visitors::open(&arguments.data.join("visitors"), CACHE_BYTES)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        for first in (0..arguments.count).step_by(BATCH as usize) {
            let batch = (first..arguments.count.min(first + BATCH)).map(visitor).collect::<anyhow::Result<_>>()?;
            store.remember(batch).await.context("storing visitors")?;
        }
        Ok(())
    })
}

/// A visitor who came by both kinds of ad and agreed to everything.
fn visitor(number: u64) -> anyhow::Result<Observation> {
    let now = SystemClock.now();
    let click = |kind, value: String| ClickId { kind, value, first_seen: Some(now), last_seen: now };
    let fbp = format!("fb.1.1795150800000.{number:010}");
    let utm = Utm { source: Some("google".into()), campaign: Some("autumn".into()), ..Utm::default() };
    let visit = Visit {
        at: now,
        url: Some(Sensitive::new("https://shop.example/mugs?utm_source=google&utm_campaign=autumn".into())),
        referrer: Some(Sensitive::new("https://www.google.com/".into())),
        utm,
        ..Visit::default()
    };
    Ok(Observation {
        clicks: vec![
            click(ClickKind::Gclid, format!("EAIaIQobChMI{number:010}_Bench-Click0123456789abcdefgh")),
            click(ClickKind::Fbclid, format!("IwAR{number:010}benchFbclidMixedCase0123456789abcdefghijkl")),
        ],
        keys: vec![IdentityKey::of_token(IdentityKind::Fbp, &fbp)],
        cookies: Cookies { fbp: Some(fbp), ..Cookies::default() },
        consent: Consent { ad_user_data: Choice::Granted, ad_personalization: Choice::Granted },
        ip: "203.0.113.77".parse().ok().map(Sensitive::new),
        ..Observation::new(VisitorId::new(format!("{VISITOR}{number:08}"))?, visit)
    })
}

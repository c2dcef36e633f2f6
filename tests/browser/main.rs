//! The tag in a real browser: headless Chromium, driven by ChromeDriver. Not part of `cargo test`; `.ci/run` installs what this
//! needs (Debian's `chromium` and `chromium-driver`) and runs it with `cargo test --test browser`.
//!
//! All names are below `.localhost`, which browsers look up as this machine and trust like HTTPS: `shop.localhost` and
//! `t.shop.localhost` are one site, `checkout.localhost` is another.

mod carried;
mod consented;
mod driver;
mod hostile;
mod journeys;
mod pages;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with the journeys without a browser, which use more of it")]
mod support;
mod told;
mod web;

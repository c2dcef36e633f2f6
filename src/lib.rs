//! `conversion-relay` is a server-side conversion relay: purchases, sign-ups and leads come in over HTTP, each is joined to the
//! ad click that led to it, contact details are hashed, the result is made durable, and it is delivered to Meta, to Google
//! and into import files.
//!
//! The package is a program first; `README.md` tells how to run it. As a library it is there for its tests, its benchmark and
//! its examples, and for testing an integration against [`sandbox`].
//!
//! # The map
//!
//! An event comes in at the top of the diagram in `ARCHITECTURE.md` and flows down. The modules below stand in order of
//! dependency: each uses only modules of a smaller layer, which a test checks.
//!
//! | layer | module | holds |
//! |---|---|---|
//! | 1 | [`model`] | the nouns: events, ids, money, time, identity, consent, visits, links, clicks, deliveries, settings. No I/O |
//! | 2 | [`privacy`] | the only way from raw contact details to hashed ones, and what keeps them out of free texts |
//! | 2 | [`attribution`] | which click and which visit get the credit; reading click ids off addresses and cookies. Pure |
//! | 2 | [`agents`] | what a user agent says: device, browser, system, in-app browser, and which machine sent it. Pure |
//! | 3 | [`links`] | tracked links as rules: slugs, where they lead, the UTM policy. Pure |
//! | 4 | [`store`] | the traits of what is durable; the engines: event journal, visitors in sled, the book of links and decisions, rows of clicks, memory for tests |
//! | 5 | [`context`] | visitors as the pipeline asks for them: remember, find, forget |
//! | 5 | [`tracking`] | tracked links at work: which there are, what was decided about UTM values, reports, checks of destinations, conversions that two told of |
//! | 5 | [`destinations`] | the platforms: from sealed events to a request, from an answer to verdicts. Pure |
//! | 5 | [`sandbox`] | strict stand-ins for the platforms, for tests, the demo and users |
//! | 6 | [`delivery`] | the workers: lease, keep order, send, settle or try again; deadlines, late reports, HTTPS, OAuth, file writing |
//! | 7 | [`pipeline`] | everything between parsing and acknowledgement, as one function |
//! | 8 | [`web`] | what the listeners share: problems (RFC 9457), keys, bodies, the client's address, `/files` |
//! | 9 | [`intake`] | every way in: `POST /v1/events`, webhooks, the APIs of Segment's and Meta's SDKs, lookups and listings |
//! | 9 | [`capture`] | what comes from browsers: the tag, visits, tracked links and what a request for one was, the privacy page |
//! | 9 | [`admin`] | the operator's listener: how things are; pause, replay, discard, hand over, forget; links, clicks, reports, UTM values, the operator's page |
//! | 9 | [`telemetry`] | logs and the registry of metrics |
//! | 10 | [`config`] | defaults, file and environment, brought together and checked whole |
//! | 11 | [`app`] | wiring: builds the real things, runs them, takes them down in order |
//! | 12 | [`cli`] | one file for each command |

pub mod model;

pub mod agents;
pub mod attribution;
pub mod privacy;

pub mod links;

pub mod store;

pub mod context;
pub mod destinations;
pub mod sandbox;
pub mod tracking;

pub mod delivery;

pub mod pipeline;

pub mod web;

pub mod admin;
pub mod capture;
pub mod intake;
pub mod telemetry;

pub mod config;

pub mod app;

pub mod cli;

//! Journeys through the real binary and the real router, over real HTTP, against the strict sandbox.

mod bad_input;
mod capture;
mod clock;
mod crash;
mod crm;
mod delivery;
mod faults;
mod ga4;
mod google_ads;
mod http;
mod import;
mod layers;
mod leaks;
mod links;
mod links_admin;
mod live;
mod mapped;
mod meta_api;
mod operator;
mod privacy_page;
mod qa;
mod segment;
mod smuggled;
mod support;
mod webhooks;

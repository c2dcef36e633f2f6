//! The machines whose names are published, by category.
//!
//! Written by hand from what the operators say about their crawlers (the pages are named in each file, read 2026-11-20) and
//! from names seen in the open. A needle is lower case and stands for itself; how it is matched is told at `alternative` in
//! `bots.rs`. A name that the general rules would find anyway is here for its category.

mod ai;
mod libraries;
mod marketing;
mod monitoring;
mod other;
pub(super) mod people;
mod preview;
mod reading;
mod scanners;
mod search;

use super::Category;

/// A product and what its user agents hold.
pub(super) type Product = (&'static str, &'static [&'static str]);

/// Every product by category.
pub(super) const ALL: &[(Category, &[Product])] = &[
    (Category::Search, search::SEARCH),
    (Category::SocialPreview, preview::PREVIEWS),
    (Category::AiCrawler, ai::CRAWLERS),
    (Category::AiAgent, ai::AGENTS),
    (Category::Seo, marketing::SEO),
    (Category::Advertising, marketing::ADVERTISING),
    (Category::Monitoring, monitoring::MONITORING),
    (Category::Feed, reading::FEEDS),
    (Category::Archiver, reading::ARCHIVERS),
    (Category::HttpLibrary, libraries::LIBRARIES),
    (Category::Automation, libraries::DRIVEN),
    (Category::Scanner, scanners::SCANNERS),
    (Category::MailScanner, scanners::MAIL),
    (Category::Other, other::OTHER),
];

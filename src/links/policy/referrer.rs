//! Sources as referrers tell them, under the same names as in `utm_source`.

use super::{Field, Policy, builtin, fold};

impl Policy {
    /// The source that a referrer stands for: the alias of its host or of the nearest host above it, else the host itself
    /// without `www.`. An Android app is known by its package. `None` for what is no such address.
    #[must_use]
    pub fn source_of(&self, referrer: &str) -> Option<String> {
        let (scheme, rest) = referrer.trim().split_once("://")?;
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let host = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() || host.len() > 253 {
            return None;
        }
        if scheme.eq_ignore_ascii_case("android-app") {
            return Some(self.normal(Field::Source, &host).into_owned());
        }
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return None;
        }
        let host = host.strip_prefix("www.").unwrap_or(&host);
        let above = std::iter::successors(Some(host), |host| host.split_once('.').map(|(_, above)| above));
        let named = above.filter(|host| host.contains('.')).find_map(|host| self.named(Field::Source, &fold(host)));
        let named = named.or_else(|| self.search_engine(host));
        Some(named.map_or_else(|| self.normal(Field::Source, host).into_owned(), str::to_owned))
    }

    /// Google has a host in almost every country: `google.de`, `www.google.co.uk`, `news.google.com`.
    fn search_engine(&self, host: &str) -> Option<&str> {
        let labels: Vec<&str> = host.rsplit('.').collect();
        let country = |label: &str| label.len() == 2;
        let google = match labels.as_slice() {
            ["com", "google", ..] => true,
            [top, "google", ..] if country(top) => true,
            [top, "com" | "co", "google", ..] if country(top) => true,
            _ => false,
        };
        let known = builtin::well_known(Field::Source).any(|known| known == "google");
        (google && known && self.builtin).then(|| self.named(Field::Source, "google").unwrap_or("google"))
    }
}

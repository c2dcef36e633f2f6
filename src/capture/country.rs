//! Which country a request comes from: by a proxy that knows, else by a file of the operator. The address is looked at and
//! goes nowhere: not into the log, not into a row.

use std::{
    fs::File,
    io::Read as _,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::SystemTime,
};

use axum::http::{HeaderMap, HeaderName};
use maxminddb::{PathElement, Reader};

use crate::{privacy::Country, web::TrustedProxies};

/// A larger file is not read. Those of countries have some 8 MB, those of cities up to 150.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// Where databases keep the country: as `MaxMind` and DB-IP shape it, and flat.
const PATHS: [&[PathElement<'static>]; 2] =
    [&[PathElement::Key("country"), PathElement::Key("iso_code")], &[PathElement::Key("country_code")]];

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// It cannot be read.
    #[error("links.geo_file: cannot read {0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// It is too large to be one of countries.
    #[error("links.geo_file: {0} has more than 512 MiB; take a database of countries")]
    TooLarge(PathBuf),
    /// It is something else.
    #[error(
        "links.geo_file: {0} is no whole MMDB file; take one in the MaxMind DB format, such as dbip-country-lite.mmdb"
    )]
    Format(PathBuf),
}

/// Whom the licence of the data wants to be named wherever results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// In these words.
    pub text: &'static str,
    /// With a link to there.
    pub url: &'static str,
}

/// Source: <https://db-ip.com/db/download/ip-to-country-lite>, read 2026-11-20 (CC BY 4.0).
const DB_IP: Attribution = Attribution { text: "IP Geolocation by DB-IP", url: "https://db-ip.com" };
/// Source: <https://dev.maxmind.com/geoip/geolite2-free-geolocation-data>, read 2026-11-20.
const GEOLITE: Attribution = Attribution {
    text: "This product includes GeoLite Data created by MaxMind, available from https://www.maxmind.com",
    url: "https://www.maxmind.com",
};

/// What says where a request comes from.
#[derive(Debug, Default)]
pub struct Countries {
    proxies: TrustedProxies,
    header: Option<HeaderName>,
    file: Option<GeoFile>,
}

/// A file that is looked into, and read again when it has changed.
#[derive(Debug)]
struct GeoFile {
    path: PathBuf,
    reader: RwLock<Arc<Reader<Vec<u8>>>>,
    /// Of the file that was looked at last, whether it could be used or not.
    seen: Mutex<Option<Stamp>>,
}

/// What changes with a file: when it was written, and how long it is.
type Stamp = (SystemTime, u64);

impl Countries {
    /// By this header of trusted proxies, else by this file; both may be missing. Reads the file.
    ///
    /// # Errors
    /// [`GeoError`].
    pub fn open(header: Option<HeaderName>, file: Option<PathBuf>, proxies: TrustedProxies) -> Result<Self, GeoError> {
        let file = file.map(|path| {
            // Before it is read: what is written meanwhile changes it once more.
            let seen = Mutex::new(stamp(&path));
            let reader = RwLock::new(Arc::new(load(&path)?));
            Ok(GeoFile { path, reader, seen })
        });
        Ok(Self { proxies, header, file: file.transpose()? })
    }

    /// The country of `client`, whose connection comes from `peer`, as ISO 3166-1 alpha-2 in upper case.
    #[must_use]
    pub fn country(&self, peer: IpAddr, client: IpAddr, headers: &HeaderMap) -> Option<String> {
        let told = self.header.as_ref().filter(|_| self.proxies.trusts(peer)).and_then(|name| headers.get(name));
        match told.and_then(|value| value.to_str().ok()).map(str::trim) {
            // An exit of Tor has a country, its user another. Source: Cloudflare, "IP geolocation", read 2026-11-20.
            Some("T1") => return None,
            Some(code) => {
                if let Ok(country) = Country::parse(code) {
                    return Some(country.alpha2().to_owned());
                }
            }
            None => {}
        }
        self.file.as_ref()?.country(client.to_canonical())
    }

    /// Reads the file again if it has changed. While what is there now cannot be used, the old data are. Blocks.
    pub fn reload(&self) {
        let Some(file) = &self.file else { return };
        let now = stamp(&file.path);
        let before = file.seen.lock().map(|mut seen| std::mem::replace(&mut *seen, now)).unwrap_or_default();
        if now.is_none() || now == before {
            return;
        }
        match load(&file.path) {
            Ok(reader) => {
                tracing::info!(database = %reader.metadata().database_type, "the file of countries is read again");
                *file.reader.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(reader);
            }
            Err(error) => {
                tracing::warn!(%error, "the file of countries has changed and cannot be used; the old data stay")
            }
        }
    }

    /// Whom the licence of the file in use wants to be named.
    #[must_use]
    pub fn attribution(&self) -> Option<Attribution> {
        let file = self.file.as_ref()?;
        let reader = file.reader();
        let metadata = reader.metadata();
        let mut names: Vec<&str> = metadata.description.values().map(String::as_str).collect();
        names.push(&metadata.database_type);
        // The data of DB-IP are also packed by others, who leave its name out of the metadata.
        names.extend(file.path.file_name().and_then(|name| name.to_str()));
        let says = |mark: &str| names.iter().any(|name| name.to_ascii_lowercase().replace('-', "").contains(mark));
        [("dbip", DB_IP), ("geolite", GEOLITE)].into_iter().find(|(mark, _)| says(mark)).map(|(_, whom)| whom)
    }

    /// Whether anything says where requests come from.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.header.is_some() || self.file.is_some()
    }
}

impl GeoFile {
    fn reader(&self) -> Arc<Reader<Vec<u8>>> {
        Arc::clone(&self.reader.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn country(&self, client: IpAddr) -> Option<String> {
        let reader = self.reader();
        // An IPv6 address in a database of IPv4, and damaged data, are errors there: nothing is known.
        let found = reader.lookup(client).ok()?;
        let code = PATHS.iter().find_map(|path| found.decode_path::<&str>(path).ok().flatten())?;
        Country::parse(code).ok().map(|country| country.alpha2().to_owned())
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn load(path: &Path) -> Result<Reader<Vec<u8>>, GeoError> {
    let failed = |error| GeoError::Io(path.to_owned(), error);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    if read.map_err(failed)? as u64 > FILE_BYTES_MAX {
        return Err(GeoError::TooLarge(path.to_owned()));
    }
    Reader::from_source(bytes).map_err(|_| GeoError::Format(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use maxminddb_writer::{Database, metadata::IpVersion, paths::IpAddrWithMask};
    use serde::Serialize;

    use super::*;
    use crate::web::Network;

    #[derive(Serialize)]
    struct Nested {
        country: BTreeMap<&'static str, &'static str>,
    }

    #[derive(Serialize)]
    struct Flat {
        country_code: &'static str,
    }

    /// A database of IPv4 and IPv6 in both shapes; the country of 192.0.2.0/24 is `code`.
    fn database(kind: &str, code: &'static str) -> Vec<u8> {
        let mut database = Database::default();
        database.metadata.ip_version = IpVersion::V6;
        database.metadata.binary_format_major_version = 2;
        database.metadata.database_type = kind.to_owned();
        let nested = Nested { country: BTreeMap::from([("iso_code", code)]) };
        let nested = database.insert_value(nested).expect("writes");
        let flat = database.insert_value(Flat { country_code: "fr" }).expect("writes");
        let odd = database.insert_value(Flat { country_code: "ZZ" }).expect("writes");
        for (network, value) in [("::c000:200/120", nested), ("2001:db8::/32", flat), ("::cb00:7100/120", odd)] {
            database.insert_node(network.parse::<IpAddrWithMask>().expect("a network"), value);
        }
        database.write_to(Vec::new()).expect("writes")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn headers(country: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static("cf-ipcountry"), country.parse().expect("a value"))])
    }

    fn proxies() -> TrustedProxies {
        TrustedProxies(vec![Network::parse("10.0.0.0/8").expect("a network")])
    }

    #[test]
    fn only_a_trusted_proxy_says_where_somebody_is() {
        let header = Some(HeaderName::from_static("cf-ipcountry"));
        let countries = Countries::open(header, None, proxies()).expect("opens");
        let country = |peer, told| countries.country(ip(peer), ip("198.51.100.1"), &headers(told));
        assert_eq!(country("10.1.1.1", "de").as_deref(), Some("DE"));
        assert_eq!(country("::ffff:10.1.1.1", "US").as_deref(), Some("US"), "a mapped address is that address");
        assert_eq!(country("203.0.113.9", "DE"), None, "a stranger may write anything");
        for none in ["XX", "T1", "", "Germany", "D", "ZZ", "DE, US"] {
            assert_eq!(country("10.1.1.1", none), None, "{none}");
        }
    }

    #[test]
    fn the_file_knows_both_shapes_and_both_kinds_of_addresses() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("country.mmdb");
        std::fs::write(&path, database("Country", "GB")).expect("writes");
        let header = Some(HeaderName::from_static("cf-ipcountry"));
        let countries = Countries::open(header, Some(path), proxies()).expect("opens");
        let of = |client| countries.country(ip("10.0.0.1"), ip(client), &HeaderMap::new());
        assert_eq!(of("192.0.2.77").as_deref(), Some("GB"));
        assert_eq!(of("::ffff:192.0.2.77").as_deref(), Some("GB"));
        assert_eq!(of("2001:db8::1").as_deref(), Some("FR"), "in upper case");
        assert_eq!(of("203.0.113.9"), None, "ZZ is no country");
        assert_eq!(of("198.51.100.1"), None, "not in it");
        let told = |header| countries.country(ip("10.0.0.1"), ip("192.0.2.77"), &headers(header));
        assert_eq!(told("DE").as_deref(), Some("DE"), "the proxy knows better");
        assert_eq!(told("XX").as_deref(), Some("GB"), "the proxy does not know");
        assert_eq!(told("T1"), None, "the country of an exit is not its user's");
        assert_eq!(countries.attribution(), None);
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("country.mmdb");
        let write = |bytes: &[u8], minutes: u64| {
            std::fs::write(&path, bytes).expect("writes");
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000 + minutes * 60);
            File::options().write(true).open(&path).expect("opens").set_modified(at).expect("sets");
        };
        write(&database("Country", "GB"), 1);
        let countries = Countries::open(None, Some(path.clone()), TrustedProxies::default()).expect("opens");
        let country = || countries.country(ip("10.0.0.1"), ip("192.0.2.1"), &HeaderMap::new());
        let whole = database("DBIP-Country-Lite", "IE");
        write(&whole[..whole.len() / 2], 2);
        countries.reload();
        assert_eq!(country().as_deref(), Some("GB"), "half a file is none");
        write(&whole, 3);
        countries.reload();
        assert_eq!((country().as_deref(), countries.attribution()), (Some("IE"), Some(DB_IP)));
        std::fs::remove_file(&path).expect("removes");
        countries.reload();
        assert_eq!(country().as_deref(), Some("IE"), "gone for a moment");
    }

    #[test]
    fn what_is_no_database_is_told_at_the_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("dbip.mmdb");
        let open = || Countries::open(None, Some(path.clone()), TrustedProxies::default());
        assert!(matches!(open(), Err(GeoError::Io(..))));
        for bytes in [&b""[..], b"ip,country\n192.0.2.0,GB\n", b"\xab\xcd\xefMaxMind.com"] {
            std::fs::write(&path, bytes).expect("writes");
            assert!(matches!(open(), Err(GeoError::Format(_))));
        }
        std::fs::write(&path, database("country ipvAll", "GB")).expect("writes");
        assert_eq!(open().expect("opens").attribution(), Some(DB_IP), "by its name");
    }

    #[test]
    fn damaged_data_are_no_country_and_no_panic() {
        let whole = database("Country", "GB");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("country.mmdb");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            std::fs::write(&path, &bytes).expect("writes");
            let Ok(countries) = Countries::open(None, Some(path.clone()), TrustedProxies::default()) else { continue };
            for client in ["192.0.2.1", "2001:db8::1", "198.51.100.1"] {
                let country = countries.country(ip("10.0.0.1"), ip(client), &HeaderMap::new());
                assert!(country.is_none_or(|code| code.len() == 2), "{at}");
            }
        }
    }
}

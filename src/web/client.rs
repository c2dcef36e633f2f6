//! Whose request it is, when proxies stand between us.

use std::net::IpAddr;

use axum::http::HeaderMap;

/// A network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or one address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(bits), |prefix| prefix.parse().ok())?;
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether `other` is in it.
    #[must_use]
    pub fn holds(&self, other: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let ((mine, size), (theirs, other_size)) = (bits(self.address), bits(other));
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
        size == other_size && mine & mask == theirs & mask
    }
}

/// Proxies whose `X-Forwarded-For` is believed; `[public] trusted_proxies`.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(pub Vec<Network>);

impl TrustedProxies {
    /// The address of the client: that of the connection, or, behind trusted proxies, the last one in
    /// `X-Forwarded-For` that is not such a proxy itself. What stands before it, anybody may have written.
    #[must_use]
    pub fn client(&self, connection: IpAddr, headers: &HeaderMap) -> IpAddr {
        let connection = connection.to_canonical();
        if !self.trusts(connection) {
            return connection;
        }
        let lists = headers.get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = lists.flat_map(|list| list.split(',')).map(str::trim).collect();
        let mut client = connection;
        for hop in hops.iter().rev() {
            let Ok(address) = hop.parse::<IpAddr>() else { break };
            client = address.to_canonical();
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    /// Whether what the headers of a connection from this address say is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.holds(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(connection: &str, forwarded: &[&str]) -> String {
        let proxies = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"].map(|text| Network::parse(text).expect("valid"));
        let headers = forwarded.iter().map(|v| ("x-forwarded-for".parse().expect("ok"), v.parse().expect("ok")));
        let headers = HeaderMap::from_iter(headers);
        TrustedProxies(proxies.to_vec()).client(connection.parse().expect("an address"), &headers).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(client("203.0.113.5", &["198.51.100.1"]), "203.0.113.5", "a stranger may write anything");
        assert_eq!(client("10.1.1.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.1.1.1", &["1.2.3.4, 198.51.100.1, 10.2.2.2"]), "198.51.100.1", "the first untrusted hop");
        assert_eq!(client("10.1.1.1", &["1.2.3.4", "198.51.100.1"]), "198.51.100.1", "several headers are one list");
        assert_eq!(client("2001:db8::1", &["2001:db9::5"]), "2001:db9::5");
        assert_eq!(client("::ffff:10.1.1.1", &["198.51.100.1"]), "198.51.100.1", "a mapped address is that address");
        assert_eq!(client("192.0.2.7", &["nonsense, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(client("10.1.1.1", &[]), "10.1.1.1");
    }

    #[test]
    fn networks_are_checked() {
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "example.com", "10.0.0.0/x"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}

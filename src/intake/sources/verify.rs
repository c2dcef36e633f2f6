//! Believing a request. [`Verified`] comes from here alone, so that nothing else can be parsed.

use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Refusal, header};
use crate::{
    model::{Secret, Settings, Time},
    web::basic_matches,
};

/// A request to a source's address, as it came.
pub struct Inbound<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The query of its address.
    pub query: Option<&'a str>,
    /// Its body, byte for byte.
    pub body: &'a [u8],
}

/// A request that is from who it claims to be. Only the checks of this module make one.
///
/// ```compile_fail
/// use conversion_relay::intake::sources::{Inbound, Verified};
/// fn forged<'a>(inbound: &'a Inbound<'a>) -> Verified<'a> {
///     Verified { inbound } // its field is private
/// }
/// ```
pub struct Verified<'a> {
    inbound: &'a Inbound<'a>,
}

impl<'a> Verified<'a> {
    /// Its body.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.inbound.body
    }

    /// Its headers.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.inbound.headers
    }

    /// A header of it, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        header(self.inbound.headers, name)
    }

    /// What the operator took for genuine: a body from his own disk, for `conversion-relay preview`.
    #[must_use]
    pub(in crate::intake) const fn trusted(inbound: &'a Inbound<'a>) -> Self {
        Self { inbound }
    }
}

/// Secrets that are live at once, the newest and those of a rotation: `secrets`.
#[derive(Clone)]
pub(super) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// These bytes.
    pub(super) const fn new(secrets: Vec<Vec<u8>>) -> Self {
        Self(secrets)
    }

    /// Reads `secrets`, which has to be there; `what` says where the provider shows them.
    pub(super) fn read(settings: &mut Settings, what: &str) -> Option<Self> {
        Self::optional(settings.need("secrets", what), what)
    }

    /// Reads `secrets`, if they are there.
    pub(super) fn optional(settings: &mut Settings, what: &str) -> Option<Self> {
        if !settings.has("secrets") {
            return None;
        }
        let plain = |text: &str| (!text.trim().is_empty()).then(|| text.as_bytes().to_vec());
        let secrets = settings.list("secrets", what, plain)?;
        if secrets.is_empty() {
            settings.problem("secrets", format!("must hold at least one: {what}"));
            return None;
        }
        if secrets.iter().any(|secret| secret.trim_ascii() != secret.as_slice()) {
            settings.problem("secrets", "one begins or ends with a space or a line end; leave that out");
        }
        Some(Self(secrets))
    }

    /// The secrets.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Believes the request if one of `given` is the HMAC-SHA256 of `signed` under one of the secrets.
    ///
    /// # Errors
    /// `bad_signature`.
    pub(super) fn hmac<'a>(
        &self,
        inbound: &'a Inbound<'a>,
        signed: &[&[u8]],
        given: &[[u8; 32]],
    ) -> Result<Verified<'a>, Refusal> {
        let mut matches = subtle::Choice::from(0);
        for secret in &self.0 {
            let right = hmac(secret, signed);
            for given in given {
                // No early end: the time tells nothing about which secret it was.
                matches |= right.ct_eq(given);
            }
        }
        if bool::from(matches) { Ok(Verified { inbound }) } else { Err(bad_signature()) }
    }

    /// Believes the request if it carries `Authorization: Bearer SECRET`.
    ///
    /// # Errors
    /// `no_credential`, `bad_credential`.
    pub(super) fn bearer<'a>(&self, inbound: &'a Inbound<'a>) -> Result<Verified<'a>, Refusal> {
        let given = header(inbound.headers, "authorization").and_then(|text| text.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        self.presented(inbound, given)
    }

    /// Believes the request if the secret stands in a header of this name.
    ///
    /// # Errors
    /// `no_credential`, `bad_credential`.
    pub(super) fn in_header<'a>(&self, inbound: &'a Inbound<'a>, name: &str) -> Result<Verified<'a>, Refusal> {
        self.presented(inbound, header(inbound.headers, name))
    }

    /// Believes the request if `given` is one of the secrets.
    pub(super) fn presented<'a>(&self, inbound: &'a Inbound<'a>, given: Option<&str>) -> Result<Verified<'a>, Refusal> {
        let missing =
            "the request carries no credential; set it at the sender, as the page of this kind in docs/sources says";
        let given = given.ok_or(Refusal::unverified("no_credential", missing))?;
        let given = Sha256::digest(given);
        let mut matches = subtle::Choice::from(0);
        for secret in &self.0 {
            matches |= Sha256::digest(secret).as_slice().ct_eq(given.as_slice());
        }
        if bool::from(matches) { Ok(Verified { inbound }) } else { Err(bad_credential()) }
    }

    /// Believes the request if it carries Basic credentials of this user with one of the secrets as its password.
    ///
    /// # Errors
    /// `no_credential`, `bad_credential`.
    pub(super) fn basic<'a>(&self, inbound: &'a Inbound<'a>, user: &str) -> Result<Verified<'a>, Refusal> {
        let mut matches = false;
        for secret in &self.0 {
            let secret = Secret::new(String::from_utf8_lossy(secret));
            matches |= basic_matches(inbound.headers, user, &secret);
        }
        match (matches, header(inbound.headers, "authorization")) {
            (true, _) => Ok(Verified { inbound }),
            (false, Some(_)) => Err(bad_credential()),
            (false, None) => Err(Refusal::unverified(
                "no_credential",
                "the request carries no Basic credentials; set user and password of this webhook at the sender",
            )),
        }
    }
}

fn bad_signature() -> Refusal {
    Refusal::unverified(
        "bad_signature",
        "the signature does not fit the body; check that `secrets` holds the secret the sender signs with, and that \
         nothing between us changes the body",
    )
}

fn bad_credential() -> Refusal {
    Refusal::unverified("bad_credential", "the credential is not one of this source's `secrets`")
}

/// There is no signature to check.
pub(super) fn no_signature(detail: &'static str) -> Refusal {
    Refusal::unverified("no_signature", detail)
}

/// Checks a signature's time against our clock; `ahead` is how far ahead of it that may be, `None` for any.
///
/// # Errors
/// `stale`, `from_the_future`.
pub(super) fn fresh(
    signed_at: Time,
    now: Time,
    tolerance: std::time::Duration,
    ahead: Option<std::time::Duration>,
) -> Result<(), Refusal> {
    if signed_at < now.minus(tolerance) {
        let detail = "the signature is older than `tolerance` allows; a sender that repeats old deliveries without signing \
                      them anew needs a longer one";
        return Err(Refusal::unverified("stale", detail));
    }
    if ahead.is_some_and(|ahead| signed_at > now.plus(ahead)) {
        let detail = "the signature's time is ahead of our clock by more than `tolerance`; check both clocks";
        return Err(Refusal::unverified("from_the_future", detail));
    }
    Ok(())
}

/// HMAC-SHA256 of `parts`, one behind the other.
pub(super) fn hmac(secret: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// A signature written in hexadecimal digits.
pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let digits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !digits {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, i) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[i..i + 2], 16).ok()?;
    }
    Some(bytes)
}

/// A signature written in Base64.
pub(super) fn from_base64(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text.trim()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BODY: &[u8] = br#"{"id":1,"email":"a@b.test"}"#;

    /// Vectors: computed outside this code, with the vendor\'s own package where there is one.
    #[test]
    fn signatures_are_those_of_the_vectors() {
        let hex = "cd0740ed91f366cb18aa557a435d1cd2100ef5f9636d0416a4e0501d429d6df0";
        let base64 = "zQdA7ZHzZssYqlV6Q10c0hAO9fljbQQWpOBQHUKdbfA=";
        assert_eq!(from_hex(hex), Some(hmac(b"shhh", &[BODY])));
        assert_eq!(from_base64(base64), Some(hmac(b"shhh", &[&BODY[..5], &BODY[5..]])));
        for bad in ["", "zz", &hex[1..], &hex.replace('c', "g"), &"é".repeat(32), &"+a".repeat(32)] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
        assert_eq!(from_base64("AAAA"), None);
    }

    #[test]
    fn any_live_secret_is_enough_and_nothing_else() {
        let headers = HeaderMap::new();
        let inbound = Inbound { headers: &headers, query: None, body: BODY };
        let secrets = Secrets::new(vec![b"new".to_vec(), b"shhh".to_vec()]);
        let right = hmac(b"shhh", &[BODY]);
        assert!(secrets.hmac(&inbound, &[BODY], &[[0; 32], right]).is_ok());
        for given in [vec![], vec![[0; 32]], vec![hmac(b"old", &[BODY])], vec![hmac(b"shhh", &[BODY, b" "])]] {
            let refused = secrets.hmac(&inbound, &[BODY], &given).err();
            assert_eq!(refused.map(|refusal| (refusal.reason, refusal.problem.status)), Some(("bad_signature", 401)));
        }
        assert_eq!(secrets.presented(&inbound, None).err().map(|r| r.reason), Some("no_credential"));
        assert_eq!(secrets.presented(&inbound, Some("old")).err().map(|r| r.reason), Some("bad_credential"));
        assert!(secrets.presented(&inbound, Some("new")).is_ok());
    }

    #[test]
    fn freshness_has_two_sides() {
        let (now, span) = (Time::from_secs(1_700_000_000), Duration::from_secs(300));
        let reason = |at: i64, ahead| fresh(Time::from_secs(at), now, span, ahead).err().map(|r| r.reason);
        assert_eq!(reason(1_700_000_000 - 300, Some(span)), None);
        assert_eq!(reason(1_700_000_000 - 301, Some(span)), Some("stale"));
        assert_eq!(reason(1_700_000_301, Some(span)), Some("from_the_future"));
        assert_eq!(reason(1_800_000_000, None), None);
    }
}

//! Who gets what of a conversion, by the kind of destination.

use serde::Serialize;

/// What a kind of destination gets.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Recipient {
    /// Its kind in the configuration.
    pub(super) kind: &'static str,
    /// Who it is.
    pub(super) name: &'static str,
    /// What it gets as SHA-256 hashes.
    pub(super) hashed: &'static str,
    /// What it gets readable.
    pub(super) readable: &'static str,
}

/// Every kind of destination of this build.
pub(super) const RECIPIENTS: &[Recipient] = &[
    Recipient {
        kind: "meta",
        name: "Meta (Facebook, Instagram)",
        hashed: "E-mail address, phone number, name, city, region, postal code, country, date of birth, gender, customer number",
        readable: "What happened, when and on which page, order number, items and value, further details of the shop, IP \
                   address, browser (user agent), Meta's own click and browser ids (_fbc, _fbp), lead number",
    },
    Recipient {
        kind: "data_manager",
        name: "Google (Data Manager)",
        hashed: "E-mail address, phone number, first and last name",
        readable: "What happened and when, order number, items and value, Google's click id, country and postal code, what \
                   you allowed",
    },
    Recipient {
        kind: "google_ads",
        name: "Google Ads",
        hashed: "E-mail address, phone number",
        readable: "What happened and when, order number, items and value, Google's click id, what you allowed",
    },
    Recipient {
        kind: "ga4",
        name: "Google Analytics",
        hashed: "E-mail address, phone number, first and last name, street",
        readable: "What happened and when, order number, items and value, further details of the shop, Google Analytics' own \
                   ids of browser and session, country and postal code, what you allowed",
    },
    Recipient {
        kind: "file",
        name: "A file that the operator of this site keeps until he deletes it, or hands to an advertising platform",
        hashed: "E-mail address, phone number, name and address, date of birth, gender, customer number",
        readable: "What happened and when, order number, items and value, click ids, country and postal code, what you \
                   allowed; in files for the operator alone also campaign words, the page, IP address and browser",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::destinations::REGISTRY;

    #[test]
    fn every_kind_of_destination_is_told() {
        let told: BTreeSet<&str> = RECIPIENTS.iter().map(|recipient| recipient.kind).collect();
        let built: BTreeSet<&str> = REGISTRY.iter().map(|descriptor| descriptor.kind).collect();
        assert_eq!(told, built, "say in RECIPIENTS what this kind gets");
    }
}

//! Google's spelling: Google Ads, the Data Manager API and Google Analytics agree on it.
//!
//! Sources, read 2026-11-20: `google-ads-datamanager-util` 0.4.0, `datamanager_util/format.py`;
//! developers.google.com/data-manager/api/devguides/concepts/formatting; `google-ads-datamanager` 0.9.4,
//! `types/user_data.py`; `google-ads` 34.0.0, `v26/common/types/offline_user_data.py`. The samples inside `google-ads`
//! delete dots and plus signs for every domain; they are wrong.
//!
//! City, state, postal code and country go in clear, so they have no spelling here.

use super::{Dialect, is_space, lower};
use crate::{
    model::{Normal, Raw, kind},
    privacy::clean::Telephone,
};

/// Google's ads and analytics products.
#[derive(Clone, Copy, Debug)]
pub struct Google;

/// Domains whose mailboxes ignore dots and what follows a plus sign.
const GMAIL: [&str; 2] = ["gmail.com", "googlemail.com"];

impl Dialect for Google {
    /// One `@`, no whitespace; for Gmail's two domains the mailbox without dots and without what follows the first `+`.
    fn email(&self, raw: &Raw<kind::Email>) -> Option<Normal<kind::Email>> {
        let email = lower(raw.expose());
        let (mailbox, domain) = email.split_once('@')?;
        if domain.is_empty() || domain.contains('@') || email.contains(is_space) {
            return None;
        }
        let spelled = if GMAIL.contains(&domain) {
            let mut spelled: String = mailbox.chars().take_while(|&c| c != '+').filter(|&c| c != '.').collect();
            if spelled.is_empty() {
                return None;
            }
            spelled.push('@');
            spelled.push_str(domain);
            spelled
        } else if mailbox.is_empty() {
            return None;
        } else {
            email
        };
        Normal::new(spelled)
    }

    /// E.164 with `+`. A number of unknown country is left out: none is guessed.
    fn phone(&self, phone: &Telephone<'_>) -> Option<Normal<kind::Phone>> {
        phone.e164().map(str::to_owned).and_then(Normal::new)
    }

    /// Lower case without punctuation; inner spaces stay.
    fn name(&self, raw: &Raw<kind::Name>) -> Option<Normal<kind::Name>> {
        Normal::new(plain(raw.expose()))
    }

    /// As for a name.
    fn street(&self, raw: &Raw<kind::Street>) -> Option<Normal<kind::Street>> {
        Normal::new(plain(raw.expose()))
    }
}

/// Lower case, without punctuation and symbols, then trimmed.
fn plain(text: &str) -> String {
    let mut plain = lower(text);
    plain.retain(|c| !is_punctuation(c));
    if plain.starts_with(is_space) || plain.ends_with(is_space) { lower(&plain) } else { plain }
}

/// Punctuation and symbols of the scripts names are written in. Marks and joiners that are part of a word stay.
fn is_punctuation(c: char) -> bool {
    match c {
        '\0'..='\u{7f}' => c.is_ascii_punctuation(),
        // Latin-1 signs, but not its letters (ª º) or its no-break space and soft hyphen.
        '\u{a1}'..='\u{bf}' => !c.is_alphanumeric() && c != '\u{ad}',
        '×' | '÷' => true,
        // Hebrew, Arabic, Indic, Ethiopic and other sentence signs.
        '\u{37e}' | '\u{387}' | '\u{55a}'..='\u{55f}' | '\u{589}' | '\u{58a}' => true,
        '\u{5be}' | '\u{5c0}' | '\u{5c3}' | '\u{5c6}' | '\u{5f3}' | '\u{5f4}' => true,
        '\u{60c}' | '\u{60d}' | '\u{61b}' | '\u{61d}'..='\u{61f}' | '\u{66a}'..='\u{66d}' | '\u{6d4}' => true,
        '\u{964}' | '\u{965}' | '\u{970}' | '\u{e4f}' | '\u{e5a}' | '\u{e5b}' | '\u{10fb}' => true,
        // General punctuation except spaces and joiners; currency signs, letter-like marks, arrows, shapes, dingbats.
        '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' | '\u{20a0}'..='\u{20c0}' => true,
        '\u{2116}' | '\u{2117}' | '\u{2120}' | '\u{2122}' | '\u{2190}'..='\u{23ff}' | '\u{2500}'..='\u{27bf}' => true,
        '\u{2e00}'..='\u{2e2e}' | '\u{2e30}'..='\u{2e5d}' => true,
        // Chinese, Japanese and Korean, and the full-width forms.
        '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3020}' | '\u{3030}' | '\u{303d}' | '\u{30a0}' | '\u{30fb}' => true,
        '\u{fe10}'..='\u{fe19}' | '\u{fe30}'..='\u{fe6b}' => true,
        '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}' | '\u{ff3b}'..='\u{ff40}' | '\u{ff5b}'..='\u{ff65}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Digest, privacy::Country};

    fn hashed<K>(spelled: Option<Normal<K>>) -> Option<(String, String)> {
        spelled.map(|normal| (normal.expose().to_owned(), Digest::of(&normal).hex()))
    }

    fn phone(text: &str, country: &str) -> Option<(String, String)> {
        hashed(Google.phone(&Telephone::read(&Raw::new(text), [None, Country::parse(country).ok()])))
    }

    fn wanted(spelled: &str, digest: &str) -> Option<(String, String)> {
        Some((spelled.to_owned(), digest.to_owned()))
    }

    #[test]
    fn addresses_hash_as_published() {
        for (text, spelled, digest) in [
            (
                "Alex.Z@Example.com",
                "alex.z@example.com",
                "0bf177fe5af2490576a19c89f25de0e86170529138c0ec28f9c1bd2bbcb84067",
            ),
            (
                "  Jefferson.Loves.Hiking@Gmail.com\n",
                "jeffersonloveshiking@gmail.com",
                "515d2f967f73864e76937ab2b897210a86fd286016903b1b08c3da07c75f513e",
            ),
            (
                "Cloudy.SanFrancisco+shopping@gmail.com",
                "cloudysanfrancisco@gmail.com",
                "223ebda6f6889b1494551ba902d9d381daf2f642bae055888e96343d53e9f9c4",
            ),
            (
                "j.o.e+x+y@GoogleMail.com",
                "joe@googlemail.com",
                "3e40d1b33127980ee8c341223f1ea72e2e53ed9fc56a27f887718e88b2659fe6",
            ),
            (
                "user.name+NYC@Example.com",
                "user.name+nyc@example.com",
                "f109a2a632fbcea5fc82049f50beed3d8621bf9034399f437fb622222acccdac",
            ),
            (
                "\u{a0}Jos\u{c9}@Example.COM\u{2003}",
                "jos\u{e9}@example.com",
                "b0a53cf19e34d05b57bced7365c6b00ddbe38d62957e863de2a66a56c3b42cea",
            ),
            (
                "JU\u{308}RGEN@b\u{fc}cher.example",
                "ju\u{308}rgen@b\u{fc}cher.example",
                "bf94a7e033379b7fd21eeeb22727df2eb03ce19dd3ab5f5d35eba959fb2ac7b3",
            ),
            (
                "\u{130}pek@Example.com",
                "i\u{307}pek@example.com",
                "6182afdc2043b443215baea80e61a943f11d6fc4dc61e1c5834aae320fb8c91f",
            ),
        ] {
            assert_eq!(hashed(Google.email(&Raw::new(text))), wanted(spelled, digest), "{text}");
        }
    }

    #[test]
    fn phone_numbers_hash_as_published() {
        for (text, country, spelled, digest) in [
            (
                "(800) 555-0100",
                "US",
                "+18005550100",
                "fb4f73a6ec5fdb7077d564cdd22c3554b43ce49168550c3b12c547b78c517b30",
            ),
            ("+1 800-555-0100", "", "+18005550100", "fb4f73a6ec5fdb7077d564cdd22c3554b43ce49168550c3b12c547b78c517b30"),
            (
                "0049 (0)30 901820",
                "DE",
                "+4930901820",
                "4db5829924ee5c466cbd9ac69b2a6af527f758614fa3b3aec8c89b16a709a678",
            ),
            ("07911 123456", "GB", "+447911123456", "20b18ac9de7b3aad174961827d8e451c410af9aedfd1d699927f4b29b81aa1fa"),
            (
                "＋４４ ７９１１ １２３４５６",
                "",
                "+447911123456",
                "20b18ac9de7b3aad174961827d8e451c410af9aedfd1d699927f4b29b81aa1fa",
            ),
        ] {
            assert_eq!(phone(text, country), wanted(spelled, digest), "{text}");
        }
    }

    #[test]
    fn names_hash_as_published() {
        for (text, spelled, digest) in [
            ("  GivenName ", "givenname", "128a07bfe2df877c52076e60d7774cf5baaa046c5a6c48daf30ff43ecca2f814"),
            ("Mary Ann", "mary ann", "343b97011010c3549fe7fcd6c226ed9431ea37b0b77ed78f6300a0098925faf1"),
            (
                "\u{c9}lo\u{cf}se",
                "\u{e9}lo\u{ef}se",
                "da88a25ab9c8697c7cefed8f98868c8f36eb7dbbb547232099dcc638428ab0ab",
            ),
            ("O'Brien", "obrien", "b4cb6cb33fe4b865868de825023a1e2790dc12ac01ecc8d7c5afe8254071c8ba"),
            (
                "M\u{dc}LLER-L\u{dc}DENSCHEIDT",
                "m\u{fc}llerl\u{fc}denscheidt",
                "5d111567d02391abb8602b6a6498465eb1edf98eb6ba46fa5bd2f2d69351a514",
            ),
            (
                "\u{5c71}\u{7530}",
                "\u{5c71}\u{7530}",
                "5f34cd8399195fa23a32ace56c87f461adcbee99d90d9e60057f01684b3b46da",
            ),
            (
                "\u{3a0}\u{391}\u{3a0}\u{391}\u{394}\u{39f}\u{3a0}\u{39f}\u{3a5}\u{39b}\u{39f}\u{3a3}",
                "\u{3c0}\u{3b1}\u{3c0}\u{3b1}\u{3b4}\u{3bf}\u{3c0}\u{3bf}\u{3c5}\u{3bb}\u{3bf}\u{3c2}",
                "a52ddca38b58fcf8700d9b82c0415cfbfd4a2627e66895616ef9988a420193a2",
            ),
        ] {
            assert_eq!(hashed(Google.name(&Raw::new(text))), wanted(spelled, digest), "{text}");
        }
    }

    #[test]
    fn a_street_hashes_as_published() {
        let digest = "387e1d4528bf5bb1076ed3b4b33d84d7ab3da58d54679075212f4a37957a8901";
        let street = hashed(Google.street(&Raw::new("1600 Amphitheatre Pkwy. #5 ")));
        assert_eq!(street, wanted("1600 amphitheatre pkwy 5", digest));
    }

    #[test]
    fn what_google_would_refuse_is_left_out() {
        for text in
            ["", " ", "a b@c.d", "quinn", " @gmail.com", "...@gmail.com", "+@gmail.com", "@x.y", "a@", "a@b@c.d"]
        {
            assert!(Google.email(&Raw::new(text)).is_none(), "{text}");
        }
        for country in ["", "US"] {
            for text in ["", "none", "()", "+", "12"] {
                assert_eq!(phone(text, country), None, "{text}");
            }
        }
        assert_eq!(phone("07911 123456", ""), None);
        for text in ["", " ", "-", ". ."] {
            assert!(Google.name(&Raw::new(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn punctuation_of_any_script_goes_and_what_belongs_to_a_word_stays() {
        for (text, spelled) in [
            ("O\u{2019}Brien", "obrien"),
            ("\u{ff08}Ana\u{ff09}", "ana"),
            ("( Bob ).", "bob"),
            ("Ma\u{30fb}Li", "mali"),
            ("JU\u{308}RGEN", "ju\u{308}rgen"),
            (
                "\u{928}\u{930}\u{947}\u{928}\u{94d}\u{926}\u{94d}\u{930}",
                "\u{928}\u{930}\u{947}\u{928}\u{94d}\u{926}\u{94d}\u{930}",
            ),
            (
                "\u{639}\u{644}\u{6cc}\u{200c}\u{631}\u{636}\u{627}",
                "\u{639}\u{644}\u{6cc}\u{200c}\u{631}\u{636}\u{627}",
            ),
        ] {
            let plain = Google.name(&Raw::new(text)).map(|normal| normal.expose().to_owned());
            assert_eq!(plain.as_deref(), Some(spelled), "{text}");
        }
    }
}

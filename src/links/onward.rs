//! The address that a link redirects to: its destination, its UTM values, and what came with the request.
//!
//! Everything is done on the text. What is passed on is passed on byte for byte, as a click id that was decoded and encoded
//! again may be another one. Names are compared as whoever reads the landing page's address compares them: decoded, and in
//! any case if they are those of click ids.
//!
//! | the same name in | counts |
//! |---|---|
//! | the request and the destination, a click id | the request's, in the destination's place: that one is of an older click |
//! | the request and the destination or the link, anything else | the destination's, else the link's |
//! | the destination and the link | the destination's, or the link's by [`UtmRule::Replace`] |
//! | the request twice | the first, but `name[]` as often as it is there |

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::form_urlencoded;

use crate::model::{ClickKind, Utm, UtmRule};

/// The parameter that hands the visitor's id over to the landing page.
pub const VISITOR_PARAMETER: &str = "cr_vid";
/// The parameter that says that the operator's own people are testing.
pub const QA_PARAMETER: &str = "cr_qa";

/// What no header can hold, and nobody should have sent. A `#` cannot come in with a request; it would end the query.
const UNSENDABLE: &AsciiSet = &CONTROLS.add(b' ');
const UNSENDABLE_IN_QUERY: &AsciiSet = &UNSENDABLE.add(b'#');

/// Click ids longer than this are none.
const CLICK_BYTES_MAX: usize = 1024;

/// What the address is composed of.
#[derive(Clone, Copy, Debug)]
pub struct Onward<'a> {
    /// Where to, as it was checked when it was stored.
    pub destination: &'a str,
    /// The link's UTM values.
    pub utm: &'a Utm,
    /// Whose UTM values win.
    pub rule: UtmRule,
    /// The request's query, without its `?`.
    pub query: &'a str,
    /// The visitor's id, to be handed over.
    pub visitor: Option<&'a str>,
}

impl Onward<'_> {
    /// The address: ASCII without spaces and control characters.
    #[must_use]
    pub fn address(&self) -> String {
        let (page, fragment) =
            self.destination.find('#').map_or((self.destination, ""), |at| self.destination.split_at(at));
        let (path, own) = page.split_once('?').map_or((page, None), |(path, query)| (path, Some(query)));
        let clicks = clicks(self.query);
        let mut address = Address::with_capacity(self.destination.len() + self.query.len() + 160);
        address.push_unchanged(path, UNSENDABLE);
        let mut fixed = HashSet::new();
        if let Some(own) = own {
            self.own_query(own, &clicks, &mut fixed, &mut address);
        }
        for (name, value) in utm_values(self.utm) {
            if let Some(value) = value
                && fixed.insert(Cow::Borrowed(name))
            {
                address.pair(name, value);
            }
        }
        self.passed_on(&clicks, &fixed, &mut address);
        if let Some(visitor) = self.visitor {
            address.pair(VISITOR_PARAMETER, visitor);
        }
        address.push_unchanged(fragment, UNSENDABLE);
        address.text
    }

    /// The destination's own query: as it is, but for what has to be replaced. Notes its names.
    fn own_query<'q>(
        &'q self,
        own: &'q str,
        clicks: &HashMap<&'static str, &'q str>,
        fixed: &mut HashSet<Cow<'q, str>>,
        address: &mut Address,
    ) {
        let (mut pieces, mut any) = (Vec::new(), own.is_empty());
        for piece in own.split('&') {
            let name = name(piece);
            let link_value = utm_values(self.utm).into_iter().find(|(utm, _)| *utm == name);
            let link_value = link_value.and_then(|(_, value)| value).filter(|_| self.rule == UtmRule::Replace);
            let replaced = clicks.contains_key(&*name) || link_value.is_some();
            if is_ours(&name) || (replaced && fixed.contains(&name)) {
                continue;
            }
            any = true;
            pieces.push(match (clicks.get(&*name), link_value) {
                (Some(fresh), _) => Cow::Owned(utf8_percent_encode(fresh, UNSENDABLE_IN_QUERY).to_string()),
                (None, Some(value)) => Cow::Owned(format!("{name}={}", encoded(value))),
                (None, None) => Cow::Borrowed(piece),
            });
            fixed.insert(name);
        }
        if any {
            address.begin();
            address.push_unchanged(&pieces.join("&"), UNSENDABLE);
        }
    }

    /// What came with the request and is neither ours nor there already.
    fn passed_on(&self, clicks: &HashMap<&'static str, &str>, fixed: &HashSet<Cow<'_, str>>, address: &mut Address) {
        let mut seen = HashSet::new();
        let mut goes = |piece: &str| {
            let name = name(piece);
            if piece.is_empty() {
                return true;
            }
            if is_ours(&name) || fixed.contains(&name) {
                return false;
            }
            // Of a click id the first that can be one.
            let fresh = clicks.get(&*name).is_none_or(|fresh| std::ptr::eq(*fresh, piece));
            fresh && (name.ends_with("[]") || seen.insert(name.into_owned()))
        };
        let pieces: Vec<&str> = self.query.split('&').filter(|piece| goes(piece)).collect();
        if pieces.iter().any(|piece| !piece.is_empty()) {
            address.separate();
            address.push_unchanged(&pieces.join("&"), UNSENDABLE_IN_QUERY);
        }
    }
}

/// The address as far as it is written.
struct Address {
    text: String,
    /// Where its query begins.
    query: Option<usize>,
}

impl Address {
    fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), query: None }
    }

    /// Writes `text` as it is. Only what no header can hold is encoded, as browsers encode it.
    fn push_unchanged(&mut self, text: &str, unsendable: &'static AsciiSet) {
        self.text.extend(utf8_percent_encode(text, unsendable));
    }

    fn begin(&mut self) {
        self.text.push('?');
        self.query = Some(self.text.len());
    }

    /// Goes on where a parameter may be written.
    fn separate(&mut self) {
        match self.query {
            None => self.begin(),
            Some(start) if start == self.text.len() || self.text.ends_with('&') => {}
            Some(_) => self.text.push('&'),
        }
    }

    /// Writes a parameter of ours.
    fn pair(&mut self, name: &str, value: &str) {
        self.separate();
        self.text.push_str(name);
        self.text.push('=');
        self.text.push_str(&encoded(value));
    }
}

fn encoded(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes()).collect()
}

fn is_ours(name: &str) -> bool {
    name == VISITOR_PARAMETER || name == QA_PARAMETER
}

/// UTM values by the parameters that carry them.
fn utm_values(utm: &Utm) -> [(&'static str, Option<&str>); 5] {
    [
        ("utm_source", utm.source.as_deref()),
        ("utm_medium", utm.medium.as_deref()),
        ("utm_campaign", utm.campaign.as_deref()),
        ("utm_content", utm.content.as_deref()),
        ("utm_term", utm.term.as_deref()),
    ]
}

/// The name of a parameter as it is compared: decoded; that of a click id as its platform writes it.
fn name(piece: &str) -> Cow<'_, str> {
    let written = piece.split_once('=').map_or(piece, |(name, _)| name);
    let name = if written.contains(['%', '+']) {
        let spaced = written.replace('+', " ");
        Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
    } else {
        Cow::Borrowed(written)
    };
    click_parameter(&name).map_or(name, Cow::Borrowed)
}

fn click_parameter(name: &str) -> Option<&'static str> {
    let found = ClickKind::ALL.iter().find(|(_, parameter)| parameter.eq_ignore_ascii_case(name));
    found.map(|(_, parameter)| *parameter)
}

/// The click ids of a query: of each the first that can be one, as it is written.
fn clicks(query: &str) -> HashMap<&'static str, &str> {
    let mut clicks = HashMap::new();
    for piece in query.split('&') {
        if piece.split_once('=').is_some_and(|(_, value)| can_be_an_id(value))
            && let Some(parameter) = click_parameter(&name(piece))
        {
            clicks.entry(parameter).or_insert(piece);
        }
    }
    clicks
}

/// Whether whoever reads the landing page's address takes `value` for a click id.
fn can_be_an_id(value: &str) -> bool {
    let decoded = percent_decode_str(value).decode_utf8();
    let sound = |text: Cow<'_, str>| {
        text.len() <= CLICK_BYTES_MAX && !text.contains(|c: char| c.is_control() || c.is_whitespace())
    };
    !value.is_empty() && decoded.is_ok_and(sound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{attribution::read_landing, model::Time};

    fn utm(source: &str, campaign: &str) -> Utm {
        let value = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Utm { source: value(source), campaign: value(campaign), ..Utm::default() }
    }

    fn onward(destination: &str, utm: &Utm, query: &str) -> String {
        Onward { destination, utm, rule: UtmRule::Keep, query, visitor: None }.address()
    }

    #[test]
    fn query_and_fragment_of_the_destination_stay_and_utm_values_come_between() {
        let utm = utm("news letter", "fall & winter+");
        assert_eq!(
            onward("https://shop.example/p?a=1#x", &utm, "gclid=AbC"),
            "https://shop.example/p?a=1&utm_source=news+letter&utm_campaign=fall+%26+winter%2B&gclid=AbC#x"
        );
        assert_eq!(onward("https://shop.example", &Utm::default(), ""), "https://shop.example");
        assert_eq!(onward("https://shop.example#a?b=c", &Utm::default(), "d=e"), "https://shop.example?d=e#a?b=c");
    }

    #[test]
    fn odd_queries_survive_as_they_came() {
        let same = |destination: &str, query: &str, result: &str| {
            assert_eq!(onward(destination, &Utm::default(), query), format!("https://a.example/{result}"));
        };
        same("https://a.example/", "q=a+b&r=a%2Bb&s=1;t=2&u=&v", "?q=a+b&r=a%2Bb&s=1;t=2&u=&v");
        same("https://a.example/", "a=1&&b=2&", "?a=1&&b=2&");
        same("https://a.example/?", "", "?");
        same("https://a.example/?", "a", "?a");
        same("https://a.example/?x&&", "a", "?x&&a");
        same("https://a.example/?x=1&", "", "?x=1&");
        same("https://a.example/?x=1&x=2", "x=3&y=4&y=5", "?x=1&x=2&y=4");
        same("https://a.example/", "i[]=1&i[]=2&j%5B%5D=1&j%5B%5D=2&k=1&k=2", "?i[]=1&i[]=2&j%5B%5D=1&j%5B%5D=2&k=1");
        same("https://a.example/", "&&", "");
        same("https://a.example/", "a=1=2&=x&b=%zz%", "?a=1=2&=x&b=%zz%");
        same(
            "https://a.example/",
            "u=https%3A%2F%2Fevil.example&v=//evil.example",
            "?u=https%3A%2F%2Fevil.example&v=//evil.example",
        );
    }

    #[test]
    fn a_fresh_click_beats_a_stale_one_and_a_campaign_stays_what_it_was_planned_as() {
        let link = utm("pin", "fall");
        let address = onward(
            "https://a.example/?GCLID=old&utm_source=bio&z=1&gclid=older",
            &link,
            "gclid=&utm_source=x&utm_campaign=y&utm_term=t&Gclid=New-_&gclid=second&fbclid=IwAR",
        );
        assert_eq!(
            address,
            "https://a.example/?Gclid=New-_&utm_source=bio&z=1&utm_campaign=fall&utm_term=t&fbclid=IwAR"
        );
        assert_eq!(onward("https://a.example/?gclid=old", &link, "gclid=").matches("gclid").count(), 1);
        let replaced = Onward {
            destination: "https://a.example/?utm_source=bio&z=1&utm_source=b&utm_medium=m",
            utm: &link,
            rule: UtmRule::Replace,
            query: "utm_source=x",
            visitor: Some("01J"),
        };
        assert_eq!(
            replaced.address(),
            "https://a.example/?utm_source=pin&z=1&utm_medium=m&utm_campaign=fall&cr_vid=01J"
        );
    }

    #[test]
    fn what_is_ours_comes_from_nobody_else() {
        let address = Onward {
            destination: "https://a.example/?cr_vid=pasted",
            utm: &Utm::default(),
            rule: UtmRule::Keep,
            query: "cr_vid=forged&cr%5Fvid=forged&cr_qa=secret&a=1",
            visitor: Some("v&1 é"),
        };
        assert_eq!(address.address(), "https://a.example/?a=1&cr_vid=v%261+%C3%A9");
        let none = Onward { visitor: None, query: "", ..address };
        assert_eq!(none.address(), "https://a.example/");
    }

    #[test]
    fn whatever_comes_in_is_no_second_header() {
        let address = onward("https://a.example/ä b", &Utm::default(), "a=\r\nSet-Cookie: b#c&d=ü\u{7f}");
        assert_eq!(address, "https://a.example/%C3%A4%20b?a=%0D%0ASet-Cookie:%20b%23c&d=%C3%BC%7F");
    }

    #[test]
    fn sixty_thousand_parameters_take_no_time() {
        let query = "a&b=1&c[]=2&".repeat(5_000) + &(0..20_000).map(|i| format!("{i}&")).collect::<String>();
        assert!(onward("https://a.example/?b", &utm("s", "c"), &query).contains("&19999&"));
    }

    /// A parameter as somebody may send it.
    fn piece() -> impl Strategy<Value = String> {
        let known = prop::sample::select(
            ClickKind::ALL
                .iter()
                .map(|(_, parameter)| *parameter)
                .chain(["utm_source", "utm_medium", "cr_vid", "GCLID"])
                .collect::<Vec<_>>(),
        );
        prop_oneof![
            4 => (known, "[A-Za-z0-9_.~%+;-]{0,12}").prop_map(|(name, value)| format!("{name}={value}")),
            4 => "[a-zA-Z_%.]{1,4}(\\[\\]|%5B%5D)?(=[A-Za-z0-9%+;:/?@,=!*'()-]{0,12})?",
            1 => Just(String::new()),
        ]
    }

    fn query() -> impl Strategy<Value = String> {
        prop::collection::vec(piece(), 0..8).prop_map(|pieces| pieces.join("&"))
    }

    fn names_of(query: &str) -> Vec<String> {
        query.split('&').filter(|piece| !piece.is_empty()).map(|piece| name(piece).into_owned()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

        #[test]
        fn nothing_is_lost_changed_or_doubled(
            own in prop::option::of(query()),
            fragment in prop::option::of("[a-z?&=/]{0,8}"),
            incoming in query(),
            source in prop::option::of("[ -~äß€]{1,10}"),
            replace in any::<bool>(),
            visitor in prop::option::of("[0-9A-Z]{26}"),
        ) {
            let path = "https://shop.example/p%41th";
            let destination = [
                path.to_owned(),
                own.as_ref().map_or(String::new(), |own| format!("?{own}")),
                fragment.as_ref().map_or(String::new(), |fragment| format!("#{fragment}")),
            ].concat();
            let utm = Utm { source, ..Utm::default() };
            let rule = if replace { UtmRule::Replace } else { UtmRule::Keep };
            let address = Onward { destination: &destination, utm: &utm, rule, query: &incoming, visitor: visitor.as_deref() }.address();

            prop_assert!(axum::http::HeaderValue::from_str(&address).is_ok());
            prop_assert!(url::Url::parse(&address).is_ok());
            let page = match &fragment {
                Some(fragment) => {
                    let end = format!("#{fragment}");
                    prop_assert!(address.ends_with(&end));
                    &address[..address.len() - end.len()]
                }
                None => &address,
            };
            prop_assert!(!page.contains('#'));
            prop_assert!(page.starts_with(path));
            let result = page.split_once('?').map_or("", |(_, query)| query);
            let pieces: Vec<&str> = result.split('&').collect();
            let own = own.unwrap_or_default();
            let own_names = names_of(&own);

            // Whatever did not have to be replaced stands there as it stood.
            let fresh = clicks(&incoming);
            let ours = |name: &String| is_ours(name);
            let replaces = own_names.iter().any(|name| {
                ours(name) || fresh.contains_key(name.as_str()) || (replace && name == "utm_source" && utm.source.is_some())
            });
            if !replaces {
                prop_assert!(result.starts_with(&own), "{} / {}", result, own);
            }
            // Every click id that came in is there, byte for byte, and no other of its kind.
            for (parameter, piece) in &fresh {
                prop_assert!(pieces.contains(piece), "{piece} in {address}");
                prop_assert_eq!(names_of(result).iter().filter(|name| name == parameter).count(), 1);
            }
            // Every other parameter too, unless its name is the destination's or the link's.
            let mut first = HashSet::new();
            for piece in incoming.split('&').filter(|piece| !piece.is_empty()) {
                let name = name(piece).into_owned();
                let taken = own_names.contains(&name) || (name == "utm_source" && utm.source.is_some());
                if !(ours(&name) || taken || fresh.contains_key(name.as_str())) && (name.ends_with("[]") || first.insert(name)) {
                    prop_assert!(pieces.contains(&piece), "{piece} in {address}");
                }
            }
            // No name twice but the destination's own.
            let names = names_of(result);
            for name in &names {
                let times = names.iter().filter(|other| other == &name).count();
                prop_assert!(times == 1 || name.ends_with("[]") || own_names.iter().filter(|own| own == &name).count() == times, "{name} in {address}");
            }
            prop_assert_eq!(names.iter().any(ours), visitor.is_some());
            // And the page reads the click ids that came in.
            let at = Time::from_secs(1);
            let landed = read_landing(&address, at).clicks;
            for click in read_landing(&format!("https://a.example/?{incoming}"), at).clicks {
                prop_assert!(landed.contains(&click));
            }
        }
    }
}

//! What a person becomes.

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::model::{MetaDigests, Raw};

fn of(text: &str) -> Digest {
    Digest::of_token(text)
}

fn both(meta: &str, google: &str) -> Spelled {
    Spelled { meta: Some(of(meta)), google: Some(of(google)) }
}

fn meta(text: &str) -> Spelled {
    Spelled { meta: Some(of(text)), google: None }
}

fn us() -> Option<Country> {
    Country::parse("US").ok()
}

fn ada() -> RawUser {
    RawUser {
        emails: vec![Raw::new(" Ada.Lovelace+shop@Gmail.com ")],
        phones: vec![Raw::new("(650) 555-1212")],
        first_name: Some(Raw::new("Ada")),
        last_name: Some(Raw::new("O'Brien")),
        street: Some(Raw::new("1600 Amphitheatre Pkwy. #5 ")),
        city: Some(Raw::new("Mountain View")),
        region: Some(Raw::new("CA")),
        postal_code: Some(Raw::new(" 94025-1234 ")),
        country: Some(Raw::new("United States")),
        date_of_birth: Some(Raw::new("1997-02-16")),
        gender: Some(Raw::new("Female")),
        external_ids: vec![Raw::new(" Customer 7 "), Raw::new("customer7"), Raw::new(" ")],
        lead_id: Some(123_456_789_012_345),
        ..RawUser::default()
    }
}

#[test]
fn a_person_is_sealed_in_both_spellings() {
    let wanted = SealedUser {
        emails: vec![both("ada.lovelace+shop@gmail.com", "adalovelace@gmail.com")],
        phones: vec![both("16505551212", "+16505551212")],
        first_name: both("ada", "ada"),
        last_name: both("o'brien", "obrien"),
        street: Spelled { meta: None, google: Some(of("1600 amphitheatre pkwy 5")) },
        city: meta("mountainview"),
        region: meta("ca"),
        postal_code: meta("94025"),
        country: meta("us"),
        date_of_birth: meta("19970216"),
        gender: meta("f"),
        external_ids: vec![of("customer7")],
        country_code: Some(Sensitive::new("US".into())),
        postal_code_clear: Some(Sensitive::new("94025-1234".into())),
        lead_id: Some(123_456_789_012_345),
    };
    assert_eq!(seal_user(&ada(), None), wanted);
    assert_eq!(seal_user(&RawUser::default(), us()), SealedUser::default());
}

#[test]
fn a_postal_code_stays_in_clear_only_with_a_country_and_both_names() {
    let without = |change: fn(&mut RawUser)| {
        let mut user = ada();
        change(&mut user);
        seal_user(&user, us()).postal_code_clear
    };
    assert!(without(|_| ()).is_some());
    assert!(without(|user| user.country = Some(Raw::new("Narnia"))).is_none());
    assert!(without(|user| user.first_name = None).is_none());
    assert!(without(|user| user.last_name = Some(Raw::new("."))).is_none());
    assert!(without(|user| user.postal_code = Some(Raw::new(" "))).is_none());
    assert!(without(|user| user.postal_code = Some(Raw::new("ada@example.com"))).is_none(), "in the wrong field");
    assert!(without(|user| user.postal_code = Some(Raw::new("7".repeat(17)))).is_none());
}

#[test]
fn the_persons_country_goes_before_the_default_one() {
    let person =
        RawUser { phones: vec![Raw::new("07911 123456")], country: Some(Raw::new("UK")), ..RawUser::default() };
    assert_eq!(seal_user(&person, us()).phones, [both("447911123456", "+447911123456")]);
    let stranger = RawUser { country: None, ..person };
    assert_eq!(seal_user(&stranger, None).phones, []);
}

#[test]
fn nothing_guesses_a_digest_from_its_length() {
    for length in [32, 64] {
        let text = "0123456789abcdef".repeat(length / 16);
        let person = RawUser {
            emails: vec![Raw::new(text.clone())],
            phones: vec![Raw::new("1".repeat(length))],
            first_name: Some(Raw::new(text.clone())),
            external_ids: vec![Raw::new(text.clone())],
            ..RawUser::default()
        };
        let sealed = seal_user(&person, us());
        assert_eq!((sealed.emails, sealed.phones), (vec![], vec![]));
        assert_eq!((sealed.first_name, sealed.external_ids), (both(&text, &text), vec![of(&text)]));
    }
}

#[test]
fn declared_digests_pass_through_once() {
    let person = RawUser {
        emails: vec![Raw::new("a.b@gmail.com")],
        email_digests: vec![of("a.b@gmail.com"), of("ab@gmail.com"), of("other@example.com"), of("other@example.com")],
        phone_digests: vec![of("16505551212")],
        ..RawUser::default()
    };
    let sealed = seal_user(&person, None);
    assert_eq!(sealed.emails, [both("a.b@gmail.com", "ab@gmail.com"), Spelled::given(of("other@example.com"))]);
    assert_eq!(sealed.phones, [Spelled::given(of("16505551212"))]);
}

#[test]
fn a_digest_made_for_meta_goes_to_meta_alone_and_a_text_wins_over_it() {
    let meta_digests = MetaDigests {
        phones: vec![of("16505551212"), of("16505551213")],
        first_name: Some(of("mary-ann")),
        last_name: Some(of("smith")),
        city: Some(of("london")),
        country: Some(of("gb")),
        ..MetaDigests::default()
    };
    let person = RawUser {
        phones: vec![Raw::new("+1 650 555 1212")],
        last_name: Some(Raw::new("O'Neill")),
        external_ids: vec![Raw::new("Cust 7")],
        external_id_digests: vec![of("cust7"), of("Cust-8")],
        meta_digests,
        ..RawUser::default()
    };
    let sealed = seal_user(&person, None);
    assert_eq!(sealed.phones, [both("16505551212", "+16505551212"), Spelled::for_meta(of("16505551213"))]);
    assert_eq!((sealed.first_name, sealed.last_name), (Spelled::for_meta(of("mary-ann")), both("o'neill", "oneill")));
    assert_eq!((sealed.city, sealed.region), (Spelled::for_meta(of("london")), Spelled::default()));
    assert_eq!((sealed.country, sealed.country_code), (Spelled::for_meta(of("gb")), None));
    assert_eq!(sealed.external_ids, [of("cust7"), of("Cust-8")]);
}

#[test]
fn at_most_ten_of_a_kind_are_kept_in_their_order() {
    let addresses = (0..30).map(|n| format!("a{}@example.com", n / 2));
    let person = RawUser {
        emails: addresses.map(Raw::new).collect(),
        phones: (0..30).map(|n| Raw::new(format!("+1650555{:04}", n / 2))).collect(),
        email_digests: vec![of("given")],
        external_ids: (0..30).map(|n| Raw::new((n / 2).to_string())).collect(),
        ..RawUser::default()
    };
    let sealed = seal_user(&person, None);
    let wanted: Vec<Spelled> = (0..10).map(|n| format!("a{n}@example.com")).map(|text| both(&text, &text)).collect();
    assert_eq!(sealed.emails, wanted);
    assert_eq!((sealed.phones.len(), sealed.external_ids.len()), (10, 10));
    assert_eq!(sealed.phones[1], both("16505550001", "+16505550001"));
}

/// Text as people, forms and attackers write it.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,40}",
        "[ \\t\\u{1c}\\u{a0}\\u{2003}\\-.,'()+0]{0,9}",
        "[0-9 ()+/.-]{0,20}",
        "[0-9]{1,4}[-/. ][0-9]{1,2}[-/. ][0-9]{1,4}",
        "[A-Za-z.+]{0,9}@[a-z.]{0,9}",
        "[A-Za-zÀ-ÿΑ-Ωİ' -]{0,20}",
    ]
}

prop_compose! {
    fn people()(
        many in vec(vec(texts(), 0..4), 3),
        some in vec(option::of(texts()), 9),
    ) -> RawUser {
        let one = |at: usize| some[at].clone();
        RawUser {
            emails: many[0].iter().cloned().map(Raw::new).collect(),
            phones: many[1].iter().cloned().map(Raw::new).collect(),
            external_ids: many[2].iter().cloned().map(Raw::new).collect(),
            first_name: one(0).map(Raw::new),
            last_name: one(1).map(Raw::new),
            street: one(2).map(Raw::new),
            city: one(3).map(Raw::new),
            region: one(4).map(Raw::new),
            postal_code: one(5).map(Raw::new),
            country: one(6).map(Raw::new),
            date_of_birth: one(7).map(Raw::new),
            gender: one(8).map(Raw::new),
            ..RawUser::default()
        }
    }
}

/// Every digest of a person.
fn digests(user: &SealedUser) -> impl Iterator<Item = Digest> {
    let one = [
        user.first_name,
        user.last_name,
        user.street,
        user.city,
        user.region,
        user.postal_code,
        user.country,
        user.date_of_birth,
        user.gender,
    ];
    let spelled = user.emails.iter().chain(&user.phones).copied().chain(one);
    spelled.flat_map(|spelled| [spelled.meta, spelled.google]).flatten().chain(user.external_ids.iter().copied())
}

/// Spells `text` and then what came of it: both must be the same.
fn idempotent<K>(text: &str, by: impl Fn(&Raw<K>) -> Option<Normal<K>>) {
    if let Some(once) = by(&Raw::new(text)) {
        let twice = by(&Raw::new(once.expose()));
        assert_eq!(twice.as_ref().map(Normal::expose), Some(once.expose()));
    }
}

proptest! {
    #[test]
    fn no_digest_is_that_of_nothing(user in people(), country in option::of("[A-Z]{2}")) {
        let sealed = seal_user(&user, country.and_then(|code| Country::parse(&code).ok()));
        prop_assert!(digests(&sealed).all(|digest| digest != of("")));
        prop_assert!(sealed.emails.iter().chain(&sealed.phones).all(|spelled| !spelled.is_empty()));
    }

    #[test]
    fn spelling_twice_is_spelling_once(text in texts()) {
        for dialect in [&Meta as &dyn Dialect, &Google] {
            idempotent(&text, |raw| dialect.email(raw));
            idempotent(&text, |raw| dialect.name(raw));
            idempotent(&text, |raw| dialect.street(raw));
            idempotent(&text, |raw| dialect.city(raw));
            idempotent(&text, |raw| dialect.region(raw));
            idempotent(&text, |raw| dialect.postal_code(raw));
        }
        idempotent(&text, |raw| Google.phone(&Telephone::read(raw, [us(), None])));
    }

    #[test]
    fn a_phone_number_with_its_country_code_hashes_alike_for_meta_and_google(digits in "[2-9][0-9]{6}") {
        let person = RawUser { phones: vec![Raw::new(format!("+1 415 {digits}"))], ..RawUser::default() };
        let sealed = seal_user(&person, None);
        prop_assert_eq!(sealed.phones, [both(&format!("1415{digits}"), &format!("+1415{digits}"))]);
    }
}

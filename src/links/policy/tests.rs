use std::sync::LazyLock;

use proptest::prelude::*;
use toml::Table;

use super::*;
use crate::model::{EventName, Link, LinkKey, Settings, Time};

const NOW: &str = "2026-11-20T08:15:00Z";

const RULES: &str = r#"
delimiter = "-"
required = ["source", "medium", "campaign"]

[source]
values = ["instagram", "facebook", "newsletter-weekly"]
aliases = { ig = "instagram", "Insta Reels" = "ig" }

[medium]
values = ["cpc", "email", "social", "paid-social"]

[placement]
values = ["bio", "story"]
"#;

fn read(table: &str) -> (Policy, Vec<String>) {
    let mut settings = Settings::new("utm.", table.parse::<Table>().expect("TOML"));
    let policy = Policy::read(&mut settings);
    (policy, settings.finish().iter().map(ToString::to_string).collect())
}

fn policy(table: &str) -> Policy {
    let (policy, problems) = read(table);
    assert_eq!(problems, [""; 0]);
    policy
}

fn link(slug: &str, source: &str, medium: &str, campaign: &str) -> Link {
    let value = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let at = Time::parse(NOW).expect("a time");
    Link {
        key: LinkKey::of(slug),
        destination: "https://shop.example/".to_owned(),
        utm: Utm { source: value(source), medium: value(medium), campaign: value(campaign), ..Utm::default() },
        variant: crate::model::Variant::default(),
        placement: None,
        audience: None,
        intent: None,
        goal: None,
        offer: None,
        owner: None,
        note: None,
        expires_at: None,
        split: Vec::new(),
        utm_rule: None,
        state: crate::model::LinkState::Live,
        exception: None,
        approved_by: None,
        created_at: at,
        updated_at: at,
    }
}

fn rules(policy: &Policy, link: &Link) -> Vec<(&'static str, Rule)> {
    policy.check(link, []).into_iter().map(|broken| (broken.field, broken.rule)).collect()
}

#[test]
fn without_a_policy_nothing_is_refused_and_names_are_still_one() {
    let policy = policy("");
    assert_eq!(rules(&policy, &link("a", "Insta Gram", "", "")), []);
    for (raw, shown) in [("ig", "instagram"), ("IG", "instagram"), ("Instagram", "instagram"), ("l.x", "l.x")] {
        assert_eq!(policy.normal(Field::Source, raw), shown, "{raw}");
    }
    assert_eq!(policy.normal(Field::Medium, "E-Mail"), "email");
    assert_eq!(policy.normal(Field::Campaign, "ig"), "ig");
    assert_eq!(policy.normal(Field::Campaign, " Spring Sale "), "spring sale");
    assert_eq!(policy.normal(Field::Source, "google_ads"), "google");
    assert_eq!(policy.judge(&[], None), Judgement::Live);
}

#[test]
fn a_value_that_breaks_rules_is_told_with_each_rule_and_what_is_accepted() {
    let broken = policy(RULES).check(&link("a", "Insta Gram", "cpc", "spring"), []);
    let told: Vec<Rule> = broken.iter().map(|one| one.rule).collect();
    assert_eq!(told, [Rule::Lowercase, Rule::Delimiter, Rule::Values]);
    for one in &broken {
        assert_eq!(one.accepted, ["instagram", "facebook", "newsletter-weekly"]);
        assert_eq!((one.field, one.nearest.as_deref()), ("source", Some("instagram")));
        assert_eq!(one.value.as_deref(), Some("Insta Gram"));
        assert!(!one.to_string().contains("Insta Gram"), "{one}");
    }
    let told = broken[2].to_string();
    let accepted = "accepted: instagram, facebook, newsletter-weekly";
    assert_eq!(told, format!("source is none of the accepted values (rule values); {accepted}"));
}

#[test]
fn each_rule_is_broken_and_kept() {
    let policy = policy(RULES);
    let of = |source: &str, medium: &str, campaign: &str| rules(&policy, &link("a", source, medium, campaign));
    assert_eq!(of("instagram", "paid-social", "spring"), []);
    assert_eq!(of("ig", "cpc", "spring"), [], "an alias is an approved abbreviation");
    assert_eq!(of("", "cpc", " "), [("source", Rule::Required), ("campaign", Rule::Required)]);
    assert_eq!(of("Instagram", "cpc", "spring"), [("source", Rule::Lowercase)]);
    assert_eq!(of("newsletter_weekly", "cpc", "spring"), [("source", Rule::Delimiter)]);
    assert_eq!(of("tiktok", "cpc", "spring"), [("source", Rule::Values)]);
    assert_eq!(of("fb", "e-mail", "spring"), [], "built-in aliases of accepted values");
    for campaign in ["spring sale", "spring_sale", "spring--sale", "spring-", " spring"] {
        assert_eq!(of("ig", "cpc", campaign), [("campaign", Rule::Delimiter)], "{campaign}");
    }
    let mut placed = link("a", "ig", "cpc", "spring");
    placed.placement = Some("Bio".to_owned());
    assert_eq!(rules(&policy, &placed), [], "no parameter of an address: no rule of spelling");
    placed.placement = Some("footer".to_owned());
    assert_eq!(rules(&policy, &placed), [("placement", Rule::Values)]);
}

#[test]
fn a_link_has_what_the_policy_requires_of_it() {
    let policy = policy("require_goal = true\nrequire_variant = true\nrequire_owner = true\nvalues_max_chars = 5");
    let mut link = link("a", "x", "", "spring");
    let required = [
        ("goal", Rule::RequireGoal),
        ("variant", Rule::RequireVariant),
        ("owner", Rule::RequireOwner),
        ("campaign", Rule::ValuesMaxChars),
    ];
    assert_eq!(rules(&policy, &link), required);
    link.goal = Some(EventName::new("purchase").expect("a name"));
    link.variant.angle = Some("hook-a".to_owned());
    link.owner = Some("ada".to_owned());
    link.utm.campaign = Some("spri".to_owned());
    assert_eq!(rules(&policy, &link), []);
    assert_eq!(self::policy("lowercase = true").advice(&link), []);
}

#[test]
fn aliases_make_one_value_of_many_and_of_each_other() {
    let policy = policy(RULES);
    for raw in ["ig", "IG", " Ig ", "instagram", "INSTAGRAM", "insta_reels", "insta", "instagram.com"] {
        assert_eq!(policy.normal(Field::Source, raw), "instagram", "{raw}");
        assert!(policy.is_known(Field::Source, raw), "{raw}");
    }
    assert_eq!(policy.normal(Field::Source, "Some Where"), "some-where");
    assert_eq!(policy.normal(Field::Medium, "Paid Social"), "paid-social");
    assert!(!policy.is_known(Field::Source, "insta gram"));
    assert_eq!(policy.nearest(Field::Source, "insta gram"), Some("instagram"));
    let utm = Utm { source: Some("IG".to_owned()), term: Some("  ".to_owned()), ..Utm::default() };
    let normal = policy.normalise(&utm);
    assert_eq!((normal.source.as_deref(), normal.term), (Some("instagram"), None));
    let told = policy.advice(&link("a", "ig", "Cpc", ""));
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].rule, told[0].accepted.as_slice()), (Rule::Alias, &["instagram".to_owned()][..]));
    assert_eq!(told[1].rule, Rule::RequireGoal);
}

#[test]
fn what_is_ones_own_goes_before_what_is_built_in() {
    for table in ["[source]\nvalues = [\"fb\", \"x\"]", "[source.aliases]\nfb = \"fb\"", "builtin_aliases = false"] {
        assert_eq!(policy(table).normal(Field::Source, "FB"), "fb", "{table}");
    }
    let named = policy("[source.aliases]\nfacebook = \"meta\"");
    for raw in ["fb", "Facebook", "meta", "facebook.com"] {
        assert_eq!(named.normal(Field::Source, raw), "meta", "{raw}");
    }
    let short = policy("[source.aliases]\ninstagram = \"ig\"");
    for raw in ["ig", "insta", "instagram"] {
        assert_eq!(short.normal(Field::Source, raw), "ig", "{raw}");
    }
    let cased = policy("lowercase = false\n[source]\nvalues = [\"LinkedIn\"]");
    for raw in ["linkedin", "LINKEDIN", "lnkd.in"] {
        assert_eq!(cased.normal(Field::Source, raw), "LinkedIn", "{raw}");
    }
    assert_eq!(cased.normal(Field::Source, "Bing Webmaster"), "Bing Webmaster");
}

#[test]
fn a_campaign_is_for_one_offer() {
    let policy = Policy::of_the_house();
    let mut first = link("go.brand.example/mugs", "x", "cpc", "spring");
    first.offer = Some("mugs".to_owned());
    first.created_at = Time::from_secs(1);
    let mut later = link("caps", "x", "cpc", "spring");
    later.offer = Some("Mugs".to_owned());
    let mut second = link("hats", "x", "cpc", "Spring ");
    second.offer = Some("hats".to_owned());
    assert_eq!(policy.check(&later, [&first]), []);
    let broken = policy.check(&second, [&later, &first, &second]);
    assert_eq!(broken[0].rule, Rule::Lowercase);
    assert_eq!((broken[1].rule, broken[1].first.as_ref()), (Rule::OneOffer, Some(&first.key)));
    assert!(broken[1].message.contains("by the link go.brand.example/mugs"), "{}", broken[1].message);
    assert_eq!(broken[1].accepted, ["mugs"]);
    // The only link of a campaign may be given another offer.
    assert_eq!(policy.check(&Link { offer: Some("cups".to_owned()), ..first.clone() }, [&first]), []);
    // Of many links the oldest is named, whatever the order they are seen in, and never the link itself.
    let aged =
        |slug: &str, age: i64| Link { key: LinkKey::of(slug), created_at: Time::from_secs(age), ..first.clone() };
    let many = [aged("d", 40), aged("b", 20), aged("c", 30), aged("a", 10)];
    let offers = Offers::of(&policy, &many);
    let named = |link: &Link| policy.check_among(link, &offers).into_iter().find_map(|broken| broken.first);
    assert_eq!(named(&second), Some(LinkKey::of("a")));
    assert_eq!(named(&Link { key: LinkKey::of("a"), ..second.clone() }), Some(LinkKey::of("b")));
    second.utm.campaign = Some("autumn".to_owned());
    assert_eq!(policy.check(&second, [&first]), []);
}

#[test]
fn campaigns_are_registered_before_they_are_used() {
    let table = r#"
        [campaign]
        registered = true
        [campaigns.spring]
        offer = "mugs"
        owner = "ada"
        from = "2026-12-01"
        until = "2026-12-24"
        [campaigns.past]
        until = "2026-11-19"
    "#;
    let policy = policy(table);
    let mut link = link("a", "x", "cpc", "sprang");
    let broken = policy.check(&link, []);
    assert_eq!((broken[0].rule, broken[0].nearest.as_deref()), (Rule::Registered, Some("spring")));
    assert_eq!(broken[0].accepted, ["past", "spring"]);
    assert_eq!(policy.judge(&broken, None), Judgement::Refused);
    assert_eq!(policy.judge(&broken, Some(" ")), Judgement::Refused);
    assert_eq!(policy.judge(&broken, Some("a trial")), Judgement::Pending("a trial".to_owned()));
    let (later, left_out) =
        policy.with(&[Decision::Campaign { name: "sprang".to_owned(), campaign: Campaign::default() }]);
    assert_eq!((left_out, later.check(&link, [])), (0, vec![]));
    link.utm.campaign = Some("past".to_owned());
    assert_eq!(policy.check(&link, [])[0].message, "ended on 2026-11-19");
    link.utm.campaign = Some("spring".to_owned());
    assert_eq!(policy.check(&link, []), []);
    link.offer = Some("hats".to_owned());
    link.expires_at = Some(Time::parse("2026-11-30T23:59:59Z").expect("a time"));
    assert_eq!(rules(&policy, &link), [("campaign", Rule::Dates), ("offer", Rule::OneOffer)]);
    let waits = self::policy(&table.replacen('[', "on_violation = \"pending\"\n[", 1));
    let judged = waits.judge(&waits.check(&link, []), None);
    assert_eq!(judged, Judgement::Pending("breaks the policy: campaign (dates), offer (one_offer)".to_owned()));
}

#[test]
fn names_have_a_pattern_that_lint_explains_and_the_builder_composes() {
    let policy = policy(
        r#"
        delimiter = "-"
        [campaign]
        pattern = "{audience}-{channel}-{objective}-{variant}"
        [campaign.segments]
        audience = ["new", "loyal"]
        channel = ["ig", "mail"]
        "#,
    );
    let of = |campaign: &str| policy.check(&link("a", "x", "cpc", campaign), []);
    assert_eq!(of("new-ig-sales-a"), []);
    let broken = of("newer-ig-sales-a");
    assert_eq!(broken[0].message, "has in the segment audience none of its values");
    assert_eq!((broken[0].value.as_deref(), broken[0].nearest.as_deref()), (Some("newer"), None));
    assert_eq!(broken[0].accepted, ["new", "loyal"]);
    assert!(policy.is_known(Field::Campaign, "new-mail-leads-b") && !policy.is_known(Field::Campaign, "spring"));
    let given = [("audience", "Loyal"), ("channel", "ig"), ("objective", "Sales"), ("variant", "b")];
    let mut segments: BTreeMap<String, String> =
        given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(policy.compose(Field::Campaign, &segments).expect("composes"), "loyal-ig-sales-b");
    segments.insert("channel".to_owned(), "fax".to_owned());
    let broken = policy.compose(Field::Campaign, &segments).expect_err("no such channel");
    assert_eq!(broken[0].message, "has in the segment channel none of its values");
    segments.insert("chanel".to_owned(), "ig".to_owned());
    assert!(policy.compose(Field::Campaign, &segments).is_err());
    assert!(policy.compose(Field::Source, &segments).is_err());
}

#[test]
fn decisions_change_what_counts_and_leave_the_policy_as_it_was() {
    let policy = policy(RULES);
    let alias =
        |from: &str, to: &str| Decision::Alias { field: Field::Source, from: from.to_owned(), to: to.to_owned() };
    let (changed, left_out) = policy.with(&[alias("meta ads", "facebook"), alias("facebook", "instagram")]);
    assert_eq!(left_out, 0);
    for raw in ["Meta_Ads", "facebook", "fb"] {
        assert_eq!(changed.normal(Field::Source, raw), "instagram", "{raw}");
    }
    assert_eq!(changed.accepted(Field::Source).collect::<Vec<_>>(), ["instagram", "newsletter-weekly"]);
    assert_eq!(policy.normal(Field::Source, "fb"), "facebook");
    // A value that is registered and an alias of it, in any order.
    let value = Decision::Value { field: Field::Source, value: "tiktok".to_owned() };
    let (changed, left_out) = policy.with(&[alias("tt", "tiktok"), value]);
    assert_eq!((left_out, changed.normal(Field::Source, "TT").as_ref()), (0, "tiktok"));
    assert!(changed.is_known(Field::Source, "tiktok"));
    let none = Decision::NoAlias { field: Field::Source, from: "IG".to_owned() };
    let (changed, left_out) = policy.with(&[none, alias("insta", "facebook")]);
    assert_eq!((left_out, changed.normal(Field::Source, "insta").as_ref()), (0, "facebook"));
    // The other configured alias ended at the one that is gone, which is none of the values.
    assert_eq!(changed.normal(Field::Source, "ig"), "ig");
}

#[test]
fn decisions_that_cannot_hold_are_refused() {
    let policy = policy(RULES);
    let alias =
        |from: &str, to: &str| Decision::Alias { field: Field::Source, from: from.to_owned(), to: to.to_owned() };
    for (decision, field, why) in [
        (alias("Insta_gram", "insta gram"), "to", "is the same value"),
        (alias("instagram", "ig"), "to", "is itself called by the name given in from"),
        (alias("tt", "tiktok"), "to", "is none of the values of this field"),
        (alias("", "instagram"), "from", "must not be empty"),
        (alias("ada@example.com", "instagram"), "from", "must not contain contact data"),
        (Decision::NoAlias { field: Field::Medium, from: "ig".to_owned() }, "from", "is no alias"),
        (
            Decision::Value { field: Field::Source, value: "Tik Tok".to_owned() },
            "value",
            "in lower case, with - between",
        ),
        (Decision::Value { field: Field::Source, value: "x".repeat(121) }, "value", "must have at most 120"),
        (
            Decision::Campaign {
                name: "spring".to_owned(),
                campaign: Campaign { until: Some("2026-02-30".to_owned()), ..Campaign::default() },
            },
            "until",
            "must be a day",
        ),
    ] {
        let problem = policy.allows(&decision).expect_err(why);
        assert_eq!(problem.key, field);
        assert!(problem.message.contains(why), "{}", problem.message);
        assert_eq!(policy.with(&[decision]).1, 1);
    }
    // Two that are a circle together: one of them holds.
    let open = Policy::default();
    let (one, left_out) = open.with(&[alias("a", "b"), alias("b", "a")]);
    assert_eq!((left_out, one.normal(Field::Source, "a").as_ref()), (1, "b"));
}

#[test]
fn decisions_are_kept_as_they_read() {
    let decision = Decision::Campaign {
        name: "spring".to_owned(),
        campaign: Campaign { offer: Some("mugs".to_owned()), ..Campaign::default() },
    };
    let text = serde_json::to_string(&decision).expect("writes");
    assert_eq!(text, r#"{"kind":"campaign","name":"spring","campaign":{"offer":"mugs"}}"#);
    assert_eq!(serde_json::from_str::<Decision>(&text).expect("reads"), decision);
    assert_eq!(decision.key().to_string(), "campaign/spring");
    assert_eq!(DecisionKey::alias(Field::Source, "I G").to_string(), "alias/source/i-g");
}

#[test]
fn everything_wrong_in_the_configuration_is_told() {
    let (_, problems) = read(
        r#"
        delimiter = "."
        required = ["source", "colour"]
        on_violation = "warn"
        values_max_chars = 500
        colour = 1
        [source]
        values = ["instagram", "Face Book", "INSTAGRAM", ""]
        aliases = { ig = "insta", instagram = "x" }
        [medium]
        values = []
        [medium.aliases]
        a = "b"
        b = "a"
        [content]
        segments = { a = ["x"] }
        [campaign]
        pattern = "{a}{b}"
        segments = { a = ["x"] }
        [campaigns.spring]
        from = "soon"
        colour = "red"
        [campaigns."Spring Sale"]
        "#,
    );
    let keys: Vec<&str> = problems.iter().map(|problem| problem.split(": ").next().expect("a key")).collect();
    let expected = [
        "utm.delimiter",
        "utm.required[1]",
        "utm.values_max_chars",
        "utm.on_violation",
        "utm.source.values[1]",
        "utm.source.values[2]",
        "utm.source.values[3]",
        "utm.medium.values",
        "utm.campaign.pattern",
        "utm.content.segments",
        "utm.campaigns.Spring Sale",
        "utm.campaigns.spring.from",
        "utm.campaigns.spring.colour",
        "utm.source.aliases.instagram",
        "utm.source.aliases.ig",
        "utm.medium.aliases.b",
        "utm.medium.aliases.a",
        "utm.colour",
    ];
    let mut told = keys.clone();
    let mut wanted = expected.to_vec();
    told.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(told, wanted, "{problems:#?}");
    assert!(problems.iter().any(|problem| problem.contains("leads back to itself")), "{problems:#?}");
}

#[test]
fn referrers_have_the_names_that_sources_have() {
    let policy = policy("[source.aliases]\n\"partner.example\" = \"partner\"");
    for (referrer, source) in [
        ("https://www.linkedin.com/feed/", "linkedin"),
        ("https://l.instagram.com/", "instagram"),
        ("http://lm.facebook.com/l.php?u=x", "facebook"),
        ("https://t.co/abc", "x"),
        ("https://www.google.de/", "google"),
        ("https://www.google.co.uk/search", "google"),
        ("https://mail.google.com/mail", "gmail"),
        ("https://google.evil.example/", "google.evil.example"),
        ("android-app://com.linkedin.android/", "linkedin"),
        ("android-app://com.example.app", "com.example.app"),
        ("https://News.Partner.example:8443/x", "partner"),
        ("https://www.Blog.example./", "blog.example"),
        ("https://user@bing.com/", "bing"),
    ] {
        assert_eq!(policy.source_of(referrer).as_deref(), Some(source), "{referrer}");
    }
    for none in ["", "linkedin", "about:blank", "https://", "ftp://x.example/"] {
        assert_eq!(policy.source_of(none), None, "{none}");
    }
}

#[test]
fn what_is_in_force_is_shown() {
    let shown = policy(RULES).shown();
    assert_eq!(shown["fields"]["source"]["values"][0], "instagram");
    let aliases = shown["fields"]["source"]["aliases"].as_array().expect("a list");
    assert!(aliases.contains(&json!({ "from": "Insta Reels", "to": "instagram", "origin": "configured" })));
    assert!(aliases.contains(&json!({ "from": "insta", "to": "instagram", "origin": "built_in" })));
    let ig = aliases.iter().filter(|alias| alias["from"] == "ig");
    assert_eq!(ig.count(), 1, "one's own goes before the one that is built in");
}

#[test]
fn a_field_is_known_by_its_name() {
    for field in Field::ALL {
        assert_eq!(Field::parse(field.as_str()), Some(field));
        assert_eq!(serde_json::to_value(field).expect("writes"), field.as_str());
    }
    assert_eq!(Field::parse("utm_source"), Some(Field::Source));
    assert_eq!((Field::parse("utm_placement"), Field::parse("Source")), (None, None));
}

static POLICIES: LazyLock<[Policy; 4]> = LazyLock::new(|| {
    [
        Policy::default(),
        policy(RULES),
        policy("lowercase = false"),
        policy("lowercase = false\ndelimiter = \"_\"\nbuiltin_aliases = false"),
    ]
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn normalising_twice_changes_nothing(
        raw in "\\PC{0,24}|[a-zA-Z _-]{0,12}|[ΑΣςσİıßJǰ\u{30c}\u{301}\u{200b} -]{0,8}",
        which in 0..POLICIES.len(),
    ) {
        let policy = &POLICIES[which];
        for field in [Field::Source, Field::Medium, Field::Campaign, Field::Placement] {
            let once = policy.normal(field, &raw).into_owned();
            let twice = policy.normal(field, &once).into_owned();
            prop_assert_eq!(&twice, &once);
            prop_assert_eq!(policy.is_known(field, &raw), policy.is_known(field, &once), "{}", once);
        }
    }

    #[test]
    fn aliases_never_run_in_a_circle(pairs in prop::collection::vec(("[a-f]", "[a-f]"), 0..12)) {
        let decisions: Vec<Decision> = pairs
            .into_iter()
            .map(|(from, to)| Decision::Alias { field: Field::Source, from, to })
            .collect();
        let (policy, _) = Policy::default().with(&decisions);
        for name in ["a", "b", "c", "d", "e", "f"] {
            let once = policy.normal(Field::Source, name).into_owned();
            let twice = policy.normal(Field::Source, &once).into_owned();
            prop_assert_eq!(twice, once);
        }
    }
}

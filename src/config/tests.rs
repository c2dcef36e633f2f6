//! Where settings come from, and what is said about mistakes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use toml::{Table, Value};

use super::*;
use crate::{destinations::Auth, model::Problem};

const EXAMPLE: &str = include_str!("../../config/example.toml");

/// Every problem message has to do without these.
const SECRET: &str = "EAAtop-secret-token";

/// A destination that needs nothing.
const FILE: &str = "[[destinations]]\nname = 'out'\nkind = 'file'\nformat = 'jsonl'\nevents.purchase = 'Sale'\n";

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The environment that the example names.
fn of_example() -> BTreeMap<String, String> {
    environment(&[
        ("RELAY_ADMIN_TOKEN", "admin-token-of-the-example"),
        ("RELAY_KEY", "relay-key-of-the-example"),
        ("RELAY_QA_TOKEN", "qa-token-of-the-example"),
        ("META_TOKEN", "meta"),
        ("GA4_SECRET", "ga4"),
        ("G_ID", "id"),
        ("G_SECRET", "secret"),
        ("G_REFRESH", "refresh"),
        ("FILES_PASSWORD", "files"),
        ("LEMON_SECRET", "lemon"),
        ("PADDLE_SECRET", "paddle"),
        ("PADDLE_TOKEN", "paddle-token"),
        ("WOO_SECRET", "woo"),
        ("WOO_KEY", "woo-key"),
        ("WOO_API_SECRET", "woo-secret"),
        ("HUBSPOT_SECRET", "hubspot"),
        ("HUBSPOT_TOKEN", "pat-hubspot"),
        ("PIPEDRIVE_PASSWORD", "pipedrive"),
        ("PIPEDRIVE_TOKEN", "pipedrive-token"),
        ("SHOPIFY_SECRET", "shopify"),
        ("SHOPIFY_TOKEN", "shpat_1"),
        ("STRIPE_SECRET", "whsec_stripe"),
        ("STRIPE_KEY", "rk_live_stripe"),
        ("CALENDLY_KEY", "calendly"),
        ("SALESFORCE_SECRET", "salesforce"),
        ("MEMBERS_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("ERP_SECRET", "erp"),
    ])
}

fn try_load(text: &str, environment: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("relay.toml");
    std::fs::write(&path, text).expect("writes");
    load(Some(&path), environment)
}

fn loaded(text: &str, variables: &[(&str, &str)]) -> Config {
    try_load(text, &environment(variables)).unwrap_or_else(|error| panic!("{error}"))
}

fn error(text: &str, environment: &BTreeMap<String, String>) -> ConfigError {
    match try_load(text, environment) {
        Ok(_) => panic!("taken: {text}"),
        Err(error) => {
            assert!(!error.to_string().contains(SECRET), "{error}");
            error
        }
    }
}

fn problems_in(text: &str, environment: &BTreeMap<String, String>) -> Vec<Problem> {
    match error(text, environment) {
        ConfigError::Invalid(problems) => problems,
        other => panic!("{other}"),
    }
}

/// The lines of what is said.
fn told(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    problems_in(text, &environment(variables)).iter().map(ToString::to_string).collect()
}

/// The example with every setting that is switched off switched on.
fn whole_example() -> String {
    let on = |line: &'static str| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => setting,
        _ => line,
    };
    EXAMPLE.lines().map(on).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_defaults_are_a_whole_configuration() {
    let config = load(None, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.public.port(), config.admin.port()), (8080, 8081));
    assert!(config.public.ip().is_loopback() && config.admin.ip().is_loopback() && config.admin_token.is_none());
    assert_eq!(config.store.path, PathBuf::from("data"));
    assert_eq!((config.store.cache_bytes, config.store.queue_max), (128 << 20, 5_000_000));
    assert_eq!(config.store.visits, Duration::from_secs(90 * 86_400));
    assert_eq!(config.delivery.schedule.max, Duration::from_secs(600));
    assert_eq!(config.pipeline.wait_for_visit, Duration::from_secs(30));
    assert_eq!((config.log_format, config.log_level.as_str()), (LogFormat::Human, "info"));
    let [sample] = config.destinations.as_slice() else { panic!("one destination") };
    assert_eq!((sample.name.as_str(), sample.kind), ("events", "file"));
}

#[test]
fn the_example_is_valid_with_the_environment_that_it_names() {
    for text in [EXAMPLE, &whole_example()] {
        let config = try_load(text, &of_example()).unwrap_or_else(|error| panic!("{error}"));
        let kinds: BTreeSet<_> = config.destinations.iter().map(|destination| destination.kind).collect();
        let registry: BTreeSet<_> = crate::destinations::REGISTRY.iter().map(|descriptor| descriptor.kind).collect();
        assert_eq!(kinds, registry, "there is one of every kind");
        assert_eq!(config.intake.keys[0].1, Secret::new("relay-key-of-the-example"));
    }
}

#[test]
fn the_example_says_the_defaults() {
    let defaults: Table = DEFAULT.parse().expect("TOML");
    let example: Table = whole_example().parse().expect("TOML");
    for (section, settings) in defaults.iter().filter(|(section, _)| *section != "destinations") {
        for (key, value) in settings.as_table().expect("a section") {
            if (section.as_str(), key.as_str()) != ("public", "listen") {
                assert_eq!(&example[section][key], value, "{section}.{key}");
            }
        }
    }
}

/// Puts a key that nobody knows into every table below `value`, and notes the keys of each table.
fn spoil(value: &mut Value, path: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    match value {
        Value::Table(table) if !path.ends_with("events.") => {
            found.insert(path.to_owned(), table.keys().cloned().collect());
            table.iter_mut().for_each(|(key, inner)| spoil(inner, &format!("{path}{key}."), found));
            table.insert("unknown".to_owned(), Value::Integer(1));
        }
        Value::Array(list) => {
            let stem = path.trim_end_matches('.');
            for (i, item) in list.iter_mut().enumerate() {
                let named = matches!(stem, "destinations" | "sources");
                let name = item.get("name").and_then(Value::as_str).filter(|_| named);
                let path = name.map_or_else(|| format!("{stem}[{i}]."), |name| format!("{stem}.{name}."));
                spoil(item, &path, found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_key_that_is_known_is_in_the_example() {
    // Keys of which the example cannot have both, or that are known so that they can be refused.
    let elsewhere = [
        ("destinations.google.credentials.", "service_account_file"),
        ("destinations.google-ads.credentials.", "service_account_file"),
        ("destinations.import-file.", "hold_after_click"),
        ("destinations.analytics.", "hold_after_click"),
        ("destinations.analytics.", "base_url"),
        ("sources.shopify-shop.api.", "client_id"),
        ("sources.shopify-shop.api.", "client_secret"),
    ];
    let mut example = Value::Table(whole_example().parse().expect("TOML"));
    let mut found = BTreeMap::new();
    spoil(&mut example, "", &mut found);
    let problems = problems_in(&toml::to_string(&example).expect("TOML"), &of_example());
    // What may stand in it is told by its own tests.
    let is_free = |path: &str| [".map.", ".aliases.", ".segments.", "campaigns."].iter().any(|end| path.ends_with(end));
    found.retain(|path, _| !is_free(path));
    let mut known = BTreeMap::new();
    for Problem { key, message } in
        problems.into_iter().filter(|problem| !is_free(problem.key.trim_end_matches("unknown")))
    {
        let path = key.strip_suffix("unknown").unwrap_or_else(|| panic!("{key}: {message}")).to_owned();
        let keys = message.split_once("known: ").unwrap_or_else(|| panic!("{key}: {message}")).1;
        let keys = keys.split(", ").filter(|key| !elsewhere.contains(&(path.as_str(), *key)));
        known.insert(path.clone(), keys.map(str::to_owned).collect::<BTreeSet<_>>());
    }
    // What every source knows is said once.
    let common = ["map", "reconcile", "test_events", "transaction_prefix"];
    for (_, keys) in known.iter_mut().chain(&mut found).filter(|(path, _)| path.starts_with("sources.")) {
        keys.retain(|key| !common.contains(&key.as_str()));
    }
    assert!(common.iter().all(|key| EXAMPLE.contains(&format!("{key} =")) || EXAMPLE.contains(&format!(".{key}]"))));
    found.retain(|path, _| !path.ends_with(".reconcile."));
    known.retain(|path, _| !path.ends_with(".reconcile."));
    // All fields of the policy know the same; one or two stand for all.
    let of_policy = |path: &str| path.starts_with("utm.");
    assert!(found.iter().filter(|(path, _)| of_policy(path)).all(|(path, keys)| keys.is_subset(&known[path])));
    found.retain(|path, _| !of_policy(path));
    known.retain(|path, _| !of_policy(path));
    assert_eq!(known, found);
    assert!(elsewhere.iter().all(|(_, key)| EXAMPLE.contains(key)));
}

#[test]
fn everything_wrong_is_said_at_once_with_its_key() {
    let text = format!(
        r#"
        colour = "red"
        [public]
        listen = "localhost"
        url = "https://user:{SECRET}@t.example.com"
        trusted_proxies = ["10.0.0.0/8", "proxy"]
        [admin]
        listen = "0.0.0.0:8081"
        [store]
        engine = "postgres"
        path = ""
        cache_mib = 7
        queue_max = "many"
        [intake]
        default_country = "USA"
        keys = [{{ name = "Shop", key = "{SECRET}" }}, {{ name = "erp", key = "short" }}, {{ nme = "x" }}, "{SECRET}"]
        body_bytes_max = 1
        batch_max = 0
        [join]
        wait_for_visit = "2d"
        [delivery]
        retry_first = "10m"
        retry_max = "1s"
        probe_every = 60
        drain = "20"
        concurrency = 65
        [retention]
        dedupe = "1h"
        visits = "9999d"
        clicks = 90
        delivered = true
        dead_letters = ["30d"]
        [capture]
        visits_path = "/v1/events"
        [log]
        format = "xml"
        level = "a=b=c"
        [[sources]]
        name = "shop"
        [[destinations]]
        name = "meta"
        kind = "meta"
        acces_token = "{SECRET}"
        sources = []
        on_unknown_consent = "maybe"
        hold_after_click = "31d"
        events = {{ Purchase = "Purchase", sign_up = 5, refund = " " }}
        [[destinations]]
        name = "meta"
        kind = "file"
        format = "{SECRET}"
        sources = ["erp", "{SECRET}"]
        [[destinations]]
        kind = "tiktok"
        events = {{}}
        [[destinations]]
        kind = "data_manager"
        credentials = {{ service_account_file = "{SECRET}" }}
        events = {{ purchase = "{SECRET}" }}
        "#
    );
    let problems = problems_in(&text, &BTreeMap::new());
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    let expected = [
        "public.url",
        "public.trusted_proxies[1]",
        "public.listen",
        "admin.token",
        "store.engine",
        "store.path",
        "store.queue_max",
        "store.cache_mib",
        "retention.dedupe",
        "retention.visits",
        "retention.clicks",
        "retention.delivered",
        "retention.dead_letters",
        "intake.default_country",
        "intake.keys[0].name",
        "intake.keys[2].name",
        "intake.keys[2].key",
        "intake.keys[2].nme",
        "intake.keys[3]",
        "intake.body_bytes_max",
        "intake.batch_max",
        "join.wait_for_visit",
        "delivery.retry_max",
        "delivery.probe_every",
        "delivery.drain",
        "delivery.concurrency",
        "capture.visits_path",
        "log.format",
        "log.level",
        "sources.shop.kind",
        "destinations.meta.sources",
        "destinations.meta.on_unknown_consent",
        "destinations.meta.hold_after_click",
        "destinations.meta.events.Purchase",
        "destinations.meta.events.refund",
        "destinations.meta.events.sign_up",
        "destinations.meta.pixel_id",
        "destinations.meta.access_token",
        "destinations.meta.acces_token",
        "destinations[1].name",
        "destinations[1].sources[1]",
        "destinations[1].events",
        "destinations[1].format",
        "destinations[2].name",
        "destinations[2].kind",
        "destinations[2].events",
        "destinations[3].name",
        "destinations[3].events.purchase",
        "destinations[3].operating_account",
        "destinations[3].credentials.service_account_file",
        "colour",
    ];
    assert_eq!(keys, expected);
    let all = ConfigError::Invalid(problems).to_string();
    assert!(all.starts_with(&format!("the configuration has {} problems:\n  public.url: ", expected.len())), "{all}");
}

#[test]
fn one_problem_is_one_line_that_says_what_would_be_right() {
    for (text, expected) in [
        ("store = 5", "store: must be a table, not a number"),
        ("[store]\npath = 5", "store.path: must be a text in quotes, not a number"),
        ("[store]\ncache_mib = 7", "store.cache_mib: must be a whole number from 8 to 65536"),
        ("[stor]\npath = 'x'", "stor: is not a key here; known: public, admin, store, retention, intake, join, "),
        ("[store]\npth = 'x'", "store.pth: is not a key here; known: engine, path, queue_max, cache_mib"),
        ("[retention]\nvisits = '1h'", "retention.visits: must be from 1d to 3650d"),
        ("[join]\nwait_for_visit = 30", "join.wait_for_visit: must be a text in quotes, not a number"),
        ("destinations = 'x'", "destinations: must be a list of tables, each begun with [[destinations]], not a text"),
        ("[admin]\nlisten = '0.0.0.0:8081'", "admin.token: is missing: it must be set when admin.listen is not a "),
        ("[admin]\ntoken = 'a token of several words'", "admin.token: must be printable ASCII without spaces"),
    ] {
        let told = told(text, &[]);
        assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
    }
}

#[test]
fn a_misspelled_key_of_a_destination_is_told_the_shared_ones_too() {
    let expected = "destinations.out.source: is not a key here; known: name, kind, sources, on_unknown_consent, \
                    hold_after_click, fallback_for, click, click_window, click_exclusive, events, format, path, keep, username, password";
    assert_eq!(told(&format!("{FILE}source = ['shop']"), &[]), [expected]);
}

#[test]
fn destinations_have_names_of_their_own() {
    assert_eq!(told(&format!("{FILE}{FILE}"), &[]), ["destinations[1].name: is that of another destination"]);
}

#[test]
fn keys_stand_for_one_source_and_a_source_may_have_several() {
    let keys = |other: &str| format!("[intake]\nkeys = [{{ name = 'a', key = '0123456789abcdef' }}, {other}]\n");
    let expected = "intake.keys[1].key: is the key of another entry too; a key stands for one source";
    assert_eq!(told(&keys("{ name = 'b', key = '0123456789abcdef' }"), &[]), [expected]);
    let both = keys("{ name = 'a', key = 'fedcba9876543210' }");
    assert_eq!(loaded(&both, &[]).intake.keys.len(), 2);
    let config = loaded(&format!("{both}{FILE}sources = ['a']"), &[]);
    assert_eq!(config.destinations[0].sources.as_ref().map(BTreeSet::len), Some(1));
    let expected = "destinations.out.sources[0]: must be the name of a source in intake.keys or sources";
    assert_eq!(told(&format!("{both}{FILE}sources = ['c']"), &[]), [expected]);
}

#[test]
fn visits_cannot_take_a_path_of_the_relay() {
    for path in
        ["/v1/events", "/healthz", "/readyz", "/files/x.csv", "/webhooks/shop", "/capi/1/events", "/", "visits", "/{x}"]
    {
        assert_eq!(told(&format!("[capture]\nvisits_path = '{path}'"), &[]).len(), 1, "{path}");
    }
    assert_eq!(loaded("[capture]\nvisits_path = '/t/v'", &[]).capture.visits_path, "/t/v");
}

#[test]
fn an_admin_listener_beyond_loopback_needs_a_token() {
    for loopback in ["127.0.0.1:0", "[::1]:0", "127.9.9.9:1"] {
        assert!(loaded(&format!("[admin]\nlisten = '{loopback}'"), &[]).admin_token.is_none(), "{loopback}");
    }
    let open = "[admin]\nlisten = '[::]:8081'";
    assert_eq!(problems_in(open, &BTreeMap::new())[0].key, "admin.token");
    assert!(loaded(&format!("{open}\ntoken = '0123456789abcdef'"), &[]).admin_token.is_some());
}

#[test]
fn the_sample_destination_is_only_for_those_without_a_file() {
    assert!(loaded("", &[]).destinations.is_empty());
    let names: Vec<_> = loaded(FILE, &[]).destinations.iter().map(|to| to.name.to_string()).collect();
    assert_eq!(names, ["out"]);
}

#[test]
fn import_files_are_in_the_data_directory_unless_they_are_elsewhere() {
    let directory = |text: &str| {
        let config = loaded(text, &[("RELAY__STORE__PATH", "/srv/relay")]);
        config.destinations[0].destination.file().expect("a file").directory.clone()
    };
    assert_eq!(directory(FILE), PathBuf::from("/srv/relay/files"));
    assert_eq!(directory(&format!("{FILE}path = 'mine'")), PathBuf::from("mine"));
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = "[store]\npath = 'mine'\ncache_mib = 16\n[join]\nwait_for_visit = '1s'";
    let config = loaded(file, &[("RELAY__STORE__PATH", "/data"), ("OTHER__STORE__CACHE_MIB", "32")]);
    assert_eq!(config.store.path, PathBuf::from("/data"));
    assert_eq!(config.store.cache_bytes, 16 << 20);
    assert_eq!(config.pipeline.wait_for_visit, Duration::from_secs(1));
    assert_eq!(config.store.queue_max, 5_000_000);
    let config = load(None, &environment(&[("RELAY__STORE__PATH", "/data")])).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.store.path, config.destinations.len()), (PathBuf::from("/data"), 1));
}

#[test]
fn numbers_texts_and_lists_come_from_the_environment() {
    let config = loaded(
        "[admin]\ntoken = '${NOT_SET}'",
        &[
            ("RELAY__STORE__CACHE_MIB", "128"),
            ("RELAY__PUBLIC__TRUSTED_PROXIES", "[\"10.0.0.0/8\", '::1']"),
            ("RELAY__ADMIN__TOKEN", "1234567890123456"),
            ("RELAY__STORE__PATH", "2026-11-20"),
            ("RELAY__INTAKE__KEYS", "[{ name = 'a', key = '${0123456789abcd' }]"),
            ("RELAY__LOG__LEVEL", "off"),
        ],
    );
    assert_eq!(config.store.cache_bytes, 128 << 20);
    assert_eq!(config.capture.trusted_proxies.0.len(), 2);
    assert_eq!(config.admin_token, Some(Secret::new("1234567890123456")), "a text, though of digits");
    assert_eq!(config.store.path, PathBuf::from("2026-11-20"));
    assert_eq!(
        config.intake.keys[0].1,
        Secret::new("${0123456789abcd"),
        "what is in the environment is taken as it is"
    );
    assert_eq!(config.log_level, "off");
}

#[test]
fn a_variable_that_overrides_nothing_is_a_problem() {
    let problems = |name: &str| problems_in(FILE, &environment(&[(name, SECRET)]));
    for name in ["RELAY__STORE", "RELAY__STORE__PATH__MORE", "RELAY__DESTINATIONS__OUT"] {
        assert_eq!(problems(name)[0].key, name);
    }
    assert_eq!(problems("RELAY__STORE__PTH")[0].key, "store.pth");
    assert_eq!(problems("RELAY__STOR__PATH")[0].key, "stor");
    assert_eq!(problems("RELAY__STORE__QUEUE_MAX")[0].key, "store.queue_max");
    assert_eq!(problems("RELAY__STORE__")[0].key, "store.");
}

#[test]
fn a_variable_that_is_not_set_is_one_line_at_its_key() {
    let destination = FILE.replace("'jsonl'", "'${FORMAT}'") + "username = '${USER_NAME}'\npassword = '${PASSWORD}'\n";
    let text = format!(
        "[admin]\nlisten = '0.0.0.0:1'\ntoken = '${{TOKEN}}'\n[public]\ntrusted_proxies = ['::1', '${{PROXY}}']\n\
         [store]\nqueue_max = '${{QUEUE}}'\npath = '${{DATA}}/relay'\n\
         [intake]\nkeys = [{{ name = 'a', key = '${{KEY}}' }}]\n{destination}"
    );
    let expected = [
        "public.trusted_proxies[1]: the environment variable PROXY is not set",
        "admin.token: the environment variable TOKEN is not set",
        "store.path: the environment variable DATA is not set",
        "store.queue_max: the environment variable QUEUE is not set",
        "intake.keys[0].key: the environment variable KEY is not set",
        "destinations.out.format: the environment variable FORMAT is not set",
        "destinations.out.username: the environment variable USER_NAME is not set",
        "destinations.out.password: the environment variable PASSWORD is not set",
    ];
    assert_eq!(told(&text, &[]), expected);
}

#[test]
fn variables_are_filled_in_wherever_there_is_a_text() {
    let text = "[store]\npath = '${ROOT}/${NAME}'\nqueue_max = '${QUEUE}'\n[log]\nlevel = '$debug'\n[intake]\n\
                keys = [{ name = 'a', key = '${KEY}' }]";
    let variables = [("ROOT", "/srv"), ("NAME", "${ROOT}"), ("QUEUE", "7"), ("KEY", "0123456789${x}ab")];
    let config = loaded(&text.replace("$debug", "debug"), &variables);
    assert_eq!(config.store.path, PathBuf::from("/srv/${ROOT}"), "once, and not again in what was filled in");
    assert_eq!(config.store.queue_max, 7);
    assert_eq!(config.intake.keys[0].1, Secret::new("0123456789${x}ab"));
}

#[test]
fn what_looks_like_a_variable_and_is_none_is_a_problem_without_the_text() {
    for (given, expected) in [
        ("${}".to_owned(), "must have the name of an environment variable in ${…}"),
        (format!("${{{SECRET}}}"), "must have the name of an environment variable in ${…}"),
        (format!("a${{{SECRET}"), "has a ${ without its }"),
        ("${EMPTY}".to_owned(), "must not be empty"),
        (format!("\\u0000{SECRET}"), "must not contain the character U+0000"),
    ] {
        let told = told(&format!("[admin]\ntoken = \"{given}\""), &[("EMPTY", ""), ("", "x")]);
        assert!(told.len() == 1 && told[0].starts_with(&format!("admin.token: {expected}")), "{given}: {told:?}");
    }
}

#[test]
fn a_malformed_file_is_told_its_line_and_never_its_text() {
    for line in [
        format!("token = {SECRET}"),
        format!("token = \"{SECRET}"),
        format!("token = '{SECRET}' x"),
        format!("token = \"\\q{SECRET}\""),
        format!("{SECRET} {SECRET}"),
        format!("\"{SECRET}\" = 1\n\"{SECRET}\" = 2"),
        format!("token = 1\ntoken = '{SECRET}'"),
        format!("a.b = 1\na.b.{SECRET} = 2"),
        format!("token = ['{SECRET}'"),
    ] {
        let error = error(&format!("[admin]\n{line}"), &BTreeMap::new());
        let text = error.to_string();
        assert!(matches!(error, ConfigError::Malformed(..)), "{text}");
        assert!(text.contains("relay.toml is not valid TOML: line ") && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let Err(error) = load(Some(&PathBuf::from("no/such.toml")), &BTreeMap::new()) else { panic!("read") };
    assert!(error.to_string().starts_with("cannot read the configuration file no/such.toml: "), "{error}");
}

#[test]
fn secrets_reach_the_destination_and_nothing_else() {
    let config = try_load(EXAMPLE, &of_example()).unwrap_or_else(|error| panic!("{error}"));
    let meta = config.destinations.iter().find(|to| to.kind == "meta").expect("one");
    assert!(matches!(&meta.destination.profile().auth, Auth::Query { value, .. } if value.expose() == "meta"));
    let file = config.destinations.iter().find(|to| to.kind == "file").expect("one");
    let auth = file.destination.file().and_then(|file| file.auth.clone());
    assert_eq!(auth, Some(("google".to_owned(), Secret::new("files"))));
}

#[test]
fn a_fallback_stands_in_for_another_destination_that_sends() {
    let meta =
        "[[destinations]]\nname = 'meta'\nkind = 'meta'\npixel_id = '1'\naccess_token = 't'\nevents.purchase = 'P'\n";
    let file = |name: &str, of: &str| {
        FILE.replace("'out'", &format!("'{name}'")).replace("events", &format!("fallback_for = '{of}'\nevents"))
    };
    let config = loaded(&format!("{}{meta}", file("spare", "meta")), &[]);
    assert_eq!(config.destinations[0].fallback_for.as_ref().map(DestinationName::as_str), Some("meta"));
    for (of, problem) in [
        ("nobody", "must name a destination of this configuration"),
        ("spare", "must name another destination"),
        ("out", "must name a destination that is no file itself"),
    ] {
        let expected = format!("destinations.spare.fallback_for: {problem}");
        assert_eq!(told(&format!("{meta}{FILE}{}", file("spare", of)), &[]), [expected]);
    }
}

#[test]
fn two_shops_that_number_alike_have_to_be_told_apart() {
    let shop = |name: &str, more: &str| {
        format!("[[sources]]\nname = '{name}'\nkind = 'woocommerce'\nsecrets = ['x']\n{more}\n")
    };
    let both = format!("{}{}", shop("eu", ""), shop("us", ""));
    let problems = told(&both, &[]);
    assert!(
        problems.len() == 1 && problems[0].starts_with("sources.us.transaction_prefix: is missing"),
        "{problems:?}"
    );
    let apart = format!("{}{}", shop("eu", ""), shop("us", "transaction_prefix = 'us-'"));
    assert_eq!(loaded(&apart, &[]).intake.sources[1].transaction_prefix.as_deref(), Some("us-"));
    assert_eq!(told(&shop("eu", "transaction_prefix = 'a b'"), &[]).len(), 1);
}

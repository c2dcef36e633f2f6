//! Tests of the mapping: what expressions give, what becomes of it, and what they may cost.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::{super::testing, *};

/// The mapping of this table, or what is wrong with it.
fn read_map(table: &str) -> Result<Mapping, Vec<String>> {
    let mut settings = Settings::new("", format!("[map]\n{table}").parse().expect("TOML"));
    let map = Mapping::read(&mut settings);
    let problems: Vec<String> = settings.finish().iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(map.expect("a map")) } else { Err(problems) }
}

/// What a mapping makes of a body: the event, and the pointers of what was left out.
fn mapped(table: &str, body: &Value) -> Result<(Value, Vec<String>), Problem> {
    let map = read_map(table).expect("sound");
    let headers = testing::headers([("x-shop", "one"), ("authorization", "Bearer s3cret")]);
    let mut draft = Draft::default();
    let left_out = map.apply(body, None, &headers, &mut draft)?;
    Ok((draft.shown(), left_out.into_iter().filter_map(|problem| problem.pointer).collect()))
}

/// What one expression gives as `properties.x`; `None` for nothing, or the error.
fn gives(expression: &str, body: &Value) -> Result<Option<Value>, String> {
    let formula = Formula::compile(expression.to_owned())?;
    let value = formula.value(&variables(body, &HeaderMap::new(), None, None))?;
    Ok(Some(value).filter(|value| !value.is_null()))
}

#[test]
fn the_documented_example_maps_an_order() {
    let table = r#"
        event = "'purchase'"
        transaction_id = "order.id"
        value = "order.total"
        currency = "order.currency"
        "user.email" = "customer.email"
    "#;
    let body = json!({
        "order": {"id": 123_456_789_012_345_678_u64, "total": "49.90", "currency": "eur"},
        "customer": {"email": "ada@example.com"},
    });
    let expected = json!({
        "event": "purchase", "transaction_id": "123456789012345678", "value": "49.90", "currency": "eur",
        "user": {"email": ["ada@example.com"]},
    });
    assert_eq!(mapped(table, &body).expect("maps"), (expected, vec![]));
}

#[test]
fn what_is_not_there_leaves_its_field() {
    let table = r#"
        event = "'lead' if type == 'new'"
        value = "order.total | minor(order.currency)"
        time = "order.at | unix"
        "user.email" = "customer.email.work"
        "user.phone" = "phones"
        "context.gclid" = "customer['GCLID']"
        "context.utm.source" = "utm.source | lower | trim"
        "consent.ad_user_data" = "customer.marketing"
    "#;
    for body in [json!({}), json!({"order": null, "customer": null, "phones": [null, " "], "type": ""}), json!([1])] {
        assert_eq!(mapped(table, &body).expect("maps"), (json!({}), vec![]), "{body}");
    }
}

#[test]
fn nested_tables_and_dotted_names_are_the_same() {
    let body = json!({"a": "x@example.com", "s": "google", "n": 7});
    let dotted = "\"user.email\" = 'a'\n\"context.utm.source\" = 's'\n\"properties.n.m\" = 'n'";
    let nested = "[map.user]\nemail = 'a'\n[map.context.utm]\nsource = 's'\n[map.properties]\n\"n.m\" = 'n'";
    let expected = json!({
        "user": {"email": ["x@example.com"]}, "context": {"utm": {"source": "google"}}, "properties": {"n": {"m": 7}},
    });
    assert_eq!(mapped(dotted, &body).expect("maps").0, expected);
    assert_eq!(mapped(nested, &body).expect("maps").0, expected);
}

#[test]
fn amounts_are_exact() {
    let body = json!({
        "f": 49.99, "t": "49.99", "cents": 4999, "text": "4999", "neg": -500, "id": 123_456_789_012_345_678_u64,
        "lines": [{"p": "0.1", "q": 1}, {"p": 0.2, "q": 3}, {"p": null}, {}],
    });
    for (expression, expected) in [
        ("f", json!(49.99)),
        ("t", json!("49.99")),
        ("id", json!(123_456_789_012_345_678_u64)),
        ("cents | minor('EUR')", json!(49.99)),
        ("cents | minor('jpy')", json!(4999)),
        ("text | minor('KWD')", json!(4.999)),
        ("neg | minor('EUR') | abs", json!(5)),
        ("f | plus(t)", json!(99.98)),
        ("t | minus('0.09') | minus(tax)", json!(49.9)),
        ("f | times(3)", json!(149.97)),
        ("lines | map(attribute='p') | sum", json!(0.3)),
        ("lines | sum(attribute='p')", json!(0.3)),
        ("t | float - 0.99", json!(49.0)),
        ("lines | length", json!(4)),
        ("'yes' if f | minus(40) > 9 else 'no'", json!("yes")),
        ("(id | string)[-4:]", json!("5678")),
        ("lines[2].p | default(lines[3].p) | default('') | default(f)", json!(49.99)),
    ] {
        assert_eq!(gives(expression, &body), Ok(Some(expected)), "{expression}");
    }
    for expression in
        ["missing | times(3)", "3 | times(missing)", "missing | sum", "missing | minor('EUR')", "t | minor"]
    {
        assert!(!matches!(gives(expression, &body), Ok(Some(_))), "{expression}");
    }
    // What binary fractions cannot hold is what was meant: 0.1 / 3 has no end, 15 digits of it are kept.
    let value = |expression: &str| {
        let table = format!("event = \"'purchase'\"\nvalue = \"{expression}\"\ncurrency = \"'EUR'\"");
        mapped(&table, &body).map(|(event, _)| event["value"].clone())
    };
    assert_eq!(value("0.3 - 0.1").expect("reads"), json!("0.2"));
    assert_eq!(value("f | plus(0)").expect("reads"), json!("49.99"));
    assert_eq!(value("cents | minor('JPY')").expect("reads"), json!("4999"));
}

#[test]
fn an_id_that_is_not_exact_is_refused_and_no_two_are_one() {
    let body: Value = serde_json::from_str(
        r#"{"long": 99999999999999999999, "most": 18446744073709551615, "whole": 1001.0, "least": -99999999999999999999}"#,
    )
    .expect("JSON");
    let id = |expression: &str| mapped(&format!("transaction_id = '{expression}'"), &body);
    assert_eq!(id("most").expect("maps").0["transaction_id"], "18446744073709551615");
    assert_eq!(id("whole").expect("maps").0["transaction_id"], "1001");
    for long in ["long", "least"] {
        assert_eq!(id(long).expect_err("is refused").pointer.as_deref(), Some("/transaction_id"));
    }
    assert!(mapped("value = \"'1e400' | float\"", &body).is_err(), "an infinite value is not none");
}

#[test]
fn what_is_not_there_in_one_entry_of_a_list_is_passed_over() {
    let body = json!({"lines": [{"tax": {"amount": "1.5", "of": [7]}}, {"tax": null}, {}, {"tax": {"amount": 2}}]});
    for (expression, expected) in [
        ("lines | sum(attribute='tax.amount')", json!(3.5)),
        ("lines | map(attribute='tax.amount') | sum", json!(3.5)),
        ("lines | map(attribute='tax.amount')", json!(["1.5", null, null, 2])),
        ("lines | map(attribute='tax.amount', default=0)", json!(["1.5", 0, 0, 2])),
        ("lines | map(attribute='tax.of.0') | first", json!(7)),
        ("lines | map('length') | list", json!([1, 1, 0, 1])),
        ("lines | selectattr('tax.amount', 'eq', 2) | length", json!(1)),
        ("lines | selectattr('tax.amount') | length", json!(2)),
        ("lines | rejectattr('tax.amount') | length", json!(2)),
        ("lines | rejectattr('tax.amount', 'eq', 2) | length", json!(3)),
        ("[[1, 2], [3]] | map(attribute=1, default='none')", json!([2, "none"])),
    ] {
        assert_eq!(gives(expression, &body), Ok(Some(expected)), "{expression}");
    }
    assert!(gives("lines | map(atribute='tax')", &body).is_err());
}

#[test]
fn times_come_in_many_forms() {
    let body = json!({"s": 1_700_000_000, "ms": 1_700_000_000_123_u64, "f": 1_700_000_000.5, "t": "1700000000",
        "naive": "2023-11-14 22:13:20", "day": "2023-11-14", "offset": "2023-11-14T23:13:20+01:00", "no": "soon"});
    let time =
        |expression: &str| mapped(&format!("time = \"{expression}\""), &body).map(|(event, _)| event["time"].clone());
    for same in ["s", "t", "s | unix", "naive | utc", "offset", "offset | utc"] {
        assert_eq!(time(same).expect("reads"), "2023-11-14T22:13:20Z", "{same}");
    }
    assert_eq!(time("ms").expect("reads"), "2023-11-14T22:13:20.123Z");
    assert_eq!(time("f").expect("reads"), "2023-11-14T22:13:20.500Z");
    assert_eq!(time("day | utc").expect("reads"), "2023-11-14T00:00:00Z");
    for bad in ["no", "naive", "no | utc", "no | unix", "day"] {
        let problem = time(bad).expect_err("is refused");
        assert_eq!((problem.status, problem.pointer.as_deref()), (422, Some("/time")), "{bad}");
    }
}

#[test]
fn items_are_read_one_by_one() {
    let lines = json!([{"sku": 7, "title": "Mug", "qty": "2", "cents": 1250}, {"sku": null, "qty": "x"}, "odd"]);
    let table = r#"
        items = "order.lines"
        "item.id" = "sku"
        "item.name" = "title"
        "item.quantity" = "qty"
        "item.price" = "cents | minor(_root.order.currency)"
    "#;
    let body = json!({"order": {"lines": lines, "currency": "EUR"}});
    let (event, left_out) = mapped(table, &body).expect("maps");
    assert_eq!(event["items"], json!([{"id": "7", "name": "Mug", "quantity": "2", "price": "12.5"}]));
    assert_eq!(left_out, ["/items/1/quantity"]);
    // Without these an entry is taken by our own names, and what else it holds is passed over.
    let own = json!({"order": {"lines": [{"id": 7, "quantity": 2, "colour": "red", "price": null}, {"a": 1}]}});
    let (event, _) = mapped("items = 'order.lines'", &own).expect("maps");
    assert_eq!(event["items"], json!([{"id": "7", "quantity": "2"}]));
}

#[test]
fn what_does_not_fit_is_left_out_or_refused_and_never_quoted() {
    let body = json!({"a": ["ada@example.com"], "b": true, "c": {"d": "ada@example.com"}, "m": "ada@example.com"});
    let table = "event = \"'lead'\"\n\"user.first_name\" = 'a'\n\"user.country\" = 'b'\naction_source = 'm'\n\
                 \"user.lead_id\" = 'm'\n\"user.city\" = \"m | minor('EUR')\"";
    let (event, mut left_out) = mapped(table, &body).expect("maps");
    assert_eq!(event, json!({"event": "lead"}));
    left_out.sort();
    assert_eq!(left_out, ["/action_source", "/user/city", "/user/country", "/user/first_name", "/user/lead_id"]);
    for (table, pointer) in [
        ("value = 'm'", "/value"),
        ("value = 'c'", "/value"),
        ("value = \"m | minor('EUR')\"", "/value"),
        ("value = \"1 / (m | length - 15)\"", "/value"),
        ("event = 'c'", "/event"),
        ("transaction_id = 'c'", "/transaction_id"),
        ("currency = 'b'", "/currency"),
        ("event_id = 'a'", "/event_id"),
    ] {
        let map = read_map(table).expect("sound");
        let problem = map.apply(&body, None, &HeaderMap::new(), &mut Draft::default()).expect_err(table);
        assert_eq!(problem.pointer.as_deref(), Some(pointer), "{table}");
        assert!(problem.detail.starts_with(&pointer[1..]), "{}", problem.detail);
        assert!(!problem.detail.contains("ada"), "{}", problem.detail);
    }
}

#[test]
fn headers_and_the_whole_body_can_be_named_but_no_credential() {
    let table = "\"properties.shop\" = \"_headers['x-shop']\"\n\"properties.a\" = \"_headers.authorization\"\n\
                 \"properties.odd\" = \"_body['odd-name']\"\n\"properties.e\" = \"_event\"";
    let (event, left_out) = mapped(table, &json!({"odd-name": 1})).expect("maps");
    assert_eq!((event, left_out), (json!({"properties": {"shop": "one", "odd": 1}}), vec![]));
}

#[test]
fn consent_may_be_a_flag() {
    let table = "\"consent.ad_user_data\" = 'a'\n\"consent.ad_personalization\" = 'b'";
    let (event, _) = mapped(table, &json!({"a": true, "b": "No"})).expect("maps");
    assert_eq!(event["consent"], json!({"ad_user_data": "granted", "ad_personalization": "denied"}));
}

#[test]
fn every_wrong_key_is_told_by_its_name() {
    let table = r#"
        evnt = "'purchase'"
        event = "'purchase"
        value = "a * b"
        currency = "a + b"
        time = "a | strftime('x')"
        transaction_id = "a.get('x')"
        items = "range(10)"
        visitor_id = "a[::-1]"
        context = "a"
        "user.email" = ""
        "user.phone" = 5
        "properties." = "a"
        "context.utm.id" = "a"
    "#;
    let problems = read_map(table).err().expect("problems");
    let keys: Vec<&str> = problems.iter().map(|problem| problem.split(": ").next().unwrap_or_default()).collect();
    let mut expected = [
        "map.evnt",
        "map.event",
        "map.value",
        "map.currency",
        "map.time",
        "map.transaction_id",
        "map.items",
        "map.visitor_id",
        "map.context",
        "map.user.email",
        "map.user.phone",
        "map.properties.",
        "map.context.utm.id",
    ];
    let mut keys = keys;
    keys.sort_unstable();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let twice = read_map("\"user.email\" = 'a'\n[map.user]\nemail = 'b'").err().expect("problems");
    assert!(twice[0].contains("twice"), "{twice:?}");
    let alone = read_map("\"item.id\" = 'sku'").err().expect("problems");
    assert!(alone[0].starts_with("map.items: is missing"), "{alone:?}");
}

#[test]
fn the_language_is_looked_over_outside_of_quotes_only() {
    for fine in [
        "a ~ ' + * ( | x' ~ \"~ it's\"",
        "'it\\'s * fine'",
        "a if (b and (c or not (d))) else (e)",
        "a is in(['x']) and b is not in (c)",
        "a | default((b))",
        "(a)|lower",
        "a[1:2] / 2 % 3",
    ] {
        assert!(Formula::compile(fine.to_owned()).is_ok(), "{fine}");
    }
    for wrong in ["a is empty", "a is not empty", "'x' if a is divisibleby(2)"] {
        let why = Formula::compile(wrong.to_owned()).err().expect("no such test");
        assert!(why.starts_with("names a test that there is not"), "{why}");
    }
    let joined = |n| Formula::compile(vec!["a"; n].join(" ~ ")).is_ok();
    assert!(joined(17) && !joined(18));
    assert!(Formula::compile(format!("'{}'", "x".repeat(4095))).is_err());
}

/// What an operator could write by mistake, and a sender provoke, costs little.
#[test]
fn hostile_expressions_end_soon_and_stay_small() {
    let long = "x".repeat(1 << 20);
    let body = json!({
        "long": long, "many": vec![1; 200_000], "rows": vec![json!({"t": "x".repeat(100)}); 900], "n": 1_000_000_000,
        "deep": (0..100).fold(json!(1), |inner, _| json!([inner])),
    });
    for expression in [
        "'x' * 10 ** 9",
        "range(10 ** 9)",
        "long | replace('x', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy')",
        "'x' | replace('x', 'xxxxxxxxxxxxxxxxxxxx') | replace('x', 'xxxxxxxxxxxxxxxxxxxx') | replace('x', 'xxxxxxxxxxxxxxxxxxxxxx')",
        "'x' | replace('', 'y') | replace('', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy') | replace('', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy')",
        "many | sort | join(',')",
        "many | map('string') | list",
        "rows | map(attribute='t') | join",
        "rows",
        "long",
        "deep",
        "deep | string",
        "long ~ long ~ long ~ long",
        "_body",
        "_body | string",
    ] {
        let began = Instant::now();
        assert!(gives(expression, &body).is_err(), "{expression}");
        assert!(began.elapsed() < Duration::from_secs(5), "{expression}");
    }
    let brackets = format!("{}a{}", "(".repeat(2000), ")".repeat(2000));
    assert!(Formula::compile(brackets).is_err());
    let filters = format!("rows{}", " | reverse".repeat(300));
    assert!(gives(&format!("({filters}) | length"), &body).is_ok());
    let list = Formula::compile("many".to_owned()).expect("compiles");
    assert!(list.entries(&variables(&body, &HeaderMap::new(), None, None)).is_err());
}

proptest! {
    /// Neither reading nor computing an expression panics, whatever it is.
    #[test]
    fn nothing_panics(parts in prop::collection::vec(prop::sample::select(vec![
        "a", "b", "'x'", "\"", "'", "(", ")", "[", "]", "{", "}", ":", ",", ".", "|", "~", "-", "/", "//", "%", "*", "+",
        "<", ">", "==", "!=", " and ", " or ", " not ", " in ", " is ", " if ", " else ", "defined", "none", "true",
        "0", "1", "-1", "9223372036854775807", "170141183460469231731687303715884105727", "1.5", "1e308", "_body",
        "default('x')", "join(',')", "split(',')", "replace('a','b')", "round(2)", "int", "float", "abs", "first",
        "last", "min", "max", "sum", "map(attribute='c')", "select", "reject", "unique", "sort", "list", "length",
        "reverse", "minor('EUR')", "unix", "utc", "plus(1)", "minus(b)", "times(a)", "attr('c')", "string", "trim",
        "[0]", "[::-1]", "[1:]", "[-9:9:-2]", "\\", "é", "\u{0}", "#", "\n",
    ]), 0..12)) {
        let body = json!({"a": [1, {"c": "x"}, null, -2.5], "b": "4999", "c": {"a": 18_446_744_073_709_551_615_u64}});
        let _ = gives(&parts.concat(), &body);
        let _ = gives(&parts.join(" "), &body);
    }

    #[test]
    fn no_text_panics(text in ".{0,80}") {
        let _ = gives(&text, &json!({"a": 1}));
    }

    /// A JSON number or text of a decimal is the value it is written as.
    #[test]
    fn values_stay_exact(units in 0_u64..1_000_000_000_000_000, decimals in 0_u32..4) {
        let text = rust_decimal::Decimal::new(i64::try_from(units).expect("small"), decimals).to_string();
        let body: Value = serde_json::from_str(&format!("{{\"n\": {text}, \"t\": \"{text}\"}}")).expect("JSON");
        let of = |name: &str| {
            let (event, _) = mapped(&format!("value = '{name}'"), &body).expect("maps");
            event["value"].as_str().and_then(|value| value.parse::<rust_decimal::Decimal>().ok())
        };
        let right = text.parse().ok();
        prop_assert_eq!(of("t"), right);
        prop_assert_eq!(of("n"), right);
        prop_assert_eq!(of("t | plus(0)"), right);
    }
}

/// Each value that does not fit has everything read anew, and is a line in the log.
#[test]
fn many_values_that_do_not_fit_cost_little() {
    let table =
        "event = \"'purchase'\"\nitems = 'lines'\n\"item.id\" = 'sku'\n\"item.price\" = 'price'\n\"user.email\" = 'to'";
    let line = json!({"sku": 1, "price": "1,50"});
    let body = json!({"lines": vec![line; 1000], "to": vec![json!({"a": 1}); 1000]});
    let (event, left_out) = mapped(table, &body).expect("maps");
    assert!((MISFITS_MAX..MISFITS_MAX + 4).contains(&left_out.len()), "{}", left_out.len());
    assert_eq!(event["items"].as_array().map(Vec::len), Some(1000), "with what fits");
    assert_eq!((&event["items"][999], &event["user"]), (&json!({"id": "1"}), &Value::Null));
    let few = json!({"lines": [{"sku": 1, "price": "1,50"}, {"sku": 2, "price": "1.50"}]});
    let (event, left_out) = mapped(table, &few).expect("maps");
    assert_eq!(
        (&event["items"][1]["price"], left_out.as_slice()),
        (&json!("1.50"), &["/items/0/price".to_owned()][..])
    );
}

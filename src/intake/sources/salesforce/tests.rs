//! Tests of the kind `salesforce`.

use super::{super::testing, *};

const SOAP: &str = "secrets = ['old', 's3cret']\norganization_id = '00D000000000062'\ncurrency = 'EUR'";
const JSON: &str = "secrets = ['s3cret']\nformat = 'json'";

fn verdict(config: &str, headers: &[(&str, &str)], query: Option<&str>) -> Option<&'static str> {
    let source = testing::build(&DESCRIPTOR, config);
    let headers = testing::headers(headers.iter().copied());
    let inbound = Inbound { headers: &headers, query, body: b"{}" };
    source.verify(&inbound, testing::NOW).err().map(|refusal| refusal.reason)
}

fn message(inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>\
         <notifications xmlns=\"http://soap.sforce.com/2005/09/outbound\">\
         <OrganizationId>00D000000000062EAA</OrganizationId><ActionId>04k000000000001AAA</ActionId>\
         <SessionId xsi:nil=\"true\"/><EnterpriseUrl>https://x.example</EnterpriseUrl>{inner}\
         </notifications></soapenv:Body></soapenv:Envelope>"
    )
}

/// The reason of the refusal, or how many reports there are.
fn reads(config: &str, body: &[u8]) -> Result<usize, &'static str> {
    let source = testing::build(&DESCRIPTOR, config);
    let headers = testing::headers([]);
    let inbound = Inbound { headers: &headers, query: None, body };
    source.parse(&Verified::trusted(&inbound)).map(|parsed| parsed.reports.len()).map_err(|refusal| refusal.reason)
}

#[test]
fn messages_read_as_their_snapshots() {
    testing::snapshots("salesforce", &DESCRIPTOR, SOAP);
}

#[test]
fn callouts_read_as_their_snapshots() {
    testing::snapshots(
        "salesforce_json",
        &DESCRIPTOR,
        &format!("{JSON}\n[events]\nOpportunity.Negotiation = 'working_lead'"),
    );
}

#[test]
fn a_secret_is_presented_in_one_of_several_ways() {
    assert_eq!(verdict(SOAP, &[], Some("token=s3cret")), None);
    assert_eq!(verdict(SOAP, &[], Some("a=b&token=old")), None);
    assert_eq!(verdict(SOAP, &[], Some("token=other")), Some("bad_credential"));
    assert_eq!(verdict(SOAP, &[], Some("tok=s3cret")), Some("no_credential"));
    assert_eq!(verdict(SOAP, &[], None), Some("no_credential"));
    assert_eq!(verdict(SOAP, &[("authorization", "Basic c2FsZXNmb3JjZTpzM2NyZXQ=")], None), None);
    assert_eq!(verdict(SOAP, &[("authorization", "Basic ZXJwOnMzY3JldA==")], None), Some("bad_credential"));
    assert_eq!(verdict(&format!("{SOAP}\nuser = 'erp'"), &[("authorization", "Basic ZXJwOnMzY3JldA==")], None), None);
    assert_eq!(verdict(JSON, &[("authorization", "Bearer s3cret")], None), None);
    // A wrong credential is not helped by a right one elsewhere.
    assert_eq!(verdict(JSON, &[("authorization", "Bearer x")], Some("token=s3cret")), Some("bad_credential"));
    let named = format!("{JSON}\nheader = 'X-Relay-Key'");
    assert_eq!(verdict(&named, &[("x-relay-key", "s3cret")], None), None);
    assert_eq!(verdict(&named, &[("x-relay-key", "x")], None), Some("bad_credential"));
    assert_eq!(verdict(&named, &[], Some("token=s3cret")), Some("no_credential"));
}

#[test]
fn a_message_of_another_organisation_is_refused() {
    let body = message("");
    assert_eq!(reads(SOAP, body.as_bytes()), Ok(0));
    assert_eq!(
        reads(SOAP, body.replace("00D000000000062EAA", "00D000000000063EAA").as_bytes()),
        Err("wrong_organization")
    );
    // Case tells organisations apart.
    let other = SOAP.replace("00D000000000062", "00D00000000006a");
    assert_eq!(
        reads(&other, body.replace("00D000000000062EAA", "00D00000000006A").as_bytes()),
        Err("wrong_organization")
    );
}

#[test]
fn nothing_is_expanded_or_fetched_and_everything_is_bounded() {
    let notification =
        "<Notification><Id>04l1</Id><sObject xsi:type=\"sf:Lead\"><sf:Id>00Q1</sf:Id></sObject></Notification>";
    assert_eq!(reads(SOAP, message(&notification.repeat(100)).as_bytes()), Ok(100));
    let sound = message(notification);
    let typed = |definition: &str, inner: &str| {
        let inner = notification.replace("00Q1", inner);
        message(&inner).replace("<soapenv:Envelope", &format!("{definition}<soapenv:Envelope"))
    };
    let lies = [
        message(&notification.repeat(101)),
        typed("<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>", "&e;"),
        typed("<!DOCTYPE x [<!ENTITY a \"aaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>", "&b;"),
        typed("<!DOCTYPE x SYSTEM \"http://127.0.0.1:1/x.dtd\">", "00Q1"),
        typed("", "&e;"),
        typed("", "&#xD800;"),
        message(&format!("{}{}", "<a>".repeat(50), "</a>".repeat(50))),
        message(
            &notification
                .replace("<sf:Id>00Q1</sf:Id>", &(0..1001).map(|i| format!("<f{i}>x</f{i}>")).collect::<String>()),
        ),
        sound.replace("</soapenv:Envelope>", ""),
        sound.replace("</sObject>", "</sobject>"),
        sound.replace("soapenv:Body", "soapenv:Head"),
        "<a/>".to_owned(),
        String::new(),
        "{}".to_owned(),
    ];
    for body in &lies {
        assert_eq!(reads(SOAP, body.as_bytes()), Err("unreadable"), "{}", &body[..body.len().min(400)]);
    }
    assert_eq!(reads(SOAP, b"<a>\xff</a>"), Err("unreadable"));
    let began = std::time::Instant::now();
    let attributes: String = (0..100_000).map(|i| format!(" a{i}=\"x\"")).collect();
    assert_eq!(
        reads(SOAP, message(&notification.replace(" xsi:type", &format!("{attributes} xsi:type"))).as_bytes()),
        Ok(1)
    );
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn texts_may_hold_references_and_cdata() {
    let source = testing::build(&DESCRIPTOR, SOAP);
    let body = message(
        "<Notification><Id>04l1</Id><sObject xsi:type=\"sf:Lead\" xmlns:sf=\"urn:sobject.enterprise.soap.sforce.com\">\
         <sf:Id>00QA0000001AbcDMAS</sf:Id><sf:City>Marks &amp; S&#252;d &lt;&#x41;</sf:City>\
         <sf:Street><![CDATA[1 <Main> St & Co]]></sf:Street><sf:Phone xsi:nil=\"true\"/></sObject></Notification>",
    );
    let read = testing::reads(source.as_ref(), &testing::headers([]), body.as_bytes());
    let user = &read["reports"][0]["event"]["user"];
    assert_eq!((&user["city"], &user["street"]), (&Value::from("Marks & Süd <A"), &Value::from("1 <Main> St & Co")));
}

#[test]
fn only_what_was_taken_whole_is_acknowledged() {
    let source = testing::build(&DESCRIPTOR, SOAP);
    let taken = Taken { duplicates: vec!["a".to_owned()], ignored: 1, ..Taken::default() };
    let reply = source.answer(&taken).expect("an answer");
    assert_eq!((reply.status, reply.content_type), (200, "text/xml; charset=utf-8"));
    assert!(reply.body.contains("<Ack>true</Ack>"));
    let problem = crate::web::Problem::invalid("/value", "value: is wrong");
    let taken = Taken { accepted: vec!["a".to_owned()], refused: vec![problem], ..Taken::default() };
    assert!(source.answer(&taken).expect("an answer").body.contains("<Ack>false</Ack>"));
    assert_eq!(testing::build(&DESCRIPTOR, JSON).answer(&taken), None);
}

/// An id as it stands in addresses, and as the API gives it.
#[test]
fn an_id_has_one_form() {
    for (short, long) in [
        ("00D000000000062", "00D000000000062EAA"),
        ("001A0000006Vm9u", "001A0000006Vm9uIAC"),
        ("00QA0000001AbcD", "00QA0000001AbcDMAS"),
    ] {
        assert_eq!((whole_id(short).as_str(), whole_id(long).as_str()), (long, long));
    }
    assert_eq!((whole_id("x"), whole_id("ü")), ("x".to_owned(), "ü".to_owned()));
}

/// A record that names no stage was just made, as far as anybody can tell.
#[test]
fn a_lead_without_a_status_happened_when_it_was_made() {
    let source = testing::build(&DESCRIPTOR, JSON);
    let body = br#"{"Id": "00QA0000001AbcD", "CreatedDate": "2026-11-01T00:00:00Z", "LastModifiedDate": "2026-11-20T00:00:00Z"}"#;
    let read = testing::reads(source.as_ref(), &testing::headers([]), body);
    assert_eq!(read["reports"][0]["event"]["time"], "2026-11-01T00:00:00Z", "{read}");
}

/// The event that a record counts as, or why it counts as none.
fn counts_as(config: &str, record: &Value) -> String {
    let source = testing::build(&DESCRIPTOR, config);
    let read = testing::reads(source.as_ref(), &testing::headers([]), record.to_string().as_bytes());
    let report = &read["reports"][0];
    report["event"]["event"].as_str().or(report["ignored"].as_str()).unwrap_or_default().to_owned()
}

#[test]
fn a_stage_that_is_switched_off_counts_as_nothing_else() {
    let config = format!("{JSON}\n[events]\n\"Opportunity.Internal\" = 'ignore'\n\"Lead.Junk\" = 'ignore'");
    let won =
        |stage: &str| serde_json::json!({"sobject": "Opportunity", "Id": "0061", "StageName": stage, "IsWon": true});
    assert_eq!(counts_as(&config, &won("Internal")), "not mapped");
    assert_eq!(counts_as(&config, &won("Won it")), "close_convert_lead");
    let lead = |status: &str| serde_json::json!({"sobject": "Lead", "Id": "00Q1", "Status": status});
    assert_eq!(counts_as(&config, &lead("JUNK")), "not mapped");
    assert_eq!(counts_as(&config, &lead("New")), "generate_lead");
}

/// The flow of the documentation tells of every change of a lead's status, also when nobody remembers the lead any more.
#[test]
fn a_change_of_an_old_lead_makes_no_new_one() {
    let lead = |made: &str, stage: &str| {
        serde_json::json!({"sobject": "Lead", "Id": "00Q1", "Status": stage, "CreatedDate": made,
            "LastModifiedDate": "2026-11-20T08:00:00.000+0000"})
    };
    assert_eq!(counts_as(JSON, &lead("2026-11-01T08:00:00.000+0000", "Working")), "generate_lead");
    for old in ["2026-10-01T08:00:00.000+0000", "2024-10-01T08:00:00.000+0000"] {
        assert_eq!(counts_as(JSON, &lead(old, "Working")), "happened long before the change");
        assert_eq!(counts_as(JSON, &lead(old, "Qualified")), "qualify_lead");
    }
}

#[test]
fn an_amount_in_an_unknown_currency_is_not_one_in_the_usual() {
    let source = testing::build(&DESCRIPTOR, &format!("{JSON}\ncurrency = 'EUR'"));
    let worth = |code: &str| {
        let body =
            format!("{{\"Id\": \"0061\", \"StageName\": \"Closed Won\", \"Amount\": 5, \"CurrencyIsoCode\": {code}}}");
        let read = testing::reads(source.as_ref(), &testing::headers([]), body.as_bytes());
        read["reports"][0]["event"]["currency"].as_str().map(str::to_owned)
    };
    assert_eq!((worth("null").as_deref(), worth("\"usd\"").as_deref()), (Some("EUR"), Some("USD")));
    assert_eq!(worth("\"QQQ\""), None);
}

#[test]
fn the_kind_of_a_record_may_be_written_in_any_case() {
    let source = testing::build(&DESCRIPTOR, JSON);
    let read = testing::reads(source.as_ref(), &testing::headers([]), br#"{"sobject": "lead", "Id": "00Q1"}"#);
    assert_eq!(read["reports"][0]["event"]["user"]["external_id"], serde_json::json!(["00Q1"]), "{read}");
}

#[test]
fn wrong_settings_are_told() {
    let told = testing::told(
        &DESCRIPTOR,
        "organization_id = '005'\nformat = 'xml'\nheader = 'a b'\ncurrency = 'euro'\nevents.Lead = 'Big'",
    );
    let mut keys: Vec<&str> = told.iter().filter_map(|problem| Some(problem.split_once(':')?.0)).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["currency", "events.Lead", "format", "header", "organization_id", "secrets"]);
    assert!(testing::told(&DESCRIPTOR, "secrets = ['x']")[0].starts_with("organization_id: is missing"));
    assert!(testing::told(&DESCRIPTOR, JSON).is_empty());
}

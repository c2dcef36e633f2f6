//! Links, clicks, the policy and the pages over real HTTP, on stores in memory.

use serde_json::{Value, json};

use super::super::tests::Operator;
use crate::model::{Click, ClickVerdict, LinkKey, Time, Utm, VisitorId};

const NOW: i64 = 1_795_000_000;

/// Accepted sources, a delimiter, one campaign for each offer.
const POLICY: &str = r#"
delimiter = "-"
required = ["source"]
[source]
values = ["instagram", "newsletter"]
aliases = { ig = "instagram" }
"#;

impl Operator {
    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.url));
        Self::send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    async fn csv(&self, path: &str, text: &str) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.url)).header("content-type", "text/csv");
        Self::send(request.body(text.to_owned())).await
    }

    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> (u16, String, String) {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("builds");
        let request = client.post(format!("{}{path}", self.url));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = request.send().await.expect("answers");
        let to = answer.headers().get("location").map_or("", |to| to.to_str().expect("is text")).to_owned();
        (answer.status().as_u16(), to, answer.text().await.expect("has a body"))
    }

    async fn page(&self, path: &str) -> String {
        match self.get(path).await {
            (200, Value::String(page)) => page,
            other => panic!("{path}: {other:?}"),
        }
    }

    fn clicks(&self, rows: &[Click]) {
        self.admin.stores.clicks.append(rows).expect("appends");
    }
}

fn click(id: u32, link: &str, visitor: &str, source: &str, verdict: ClickVerdict) -> Click {
    Click {
        id: format!("{id:026}"),
        at: Time::from_secs(NOW - 1000 + i64::from(id)),
        link: LinkKey::of(link),
        verdict,
        reasons: if verdict == ClickVerdict::Human { vec![] } else { vec![format!("{}: test", verdict.as_str())] },
        head: false,
        device: Some("mobile".into()),
        browser: Some("Safari".into()),
        os: Some("iOS".into()),
        in_app: Some("Instagram".into()),
        country: Some("GB".into()),
        referrer: Some("https://l.instagram.com/".into()),
        visitor_id: VisitorId::new(visitor).ok(),
        fingerprint: 0,
        utm: Utm { source: Some(source.into()), ..Utm::default() },
        split: None,
        landed: None,
        relabelled_by: None,
    }
}

#[tokio::test]
async fn a_link_is_made_changed_steered_and_removed_and_who_did_it_is_kept() {
    let operator = Operator::start(None).await;
    let link = json!({
        "slug": "Mugs", "destination": "https://shop.example/mugs?a=1#x", "by": "ada",
        "utm": { "source": "Newsletter", "campaign": "spring" }, "variant": { "angle": "joy" }, "goal": "purchase",
        "expires_at": "2026-12-24T18:00:00+01:00",
    });
    let (status, made) = operator.post("/v1/links", &link).await;
    assert_eq!((status, &made["slug"], &made["url"]), (201, &json!("mugs"), &json!("https://t.example.com/l/mugs")));
    assert_eq!(made["utm"], json!({ "source": "Newsletter", "campaign": "spring" }), "as it was written: {made}");
    assert_eq!((&made["state"], &made["expires_at"]), (&json!("live"), &json!("2026-12-24T17:00:00Z")));
    let (status, problem) = operator.post("/v1/links", &link).await;
    assert_eq!((status, &problem["type"], &problem["pointer"]), (409, &json!("/problems/conflict"), &json!("/slug")));
    let branded = json!({ "slug": "mugs", "host": "Go.Brand.example", "destination": "https://shop.example/b" });
    let (status, other) = operator.post("/v1/links", &branded).await;
    assert_eq!((status, &other["url"]), (201, &json!("https://go.brand.example/mugs")));
    let (status, minted) = operator.post("/v1/links", &json!({ "destination": "https://shop.example/" })).await;
    assert_eq!((status, minted["slug"].as_str().map(str::len)), (201, Some(7)));

    let patch = json!({ "destination": "https://shop.example/new", "utm": { "campaign": null }, "by": "bob" });
    let (status, changed) = operator.ask("PATCH", "/v1/links/mugs", &patch).await;
    assert_eq!((status, &changed["destination"]), (200, &json!("https://shop.example/new")));
    assert_eq!(changed["utm"], json!({ "source": "Newsletter" }));
    let (status, problem) = operator.ask("PATCH", "/v1/links/mugs", &json!({ "slug": "cups" })).await;
    assert_eq!((status, &problem["pointer"]), (422, &json!("/slug")));
    let (_, paused) = operator.post("/v1/links/mugs/pause", &json!({ "by": "eve" })).await;
    assert_eq!(paused["state"], "paused");
    let (_, edited) = operator.ask("PATCH", "/v1/links/mugs", &json!({ "note": "x" })).await;
    assert_eq!(edited["state"], "paused", "an edit does not start it again");
    assert_eq!(operator.post("/v1/links/mugs/approve", &json!({})).await.0, 409);
    let (_, history) = operator.get("/v1/links/mugs/history").await;
    let who: Vec<&Value> = history["history"].as_array().expect("a list").iter().map(|change| &change["by"]).collect();
    assert_eq!(who, [&json!("operator"), &json!("eve"), &json!("bob"), &json!("ada")]);
    let swap = &history["history"][2]["changes"][0];
    assert_eq!(
        (&swap["before"], &swap["after"]),
        (&json!("https://shop.example/mugs?a=1#x"), &json!("https://shop.example/new"))
    );

    let (_, list) = operator.get("/v1/links?limit=2").await;
    assert_eq!((list["links"].as_array().map(Vec::len), &list["count"]), (Some(2), &json!(3)));
    let (_, rest) = operator.get(&format!("/v1/links?limit=2&after={}", list["next"].as_str().expect("goes on"))).await;
    assert_eq!((rest["links"].as_array().map(Vec::len), &rest["next"]), (Some(1), &Value::Null));
    for (filter, count) in [("state=paused", 1), ("host=go.brand.example", 1), ("campaign=spring", 0), ("q=NEW", 1)] {
        assert_eq!(operator.get(&format!("/v1/links?{filter}")).await.1["count"], count, "{filter}");
    }
    assert_eq!(operator.ask("DELETE", "/v1/links/go.brand.example%2Fmugs", &json!({ "by": "ada" })).await.0, 200);
    assert_eq!(operator.get("/v1/links/mugs?host=go.brand.example").await.0, 404);
    assert_eq!(operator.get("/v1/links/mugs").await.0, 200);
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_every_rule_or_waits_for_somebody() {
    let operator = Operator::with(None, POLICY).await;
    let bad = json!({ "slug": "a", "destination": "https://shop.example/", "utm": { "source": "Insta Gram", "medium": "a b" } });
    let (status, problem) = operator.post("/v1/links", &bad).await;
    assert_eq!((status, &problem["type"]), (422, &json!("/problems/utm-policy")));
    let rules: Vec<&str> =
        problem["broken"].as_array().expect("rules").iter().filter_map(|one| one["rule"].as_str()).collect();
    assert!(rules.contains(&"lowercase") && rules.contains(&"delimiter"), "{problem}");
    assert!(problem["errors"].as_array().expect("errors").iter().any(|one| one["field"] == "medium"), "{problem}");
    let (_, problem) = operator
        .post("/v1/links", &json!({ "destination": "https://shop.example/", "utm": { "source": "nope" } }))
        .await;
    assert!(problem["detail"].as_str().expect("a text").contains("accepted: instagram, newsletter"), "{problem}");

    let mut asked = bad.clone();
    asked["exception"] = "the partner insists".into();
    let (status, pending) = operator.post("/v1/links", &asked).await;
    assert_eq!((status, &pending["state"]), (201, &json!("pending")));
    assert_eq!(operator.post("/v1/links/a/resume", &json!({})).await.0, 409, "nobody approved it");
    let (_, live) = operator.post("/v1/links/a/approve", &json!({ "by": "grace" })).await;
    assert_eq!((&live["state"], &live["approved_by"]), (&json!("live"), &json!("grace")));
    let (_, edited) = operator.ask("PATCH", "/v1/links/a", &json!({ "note": "n" })).await;
    assert_eq!(edited["state"], "live", "what was approved stays so");
    let (_, worse) = operator.ask("PATCH", "/v1/links/a", &json!({ "utm": { "term": "c d" } })).await;
    assert_eq!((&worse["state"], &worse["approved_by"]), (&json!("pending"), &Value::Null), "a new one waits anew");
    let (_, good) =
        operator.ask("PATCH", "/v1/links/a", &json!({ "utm": { "source": "ig", "medium": null, "term": null } })).await;
    assert_eq!((&good["state"], good.get("exception")), (&json!("live"), None), "{good}");
}

#[tokio::test]
async fn fields_that_are_not_what_they_have_to_be_are_named() {
    let operator = Operator::start(None).await;
    for (link, pointer) in [
        (json!({ "destination": "javascript:alert(1)" }), "/destination"),
        (json!({ "destination": "https://shop.example/", "slug": "a b" }), "/slug"),
        (json!({ "destination": "https://shop.example/", "host": "evil.example" }), "/host"),
        (json!({ "destination": "https://shop.example/", "goal": "Buy!" }), "/goal"),
        (json!({ "destination": "https://shop.example/", "utm": { "source": "ada@example.com" } }), "/utm/source"),
        (json!({ "destination": "https://shop.example/", "colour": "red" }), "/colour"),
        (json!({ "destination": "https://shop.example/", "by": "ada@example.com" }), "/by"),
    ] {
        let (status, problem) = operator.post("/v1/links", &link).await;
        assert_eq!((status, &problem["pointer"]), (422, &json!(pointer)), "{problem}");
        assert!(!problem.to_string().contains("ada@"), "{problem}");
    }
    assert_eq!(operator.get("/v1/links").await.1["count"], 0);
    let (status, _) = operator.post("/v1/links?dry_run=1", &json!({ "destination": "https://shop.example/" })).await;
    assert_eq!((status, &operator.get("/v1/links").await.1["count"]), (200, &json!(0)), "only checked");
}

#[tokio::test]
async fn many_links_come_as_csv_and_what_cannot_be_is_listed() {
    let operator = Operator::with(None, POLICY).await;
    let mut csv = "slug,destination,utm_source,placement\n".to_owned();
    for i in 0..200 {
        csv.push_str(&format!("mug-{i},https://shop.example/{i},newsletter,p{i}\n"));
    }
    csv.push_str("mug-1,https://shop.example/,newsletter,x\n,https://shop.example/,nope,x\nbad,ftp://x,newsletter,x\n");
    let (status, dry) = operator.csv("/v1/links?dry_run=1&by=ada", &csv).await;
    assert_eq!((status, &dry["created"], &operator.get("/v1/links").await.1["count"]), (200, &json!(200), &json!(0)));
    let (status, made) = operator.csv("/v1/links?by=ada", &csv).await;
    assert_eq!(
        (status, &made["created"], made["links"].as_array().map(Vec::len)),
        (200, &json!(200), Some(200)),
        "{made}"
    );
    let rejected = made["rejected"].as_array().expect("a list");
    let told: Vec<(&Value, &Value)> = rejected.iter().map(|row| (&row["line"], &row["field"])).collect();
    assert_eq!(
        told,
        [(&json!(202), &json!("slug")), (&json!(203), &json!("source")), (&json!(204), &json!("destination"))]
    );
    assert_eq!(operator.get("/v1/links/mug-7/history").await.1["history"][0]["by"], "ada");
    let (_, list) = operator
        .post(
            "/v1/links",
            &json!({ "links": [
        { "slug": "one", "destination": "https://shop.example/", "utm": { "source": "ig" } },
        { "slug": "two", "destination": 7 },
    ] }),
        )
        .await;
    assert_eq!((&list["created"], &list["rejected"][0]["line"]), (&json!(1), &json!(2)), "{list}");
    let (_, lint) = operator.csv("/v1/utm/lint", "destination,source\nhttps://shop.example/,nope\n").await;
    assert_eq!((&lint["errors"], &lint["findings"][0]["rule"]), (&json!(1), &json!("values")), "{lint}");
}

#[tokio::test]
async fn clicks_are_listed_counted_and_relabelled() {
    let operator = Operator::start(None).await;
    let mut rows: Vec<Click> =
        (0..6).map(|i| click(i, "mugs", &format!("v{}", i % 3), "ig", ClickVerdict::Human)).collect();
    rows.push(click(6, "mugs", "v9", "instagram", ClickVerdict::Bot));
    rows.push(Click { head: true, ..click(7, "mugs", "v9", "ig", ClickVerdict::Bot) });
    rows.push(click(8, "cups", "v1", "google", ClickVerdict::Preview));
    rows[0].landed = Some(rows[0].at);
    operator.clicks(&rows);
    let (_, list) = operator.get("/v1/clicks?link=mugs&limit=3").await;
    let totals = &list["totals"];
    assert_eq!((&totals["all"], &totals["human"], &totals["unique"]), (&json!(7), &json!(6), &json!(3)), "{list}");
    assert_eq!(
        (&totals["head"], &totals["sessions"], &totals["click_to_session"]),
        (&json!(1), &json!(1), &json!(0.1667))
    );
    let first = &list["clicks"][0];
    assert_eq!(
        (&first["head"], &first["in_app"], &first["country"]),
        (&json!(true), &json!("Instagram"), &json!("GB"))
    );
    let (_, more) =
        operator.get(&format!("/v1/clicks?link=mugs&after={}", list["next"].as_str().expect("goes on"))).await;
    assert_eq!((more["clicks"].as_array().map(Vec::len), &more["totals"]), (Some(5), totals), "totals are of all");

    let id = format!("{:026}", 6);
    let (status, row) =
        operator.post(&format!("/v1/clicks/{id}/label"), &json!({ "verdict": "human", "by": "ada" })).await;
    assert_eq!((status, &row["verdict"], &row["relabelled_by"]), (200, &json!("human"), &json!("ada")));
    assert_eq!(row["reasons"], json!(["bot: test", "relabelled: human, was bot"]));
    assert_eq!(operator.get("/v1/clicks?link=mugs").await.1["totals"]["human"], 7);
    let all = json!({ "where": { "link": "mugs", "reason": "bot" }, "verdict": "bot", "by": "ada" });
    let (_, done) = operator.post("/v1/clicks/label", &all).await;
    assert_eq!(
        (&done["relabelled"], &operator.get("/v1/clicks?link=mugs").await.1["totals"]["human"]),
        (&json!(1), &json!(6))
    );
    assert_eq!(operator.refused("/v1/clicks/label", &json!({ "verdict": "bot" })).await.0, 422);
    assert_eq!(operator.post(&format!("/v1/clicks/{:026}/label", 99), &json!({ "verdict": "bot" })).await.0, 404);
}

#[tokio::test]
async fn an_alias_of_today_groups_last_months_clicks() {
    let operator = Operator::start(None).await;
    let rows: Vec<Click> = ["shopnews", "ShopNews", "news"]
        .iter()
        .zip(0..)
        .map(|(source, i)| click(i, "mugs", "v", source, ClickVerdict::Human))
        .collect();
    operator.clicks(&rows);
    let sources = async || operator.get("/v1/reports/clicks?by=source").await.1["rows"].clone();
    assert_eq!(sources().await.as_array().map(Vec::len), Some(2));
    let alias = json!({ "field": "source", "from": "shopnews", "to": "news", "by": "ada" });
    assert_eq!(operator.post("/v1/utm/aliases", &alias).await.0, 201);
    let table = sources().await;
    assert_eq!((table.as_array().map(Vec::len), &table[0]["all"]), (Some(1), &json!(3)));
    assert_eq!(table[0]["raw"]["source"], json!({ "shopnews": 1, "ShopNews": 1, "news": 1 }));
    let (_, history) = operator.get("/v1/utm/history").await;
    assert_eq!((&history["history"][0]["by"], &history["history"][0]["what"]), (&json!("ada"), &json!("made")));
    let (status, _) =
        operator.ask("DELETE", "/v1/utm/aliases", &json!({ "field": "source", "from": "shopnews" })).await;
    assert_eq!((status, sources().await.as_array().map(Vec::len)), (200, Some(2)));
    for (path, count) in [("by=link,day", 1), ("by=in_app", 1), ("by=referrer", 1), ("by=hour", 1)] {
        assert_eq!(
            operator.get(&format!("/v1/reports/clicks?{path}")).await.1["rows"].as_array().map(Vec::len),
            Some(count),
            "{path}"
        );
    }
    assert_eq!(operator.get("/v1/reports/clicks?by=moon").await.0, 422);
    for path in [
        "reports/referrers",
        "reports/steps",
        "reports/segments",
        "reports/quality",
        "diagnose?url=https://shop.example/",
    ] {
        assert_eq!(operator.get(&format!("/v1/{path}")).await.0, 200, "{path}");
    }
    assert_eq!(operator.get("/v1/diagnose?url=https://shop.example/").await.1["causes"], json!(["tag_missing"]));
}

#[tokio::test]
async fn the_file_says_what_its_links_are_until_somebody_else_does() {
    let operator = Operator::with(None, POLICY).await;
    let registry = operator.admin.tracked.registry.clone();
    let file = |to: &str| {
        format!(
            "[[links]]\nslug = \"a\"\ndestination = \"https://{to}.example/\"\n[links.utm]\nsource = \"newsletter\"\n\
                 [[links]]\nslug = \"b\"\ndestination = \"https://b.example/\"\nutm = {{ source = \"ig\" }}\n"
        )
    };
    let state = async |slug: &str| {
        let (_, link) = operator.get(&format!("/v1/links/{slug}")).await;
        (link["destination"].clone(), link["state"].clone())
    };
    let synced = registry.sync_file(&file("one")).await.expect("syncs");
    assert_eq!((synced.created, synced.changed, synced.rejected.len()), (2, 0, 0), "{synced:?}");
    operator.ask("PATCH", "/v1/links/a", &json!({ "destination": "https://mine.example/" })).await;
    let synced = registry.sync_file(&file("one")).await.expect("syncs");
    assert_eq!((synced.created, synced.changed, synced.paused), (0, 0, 0), "the file says nothing new");
    assert_eq!(state("a").await.0, "https://mine.example/");
    registry.sync_file(&file("two")).await.expect("syncs");
    assert_eq!(state("a").await.0, "https://two.example/");
    let broken = registry.sync_file("[[links]\nslug").await.expect("is read");
    assert_eq!((broken.paused, broken.rejected.len()), (0, 1), "a broken file takes nothing out");
    let only = "[[links]]\nslug = \"b\"\ndestination = \"https://b.example/\"\nutm = { source = \"ig\" }\n";
    assert_eq!(registry.sync_file(only).await.expect("syncs").paused, 1);
    assert_eq!((state("a").await.1, state("b").await.1), (json!("paused"), json!("live")));
    registry.sync_file(&file("two")).await.expect("syncs");
    assert_eq!(state("a").await.1, "live", "and back in the file it goes on");
    let refused =
        registry.sync_file("[[links]]\nslug = \"b\"\ndestination = \"https://b.example/\"\nutm = { source = \"x\" }\n");
    let refused = refused.await.expect("is read");
    assert_eq!(
        (refused.rejected[0].field.as_str(), state("b").await.1),
        ("source", json!("live")),
        "one that is refused changes nothing"
    );
}

#[tokio::test]
async fn links_are_seen_to_on_a_page_without_a_script() {
    let operator = Operator::with(None, POLICY).await;
    assert!(operator.page("/").await.contains("There is no link yet"));
    let page = operator.page("/links/new").await;
    assert!(page.contains("<datalist id=\"source-values\"><option value=\"instagram\">"), "{page}");
    assert!(!page.contains("<script") && !page.contains("style=") && !page.contains("onclick"), "{page}");
    let fields =
        [("destination", "https://shop.example/\"><script>"), ("slug", "mugs"), ("source", "Nope"), ("by", "ada")];
    let (status, _, page) = operator.form("/links/new", &fields).await;
    assert_eq!(status, 422);
    assert!(page.contains("id=\"source-wrong\"") || page.contains("id=\"destination-wrong\""), "{page}");
    assert!(page.contains("value=\"mugs\"") && !page.contains("<script"), "{page}");
    let fields = [("destination", "https://shop.example/"), ("slug", "mugs"), ("source", "newsletter"), ("by", "ada")];
    let (status, to, _) = operator.form("/links/new", &fields).await;
    assert_eq!((status, to.as_str()), (303, "/links/show?key=mugs&done=made"));
    let page = operator.page(&to).await;
    assert!(
        page.contains("https:&#x2f;&#x2f;t.example.com&#x2f;l&#x2f;mugs") && page.contains("Nobody has clicked it yet"),
        "{page}"
    );
    let swap = [("key", "mugs"), ("destination", "https://shop.example/new"), ("source", "newsletter"), ("by", "bob")];
    assert_eq!(operator.form("/links/edit", &swap).await.0, 303);
    let (_, link) = operator.get("/v1/links/mugs").await;
    assert_eq!(link["destination"], "https://shop.example/new");
    assert!(operator.page("/links/show?key=mugs").await.contains("<del>https:&#x2f;&#x2f;shop.example&#x2f;</del>"));
    assert_eq!(operator.form("/links/act", &[("key", "mugs"), ("act", "pause")]).await.0, 303);
    assert!(operator.page("/links").await.contains("<span class=\"tag paused\">paused</span>"));
    let rows = "slug,destination,source\nc,https://shop.example/c,newsletter\nd,nowhere,newsletter\n";
    let (status, _, page) = operator.form("/links/import", &[("rows", rows), ("do", "make")]).await;
    assert!(status == 200 && page.contains("1 link made, 1 problem") && page.contains(">destination<"), "{page}");
    let alias = [("do", "alias"), ("field", "source"), ("from", "news"), ("to", "newsletter")];
    assert_eq!(operator.form("/links/policy", &alias).await.0, 303);
    assert!(operator.page("/links/policy").await.contains("news → newsletter"));
    let (status, problem) = operator.get("/links?moon=1").await;
    assert!(status == 422 && problem.as_str().expect("a page").contains("this parameter is not known here"));
}

#[tokio::test]
async fn a_browser_logs_in_once_and_out_again() {
    let operator = Operator::start(Some("the-token-of-the-test")).await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("builds");
    let url = |path: &str| format!("{}{path}", operator.url);
    let answer = client.get(url("/links")).header("accept", "text/html").send().await.expect("answers");
    assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (303, &"/login".parse().expect("text")));
    assert_eq!(client.get(url("/links")).send().await.expect("answers").status().as_u16(), 401);
    assert_eq!(client.get(url("/login")).send().await.expect("answers").status().as_u16(), 200);
    assert_eq!(client.get(url("/assets/admin.css")).send().await.expect("answers").status().as_u16(), 200);
    assert_eq!(operator.form("/login", &[("token", "wrong")]).await.0, 401);
    let form = "application/x-www-form-urlencoded";
    let log_in = client.post(url("/login")).header("content-type", form).body("token=the-token-of-the-test");
    let answer = log_in.send().await.expect("answers");
    let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
    assert!(cookie.contains("HttpOnly; SameSite=Strict") && answer.status().as_u16() == 303, "{cookie}");
    let session = cookie.split(';').next().expect("a value").to_owned();
    let get = |path: &str| client.get(url(path)).header("cookie", session.clone());
    assert_eq!(get("/v1/balance").send().await.expect("answers").status().as_u16(), 200);
    let page = get("/links").send().await.expect("answers");
    assert!(page.headers()["content-security-policy"].to_str().expect("text").starts_with("default-src 'none'"));
    assert!(page.text().await.expect("a page").contains("Log out"));
    let elsewhere =
        client.post(url("/logout")).header("cookie", session.clone()).header("origin", "https://evil.example");
    assert_eq!(elsewhere.send().await.expect("answers").status().as_u16(), 403);
    let out = client.post(url("/logout")).header("cookie", session.clone());
    assert_eq!(out.send().await.expect("answers").status().as_u16(), 303);
    assert_eq!(get("/v1/balance").send().await.expect("answers").status().as_u16(), 401);
}

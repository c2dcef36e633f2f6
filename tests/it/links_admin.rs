//! What an operator does with links over the admin listener and on the command line, of a relay that runs.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Relay, Setup};

const CHROME: &str =
    "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36";

/// Runs a command against this relay. Whether it exited with 0, and what it printed.
fn run(relay: &Relay, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conversion-relay"));
    let output = command.args(arguments).args(["--url", &relay.admin]).env_remove("RELAY_ADMIN_TOKEN").output();
    let output = output.expect("runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("is text")).concat();
    (output.status.success(), text)
}

/// Clicks a link as a phone does. Where it leads.
async fn click(relay: &Relay, slug: &str) -> Option<String> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("builds");
    let request = client.get(format!("{}/l/{slug}", relay.public)).header("user-agent", CHROME);
    let answer = request.header("accept", "text/html").send().await.expect("answers");
    answer.headers().get("location").map(|to| to.to_str().expect("is text").to_owned())
}

#[tokio::test]
async fn a_link_lives_on_the_command_line_and_its_changes_outlive_a_restart() {
    let setup = Setup::new("");
    let relay = setup.start();
    let add = ["links", "add", "https://shop.example/mugs", "--slug", "mugs", "--source", "shopnews", "--by", "ada"];
    let (made, printed) = run(&relay, &add);
    assert!(made && printed.trim() == "/l/mugs", "{printed}");
    let (taken, printed) = run(&relay, &add);
    assert!(!taken && printed.contains("slug: is taken"), "{printed}");
    assert_eq!(
        click(&relay, "mugs").await.as_deref().map(|to| to.split("&cr_vid").next()),
        Some(Some("https://shop.example/mugs?utm_source=shopnews"))
    );
    let (done, _) = run(&relay, &["links", "edit", "mugs", "--destination", "https://shop.example/new", "--by", "bob"]);
    let to = click(&relay, "mugs").await.expect("redirects");
    assert!(done && to.starts_with("https://shop.example/new?utm_source=shopnews"), "{to}");
    let (paused, printed) = run(&relay, &["links", "pause", "mugs", "--by", "eve"]);
    assert!(paused && printed.contains("paused") && click(&relay, "mugs").await.is_none(), "{printed}");
    assert!(run(&relay, &["links", "resume", "mugs"]).0);
    // The request for the link while it was paused is a row too, the newest.
    let clicked = relay.until("/v1/clicks?link=mugs", |list| list["totals"]["all"].as_u64() >= Some(3)).await;
    let first = &clicked["clicks"][2];
    assert_eq!((&first["device"], &first["utm"]["source"]), (&json!("mobile"), &json!("shopnews")), "{clicked}");

    let (done, _) = run(&relay, &["links", "alias", "add", "source", "shopnews", "newsletter", "--by", "ada"]);
    assert!(done);
    assert!(relay.terminate(), "ends well");
    let relay = setup.start();
    let (_, report) = run(&relay, &["report", "clicks", "--by", "source", "--raw"]);
    assert!(
        report.contains("newsletter") && report.contains("shopnews ("),
        "last week's rows, by today's names: {report}"
    );
    let (_, history) = run(&relay, &["links", "history", "mugs"]);
    for told in ["ada", "bob", "eve", "https://shop.example/mugs", "https://shop.example/new"] {
        assert!(history.contains(told), "{told}: {history}");
    }
    let id = relay.admin("/v1/clicks?link=mugs&limit=1").await["clicks"][0]["id"].as_str().expect("an id").to_owned();
    let (done, printed) = run(&relay, &["links", "relabel", &id, "--verdict", "qa", "--by", "ada"]);
    assert!(done, "{printed}");
    let row = relay.admin("/v1/clicks?verdict=qa").await;
    assert_eq!((&row["clicks"][0]["relabelled_by"], &row["totals"]["all"]), (&json!("ada"), &json!(1)));
}

#[tokio::test]
async fn two_hundred_rows_become_two_hundred_links() {
    let setup = Setup::new("");
    let relay = setup.start();
    let file = setup.config().with_file_name("links.csv");
    let rows = (0..200).map(|i| format!("bulk-{i};https://shop.example/{i}?a=1#x;newsletter;p{i}\n"));
    let text = format!("slug;destination;source;placement\n{}bulk-7;nowhere;newsletter;x\n", rows.collect::<String>());
    std::fs::write(&file, text).expect("writes");
    let path = file.to_str().expect("is text");
    let (whole, printed) = run(&relay, &["links", "import", path, "--dry-run"]);
    assert!(!whole && printed.contains("200 links could be made, 1 rows rejected"), "{printed}");
    let (whole, printed) = run(&relay, &["links", "import", path, "--json"]);
    let answer: Value = serde_json::from_str(&printed).expect("is JSON");
    assert!(!whole, "one row was rejected");
    assert_eq!((&answer["created"], &answer["rejected"][0]["line"]), (&json!(200), &json!(202)));
    let to = click(&relay, "bulk-150").await.expect("redirects");
    assert!(to.starts_with("https://shop.example/150?a=1&utm_source=newsletter") && to.ends_with("#x"), "{to}");
    let (_, csv) = run(&relay, &["links", "export"]);
    assert_eq!(
        (csv.lines().count(), csv.lines().next().map(|head| head.starts_with("slug,host,destination"))),
        (201, Some(true))
    );
}

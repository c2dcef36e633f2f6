//! `conversion-relay demo`: relay, sandbox platforms and a sample shop in one process, and one customer's journey.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::{
    app, config,
    model::{Clock as _, SystemClock},
    sandbox::{self, Sandbox},
    telemetry,
};

/// How long the whole journey may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The key of the sample shop. It opens nothing but this demo.
const KEY: &str = "demo-key-of-the-sample-shop";
/// The secret that its webhooks are signed with.
const SHOPIFY_SECRET: &str = "demo-secret-of-the-webhook";
const GCLID: &str = "EAIaIQobChMIdemo-Click_Id42";
const FBCLID: &str = "IwAR2demoFbclidMixedCase";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// End after the journey: 0 if everything was delivered as it should be
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    telemetry::start_logging(telemetry::LogFormat::Human, "warn");
    let data = std::env::temp_dir().join(format!(
        "conversion-relay-demo-{}-{:08x}",
        std::process::id(),
        rand::random::<u32>()
    ));
    let done = story(&data, arguments.once).await;
    // Nothing of the demo is worth keeping.
    let _removed = std::fs::remove_dir_all(&data);
    done?;
    Ok(ExitCode::SUCCESS)
}

async fn story(data: &Path, once: bool) -> anyhow::Result<()> {
    let platforms = TcpListener::bind("127.0.0.1:0").await.context("cannot open a port for the sandbox")?;
    let platforms_at = platforms.local_addr()?;
    let sandbox = Sandbox::new(Arc::new(SystemClock), sandbox::Config::default());
    let serving = tokio::spawn(sandbox::serve(platforms, Arc::clone(&sandbox), std::future::pending()));

    let file = write_config(data, platforms_at)?;
    let config = config::load(Some(&file), &BTreeMap::new())?;
    let relay = app::start(config, Arc::new(SystemClock)).await?;
    let shop = Shop::new(&relay)?;

    println!("relay on http://{}, its stand-ins for Meta and Google on http://{platforms_at}\n", relay.public);
    let played = journey(&shop, &sandbox, data).await;
    if played.is_ok() && !once {
        println!("\nThe relay keeps serving; stop it with Ctrl-C. Try:");
        println!("  curl http://{}/v1/balance", relay.admin);
        println!("  curl http://{platforms_at}/_sandbox/received");
        println!(
            "  curl http://{}/v1/events -H 'Authorization: Bearer {KEY}' -H 'Content-Type: application/json' \
             -d '{{\"event\":\"purchase\",\"value\":\"5\",\"currency\":\"EUR\",\"user\":{{\"email\":\"you@example.com\"}}}}'",
            relay.public
        );
        super::asked_to_end().await;
    }
    relay.stop().await;
    serving.abort();
    played
}

async fn journey(shop: &Shop, sandbox: &Sandbox, data: &Path) -> anyhow::Result<()> {
    println!("1. An ad click lands on the shop; its tag posts the visit.");
    let landing =
        format!("https://shop.example/mugs?gclid={GCLID}&fbclid={FBCLID}&utm_source=google&utm_campaign=mugs");
    let consent = json!({ "ad_user_data": "granted", "ad_personalization": "granted" });
    let visit = shop.post("/v1/visits", &json!({ "url": landing, "consent": consent })).await?;
    let visitor = visit["visitor_id"].as_str().context("the visit was not answered with a visitor id")?.to_owned();
    println!("   visitor {visitor}, gclid {GCLID}, fbclid {FBCLID}");

    println!("2. The visitor buys; the checkout posts the purchase with the visitor id.");
    let purchase = json!({
        "event": "purchase", "event_id": "order-1001", "transaction_id": "1001", "visitor_id": visitor,
        "value": "49.99", "currency": "USD",
        "items": [{ "id": "sku-1", "name": "Mug", "quantity": 2, "price": "12.50" }],
        "user": {
            "email": "Ada.Lovelace@Example.com", "phone": "(650) 555-1212", "first_name": "Ada", "last_name": "Lovelace",
            "city": "London", "postal_code": "W1", "country": "GB", "external_id": "cust-7",
        },
        "context": { "url": "https://shop.example/thanks", "user_agent": "Mozilla/5.0 (demo)", "ip": "203.0.113.7" },
    });
    println!("   {}", shop.event(&purchase).await?);
    println!("3. Shopify's own webhook reports the same order, signed: it counts once.");
    let again = shop.webhook(&order()).await?;
    println!("   {again}");
    ensure!(again["duplicates"] == json!(["order-1001"]), "the second report of the order was answered {again}");

    println!("4. Days later the CRM closes a deal with the same person. All it knows is the e-mail address.");
    let sale = json!({
        "event": "close_convert_lead", "event_id": "deal-7", "value": 1200, "currency": "USD",
        "action_source": "system_generated", "user": { "email": "ada.lovelace@example.com" },
    });
    println!("   {}", shop.event(&sale).await?);

    println!("5. The mugs come back; the shop posts a refund of the order. It goes out only after the purchase.");
    let refund = json!({ "event": "refund", "event_id": "refund-1001", "transaction_id": "1001" });
    println!("   {}", shop.event(&refund).await?);

    settled(shop).await?;
    shop.check(sandbox, data).await
}

/// The order of the journey as Shopify tells it.
fn order() -> Value {
    json!({
        "id": 1001, "name": "#1001", "financial_status": "paid", "currency": "USD", "total_price": "49.99",
        "created_at": SystemClock.now().to_string(), "source_name": "web", "test": false,
        "email": "ada.lovelace@example.com", "phone": "+16505551212", "note_attributes": [],
        "customer": { "id": 7, "first_name": "Ada", "last_name": "Lovelace" },
        "line_items": [{ "sku": "sku-1", "title": "Mug", "quantity": 2, "price": "12.50" }],
    })
}

/// Waits until nothing is queued any more.
async fn settled(shop: &Shop) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let balance = shop.admin("/v1/balance").await?;
        let destinations = balance["destinations"].as_object().context("no destinations in the balance")?;
        if destinations.values().all(|counts| counts["queued"] == 0) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("not everything was delivered in {PATIENCE:?}: {balance}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The sample shop, its CRM and its operator.
struct Shop {
    client: reqwest::Client,
    public: String,
    admin: String,
}

impl Shop {
    fn new(relay: &app::Running) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { client, public: format!("http://{}", relay.public), admin: format!("http://{}", relay.admin) })
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.client.post(format!("{}{path}", self.public)).bearer_auth(KEY);
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await?;
        let status = answer.status();
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        ensure!(status.is_success(), "the relay refused: {answer}");
        Ok(answer)
    }

    /// Posts an order as Shopify does.
    async fn webhook(&self, order: &Value) -> anyhow::Result<Value> {
        let body = order.to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(SHOPIFY_SECRET.as_bytes())?;
        mac.update(body.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let request = self.client.post(format!("{}/webhooks/shopify", self.public));
        let request = request.header("x-shopify-topic", "orders/paid").header("x-shopify-hmac-sha256", signature);
        let answer = request.header("content-type", "application/json").body(body).send().await?;
        let status = answer.status();
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        ensure!(status.is_success(), "the relay refused: {answer}");
        Ok(answer)
    }

    async fn event(&self, event: &Value) -> anyhow::Result<String> {
        let answer = self.post("/v1/events", event).await?;
        Ok(answer["results"][0]["status"].as_str().unwrap_or("unanswered").to_owned())
    }

    async fn admin(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.admin)).send().await?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    }

    /// Prints what arrived, and fails if it is not what should have.
    async fn check(&self, sandbox: &Sandbox, data: &Path) -> anyhow::Result<()> {
        let (meta, google) = (sandbox.received_meta(), sandbox.received_data_manager());
        println!("\nMeta received:");
        for received in &meta {
            let event = &received["event"];
            println!(
                "  {} {}  {} {}",
                event["event_name"], event["event_id"], event["custom_data"]["value"], event["custom_data"]["currency"]
            );
            println!("     fbc {}", event["user_data"]["fbc"]);
            println!("     em  {}", event["user_data"]["em"]);
        }
        println!("Google (Data Manager) received:");
        for received in &google {
            let event = &received["event"];
            println!(
                "  {} {}  {} {}",
                event["transactionId"], event["eventTimestamp"], event["conversionValue"], event["currency"]
            );
            println!("     gclid {}", event["adIdentifiers"]["gclid"]);
            println!("     identifiers {}", event["userData"]["userIdentifiers"]);
        }
        println!("Google changed what it knew:");
        let changed = sandbox.adjusted_data_manager();
        for received in &changed {
            let event = &received["event"];
            println!("  {}  is worth {} {} now", event["transactionId"], event["conversionValue"], event["currency"]);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(data.join("files"))? {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path)?;
            println!("{}:", path.file_name().unwrap_or_default().to_string_lossy());
            for line in text.lines() {
                println!("  {line}");
            }
            files.push(text);
        }
        println!("\nTimeline of the order:");
        super::events::print(&self.admin("/v1/events/order-1001").await?);
        let balance = self.admin("/v1/balance").await?;
        println!(
            "\nBalance: {} events accepted; for each destination the five numbers sum up to that:",
            balance["accepted"]
        );
        for (name, counts) in balance["destinations"].as_object().into_iter().flatten() {
            println!(
                "  {name:<12} delivered {}, skipped {}, dead {}, expired {}, queued {}",
                counts["delivered"], counts["skipped"], counts["dead"], counts["expired"], counts["queued"]
            );
            ensure!(counts["dead"] == 0 && counts["expired"] == 0, "{name} did not take everything");
        }
        let deal = google.iter().find(|received| received["event"]["transactionId"] == "deal-7");
        let deal = deal.context("Google did not get the CRM's sale")?;
        ensure!(deal["event"]["adIdentifiers"]["gclid"] == GCLID, "the CRM's sale was not joined to the click");
        let at_meta: Vec<&Value> =
            meta.iter().filter(|received| received["event"]["event_id"] == "order-1001").collect();
        ensure!(at_meta.len() == 1, "Meta got the order {} times", at_meta.len());
        let fbc = at_meta[0]["event"]["user_data"]["fbc"].as_str().unwrap_or_default();
        ensure!(fbc.ends_with(&format!(".{FBCLID}")), "Meta got the order without its click");
        let at_google: Vec<&Value> =
            google.iter().filter(|received| received["event"]["transactionId"] == "1001").collect();
        ensure!(at_google.len() == 1, "Google got the order {} times", at_google.len());
        ensure!(at_google[0]["event"]["adIdentifiers"]["gclid"] == GCLID, "Google got the order without its click");
        ensure!(files.iter().filter(|file| file.contains(GCLID)).count() == 1, "the import file is without the click");
        let worth: Vec<f64> =
            changed.iter().filter_map(|changed| changed["event"]["conversionValue"].as_f64()).collect();
        ensure!(worth == [0.0], "Google was told that the order is worth {worth:?}");
        println!(
            "\nThe same order is at Meta and at Google, each with its own click, and in the import file. Nothing was lost."
        );
        Ok(())
    }
}

fn write_config(data: &Path, platforms: std::net::SocketAddr) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(data)?;
    let path = data.join("demo.toml");
    let store = data.display();
    let today = SystemClock.now().day();
    let text = format!(
        r#"# The configuration of the demo of {today}.
[public]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
path = '{store}'
cache_mib = 8
[intake]
default_country = "US"
keys = [{{ name = "sample-shop", key = "{KEY}" }}]

[[sources]]
name = "shopify"
kind = "shopify"
secrets = ["{SHOPIFY_SECRET}"]

[[destinations]]
name = "meta"
kind = "meta"
pixel_id = "1234567890"
access_token = "demo-token"
base_url = "http://{platforms}/meta"
[destinations.events]
purchase = "Purchase"
close_convert_lead = "Lead"

[[destinations]]
name = "google"
kind = "data_manager"
operating_account = "123-456-7890"
credentials = {{ client_id = "demo", client_secret = "demo", refresh_token = "demo" }}
base_url = "http://{platforms}/google"
token_url = "http://{platforms}/oauth/token"
hold_after_click = "0s" # the real one wants clicks to be six hours old
hold_after_conversion = "0s" # and conversions a day, before they are changed
[destinations.events]
purchase = "987654321"
refund = "adjust"
close_convert_lead = "987654322"

[[destinations]]
name = "google-file"
kind = "file"
format = "google_ads_clicks"
[destinations.events]
purchase = "Offline purchase"

[[destinations]]
name = "adjustments"
kind = "file"
format = "google_ads_adjustments"
[destinations.events]
refund = "Offline purchase"
"#
    );
    std::fs::write(&path, text)?;
    Ok(path)
}

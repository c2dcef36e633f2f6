//! The limits: how far this machine, this HTTP library and these platforms go without a relay in between.
//!
//! - Limit A: reads the body, answers 202 once it is appended and synced with all others that wait.
//! - Limit B: the same, then parses, hashes and delivers in batches to both platforms, keeping no books of anything.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post, serve::ListenerExt as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, oneshot},
};

/// Requests in one durable write, and waiting for it, at most: as in the relay.
const GROUP_MAX: usize = 512;
const COMMITTER_QUEUE: usize = 1024;
/// Events waiting for delivery; more wait at the door.
const DELIVERY_QUEUE: usize = 16_384;
/// Events in one request to a platform, and such requests at the same time: as in the relay.
const BATCH_MAX: usize = 1000;
const LANES: usize = 4;
/// How long a batch gathers, as in the relay.
const GATHER: Duration = Duration::from_millis(100);

/// The hidden command `limit`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    data: PathBuf,
    /// The platforms of limit B
    #[arg(long)]
    deliver_to: Option<String>,
}

#[derive(Clone)]
struct Server {
    commits: mpsc::Sender<(Bytes, oneshot::Sender<bool>)>,
    /// One queue for each platform.
    platforms: Arc<[mpsc::Sender<String>]>,
}

/// Serves until killed.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    fs::create_dir_all(&arguments.data)?;
    let commits = committer(&arguments.data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let platforms = match &arguments.deliver_to {
            Some(url) => deliver(url).await?,
            None => Vec::new(),
        };
        let server = Server { commits, platforms: platforms.into() };
        let routes = Router::new().route("/v1/events", post(accept)).with_state(server);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            let _unsupported = stream.set_nodelay(true);
        });
        axum::serve(listener, routes).await?;
        Ok(())
    })
}

async fn accept(State(server): State<Server>, body: Bytes) -> StatusCode {
    let sealed = if server.platforms.is_empty() { None } else { seal(&body) };
    let (reply, synced) = oneshot::channel();
    if server.commits.send((body, reply)).await.is_err() || !synced.await.unwrap_or(false) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    if server.platforms.is_empty() {
        return StatusCode::ACCEPTED;
    }
    let Some(sealed) = sealed else { return StatusCode::BAD_REQUEST };
    for (queue, event) in server.platforms.iter().zip(sealed) {
        if queue.send(event).await.is_err() {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
    }
    StatusCode::ACCEPTED
}

/// The one thread that writes: what waits goes out in one piece, with one `fdatasync`.
fn committer(data: &Path) -> anyhow::Result<mpsc::Sender<(Bytes, oneshot::Sender<bool>)>> {
    let mut file = fs::File::create(data.join("limit.log"))?;
    file.sync_all()?;
    let (commits, mut waiting) = mpsc::channel::<(Bytes, oneshot::Sender<bool>)>(COMMITTER_QUEUE);
    thread::Builder::new().name("committer".into()).spawn(move || {
        let (mut buffer, mut replies) = (Vec::new(), Vec::new());
        while let Some(first) = waiting.blocking_recv() {
            let mut next = Some(first);
            while let Some((body, reply)) = next.take() {
                buffer.extend_from_slice(&body);
                replies.push(reply);
                next = if replies.len() < GROUP_MAX { waiting.try_recv().ok() } else { None };
            }
            let synced = file.write_all(&buffer).and_then(|()| file.sync_data()).is_ok();
            buffer.clear();
            for reply in replies.drain(..) {
                let _gone = reply.send(synced);
            }
        }
    })?;
    Ok(commits)
}

/// The parts of a purchase that the two platforms are told.
#[derive(Deserialize)]
struct Purchase<'a> {
    event_id: &'a str,
    transaction_id: &'a str,
    time: &'a str,
    value: &'a str,
    currency: &'a str,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
    user: User<'a>,
    context: Context<'a>,
}

#[derive(Deserialize)]
struct Item<'a> {
    id: &'a str,
    quantity: u32,
    price: &'a str,
}

#[derive(Deserialize)]
struct User<'a> {
    email: &'a str,
    phone: &'a str,
    first_name: &'a str,
    last_name: &'a str,
    street: &'a str,
    city: &'a str,
    region: &'a str,
    postal_code: &'a str,
    country: &'a str,
    external_id: &'a str,
}

#[derive(Deserialize)]
struct Context<'a> {
    url: &'a str,
    referrer: &'a str,
    ip: &'a str,
    user_agent: &'a str,
}

/// Parses and hashes: the event as Meta and as Data Manager want it.
fn seal(body: &[u8]) -> Option<[String; 2]> {
    let event: Purchase<'_> = serde_json::from_slice(body).ok()?;
    let Purchase { event_id, transaction_id, time, value, currency, user, context, .. } = &event;
    let seconds = conversion_relay::model::Time::parse(time).ok()?.as_secs();
    let digits: String = user.phone.chars().filter(char::is_ascii_digit).collect();
    let (em, ph_meta, ph_google) = (hash(user.email), hash(&digits), hash(&format!("+{digits}")));
    let (first, last) = (hash(user.first_name), hash(user.last_name));
    let (ct, st, zp) = (hash(&user.city.replace(' ', "")), hash(user.region), hash(user.postal_code));
    let (country, external_id) = (hash(user.country), hash(user.external_id));
    let (_street, em_google) = (hash(user.street), hash(&user.email.replace(' ', "")));
    let Context { url, referrer, ip, user_agent } = context;

    let (mut contents, mut cart) = (String::new(), String::new());
    for Item { id, quantity, price } in &event.items {
        let comma = if contents.is_empty() { "" } else { "," };
        write!(contents, r#"{comma}{{"id":"{id}","quantity":{quantity},"item_price":{price}}}"#).ok()?;
        write!(cart, r#"{comma}{{"merchantProductId":"{id}","quantity":"{quantity}","unitPrice":{price}}}"#).ok()?;
    }
    let meta = format!(
        r#"{{"event_name":"Purchase","event_time":{seconds},"event_id":"{event_id}","action_source":"website","event_source_url":"{url}","referrer_url":"{referrer}","user_data":{{"em":["{em}"],"ph":["{ph_meta}"],"fn":"{first}","ln":"{last}","ct":"{ct}","st":"{st}","zp":"{zp}","country":"{country}","external_id":["{external_id}"],"client_ip_address":"{ip}","client_user_agent":"{user_agent}"}},"custom_data":{{"value":{value},"currency":"{currency}","order_id":"{transaction_id}","contents":[{contents}],"content_type":"product"}}}}"#
    );
    let (postal_code, region) = (user.postal_code, user.country);
    let google = format!(
        r#"{{"transactionId":"{transaction_id}","eventTimestamp":"{time}","eventSource":"WEB","conversionValue":{value},"currency":"{currency}","consent":{{"adUserData":"CONSENT_GRANTED","adPersonalization":"CONSENT_GRANTED"}},"cartData":{{"items":[{cart}]}},"userData":{{"userIdentifiers":[{{"emailAddress":"{em_google}"}},{{"phoneNumber":"{ph_google}"}},{{"address":{{"givenName":"{first}","familyName":"{last}","postalCode":"{postal_code}","regionCode":"{region}"}}}}]}}}}"#
    );
    Some([meta, google])
}

fn hash(value: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(value.trim().to_lowercase());
    let mut hex = String::with_capacity(64);
    for byte in digest {
        hex.push(char::from(DIGITS[usize::from(byte >> 4)]));
        hex.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    hex
}

/// What surrounds the events of one platform's request.
struct Platform {
    client: reqwest::Client,
    url: String,
    token: Option<String>,
    head: &'static str,
    tail: &'static str,
}

/// Starts the senders of both platforms.
async fn deliver(url: &str) -> anyhow::Result<Vec<mpsc::Sender<String>>> {
    let client = || reqwest::Client::builder().tcp_nodelay(true).build();
    let form = "grant_type=refresh_token&client_id=id&client_secret=secret&refresh_token=refresh";
    let ask = client()?.post(format!("{url}/oauth/token")).body(form);
    let answer = ask.header("content-type", "application/x-www-form-urlencoded").send().await?.text().await?;
    let answer: serde_json::Value = serde_json::from_str(&answer)?;
    let token = answer["access_token"].as_str().context("the sandbox gave no token")?.to_owned();
    let platforms = [
        Platform {
            client: client()?,
            url: format!("{url}/meta/v26.0/1234567890/events?access_token=t"),
            token: None,
            head: r#"{"data":["#,
            tail: "]}",
        },
        Platform {
            client: client()?,
            url: format!("{url}/google/v1/events:ingest"),
            token: Some(token),
            head: r#"{"destinations":[{"operatingAccount":{"accountId":"1234567890","accountType":"GOOGLE_ADS"},"productDestinationId":"987654321"}],"encoding":"HEX","events":["#,
            tail: "]}",
        },
    ];
    let mut queues = Vec::new();
    for platform in platforms {
        let (queue, waiting) = mpsc::channel(DELIVERY_QUEUE);
        let (platform, waiting) = (Arc::new(platform), Arc::new(Mutex::new(waiting)));
        for _ in 0..LANES {
            tokio::spawn(lane(Arc::clone(&platform), Arc::clone(&waiting)));
        }
        queues.push(queue);
    }
    Ok(queues)
}

async fn lane(platform: Arc<Platform>, waiting: Arc<Mutex<mpsc::Receiver<String>>>) {
    let mut events = Vec::with_capacity(BATCH_MAX);
    loop {
        let mut queue = waiting.lock().await;
        let gather = async { while events.len() < BATCH_MAX && more(&mut queue, &mut events).await {} };
        let _full_or_in_time = tokio::time::timeout(GATHER, gather).await;
        let over = queue.is_closed() && queue.is_empty();
        drop(queue);
        if !events.is_empty()
            && let Err(error) = platform.send(&events).await
        {
            eprintln!("limit B: a platform refused: {error:#}");
        }
        events.clear();
        if over {
            return;
        }
    }
}

async fn more(queue: &mut mpsc::Receiver<String>, events: &mut Vec<String>) -> bool {
    let room = BATCH_MAX - events.len();
    queue.recv_many(events, room).await > 0
}

impl Platform {
    async fn send(&self, events: &[String]) -> anyhow::Result<()> {
        let length = events.iter().map(|event| event.len() + 1).sum::<usize>() + self.head.len() + self.tail.len();
        let mut body = String::with_capacity(length);
        body.push_str(self.head);
        for (nth, event) in events.iter().enumerate() {
            if nth > 0 {
                body.push(',');
            }
            body.push_str(event);
        }
        body.push_str(self.tail);
        let mut request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{status} {text}");
        Ok(())
    }
}

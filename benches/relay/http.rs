//! Just enough of an HTTP client to ask the processes under test how they are.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Status and body of an answer.
pub(crate) fn request(at: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// The JSON at `path`.
pub(crate) fn json(at: SocketAddr, path: &str) -> anyhow::Result<Value> {
    let (status, body) = request(at, "GET", path, "").with_context(|| format!("asking {at} for {path}"))?;
    ensure!(status == 200, "{at} answered {path} with {status}: {body}");
    Ok(serde_json::from_str(&body)?)
}

/// Posts JSON.
pub(crate) fn post(at: SocketAddr, path: &str, body: &Value) -> anyhow::Result<()> {
    let (status, answer) = request(at, "POST", path, &body.to_string())?;
    ensure!(status == 200, "{at} answered {path} with {status}: {answer}");
    Ok(())
}

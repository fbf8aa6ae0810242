//! /metrics, /health and /ready: a few lines of HTTP/1.1, one connection after the other, for scrapers.

use crate::metrics::Metrics;
use invoices::{Error, Result};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_BYTES_MAX: u64 = 8 * 1024;

/// Serves in a thread until the process ends; returns the address, for port 0.
///
/// # Errors
/// Configuration: the address can't be listened on.
pub fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> Result<SocketAddr> {
    let cannot = |error| Error::config(format!("cannot listen on {address}")).because(error);
    let listener = TcpListener::bind(address).map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Err(error) = answer(&stream, &metrics) {
                tracing::debug!("a scrape failed: {error}");
            }
        }
    });
    Ok(bound)
}

/// Asks for /health; the image has no curl.
///
/// # Errors
/// Retry: nobody answers, or the answer is not 200.
pub fn ask_health(address: SocketAddr) -> Result<Value> {
    match ask(address) {
        Ok(status) if status.split_whitespace().nth(1) == Some("200") => Ok(json!({ "healthy": true })),
        Ok(status) => Err(Error::retry(format!("{address} says {}", status.trim()))),
        Err(error) => Err(Error::retry(format!("{address} does not answer")).because(error)),
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")?;
    let mut status = String::new();
    BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_line(&mut status)?;
    Ok(status)
}

fn answer(stream: &TcpStream, metrics: &Metrics) -> std::io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new(stream.take(REQUEST_BYTES_MAX));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let (status, body) = match request.split_whitespace().nth(1).unwrap_or_default() {
        "/metrics" => ("200 OK", metrics.exposition()),
        "/health" if metrics.is_healthy() => ("200 OK", "healthy\n".to_owned()),
        "/health" => ("503 Service Unavailable", "the loop does not turn\n".to_owned()),
        "/ready" if metrics.is_ready() => ("200 OK", "ready\n".to_owned()),
        "/ready" => ("503 Service Unavailable", "no partition or no database yet\n".to_owned()),
        _ => ("404 Not Found", "try /metrics, /health or /ready\n".to_owned()),
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

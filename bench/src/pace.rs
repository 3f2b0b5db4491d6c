//! Requests at a steady pace, and how long each took.
//!
//! A load generator that sends the next request when it has the last answer does not see that a server stood still: it
//! waits along. Here each connection has a time for each request, and a request that could not be sent in time because
//! the answer before was late is counted from the time at which it should have been sent. That the generator's own
//! thread woke late is not the server's fault and is not counted.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::Failure;
use crate::peers::{SMALL, TOKEN};

/// Connections, each with a thread of its own.
const CONNECTIONS: u32 = 8;

/// When a request was sent, and how long its answer took.
#[derive(Clone, Copy)]
pub(crate) struct Timed {
    pub(crate) at: SystemTime,
    pub(crate) took: Duration,
}

/// Sends so many requests a second for a while. Only the upstream itself wants to be shown the token.
pub(crate) fn paced(port: u16, with_token: bool, per_second: f64, lasting: Duration) -> Result<Vec<Timed>, Failure> {
    let token = if with_token { format!("authorization: Bearer {TOKEN}\r\n") } else { String::new() };
    let request = format!("GET {SMALL} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{token}\r\n");
    let gap = Duration::from_secs_f64(f64::from(CONNECTIONS) / per_second);
    let begin = Instant::now() + gap;
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|index| {
            let request = request.clone();
            thread::spawn(move || one(port, &request, begin + gap * index / CONNECTIONS, gap, lasting))
        })
        .collect();
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.join().map_err(|_| "a thread of the load generator panicked")??);
    }
    Ok(all)
}

/// The time that a share of all requests stayed below, in microseconds.
pub(crate) fn quantile(timed: &[Timed], per_mille: usize) -> f64 {
    let mut took: Vec<Duration> = timed.iter().map(|timed| timed.took).collect();
    took.sort();
    let index = (took.len() * per_mille / 1000).min(took.len().saturating_sub(1));
    took.get(index).map_or(f64::NAN, |took| took.as_secs_f64() * 1e6)
}

fn one(port: u16, request: &str, mut due: Instant, gap: Duration, lasting: Duration) -> Result<Vec<Timed>, Failure> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (end, mut answered, mut timed) = (due + lasting, due, Vec::new());
    while due < end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // Late because of the answer before: the time counts from when it was due.
        let from = if answered > due { due } else { Instant::now() };
        let at = SystemTime::now();
        stream.write_all(request.as_bytes())?;
        read_answer(&mut stream)?;
        answered = Instant::now();
        timed.push(Timed { at, took: answered - from });
        due += gap;
    }
    // The first opens connections all along the way.
    Ok(timed.split_off(timed.len().min(1)))
}

/// Reads one answer of announced length to its end.
fn read_answer(stream: &mut TcpStream) -> Result<(), Failure> {
    let (mut buffer, mut length) = ([0; 2048], 0);
    loop {
        let count = stream.read(&mut buffer[length..])?;
        if count == 0 {
            return Err("the connection was closed in the middle of an answer".into());
        }
        length += count;
        if let Some(whole) = answer_length(&buffer[..length])? {
            if whole == length {
                return Ok(());
            }
            if whole > buffer.len() {
                return Err("the answer is longer than it should be".into());
            }
        }
    }
}

/// The length of an answer with its head, once the head is there.
fn answer_length(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("not every request was answered well: {head}").into());
    }
    let field =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let body: usize = field.ok_or("an answer without a length")?;
    Ok(Some(head.len() + 4 + body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_an_answer_is_that_of_head_and_body() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(answer_length(head.as_bytes()).unwrap(), Some(head.len() + 3));
        assert_eq!(answer_length(&head.as_bytes()[..20]).unwrap(), None);
        assert!(answer_length(b"HTTP/1.1 401 No\r\n\r\n").is_err());
    }

    #[test]
    fn a_quantile_is_one_of_the_times() {
        let timed: Vec<Timed> =
            (1..=1000).map(|micros| Timed { at: SystemTime::now(), took: Duration::from_micros(micros) }).collect();
        assert_eq!((quantile(&timed, 500).round(), quantile(&timed, 990).round()), (501.0, 991.0));
    }
}

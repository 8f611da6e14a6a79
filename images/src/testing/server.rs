//! The fixture's HTTP: one thread per connection, one request after the other.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Fault, FixtureAuth, Seen, State, lock, sys};
use crate::digest::Digest;

/// How often a thread that waits looks whether the registry ends.
const TICK: Duration = Duration::from_millis(20);
/// The first byte of a client that speaks TLS; servers answer such a one in plain HTTP.
const TLS_HANDSHAKE: u8 = 0x16;

pub(super) fn accept(listener: &TcpListener, state: &Arc<State>) {
    std::thread::scope(|scope| {
        for stream in listener.incoming().filter_map(Result::ok) {
            if state.stopping.load(Ordering::SeqCst) {
                return;
            }
            // A connection that breaks is the client's affair, or a fault we made.
            scope.spawn(move || drop(serve(stream, state)));
        }
    });
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn serve(tcp: TcpStream, state: &State) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(TICK))?;
    let control = tcp.try_clone()?;
    let wire: Box<dyn Wire> = match &state.tls {
        None => Box::new(tcp),
        Some(config) => {
            let session =
                rustls::ServerConnection::new(config.clone()).map_err(io::Error::other)?;
            Box::new(rustls::StreamOwned::new(session, tcp))
        }
    };
    let mut wire = BufReader::new(Patient { wire, state });
    while let Some(mut seen) = read_request(&mut wire)? {
        let answer = answer(state, &seen);
        seen.status = answer.status;
        // Noted before the bytes go out: whoever has read the answer finds the request here.
        let index = {
            let mut all = lock(&state.seen);
            all.push(seen);
            all.len() - 1
        };
        let note = |sent: usize| lock(&state.seen)[index].sent += sent;
        if !send(&mut wire.get_mut().wire, &control, state, &answer, &note)? {
            break;
        }
    }
    Ok(())
}

/// Reads that go on until there is something, or the registry ends.
struct Patient<'a> {
    wire: Box<dyn Wire>,
    state: &'a State,
}

impl Read for Patient<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.wire.read(buf) {
                Err(err)
                    if matches!(
                        err.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    if self.state.stopping.load(Ordering::SeqCst) {
                        return Err(err);
                    }
                }
                other => return other,
            }
        }
    }
}

fn read_request(wire: &mut BufReader<Patient<'_>>) -> io::Result<Option<Seen>> {
    if wire.fill_buf()?.first() == Some(&TLS_HANDSHAKE) {
        wire.get_mut()
            .wire
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        return Ok(None);
    }
    let mut line = String::new();
    if wire.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        wire.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            None => break,
        }
    }
    let mut seen = Seen {
        method,
        path,
        headers,
        body: String::new(),
        status: 0,
        sent: 0,
    };
    if let Some(len) = seen
        .header("content-length")
        .and_then(|len| len.parse().ok())
    {
        let mut body = vec![0; len];
        wire.read_exact(&mut body)?;
        seen.body = String::from_utf8_lossy(&body).into_owned();
    }
    Ok(Some(seen))
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<Vec<u8>>,
    start: usize,
    end: usize,
    fault: Option<Fault>,
}

impl Answer {
    fn new(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> Self {
        let headers = headers
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let end = body.len();
        Self {
            status,
            headers,
            body: Arc::new(body),
            start: 0,
            end,
            fault: None,
        }
    }

    fn planned(&self) -> usize {
        let all = self.end - self.start;
        match self.fault {
            Some(Fault::CutAfter(n) | Fault::ResetAfter(n) | Fault::StallAfter(n)) => all.min(n),
            _ => all,
        }
    }
}

fn answer(state: &State, seen: &Seen) -> Answer {
    let fault = {
        let mut rules = lock(&state.rules);
        let rule = rules
            .iter_mut()
            .find(|r| r.left > 0 && seen.path.contains(&r.path_part));
        rule.map(|rule| {
            rule.left -= 1;
            rule.fault.clone()
        })
    };
    if let Some(Fault::Status(status, headers)) = &fault {
        let body = br#"{"errors":[{"code":"FIXTURE","message":"as the test asked"}]}"#.to_vec();
        let headers: Vec<_> = headers
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        return Answer::new(*status, &headers, body);
    }
    let mut answer = if seen.path.starts_with("/token") {
        token(state, seen, fault.as_ref())
    } else {
        refusal(state, seen).unwrap_or_else(|| content(state, seen, fault.as_ref()))
    };
    answer.fault = fault;
    answer
}

fn content(state: &State, seen: &Seen, fault: Option<&Fault>) -> Answer {
    let Some(path) = seen.path.strip_prefix("/v2/") else {
        return Answer::new(404, &[], Vec::new());
    };
    if path.is_empty() {
        return Answer::new(200, &[], b"{}".to_vec());
    }
    let key = path.find("blobs/").map_or(path, |at| &path[at..]);
    let Some((kind, bytes)) = lock(&state.content).get(key).cloned() else {
        let body = br#"{"errors":[{"code":"UNKNOWN","message":"no such thing"}]}"#.to_vec();
        return Answer::new(404, &[], body);
    };
    let kind = match fault {
        Some(Fault::ContentType(kind)) => kind.clone(),
        _ => kind,
    };
    let digest = match fault {
        Some(Fault::DigestHeader(digest)) => digest.clone(),
        _ => Digest::sha256(&bytes).to_string(),
    };
    let bytes = match fault {
        Some(Fault::Corrupt) => {
            let mut bytes = bytes.to_vec();
            bytes.iter_mut().take(1).for_each(|byte| *byte ^= 1);
            Arc::new(bytes)
        }
        Some(Fault::Shorten(by)) => Arc::new(bytes[..bytes.len().saturating_sub(*by)].to_vec()),
        Some(Fault::Lengthen(by)) => Arc::new([bytes.as_slice(), &vec![0; *by]].concat()),
        _ => bytes,
    };
    let mut headers = vec![("Content-Type", kind.as_str())];
    if !key.starts_with("blobs/") {
        headers.push(("Docker-Content-Digest", &digest));
    }
    let mut answer = Answer::new(200, &headers, Vec::new());
    (answer.end, answer.body) = (bytes.len(), bytes);
    apply_range(&mut answer, seen, fault);
    answer
}

fn apply_range(answer: &mut Answer, seen: &Seen, fault: Option<&Fault>) {
    let range = seen
        .header("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let start = range.and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok());
    let Some(start) = start.filter(|_| fault != Some(&Fault::NoRange)) else {
        return;
    };
    let len = answer.body.len();
    if start >= len {
        *answer = Answer::new(416, &[], Vec::new());
        return;
    }
    answer.status = 206;
    answer.start = if fault == Some(&Fault::WrongRange) {
        start - 1
    } else {
        start
    };
    let range = format!("bytes {}-{}/{len}", answer.start, len - 1);
    answer.headers.push(("Content-Range".to_owned(), range));
}

/// A 401 if the request does not prove who sends it.
fn refusal(state: &State, seen: &Seen) -> Option<Answer> {
    let auth = lock(&state.auth).clone();
    let given = seen.header("authorization").unwrap_or_default();
    let challenge = match auth {
        FixtureAuth::Open => return None,
        FixtureAuth::Basic(user, password) => {
            let want = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            if given == want {
                return None;
            }
            "Basic realm=\"fixture\"".to_owned()
        }
        FixtureAuth::AnonymousToken | FixtureAuth::Token(..) | FixtureAuth::Refresh(_) => {
            let mut token = lock(&state.token);
            if !token.0.is_empty() && given == format!("Bearer {}", token.0) && token.1 > 0 {
                token.1 -= 1;
                return None;
            }
            let realm = format!("{}/token", lock(&state.base));
            format!("Bearer realm=\"{realm}\",service=\"fixture\",scope=\"repository:x:pull\"")
        }
    };
    Some(Answer::new(
        401,
        &[("WWW-Authenticate", &challenge)],
        Vec::new(),
    ))
}

fn token(state: &State, seen: &Seen, fault: Option<&Fault>) -> Answer {
    let allowed = match &*lock(&state.auth) {
        FixtureAuth::Token(user, password) => {
            let want = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            seen.header("authorization") == Some(&want)
        }
        FixtureAuth::Refresh(token) => {
            let refresh = format!("refresh_token={token}");
            seen.method == "POST"
                && seen.body.split('&').any(|pair| pair == refresh)
                && seen
                    .body
                    .split('&')
                    .any(|pair| pair == "grant_type=refresh_token")
        }
        FixtureAuth::Open | FixtureAuth::Basic(..) | FixtureAuth::AnonymousToken => true,
    };
    if !allowed {
        return Answer::new(401, &[], Vec::new());
    }
    let mut token = lock(&state.token);
    let number: u32 = token
        .0
        .rsplit('-')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    *token = (format!("token-{}", number + 1), *lock(&state.token_uses));
    let mut body = format!(r#"{{"token":"{}","expires_in":300}}"#, token.0);
    if let Some(Fault::Lengthen(by)) = fault {
        body.push_str(&" ".repeat(*by));
    }
    Answer::new(
        200,
        &[("Content-Type", "application/json")],
        body.into_bytes(),
    )
}

/// Sends an answer, faults included; false when the connection is to be closed.
fn send(
    out: &mut dyn Wire,
    control: &TcpStream,
    state: &State,
    answer: &Answer,
    note: &dyn Fn(usize),
) -> io::Result<bool> {
    let body = &answer.body[answer.start..answer.end];
    if answer.fault == Some(Fault::Hang) {
        wait_for_end(state);
        return Ok(false);
    }
    let mut head = format!("HTTP/1.1 {} Fixture\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if answer.fault != Some(Fault::NoLength) {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    out.write_all(head.as_bytes())?;
    let (piece, pause) = match &answer.fault {
        Some(Fault::Slow(piece, pause)) => ((*piece).max(1), *pause),
        _ => (256 << 10, Duration::ZERO),
    };
    for piece in body[..answer.planned()].chunks(piece) {
        note(piece.len());
        out.write_all(piece)?;
        out.flush()?;
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        if state.stopping.load(Ordering::SeqCst) {
            return Ok(false);
        }
    }
    out.flush()?;
    match &answer.fault {
        Some(Fault::CutAfter(_) | Fault::NoLength) => Ok(false),
        Some(Fault::ResetAfter(_)) => {
            sys::reset_on_close(control);
            Ok(false)
        }
        Some(Fault::StallAfter(_)) => {
            wait_for_end(state);
            Ok(false)
        }
        _ => Ok(true),
    }
}

fn wait_for_end(state: &State) {
    while !state.stopping.load(Ordering::SeqCst) {
        std::thread::sleep(TICK);
    }
}

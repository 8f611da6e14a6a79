//! A registry for tests, which serves images and misbehaves on demand.
//!
//! Plain threads and sockets and no HTTP library, so that every fault can be made byte for byte.
//! It listens on 127.0.0.1, remembers every request, and ends with its value. Not for production:
//! it panics when a test is set up wrongly.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::digest::Digest;

mod image;
mod server;
mod sys;

pub use image::{TestImage, TestLayer, noise, tar_of};

/// A registry on loopback. Dropping it closes all its connections.
pub struct FixtureRegistry {
    addr: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

/// What one answer does wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status with these headers instead of the content.
    Status(u16, Vec<(String, String)>),
    /// Closes the connection after so many bytes of the body.
    CutAfter(usize),
    /// Resets the connection after so many bytes of the body.
    ResetAfter(usize),
    /// Sends so many bytes of the body, then nothing more.
    StallAfter(usize),
    /// Never answers.
    Hang,
    /// Sends the body in pieces of so many bytes with a pause after each.
    Slow(usize, Duration),
    /// Ignores a `Range` header.
    NoRange,
    /// Sends another range than the one asked for.
    WrongRange,
    /// Flips a bit in the first byte of the body.
    Corrupt,
    /// Serves the content without its last bytes, as if that were all.
    Shorten(usize),
    /// Serves the content with this many bytes too many.
    Lengthen(usize),
    /// Sends no `Content-Length` and ends the body by closing the connection.
    NoLength,
    /// This `Content-Type`.
    ContentType(String),
    /// This `Docker-Content-Digest`.
    DigestHeader(String),
}

/// How the registry wants its clients to prove who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FixtureAuth {
    /// Not at all.
    #[default]
    Open,
    /// User and password with every request.
    Basic(String, String),
    /// A token from `/token`, which is there for anybody.
    AnonymousToken,
    /// A token from `/token`, which wants user and password.
    Token(String, String),
    /// A token from `/token`, which wants this identity token by OAuth2.
    Refresh(String),
}

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// GET, POST, ..
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// The status that was sent.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub sent: usize,
}

impl Seen {
    /// The value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

struct Rule {
    path_part: String,
    fault: Fault,
    left: usize,
}

/// Content type and bytes.
type Content = (String, Arc<Vec<u8>>);

#[derive(Default)]
struct State {
    base: Mutex<String>,
    tls: Option<Arc<rustls::ServerConfig>>,
    /// By path below `/v2/`; blobs are under `blobs/DIGEST` for any name.
    content: Mutex<HashMap<String, Content>>,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    auth: Mutex<FixtureAuth>,
    /// The token now accepted, and how many requests it still serves.
    token: Mutex<(String, usize)>,
    token_uses: Mutex<usize>,
    stopping: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FixtureRegistry {
    /// Starts a registry that speaks plain HTTP.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a registry that speaks TLS.
    pub fn start_tls(config: Arc<rustls::ServerConfig>) -> Self {
        Self::start_with(Some(config))
    }

    fn start_with(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base = Mutex::new(format!("{scheme}://{addr}"));
        let state = Arc::new(State {
            base,
            tls,
            ..State::default()
        });
        *lock(&state.token_uses) = usize::MAX;
        let shared = state.clone();
        let thread = std::thread::spawn(move || server::accept(&listener, &shared));
        Self {
            addr,
            state,
            thread: Some(thread),
        }
    }

    /// `127.0.0.1:PORT`, as it stands in image names.
    pub fn host(&self) -> String {
        self.addr.to_string()
    }

    /// Serves a blob in every repository.
    pub fn put_blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let content = (
            "application/octet-stream".to_owned(),
            Arc::new(bytes.to_vec()),
        );
        lock(&self.state.content).insert(format!("blobs/{digest}"), content);
        digest
    }

    /// Serves a manifest under `reference` (a tag, say) and under its digest.
    pub fn put_manifest(&self, repo: &str, reference: &str, kind: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let content = (kind.to_owned(), Arc::new(bytes.to_vec()));
        let mut all = lock(&self.state.content);
        all.insert(format!("{repo}/manifests/{reference}"), content.clone());
        all.insert(format!("{repo}/manifests/{digest}"), content);
        digest
    }

    /// Serves an image with all its blobs; returns the manifest's digest.
    pub fn put_image(&self, repo: &str, reference: &str, image: &TestImage) -> Digest {
        for layer in &image.layers {
            self.put_blob(&layer.blob);
        }
        self.put_blob(&image.config());
        self.put_manifest(repo, reference, image.manifest_type(), &image.manifest())
    }

    /// The next `times` answers to paths that contain `path_part` have this fault.
    pub fn fault(&self, path_part: &str, times: usize, fault: Fault) {
        let rule = Rule {
            path_part: path_part.to_owned(),
            fault,
            left: times,
        };
        lock(&self.state.rules).push(rule);
    }

    /// Every later request has to prove who sends it.
    pub fn require(&self, auth: FixtureAuth) {
        *lock(&self.state.auth) = auth;
    }

    /// Tokens given from now on serve so many requests.
    pub fn token_uses(&self, uses: usize) {
        *lock(&self.state.token_uses) = uses;
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    /// The requests so far whose path contains `path_part`.
    pub fn seen_at(&self, path_part: &str) -> Vec<Seen> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.path.contains(path_part))
            .collect()
    }

    /// Bytes of bodies sent so far for paths that contain `path_part`, open answers excepted.
    pub fn sent(&self, path_part: &str) -> usize {
        self.seen_at(path_part).iter().map(|seen| seen.sent).sum()
    }
}

impl Drop for FixtureRegistry {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; it looks at the flag before it serves.
        drop(std::net::TcpStream::connect(self.addr));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

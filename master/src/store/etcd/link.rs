//! Which of the servers is spoken to, and for how long.
//!
//! One connection at a time: a server that does not answer is left for the next one, and a new connection is only made
//! where somebody listens, so a write that never left here is known not to have been done.
use super::Options;
use crate::store::StoreError;
use etcd_client::{
    Certificate, Client, ConnectOptions, Error, Identity, KvClient, LeaseClient, MaintenanceClient,
    TlsOptions, WatchClient,
};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

/// How long a call may take, whatever happens.
const LIMIT: Duration = Duration::from_secs(5);
/// How long one of several servers may take.
const SHARE: Duration = Duration::from_secs(2);
/// How long a server may take to listen.
const PROBE: Duration = Duration::from_secs(1);
/// The pause before a read is tried again, at first.
const PAUSE: Duration = Duration::from_millis(50);
/// The largest answer that is taken.
const LARGEST: usize = 256 << 20;
/// How often an idle connection is looked after, so that a dead one is known.
const ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(5));

/// A connection.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) kv: KvClient,
    pub(super) watch: WatchClient,
    pub(super) lease: LeaseClient,
    pub(super) maintenance: MaintenanceClient,
    place: usize,
    bad: Arc<AtomicBool>,
}

impl Link {
    /// It does not answer: whoever asks next gets another.
    pub(super) fn leave(&self) {
        self.bad.store(true, Ordering::Release);
    }
}

/// The servers.
pub(super) struct Servers {
    endpoints: Vec<Endpoint>,
    tls: Option<TlsOptions>,
    link: Mutex<Option<Link>>,
}

#[derive(Clone)]
struct Endpoint {
    url: String,
    host: String,
    port: u16,
}

/// What kind of failure an answer is. Decided by its code, as its words differ from version to version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A revision that is not there yet, or not any more.
    OutOfRange,
    /// A lease that is not there.
    NotFound,
    /// No room, or too much at once.
    Exhausted,
    /// Nobody answered.
    Away,
    /// We asked for something impossible.
    Refused,
}

impl Kind {
    /// By the code of gRPC (<https://grpc.io/docs/guides/status-codes/>).
    pub(super) fn of(error: &Error) -> Kind {
        match error {
            Error::GRpcStatus(status) => match status.code() as i32 {
                11 => Kind::OutOfRange,
                5 => Kind::NotFound,
                8 => Kind::Exhausted,
                3 | 6 | 7 | 9 | 12 | 16 => Kind::Refused,
                _ => Kind::Away,
            },
            Error::InvalidArgs(_) | Error::InvalidUri(_) => Kind::Refused,
            _ => Kind::Away,
        }
    }
}

/// The words of an error, without those of the library around it.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    }
}

impl Servers {
    pub(super) fn new(options: &Options) -> Result<Servers, String> {
        let endpoints = options.endpoints.iter().map(|url| endpoint(url));
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err("no server is named".to_owned());
        }
        let secure = endpoints.iter().any(|at| at.url.starts_with("https://"));
        Ok(Servers {
            tls: secure.then(|| tls(options)).transpose()?,
            endpoints,
            link: Mutex::new(None),
        })
    }

    /// A connection to a server that listens.
    pub(super) async fn link(&self) -> Result<Link, StoreError> {
        let mut held = self.link.lock().await;
        let mut first = 0;
        if let Some(link) = held.as_ref() {
            if !link.bad.load(Ordering::Acquire) {
                return Ok(link.clone());
            }
            first = link.place + 1;
        }
        let mut why = String::new();
        for place in (first..first + self.endpoints.len()).map(|at| at % self.endpoints.len()) {
            let endpoint = &self.endpoints[place];
            match self.open(place).await {
                Ok(link) => {
                    *held = Some(link.clone());
                    return Ok(link);
                }
                Err(error) => why = format!("{}: {error}", endpoint.url),
            }
        }
        Err(StoreError::Unavailable(why))
    }

    async fn open(&self, place: usize) -> Result<Link, String> {
        let endpoint = &self.endpoints[place];
        let probe = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
        match timeout(PROBE, probe).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("nobody listens within {PROBE:?}")),
        }
        let mut options = ConnectOptions::new()
            .with_connect_timeout(SHARE)
            .with_require_leader(true)
            .with_keep_alive(ALIVE.0, ALIVE.1)
            .with_keep_alive_while_idle(true);
        if endpoint.url.starts_with("https://")
            && let Some(tls) = &self.tls
        {
            options = options.with_tls(tls.clone());
        }
        let client = Client::connect([&endpoint.url], Some(options)).await;
        let client = client.map_err(|error| words(&error))?;
        let kv = client.kv_client().max_decoding_message_size(LARGEST);
        Ok(Link {
            kv: kv.max_encoding_message_size(LARGEST),
            watch: client.watch_client().max_decoding_message_size(LARGEST),
            lease: client.lease_client(),
            maintenance: client.maintenance_client(),
            place,
            bad: Arc::default(),
        })
    }

    /// Asks until somebody answers: for what changes nothing.
    pub(super) async fn read<T, F>(&self, ask: impl Fn(Link) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut last = StoreError::Unavailable("no server answers in time".to_owned());
        let tries = async {
            let mut pause = PAUSE;
            loop {
                match self.once(&ask, self.share()).await {
                    Err(Failure::Store(away)) => last = away,
                    Err(Failure::Etcd(error)) if Kind::of(&error) == Kind::Away => {
                        last = StoreError::Unavailable(words(&error));
                    }
                    answer => return answer,
                }
                sleep(pause).await;
                pause *= 2;
            }
        };
        let answer = timeout(LIMIT, tries).await;
        answer.unwrap_or(Err(Failure::Store(last)))
    }

    /// Asks once: what changes something may have been done although nobody said so.
    pub(super) async fn write<T, F>(&self, ask: impl Fn(Link) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let answer = timeout(LIMIT, self.once(&ask, LIMIT)).await;
        answer.unwrap_or_else(|_| Err(Failure::Store(late())))
    }

    async fn once<T, F>(&self, ask: &impl Fn(Link) -> F, limit: Duration) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let link = self.link().await.map_err(Failure::Store)?;
        // A caller that gives up leaves the link behind too, if it was the link that kept it waiting.
        let mut guard = LeaveOnDrop(Some(&link));
        match timeout(limit, ask(link.clone())).await {
            Ok(answer) => {
                guard.0 = None;
                if let Err(error) = &answer
                    && Kind::of(error) == Kind::Away
                {
                    link.leave();
                }
                answer.map_err(Failure::Etcd)
            }
            Err(_) => Err(Failure::Store(late())),
        }
    }

    fn share(&self) -> Duration {
        if self.endpoints.len() > 1 {
            SHARE
        } else {
            LIMIT
        }
    }
}

fn late() -> StoreError {
    StoreError::Unavailable("etcd does not answer in time".to_owned())
}

struct LeaveOnDrop<'a>(Option<&'a Link>);

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.0 {
            link.leave();
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody was reached.
    Store(StoreError),
    /// Somebody said no.
    Etcd(Error),
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    let url = match text.contains("://") {
        true => text.trim_end_matches('/').to_owned(),
        false => format!("http://{text}"),
    };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(format!(
            "{text:?} is no address of a server: give http:// or https://"
        ));
    }
    let parsed: http::Uri = url
        .parse()
        .map_err(|error| format!("{text:?} is no address of a server: {error}"))?;
    let host = parsed
        .host()
        .ok_or_else(|| format!("{text:?} names no host"))?;
    Ok(Endpoint {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: parsed.port_u16().unwrap_or(2379),
        url,
    })
}

fn tls(options: &Options) -> Result<TlsOptions, String> {
    let read = |path: &std::path::Path| fs_err::read(path).map_err(|error| error.to_string());
    let mut tls = TlsOptions::new();
    tls = match &options.ca {
        Some(ca) => tls.ca_certificate(Certificate::from_pem(read(ca)?)),
        None => tls.with_enabled_roots(),
    };
    match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        (None, None) => {}
        (Some(_), None) => return Err("a client certificate needs its key: give both".to_owned()),
        (None, Some(_)) => return Err("a key needs its client certificate: give both".to_owned()),
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, wanted: Result<(&str, &str, u16), &str>) {
        let got = endpoint(text);
        let got = got
            .as_ref()
            .map(|at| (at.url.as_str(), at.host.as_str(), at.port));
        match (got, wanted) {
            (Err(error), Err(wanted)) => assert!(error.contains(wanted), "{error}"),
            (got, wanted) => assert_eq!(got.ok(), wanted.ok()),
        }
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        check(
            "http://10.0.0.1:4001",
            Ok(("http://10.0.0.1:4001", "10.0.0.1", 4001)),
        );
        check(
            "10.0.0.1:2379",
            Ok(("http://10.0.0.1:2379", "10.0.0.1", 2379)),
        );
        check(
            "https://etcd.example/",
            Ok(("https://etcd.example", "etcd.example", 2379)),
        );
        check("https://[::1]:5", Ok(("https://[::1]:5", "::1", 5)));
        check("unix:///run/etcd", Err("give http:// or https://"));
        check("", Err("no address"));
    }
}

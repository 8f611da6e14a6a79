//! One connection to one server of etcd: certificates, bounds on waiting, errors in words.
use super::Settings;
use etcd_client::{
    Certificate, Client, ConnectOptions, Error, GetOptions, GetResponse, Identity, KvClient,
    TlsOptions, WatchClient,
};
use std::time::Duration;
use tokio::net::TcpStream;

/// The most bytes of one answer.
const MOST: usize = 64 << 20;
/// Keys of one page of a list. A value has 1.5 MiB at most.
const PAGE: i64 = 32;

/// The connection.
pub(super) struct Connection {
    kv: KvClient,
    pub(super) watch: WatchClient,
    patience: Duration,
}

/// The keys of a range, and the revision at which they were so.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) found: Vec<(String, Vec<u8>)>,
    pub(super) revision: i64,
    pub(super) cluster: u64,
}

impl Connection {
    /// Connects to a server.
    pub(super) async fn open(endpoint: &str, settings: &Settings) -> Result<Self, String> {
        let patience = settings.patience;
        // The client itself goes on trying for ever and does not say why.
        let probe = tokio::time::timeout(patience, TcpStream::connect(address(endpoint)?));
        match probe.await {
            Ok(Ok(stream)) => drop(stream),
            Ok(Err(err)) => return Err(err.to_string()),
            Err(_) => return Err(format!("no connection within {patience:?}")),
        }
        let mut options = ConnectOptions::new()
            .with_connect_timeout(patience)
            .with_keep_alive(patience * 2, patience)
            .with_keep_alive_while_idle(true);
        if endpoint.starts_with("https://") {
            options = options.with_tls(tls(settings)?);
        }
        let client = Client::connect([endpoint], Some(options))
            .await
            .map_err(|err| said(&err))?;
        Ok(Connection {
            kv: client.kv_client().max_decoding_message_size(MOST),
            watch: client.watch_client().max_decoding_message_size(MOST),
            patience,
        })
    }

    /// All keys of a range: of a prefix that ends with a slash, or the one key. `limit` is for those who want to know the
    /// revision alone.
    pub(super) async fn list(
        &mut self,
        range: &str,
        limit: Option<usize>,
    ) -> Result<Listing, String> {
        let mut listing = Listing::default();
        let mut from = range.as_bytes().to_vec();
        loop {
            let mut options = GetOptions::new().with_limit(PAGE);
            if range.ends_with('/') {
                // The first key after all that begin with the prefix: '0' follows '/'.
                let mut end = range.as_bytes().to_vec();
                *end.last_mut().ok_or("an empty prefix")? = b'0';
                options = options.with_range(end);
            }
            if listing.revision != 0 {
                options = options.with_revision(listing.revision);
            }
            let mut page = self.get(from, options).await?;
            let header = page.header().ok_or("answers without a revision")?;
            if listing.revision == 0 {
                (listing.revision, listing.cluster) = (header.revision(), header.cluster_id());
            }
            let more = page.more();
            for found in page.take_kvs() {
                let (key, value) = found.into_key_value();
                // A key that is no text is nobody's whom this kubelet knows.
                if let Ok(key) = String::from_utf8(key) {
                    listing.found.push((key, value));
                }
            }
            let last = listing.found.last().map(|(key, _)| key.clone());
            let enough = limit.is_some_and(|limit| listing.found.len() >= limit);
            match last.filter(|_| more && !enough) {
                None => return Ok(listing),
                Some(last) => from = [last.as_bytes(), &[0]].concat(),
            }
        }
    }

    async fn get(&mut self, key: Vec<u8>, options: GetOptions) -> Result<GetResponse, String> {
        let answer = tokio::time::timeout(self.patience, self.kv.get(key, Some(options)));
        match answer.await {
            Ok(answer) => answer.map_err(|err| said(&err)),
            Err(_) => Err(format!("no answer within {:?}", self.patience)),
        }
    }
}

fn address(endpoint: &str) -> Result<(String, u16), String> {
    let uri: http::Uri = endpoint
        .parse()
        .map_err(|err| format!("is no address: {err}"))?;
    let host = uri.host().ok_or("is no address: it has no host")?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let port = uri
        .port_u16()
        .unwrap_or(if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        });
    Ok((host, port))
}

fn tls(settings: &Settings) -> Result<TlsOptions, String> {
    let read = |path: &std::path::Path| fs_err::read(path).map_err(|err| crate::error::chain(&err));
    let files = &settings.tls;
    let ca = files
        .ca
        .as_deref()
        .ok_or("https needs the authority of its certificate; set etcdCAFile")?;
    let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(ca)?));
    if let (Some(cert), Some(key)) = (&files.cert, &files.key) {
        tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    Ok(tls)
}

/// An error of the client in words.
pub(super) fn said(err: &Error) -> String {
    match err {
        Error::GRpcStatus(status) if !status.message().is_empty() => status.message().to_owned(),
        Error::TransportError(err) => crate::error::chain(err),
        err => err.to_string(),
    }
}

//! The master as it runs: everything put together, until a signal ends it.
use crate::audit::{Audit, Rotation};
use crate::auth::bootstrap::Bootstrap;
use crate::auth::node::NodePods;
use crate::auth::restriction::NodeRestriction;
use crate::auth::service::ServiceAccounts;
use crate::auth::tokens::Key;
use crate::auth::{Authorizer, Identify};
use crate::bootstrap;
use crate::cache::Caches;
use crate::cli::backup;
use crate::cli::serve::Options;
use crate::connect::{Connector, KubeletTrust};
use crate::discovery::Discovery;
use crate::front::limits::Limits;
use crate::front::openapi::OpenApi;
use crate::front::{Entrance, Front};
use crate::metrics::Metrics;
use crate::pki::{self, Keys};
use crate::registry::Registry;
use crate::resource;
use crate::store::Store;
use crate::store::sealed::{self, Sealed};
use anyhow::Context;
use rkube_http::listen::{Hall, Port};
use rkube_http::pki::Pki;
use rkube_http::pki::issue::Issuer;
use rkube_http::seats::Seats;
use rkube_http::tokens::TokenFile;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long connections have when the server ends.
const DRAIN: Duration = Duration::from_secs(8);
/// What nobody is to read on the disk.
const SEALED: [&str; 1] = ["/registry/secrets/"];

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// What stopped it, in words for the user.
pub async fn serve(options: &Options) -> anyhow::Result<()> {
    rkube_http::file::create_private(&options.data_dir)?;
    let keys = Keys::new(&options.data_dir);
    let issuer = keys.issuer(&options.names)?;
    let admin = keys.own(&issuer, "admin", "admin")?;
    let server = pki::server(options.bind_address, options.secure_port);
    keys.write_kubeconfig(&server, &admin)?;
    let store = store(options).await?;
    let front = Arc::new(front(options, &keys, &issuer, store).await?);
    let hall = Hall {
        seats: Seats::new(options.max_connections),
        connections: TaskTracker::new(),
        closing: CancellationToken::new(),
    };
    let pki = Arc::new(certificates(options, &keys, issuer)?);
    let address = SocketAddr::new(options.bind_address, options.secure_port);
    let secure = front.router(Entrance::Secure);
    tokio::spawn(hall.clone().tls(Port::new(address), pki, secure));
    if let Some(port) = options.insecure_port.filter(|port| *port != 0) {
        let address = SocketAddr::new(options.insecure_bind_address, port);
        let plain = front.router(Entrance::Unsecured);
        tokio::spawn(hall.clone().plain(Port::new(address), plain));
    }
    let first = first_objects(options, &keys)?;
    bootstrap::ensure(&front.registry, &first).await?;
    let keeper = bootstrap::run(front.registry.clone(), first, hall.closing.clone());
    tokio::spawn(keeper);
    rkube_http::sd::notify("READY=1");
    let kubeconfig = keys.kubeconfig();
    tracing::info!(%server, kubeconfig = %kubeconfig.display(), "serving; try: kubectl --kubeconfig FILE get nodes");
    ended().await?;
    rkube_http::sd::notify("STOPPING=1");
    front.caches.close();
    hall.closing.cancel();
    hall.connections.close();
    let _ = tokio::time::timeout(DRAIN, hall.connections.wait()).await;
    if let Some(audit) = &front.audit {
        audit.flush();
    }
    Ok(())
}

/// The cluster CA's certificate.
fn ca(keys: &Keys) -> anyhow::Result<String> {
    Ok(fs_err::read_to_string(keys.ca())?)
}

/// What the first objects of the cluster say: above all, where this server is.
fn first_objects(options: &Options, keys: &Keys) -> anyhow::Result<bootstrap::Bootstrap> {
    let settings = options.settings().map_err(anyhow::Error::msg)?;
    let bound = Some(options.bind_address).filter(|address| !address.is_unspecified());
    let address = options.public_address.or(bound);
    Ok(bootstrap::Bootstrap {
        ca: ca(keys)?,
        service_net: settings.service_net,
        address: address.unwrap_or_else(|| own_address(options.bind_address)),
        port: options.secure_port,
        shared: !options.etcd_servers.is_empty(),
    })
}

/// The address by which others most likely reach this machine: that of its way out. No packet is sent.
fn own_address(bound: IpAddr) -> IpAddr {
    let socket = std::net::UdpSocket::bind((bound, 0));
    let out = socket.and_then(|socket| {
        // An address kept for documentation (RFC 5737).
        socket.connect(("192.0.2.1", 9))?;
        socket.local_addr()
    });
    out.map_or(bound, |address| address.ip())
}

async fn ended() -> std::io::Result<()> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

async fn front(
    options: &Options,
    keys: &Keys,
    issuer: &Issuer,
    store: Arc<dyn Store>,
) -> anyhow::Result<Front> {
    let settings = options.settings().map_err(anyhow::Error::msg)?;
    let resources = resource::with(&settings);
    let openapi = Arc::new(OpenApi::new(&resources));
    let caches = Caches::start(store.clone(), &resources).await?;
    let mut plugins = crate::admission::plugins(&ca(keys)?);
    plugins.push(Arc::new(NodeRestriction));
    let registry = Arc::new(Registry::new(store.clone(), resources, plugins));
    let key = Arc::new(Key::open(
        &keys.service_accounts(),
        &options.service_account_issuer,
    )?);
    let audiences = match options.api_audiences.as_slice() {
        [] => vec![options.service_account_issuer.clone()],
        some => some.to_vec(),
    };
    let policy = match (&options.authorization_policy_file, options.has_mode("ABAC")) {
        (Some(path), true) => Some(crate::auth::abac::Policy::open(path)?),
        _ => None,
    };
    Ok(Front {
        openapi,
        audit: audit(options)?,
        connector: Connector::new(
            store.clone(),
            trust(options, keys, issuer)?,
            options.kubelet_port,
        ),
        identify: Identify {
            file: options.token_auth_file.as_deref().map(TokenFile::new),
            accounts: ServiceAccounts::new(key.clone(), store.clone(), audiences),
            bootstrap: Bootstrap::new(store),
        },
        authorizer: Authorizer {
            mode: options.mode(),
            policy,
            nodes: options
                .has_mode("Node")
                .then(|| NodePods::new(caches.clone())),
        },
        limits: Limits::new(
            options.max_requests_inflight,
            options.max_mutating_requests_inflight,
        ),
        patience: options.request_timeout.get(),
        old: crate::v1beta1::Edge::new(registry.clone(), caches.clone(), &options.api_prefix),
        prefix: options.api_prefix.clone(),
        discovery: Discovery::new(registry.resources()),
        metrics: Metrics::default(),
        registry,
        caches,
        key,
    })
}

/// The store: etcd where its servers are named, else a file. Secrets are sealed in either.
async fn store(options: &Options) -> anyhow::Result<Arc<dyn Store>> {
    let keys = sealed::keys(&backup::secret_keys(&options.data_dir))?;
    let inner: Arc<dyn Store> = if options.etcd_servers.is_empty() {
        let directory = backup::store(&options.data_dir);
        let store = Arc::new(crate::store::embedded::open(&directory)?);
        if let Err(err) = crate::store::backup::serve(store.clone(), &directory) {
            tracing::warn!(%err, "no backup can be taken while this master runs");
        }
        store
    } else {
        let etcd = crate::store::etcd::Options {
            endpoints: options.etcd_servers.clone(),
            ca: options.etcd_cafile.clone(),
            certificate: options.etcd_certfile.clone(),
            key: options.etcd_keyfile.clone(),
        };
        Arc::new(crate::store::etcd::connect(&etcd).await?)
    };
    Ok(Arc::new(Sealed::new(inner, &SEALED, keys)))
}

/// Where it is written who did what.
fn audit(options: &Options) -> anyhow::Result<Option<Audit>> {
    let own = options.data_dir.join("audit.log");
    let path = options.audit_log_path.as_deref().unwrap_or(&own);
    if path.as_os_str() == "-" {
        return Ok(None);
    }
    let rotation = Rotation {
        size: options.audit_log_maxsize << 20,
        kept: options.audit_log_maxbackup,
    };
    Ok(Some(Audit::open(path, rotation)?))
}

/// The server's certificate: the one that is given, or one of the cluster's authority.
fn certificates(options: &Options, keys: &Keys, issuer: Issuer) -> anyhow::Result<Pki> {
    let client_ca = options.client_ca_file.clone().unwrap_or_else(|| keys.ca());
    let given = options
        .tls_cert_file
        .clone()
        .zip(options.tls_private_key_file.clone());
    Ok(match given {
        Some((cert, key)) => Pki::given(cert, key, Some(client_ca))?,
        None => {
            let mut addresses: Vec<IpAddr> = vec![options.bind_address];
            addresses.extend(options.public_address);
            Pki::own(issuer, &addresses, Some(client_ca))?
        }
    })
}

/// Whom is believed to be a kubelet, and what is shown to it.
fn trust(options: &Options, keys: &Keys, issuer: &Issuer) -> anyhow::Result<KubeletTrust> {
    let read = |path: &std::path::Path| {
        let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
            .with_context(|| path.display().to_string())?
            .collect();
        all.with_context(|| path.display().to_string())
    };
    let authorities = match &options.kubelet_certificate_authority {
        Some(path) => read(path)?,
        None => read(&keys.ca())?,
    };
    let given = options.kubelet_client_certificate.as_deref();
    let own = match given.zip(options.kubelet_client_key.as_deref()) {
        Some((cert, key)) => {
            let key =
                PrivateKeyDer::from_pem_file(key).with_context(|| key.display().to_string())?;
            (read(cert)?, key)
        }
        None => {
            let pair = keys.own(issuer, "kubelet-client", "kube-apiserver")?;
            let certs: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect();
            (certs?, PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?)
        }
    };
    Ok(KubeletTrust::new(
        &authorities,
        Some(own),
        options.kubelet_insecure_tls,
    )?)
}

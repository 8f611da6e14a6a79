//! A connection to the other side, with HTTP/1.1 on it.
use super::{Security, Target};
use crate::error::ApiError;
use axum::body::Body;
use http::StatusCode;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a connection may take, handshakes included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects.
///
/// # Errors
/// 503: who cannot be reached, and why.
pub(super) async fn dial(target: &Target) -> Result<SendRequest<Body>, ApiError> {
    match timeout(PATIENCE, connect(target)).await {
        Ok(Ok(sender)) => Ok(sender),
        Ok(Err(why)) => Err(unreachable(target, &why)),
        Err(_) => Err(unreachable(
            target,
            &format!("no answer within {} s", PATIENCE.as_secs()),
        )),
    }
}

pub(super) fn unreachable(target: &Target, why: &str) -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "ServiceUnavailable",
        format!(
            "error trying to reach {} at {}:{}: {why}",
            target.what, target.host, target.port
        ),
    )
}

async fn connect(target: &Target) -> Result<SendRequest<Body>, String> {
    let host = target.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, target.port))
        .await
        .map_err(|err| err.to_string())?;
    // Keys typed into an exec go at once.
    stream.set_nodelay(true).map_err(|err| err.to_string())?;
    match &target.security {
        Security::Plain => handshake(stream).await,
        Security::Tls(config) => {
            let name = ServerName::try_from(host.to_owned()).map_err(|err| err.to_string())?;
            let stream = TlsConnector::from(config.clone())
                .connect(name, stream)
                .await
                .map_err(|err| err.to_string())?;
            handshake(stream).await
        }
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|err| err.to_string())?;
    tokio::spawn(async move {
        if let Err(err) = connection.with_upgrades().await {
            tracing::debug!(%err, "a proxied connection broke off");
        }
    });
    Ok(sender)
}

//! Credential helpers: programs named `docker-credential-*` that keep logins in a keychain.
//!
//! The protocol is docker's: the server's name on standard input of `get`, JSON on its output.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::Login;

/// How long a helper may take; it may have to ask a cloud's metadata server.
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_OUTPUT: u64 = 256 << 10;
/// What helpers say, by docker's protocol, when they hold no login for a server.
const NO_ENTRY: &str = "credentials not found in native keychain";
/// The user name that marks a secret as an identity token.
const TOKEN_USER: &str = "<token>";

/// Why a helper gave no answer. Its output is never quoted: it may hold the secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum HelperError {
    #[error("not a valid helper name")]
    Name,
    #[error("docker-credential-* program not found in PATH")]
    Missing,
    #[error("cannot be run: {0}")]
    Run(io::ErrorKind),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("failed with {0}")]
    Failed(std::process::ExitStatus),
    #[error("its answer is not what docker's protocol says")]
    Malformed,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks `docker-credential-<name>` for the login of `server`.
pub(super) async fn ask(name: &str, server: &str) -> Result<Option<Login>, HelperError> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(safe) {
        return Err(HelperError::Name);
    }
    ask_program(&format!("docker-credential-{name}"), server, TIMEOUT).await
}

pub(super) async fn ask_program(
    program: &str,
    server: &str,
    timeout: Duration,
) -> Result<Option<Login>, HelperError> {
    // Dropping the child on a time-out kills it.
    let child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => HelperError::Missing,
        kind => HelperError::Run(kind),
    })?;
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input closes the pipe; its answer tells.
            let _closed = stdin.write_all(server.as_bytes()).await;
        }
        let mut out = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_OUTPUT).read_to_end(&mut out).await?;
        }
        Ok::<_, io::Error>((child.wait().await?, out))
    };
    let (status, out) = tokio::time::timeout(timeout, talk)
        .await
        .map_err(|_| HelperError::Timeout)?
        .map_err(|err| HelperError::Run(err.kind()))?;
    if !status.success() {
        let none = String::from_utf8_lossy(&out).trim() == NO_ENTRY;
        return if none {
            Ok(None)
        } else {
            Err(HelperError::Failed(status))
        };
    }
    let answer: Answer = serde_json::from_slice(&out).map_err(|_| HelperError::Malformed)?;
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Login::IdentityToken(answer.secret),
        _ => Login::Basic {
            user: answer.username,
            password: answer.secret,
        },
    }))
}

//! The httpGet handler of probes and hooks.
use super::{Target, address};
use k8s_openapi::api::core::v1::HTTPGetAction;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest answer that is read.
const ANSWER_LIMIT: u64 = 10 * 1024;

/// An HTTP GET as a probe makes it: any status from 200 to 399 is health.
pub(super) async fn get(action: &HTTPGetAction, target: &Target) -> Result<(), String> {
    let address = address(action.host.as_deref(), &action.port, target).await?;
    let path = match action.path.as_deref() {
        None | Some("") => "/".to_owned(),
        Some(path) if path.starts_with('/') => path.to_owned(),
        Some(path) => format!("/{path}"),
    };
    let named = |name: &str| {
        action
            .http_headers
            .iter()
            .flatten()
            .find(|header| header.name.eq_ignore_ascii_case(name))
    };
    let host = named("host").map_or_else(|| address.to_string(), |header| header.value.clone());
    let agent = named("user-agent").map_or("rkube-probe/1", |header| header.value.as_str());
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\nConnection: close\r\n"
    );
    for header in action.http_headers.iter().flatten() {
        if !["host", "user-agent", "connection"]
            .contains(&header.name.to_ascii_lowercase().as_str())
        {
            request.push_str(&format!("{}: {}\r\n", header.name, header.value));
        }
    }
    request.push_str("\r\n");
    if request.contains('\0') {
        return Err("the probe's headers hold a NUL".to_owned());
    }
    let stream = TcpStream::connect(address)
        .await
        .map_err(|err| format!("connect to {address}: {err}"))?;
    let answer = if action.scheme.as_deref() == Some("HTTPS") {
        converse(crate::tls::unverified(stream, &host).await?, &request).await
    } else {
        converse(stream, &request).await
    };
    let answer = answer.map_err(|err| format!("GET {address}{path}: {err}"))?;
    match status(&answer) {
        Some(200..400) => Ok(()),
        Some(code) => Err(format!("GET {address}{path}: status {code}")),
        None => Err(format!("GET {address}{path}: not an HTTP answer")),
    }
}

async fn converse(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    request: &str,
) -> std::io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut limited = stream.take(ANSWER_LIMIT);
    // The first line is all that matters; a server need not close in time.
    while !answer.contains(&b'\n') {
        if limited.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(answer)
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|&byte| byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    words
        .next()
        .filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_strictly() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 200\r\n"), Some(200));
        assert_eq!(status(b"SSH-2.0-x\r\n"), None);
        assert_eq!(status(b""), None);
    }
}

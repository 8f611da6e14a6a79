//! The hand-shake in HTTP: which protocol both sides speak. Pure; the connection is taken over by whoever asks.
use crate::websocket::Codec;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// What SPDY clients say they speak.
pub(crate) const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
/// The name of SPDY in `Upgrade`.
pub(crate) const SPDY: &str = "SPDY/3.1";
/// SPDY for port-forward, by itself and inside a WebSocket.
pub(crate) const FORWARD: &str = "portforward.k8s.io";
pub(crate) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// What a connection is upgraded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `exec` and `attach`.
    Command,
    /// `portForward`.
    Forward,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// SPDY/3.1, with this version of the protocol for commands; 0 for port-forward.
    Spdy(u8),
    /// Channels in a WebSocket.
    Socket(Codec),
    /// SPDY/3.1 in a WebSocket.
    Tunnel,
}

/// An accepted upgrade: the answer is 101 with these headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// What is spoken from then on.
    pub transport: Transport,
    /// The answer's headers.
    pub response: HeaderMap,
}

/// Why a request is not upgraded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// It asks for no upgrade.
    #[error("this needs a connection upgraded to SPDY/3.1 or to a WebSocket")]
    NotAsked,
    /// It is no hand-shake of a WebSocket of version 13.
    #[error("this is not the hand-shake of a WebSocket of version 13")]
    HandShake,
    /// Nothing that it names is spoken here.
    #[error("none of the protocols {asked:?} is spoken here; {spoken:?} are")]
    Protocol {
        /// What it names.
        asked: Vec<String>,
        /// What it could.
        spoken: Vec<&'static str>,
    },
}

impl UpgradeError {
    /// The code of the answer.
    #[must_use]
    pub fn code(&self) -> StatusCode {
        match self {
            UpgradeError::NotAsked | UpgradeError::HandShake => StatusCode::BAD_REQUEST,
            UpgradeError::Protocol { .. } => StatusCode::FORBIDDEN,
        }
    }

    /// What else the answer says.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            UpgradeError::HandShake => {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            UpgradeError::Protocol { spoken, .. } => {
                for name in spoken {
                    headers.append(ACCEPTED, HeaderValue::from_static(name));
                }
            }
            UpgradeError::NotAsked => {}
        }
        headers
    }
}

const fn codec(version: u8, base64: bool) -> Transport {
    Transport::Socket(Codec { version, base64 })
}

/// What WebSockets speak, by what they are for.
pub(crate) const SOCKETS: [(Kind, &str, Transport); 10] = [
    (Kind::Command, "v5.channel.k8s.io", codec(5, false)),
    (Kind::Command, "v4.channel.k8s.io", codec(4, false)),
    (Kind::Command, "v4.base64.channel.k8s.io", codec(4, true)),
    (Kind::Command, "channel.k8s.io", codec(1, false)),
    (Kind::Command, "base64.channel.k8s.io", codec(1, true)),
    (Kind::Command, "", codec(1, false)),
    (Kind::Forward, TUNNEL, Transport::Tunnel),
    (Kind::Forward, "v4.channel.k8s.io", codec(4, false)),
    (Kind::Forward, "v4.base64.channel.k8s.io", codec(4, true)),
    (Kind::Forward, "", codec(4, false)),
];

/// What SPDY sessions speak, best first.
pub(crate) const SESSIONS: [(Kind, &str, Transport); 7] = [
    (Kind::Command, "v4.channel.k8s.io", Transport::Spdy(4)),
    (Kind::Command, "v3.channel.k8s.io", Transport::Spdy(3)),
    (Kind::Command, "v2.channel.k8s.io", Transport::Spdy(2)),
    (Kind::Command, "channel.k8s.io", Transport::Spdy(1)),
    (Kind::Command, "", Transport::Spdy(1)),
    (Kind::Forward, FORWARD, Transport::Spdy(0)),
    (Kind::Forward, "", Transport::Spdy(0)),
];

/// Whether a request asks for an upgrade at all.
#[must_use]
pub fn asked(headers: &HeaderMap) -> bool {
    words(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"))
}

/// Answers a request by its headers.
///
/// # Errors
/// When it asks for nothing that is spoken here.
pub fn accept(kind: Kind, headers: &HeaderMap) -> Result<Upgrade, UpgradeError> {
    if !asked(headers) {
        return Err(UpgradeError::NotAsked);
    }
    let is = |name: &str| words(headers, &UPGRADE).any(|word| word.eq_ignore_ascii_case(name));
    if is("websocket") {
        web_socket(kind, headers)
    } else if is(SPDY) {
        spdy(kind, headers)
    } else {
        Err(UpgradeError::NotAsked)
    }
}

fn spdy(kind: Kind, headers: &HeaderMap) -> Result<Upgrade, UpgradeError> {
    let asked: Vec<&str> = words(headers, &STREAM_PROTOCOL).collect();
    let spoken = || SESSIONS.iter().filter(|(of, ..)| *of == kind);
    let found = spoken().find(|(_, name, _)| match asked.is_empty() {
        true => name.is_empty(),
        false => asked.contains(name),
    });
    let (_, name, transport) = found.ok_or_else(|| refused(&asked, spoken()))?;
    let mut response = upgraded(SPDY);
    if !name.is_empty() {
        response.insert(STREAM_PROTOCOL, HeaderValue::from_static(name));
    }
    Ok(Upgrade {
        transport: *transport,
        response,
    })
}

fn web_socket(kind: Kind, headers: &HeaderMap) -> Result<Upgrade, UpgradeError> {
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let thirteen = words(headers, &SEC_WEBSOCKET_VERSION).any(|word| word == "13");
    let (Some(key), true) = (key, thirteen) else {
        return Err(UpgradeError::HandShake);
    };
    let asked: Vec<&str> = words(headers, &SEC_WEBSOCKET_PROTOCOL).collect();
    let spoken = || SOCKETS.iter().filter(|(of, ..)| *of == kind);
    // The client's order counts here, and it may name none.
    let wanted = if asked.is_empty() {
        vec![""]
    } else {
        asked.clone()
    };
    let found = wanted
        .iter()
        .find_map(|wanted| spoken().find(|(_, name, _)| name == wanted));
    let (_, name, transport) = found.ok_or_else(|| refused(&asked, spoken()))?;
    let mut response = upgraded("websocket");
    if let Ok(accepted) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
        response.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    }
    if !name.is_empty() {
        response.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    Ok(Upgrade {
        transport: *transport,
        response,
    })
}

fn upgraded(to: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(to));
    headers
}

fn refused<'a>(
    asked: &[&str],
    spoken: impl Iterator<Item = &'a (Kind, &'static str, Transport)>,
) -> UpgradeError {
    UpgradeError::Protocol {
        asked: asked.iter().map(|&name| name.to_owned()).collect(),
        spoken: spoken
            .map(|(_, name, _)| *name)
            .filter(|name| !name.is_empty())
            .collect(),
    }
}

/// The words of a header that may stand several times, each with words between commas.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[track_caller]
    fn spdy(kind: Kind, protocols: &[&str], want: Option<(Transport, &str)>) {
        let mut lines = vec![("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        lines.extend(
            protocols
                .iter()
                .map(|name| ("x-stream-protocol-version", *name)),
        );
        check(accept(kind, &headers(&lines)), &STREAM_PROTOCOL, want);
    }

    #[track_caller]
    fn socket(kind: Kind, protocols: &[&str], want: Option<(Transport, &str)>) {
        let mut lines = vec![
            ("connection", "keep-alive, upgrade"),
            ("upgrade", "WebSocket"),
        ];
        lines.extend([("sec-websocket-version", "13"), ("sec-websocket-key", KEY)]);
        lines.extend(
            protocols
                .iter()
                .map(|name| ("sec-websocket-protocol", *name)),
        );
        let got = accept(kind, &headers(&lines));
        if let Ok(upgrade) = &got {
            // The example of RFC 6455, section 1.3.
            assert_eq!(
                upgrade.response[SEC_WEBSOCKET_ACCEPT],
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
            );
        }
        check(got, &SEC_WEBSOCKET_PROTOCOL, want);
    }

    #[track_caller]
    fn check(
        got: Result<Upgrade, UpgradeError>,
        named: &HeaderName,
        want: Option<(Transport, &str)>,
    ) {
        match (got, want) {
            (Ok(upgrade), Some((transport, name))) => {
                assert_eq!(upgrade.transport, transport);
                let said = upgrade
                    .response
                    .get(named)
                    .map(|said| said.to_str().unwrap());
                assert_eq!(said.unwrap_or_default(), name);
                assert_eq!(upgrade.response[CONNECTION], "Upgrade");
            }
            (Err(err), None) => {
                assert_eq!(err.code(), StatusCode::FORBIDDEN);
                assert!(err.headers().get_all(ACCEPTED).iter().count() > 0);
            }
            (got, want) => panic!("{got:?}, not {want:?}"),
        }
    }

    #[test]
    fn what_clients_ask_for() {
        use Kind::{Command, Forward};
        let v4 = "v4.channel.k8s.io";
        let old = [
            v4,
            "v3.channel.k8s.io",
            "v2.channel.k8s.io",
            "channel.k8s.io",
        ];
        spdy(Command, &old, Some((Transport::Spdy(4), v4)));
        spdy(
            Command,
            &["channel.k8s.io, v2.channel.k8s.io"],
            Some((Transport::Spdy(2), "v2.channel.k8s.io")),
        );
        spdy(Command, &[], Some((Transport::Spdy(1), "")));
        spdy(Command, &["v9.channel.k8s.io"], None);
        spdy(Forward, &[FORWARD], Some((Transport::Spdy(0), FORWARD)));
        spdy(Forward, &[v4], None);
        socket(
            Command,
            &["v5.channel.k8s.io"],
            Some((codec(5, false), "v5.channel.k8s.io")),
        );
        socket(
            Command,
            &["v4.channel.k8s.io,v5.channel.k8s.io"],
            Some((codec(4, false), v4)),
        );
        socket(
            Command,
            &["v9.channel.k8s.io", "v4.base64.channel.k8s.io"],
            Some((codec(4, true), "v4.base64.channel.k8s.io")),
        );
        socket(Command, &[], Some((codec(1, false), "")));
        socket(Command, &["chat"], None);
        socket(Command, &[TUNNEL], None);
        socket(Forward, &[TUNNEL], Some((Transport::Tunnel, TUNNEL)));
        socket(Forward, &[v4], Some((codec(4, false), v4)));
    }

    #[test]
    fn what_is_no_hand_shake() {
        let check = |lines: &[(&str, &str)], want: UpgradeError| {
            assert_eq!(
                accept(Kind::Command, &headers(lines)),
                Err(want.clone()),
                "{lines:?}"
            );
            assert_eq!(want.code(), StatusCode::BAD_REQUEST);
        };
        check(&[], UpgradeError::NotAsked);
        check(&[("upgrade", "websocket")], UpgradeError::NotAsked);
        check(
            &[("connection", "upgrade"), ("upgrade", "h2c")],
            UpgradeError::NotAsked,
        );
        let web = [("connection", "upgrade"), ("upgrade", "websocket")];
        check(&web, UpgradeError::HandShake);
        check(
            &[
                web[0],
                web[1],
                ("sec-websocket-version", "8"),
                ("sec-websocket-key", KEY),
            ],
            UpgradeError::HandShake,
        );
        check(
            &[
                web[0],
                web[1],
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "x"),
            ],
            UpgradeError::HandShake,
        );
    }
}

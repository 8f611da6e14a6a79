//! Paths of 2014.
use super::answer;
use axum::body::Body;
use http::{Method, Response, StatusCode, Uri};
use rkube_api::v1beta1::table::{Kind, Version};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// One object.
    Get,
    /// All of them.
    List,
    /// A new one.
    Create,
    /// Another state of one.
    Update,
    /// One goes.
    Delete,
    /// Changes.
    Watch,
    /// Where it is.
    Redirect,
    /// To it, with this path.
    Proxy(String),
    /// What is being done.
    Operations,
    /// What came of it.
    Operation(String),
}

/// A request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// In which version.
    pub version: Version,
    /// What is to be done.
    pub action: Action,
    /// With what.
    pub kind: Kind,
    /// With which; empty for all.
    pub id: String,
    /// The query.
    pub query: Vec<(String, String)>,
}

impl Asked {
    /// A query parameter that says something.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

/// A path or method that there is not; 2014 said so in plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// 404
    NotFound,
    /// 405
    Method,
}

impl Refused {
    pub(super) fn answer(self, uri: &Uri) -> Response<Body> {
        match self {
            Refused::NotFound => {
                let shown: String = uri.path().chars().take(200).collect();
                answer::text(StatusCode::NOT_FOUND, format!("Not Found: {shown:?}"))
            }
            Refused::Method => {
                let said = "405: Method Not Allowed".to_owned();
                answer::text(StatusCode::METHOD_NOT_ALLOWED, said)
            }
        }
    }
}

/// Reads a method and what follows `/api/v1beta1/`.
///
/// # Errors
/// There is no such thing.
pub fn parse(
    method: &Method,
    rest: &str,
    version: Version,
    query: &[(String, String)],
) -> Result<Asked, Refused> {
    let known = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
    let segments: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    let asked = |action, kind, id: &str| {
        let id = decoded(id).ok_or(Refused::NotFound)?;
        Ok(Asked {
            version,
            action,
            kind,
            id,
            query: query.to_vec(),
        })
    };
    let kind = |word: &str| Kind::of_resource(word).ok_or(Refused::NotFound);
    let placed = |word: &str| {
        let kind = kind(word)?;
        let can = matches!(kind, Kind::Service | Kind::Minion);
        can.then_some(kind).ok_or(Refused::NotFound)
    };
    let read_only = |action, kind, id: &str| match *method {
        Method::GET => asked(action, kind, id),
        _ => Err(Refused::Method),
    };
    match segments.as_slice() {
        ["operations"] => read_only(Action::Operations, Kind::Pod, ""),
        ["operations", id] => {
            let id = decoded(id).ok_or(Refused::NotFound)?;
            read_only(Action::Operation(id), Kind::Pod, "")
        }
        ["watch", word, ..] => match kind(word)? {
            Kind::Binding => Err(Refused::NotFound),
            kind => read_only(Action::Watch, kind, ""),
        },
        ["redirect", word, id] => read_only(Action::Redirect, placed(word)?, id),
        ["proxy", word, id, ..] => {
            let kind = placed(word)?;
            // The path goes on as it came: a slash at its end means something to the one behind.
            let after = rest.splitn(4, '/').nth(3).unwrap_or_default();
            asked(Action::Proxy(after.to_owned()), kind, id)
        }
        [_] | [_, _] if !known.contains(method) => Err(Refused::Method),
        [word] => match (kind(word)?, method.as_str()) {
            (Kind::Binding, "POST") => asked(Action::Create, Kind::Binding, ""),
            (Kind::Binding, _) => Err(Refused::Method),
            (kind, "GET") => asked(Action::List, kind, ""),
            (kind, "POST") => asked(Action::Create, kind, ""),
            _ => Err(Refused::Method),
        },
        [word, id] => match (kind(word)?, method.as_str()) {
            (Kind::Binding, _) => Err(Refused::NotFound),
            (kind, "GET") => asked(Action::Get, kind, id),
            (kind, "PUT") => asked(Action::Update, kind, id),
            (kind, "DELETE") => asked(Action::Delete, kind, id),
            _ => Err(Refused::Method),
        },
        _ => Err(Refused::NotFound),
    }
}

/// A segment without its escapes; none where they hide a path.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    let text = String::from_utf8(bytes).ok()?;
    let sound = !text.contains(['/', '\\'])
        && !text.chars().any(char::is_control)
        && text != "."
        && text != "..";
    sound.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let read = |method: &str, rest: &str| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            parse(&method, rest, Version::V1beta1, &[])
                .map(|asked| (asked.action, asked.kind, asked.id))
        };
        let id = "x".to_owned();
        let none = String::new();
        let proxy = |rest: &str| Action::Proxy(rest.to_owned());
        let cases = [
            ("GET", "pods", Ok((Action::List, Kind::Pod, none.clone()))),
            ("GET", "pods/", Ok((Action::List, Kind::Pod, none.clone()))),
            ("GET", "pods/x", Ok((Action::Get, Kind::Pod, id.clone()))),
            (
                "PUT",
                "minions/x",
                Ok((Action::Update, Kind::Minion, id.clone())),
            ),
            (
                "POST",
                "bindings",
                Ok((Action::Create, Kind::Binding, none.clone())),
            ),
            (
                "GET",
                "watch/pods/foo",
                Ok((Action::Watch, Kind::Pod, none.clone())),
            ),
            (
                "GET",
                "redirect/services/x",
                Ok((Action::Redirect, Kind::Service, id.clone())),
            ),
            (
                "POST",
                "proxy/minions/x/a//b/",
                Ok((proxy("a//b/"), Kind::Minion, id.clone())),
            ),
            (
                "GET",
                "proxy/services/x",
                Ok((proxy(""), Kind::Service, id)),
            ),
            ("GET", "replicationcontrollers", Err(Refused::NotFound)),
            ("GET", "pods/x/y", Err(Refused::NotFound)),
            ("GET", "pods/..", Err(Refused::NotFound)),
            ("GET", "pods/%2e%2e", Err(Refused::NotFound)),
            ("GET", "pods/a%2fb", Err(Refused::NotFound)),
            ("GET", "pods/%zz", Err(Refused::NotFound)),
            ("GET", "", Err(Refused::NotFound)),
            ("GET", "proxy/pods/x", Err(Refused::NotFound)),
            ("GET", "watch/bindings", Err(Refused::NotFound)),
            ("GET", "bindings", Err(Refused::Method)),
            ("GET", "bindings/x", Err(Refused::NotFound)),
            ("PATCH", "pods/x", Err(Refused::Method)),
            ("DELETE", "pods", Err(Refused::Method)),
            ("POST", "pods/x", Err(Refused::Method)),
            ("POST", "operations", Err(Refused::Method)),
        ];
        for (method, rest, want) in cases {
            assert_eq!(read(method, rest), want, "{method} {rest}");
        }
    }
}

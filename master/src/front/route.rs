//! What a path and a method ask for.
//!
//! The same rules as those of Kubernetes' own server (k8s.io/apiserver, `pkg/endpoints/request`), and nothing by guess:
//! a path with tricks in it (empty or dotted segments, slashes that are escaped) names nothing.
use crate::call::{Call, User, Verb};
use http::{HeaderMap, Method, Uri};

/// The longest path that is looked at.
const LONGEST: usize = 8 * 1024;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Pages that are no resources: `/healthz`, `/version`, `/api`, `/openapi/v3`; their path.
    Page(String),
    /// Resources of v1 and of groups.
    Resource(Box<Target>),
    /// 2014's API: everything below `/api/v1beta1` and `/api/v1beta2`.
    Old {
        /// `v1beta1` or `v1beta2`.
        version: &'static str,
        /// What follows it, without a slash in front.
        rest: String,
    },
}

/// The resource that a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The API group; empty for the core.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Empty where all of the version are meant: nothing but discovery asks for that.
    pub resource: String,
    /// `status`, or nothing.
    pub subresource: String,
    /// The namespace, or nothing.
    pub namespace: String,
    /// The name, or nothing.
    pub name: String,
    /// What follows the subresource.
    pub rest: String,
    /// The path said so (`/api/v1/watch/pods`), as it did of old.
    pub watch: bool,
}

/// A path that names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// 400.
    #[error("the path has a segment that is empty, dotted or not readable")]
    Tricks,
    /// 404.
    #[error("nothing is there")]
    Nothing,
    /// 414.
    #[error("the path is too long")]
    TooLong,
}

/// Reads a path; `prefix` is what the API is below: `/api`.
///
/// # Errors
/// A path that names nothing.
pub fn route(path: &str, prefix: &str) -> Result<Route, PathError> {
    if path.len() > LONGEST {
        return Err(PathError::TooLong);
    }
    if let Some(rest) = path.strip_prefix(prefix)
        && let Some(rest) = rest.strip_prefix('/')
    {
        for version in ["v1beta1", "v1beta2"] {
            match rest.strip_prefix(version) {
                Some("") => return old(version, ""),
                Some(rest) if rest.starts_with('/') => return old(version, &rest[1..]),
                Some(_) | None => {}
            }
        }
        if let Some(rest) = rest.strip_prefix("v1/") {
            return Ok(Route::Resource(Box::new(resource(None, "v1", rest)?)));
        }
    } else if let Some(rest) = path.strip_prefix("/apis/")
        && let Some((group, rest)) = rest.split_once('/')
        && let Some((version, rest)) = rest.split_once('/')
        && !rest.is_empty()
    {
        return Ok(Route::Resource(Box::new(resource(
            Some(group),
            version,
            rest,
        )?)));
    }
    segments(path.trim_start_matches('/').trim_end_matches('/'))?;
    Ok(Route::Page(path.to_owned()))
}

fn old(version: &'static str, rest: &str) -> Result<Route, PathError> {
    let rest = rest.to_owned();
    Ok(Route::Old { version, rest })
}

/// Segments, each decoded and sound.
fn segments(path: &str) -> Result<Vec<String>, PathError> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    path.split('/').map(segment).collect()
}

fn segment(raw: &str) -> Result<String, PathError> {
    let text = decode(raw).ok_or(PathError::Tricks)?;
    let tricky = text.is_empty()
        || text == "."
        || text == ".."
        || text.contains(['/', '%', '\\'])
        || text.chars().any(char::is_control);
    match tricky {
        true => Err(PathError::Tricks),
        false => Ok(text),
    }
}

/// Percent-decoding; none where the text is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, more)) = rest.split_first() {
        rest = more;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = rest
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok())?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = rest.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

/// What follows group and version; the core is no group.
fn resource(group: Option<&str>, version: &str, path: &str) -> Result<Target, PathError> {
    let mut target = Target {
        version: segment(version)?,
        ..Target::default()
    };
    if let Some(group) = group {
        target.group = segment(group)?;
    }
    // What is behind `proxy/` belongs to somebody else, who may have names of any kind.
    let (path, rest) = behind_proxy(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut parts: std::collections::VecDeque<String> = segments(path)?.into();
    let mut next = || parts.pop_front().unwrap_or_default();
    let mut first = next();
    if first == "watch" {
        target.watch = true;
        first = next();
    }
    let mut second = next();
    let third = next();
    if first == "namespaces" && !third.is_empty() && !is_of_namespaces(&third) {
        target.namespace = second;
        first = third;
        second = next();
        target.subresource = next();
    } else {
        target.subresource = third;
    }
    target.resource = first;
    target.name = second;
    target.rest = rest.unwrap_or_default();
    let more = next();
    match target.resource.is_empty() || !more.is_empty() {
        true => Err(PathError::Nothing),
        false => Ok(target),
    }
}

/// Subresources of namespaces themselves; everything else there is in the namespace.
fn is_of_namespaces(segment: &str) -> bool {
    matches!(segment, "status" | "finalize")
}

/// `pods/web/proxy/a/b` as `pods/web/proxy` and `a/b`, decoded.
fn behind_proxy(path: &str) -> (&str, Option<String>) {
    // `nodes/n1/proxy`, or `namespaces/default/pods/web/proxy`.
    let at = if path.starts_with("namespaces/") {
        4
    } else {
        2
    };
    let mut from = 0;
    for (index, part) in path.split('/').enumerate() {
        from += part.len() + 1;
        if part == "proxy" && index == at {
            let rest = path.get(from..).and_then(decode);
            return (path.get(..from - 1).unwrap_or(path), rest);
        }
    }
    (path, None)
}

/// A query's parameters in order, decoded; `None` where it cannot be read.
#[must_use]
pub fn query(uri: &Uri) -> Option<Vec<(String, String)>> {
    let text = uri.query().unwrap_or_default();
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let plain = |text: &str| decode(&text.replace('+', " "));
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((plain(key)?, plain(value)?))
        })
        .collect()
}

/// The call that a target, a method and a query make; `None` for a method that means nothing there.
#[must_use]
pub fn call(
    target: Target,
    method: &Method,
    query: Vec<(String, String)>,
    headers: &HeaderMap,
    user: User,
) -> Option<Call> {
    let named = !target.name.is_empty();
    let asked = |key: &str| {
        let values = query.iter().filter(|(name, _)| name == key);
        let mut values = values.map(|(_, value)| value.as_str());
        values
            .next()
            .is_some_and(|value| matches!(value, "" | "1" | "t" | "T" | "true" | "True" | "TRUE"))
    };
    let collection = !named && target.subresource.is_empty();
    let verb = match *method {
        Method::GET | Method::HEAD if target.watch => Verb::Watch,
        Method::GET | Method::HEAD if !collection => Verb::Get,
        Method::GET | Method::HEAD if asked("watch") => Verb::Watch,
        Method::GET | Method::HEAD => Verb::List,
        // A collection is not written as a whole, and an object is made in its collection.
        Method::PUT | Method::PATCH if collection => return None,
        Method::POST if named && target.subresource.is_empty() => return None,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if collection => Verb::DeleteCollection,
        Method::DELETE => Verb::Delete,
        _ => return None,
    };
    let mut call = Call {
        user,
        verb,
        group: target.group,
        version: target.version,
        resource: target.resource,
        subresource: target.subresource,
        namespace: target.namespace,
        name: target.name,
        rest: target.rest,
        query,
        headers: headers.clone(),
    };
    if verb == Verb::Watch && named {
        // `/api/v1/watch/namespaces/default/pods/web`, as it was once asked for.
        let one = format!("metadata.name={}", call.name);
        call.query.retain(|(key, _)| key != "fieldSelector");
        call.query.push(("fieldSelector".to_owned(), one));
        call.name = String::new();
    }
    Some(call)
}

#[cfg(test)]
mod tests;

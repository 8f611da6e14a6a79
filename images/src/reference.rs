//! Image references: what people write after `image:`, and what it means.
//!
//! ```text
//! nginx                          docker.io/library/nginx:latest
//! quay.io/a/b:1.2                quay.io/a/b:1.2
//! host:5000/x@sha256:<64 hex>    host:5000/x@sha256:<64 hex>
//! ```
//! Parsing is pure. Which host answers for a registry is decided by [`crate::config`], not here.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The registry of names that do not say which.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of names that have neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// The folder on docker.io that holds names without one.
const OFFICIAL: &str = "library/";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
const MAX_SHOWN: usize = 80;

/// A complete image reference: registry, repository, and a tag, a digest or both.
///
/// `Display` writes the canonical form, which parses back to the same value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Host name of the registry, with its port if one was given: `docker.io`, `localhost:5000`.
    pub registry: String,
    /// Path below the registry: `library/nginx`.
    pub repository: String,
    /// Tag; absent only when there is a digest.
    pub tag: Option<String>,
    /// Digest of the manifest. When present it decides what is pulled, whatever the tag says.
    pub digest: Option<Digest>,
}

/// Why a text is no image reference, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("image name is empty: write a name such as nginx:1.27")]
    Empty,
    /// White space or control characters.
    #[error("image name \"{name}\" contains a space or control character: remove it")]
    Space {
        /// The text given.
        name: String,
    },
    /// A URL instead of a name.
    #[error("image name \"{name}\" is a URL: write it without the scheme, \"{instead}\"")]
    Scheme {
        /// The text given.
        name: String,
        /// The same without its scheme.
        instead: String,
    },
    /// Upper case in the repository.
    #[error("image name \"{name}\" has upper-case letters: write \"{instead}\"")]
    UpperCase {
        /// The text given.
        name: String,
        /// The same in lower case.
        instead: String,
    },
    /// The part before the first slash is not a host name.
    #[error(
        "image name \"{name}\": \"{registry}\" is not a registry host: write host or host:port"
    )]
    Registry {
        /// The text given.
        name: String,
        /// The part at fault.
        registry: String,
    },
    /// The repository has characters or separators it must not have.
    #[error(
        "image name \"{name}\": \"{part}\" is not a valid path part: use lower-case letters and \
         digits, with single '.', '_', '__' or '-' between them"
    )]
    Repository {
        /// The text given.
        name: String,
        /// The part at fault.
        part: String,
    },
    /// 64 hexadecimal digits, which registries reserve for image ids.
    #[error("\"{name}\" is an image id, not a name: write a name, or NAME@sha256:{name}")]
    HexName {
        /// The text given.
        name: String,
    },
    /// The tag is malformed.
    #[error(
        "image name \"{name}\": bad tag \"{tag}\": use up to 128 letters, digits, '_', '.' and \
         '-', not starting with '.' or '-'"
    )]
    Tag {
        /// The text given.
        name: String,
        /// The tag at fault.
        tag: String,
    },
    /// The digest is malformed.
    #[error("image name \"{name}\": bad digest \"{digest}\": write sha256: and 64 hex digits")]
    Digest {
        /// The text given.
        name: String,
        /// The digest at fault.
        digest: String,
    },
    /// The name is longer than registries accept.
    #[error("image name \"{name}\" has {len} characters: at most {MAX_NAME} are allowed")]
    TooLong {
        /// The beginning of the text given.
        name: String,
        /// Its length.
        len: usize,
    },
}

impl Reference {
    /// Reads a reference as Docker users write it; names without a registry are on docker.io.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Self::parse_in(text, DEFAULT_REGISTRY)
    }

    /// Like [`Reference::parse`], for a host whose default registry is another one.
    pub fn parse_in(text: &str, default_registry: &str) -> Result<Self, ReferenceError> {
        refuse_what_is_no_name(text)?;
        let shown = || shorten(text);
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let parsed = digest.parse().map_err(|_| ReferenceError::Digest {
                    name: shown(),
                    digest: shorten(digest),
                })?;
                (rest, Some(parsed))
            }
        };
        let (name, tag) = split_tag(rest);
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag {
                name: shown(),
                tag: shorten(tag),
            });
        }
        let (registry, path) = split_registry(name);
        if let Some(registry) = registry.filter(|host| !is_registry(host)) {
            return Err(ReferenceError::Registry {
                name: shown(),
                registry: shorten(registry),
            });
        }
        check_repository(text, name, path, registry.is_some())?;

        let registry = normal_registry(registry.unwrap_or(default_registry));
        let repository = match registry == DEFAULT_REGISTRY && !path.contains('/') {
            true => format!("{OFFICIAL}{path}"),
            false => path.to_owned(),
        };
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(ReferenceError::TooLong {
                name: shown(),
                len: name.len(),
            });
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_TAG.to_owned()),
        };
        Ok(Self {
            registry,
            repository,
            tag,
            digest,
        })
    }

    /// The short form people write: `nginx:1.27` for `docker.io/library/nginx:1.27`.
    pub fn familiar(&self) -> String {
        let suffix = self.suffix();
        if self.registry != DEFAULT_REGISTRY {
            return format!("{}/{}{suffix}", self.registry, self.repository);
        }
        let path = self
            .repository
            .strip_prefix(OFFICIAL)
            .unwrap_or(&self.repository);
        let plain = match path.split_once('/') {
            // Without its registry `a.b/c` would read as host `a.b`.
            Some((first, _)) => !looks_like_host(first),
            None => true,
        };
        match plain && !(path.contains('/') && self.repository.starts_with(OFFICIAL)) {
            true => format!("{path}{suffix}"),
            false => self.to_string(),
        }
    }

    /// The name without tag and digest: `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What to ask the registry for: the digest if there is one, else the tag.
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    fn suffix(&self) -> String {
        let mut out = String::new();
        if let Some(tag) = &self.tag {
            out.push(':');
            out.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            out.push('@');
            out.push_str(&digest.to_string());
        }
        out
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, self.suffix())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// True for hosts that are this machine: `localhost`, 127/8 and `[::1]`, with or without a port.
pub fn is_loopback(registry: &str) -> bool {
    let host = match registry.parse::<std::net::Ipv6Addr>() {
        Ok(_) => registry,
        Err(_) => host_of(registry),
    };
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    host.parse::<std::net::IpAddr>()
        .is_ok_and(|addr| addr.is_loopback())
}

/// `host` of `host:port`, without the brackets of an IPv6 address.
fn host_of(registry: &str) -> &str {
    if let Some((host, _)) = registry
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return host;
    }
    registry.split_once(':').map_or(registry, |(host, _)| host)
}

fn refuse_what_is_no_name(text: &str) -> Result<(), ReferenceError> {
    if text.is_empty() {
        return Err(ReferenceError::Empty);
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(ReferenceError::Space {
            name: shorten(text),
        });
    }
    if let Some((_, rest)) = text.split_once("://") {
        let instead = shorten(rest.trim_end_matches('/'));
        return Err(ReferenceError::Scheme {
            name: shorten(text),
            instead,
        });
    }
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ReferenceError::HexName {
            name: text.to_ascii_lowercase(),
        });
    }
    Ok(())
}

/// Splits `name:tag`; a colon before the last slash belongs to the registry's port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest)) if looks_like_host(first) => (Some(first), rest),
        _ => (None, name),
    }
}

/// Docker's rule for the first part: a dot, a colon or `localhost` make it a host.
///
/// Docker also takes any upper-case letter for one; that only hides a typing mistake.
fn looks_like_host(first: &str) -> bool {
    first.contains(['.', ':']) || first.eq_ignore_ascii_case("localhost")
}

fn normal_registry(registry: &str) -> String {
    let registry = registry.to_ascii_lowercase();
    match registry.as_str() {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY.to_owned(),
        _ => registry,
    }
}

/// True for `host`, `host:port`, `1.2.3.4:port` and `[::1]:port`.
pub(crate) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => {
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match (rest.is_empty(), rest.strip_prefix(':')) {
                (true, _) => return true,
                (false, port) => ("v6", port),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("1")),
        },
    };
    let port = port.is_some_and(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    port && host.split('.').all(is_host_label)
}

fn is_host_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn check_repository(
    text: &str,
    name: &str,
    path: &str,
    has_registry: bool,
) -> Result<(), ReferenceError> {
    if name.is_empty() {
        return Err(ReferenceError::Empty);
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        let lower = path.to_ascii_lowercase();
        let at = name.len() - path.len();
        let instead = format!("{}{lower}{}", &text[..at], &text[name.len()..]);
        return Err(ReferenceError::UpperCase {
            name: shorten(text),
            instead: shorten(&instead),
        });
    }
    let bad = path.split('/').find(|part| !is_path_part(part));
    match bad {
        Some(part) => Err(ReferenceError::Repository {
            name: shorten(text),
            part: shorten(part),
        }),
        None if !has_registry
            && path.len() == 64
            && path.bytes().all(|b| b.is_ascii_hexdigit()) =>
        {
            Err(ReferenceError::HexName {
                name: path.to_owned(),
            })
        }
        None => Ok(()),
    }
}

/// Lower-case alphanumerics with `.`, `_`, `__` or dashes between them.
fn is_path_part(part: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    part.bytes().next().is_some_and(is_word)
        && part.bytes().last().is_some_and(is_word)
        && separators
            .into_iter()
            .all(|sep| matches!(sep, "" | "." | "_" | "__") || sep.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !tag.is_empty()
        && tag.len() <= MAX_TAG
        && tag.bytes().all(inner)
        && !tag.starts_with(['.', '-'])
}

/// The text as an error may show it: no control characters, not too long.
fn shorten(text: &str) -> String {
    let mut out: String = text.escape_debug().take(MAX_SHOWN).collect();
    if text.chars().count() > MAX_SHOWN {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests;

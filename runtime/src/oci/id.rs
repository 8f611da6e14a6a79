//! Container ids: the one part of the command line that becomes a path.
use std::fmt;
use std::str::FromStr;

/// The longest id that is a file name on every file system.
const MAX_BYTES: usize = 255;

/// A checked container id: `[A-Za-z0-9_+.-]+`, not starting with a dot.
///
/// Names that start with a dot belong to the runtime's own files in the state directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ContainerId(String);

/// Why a string is no container id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum IdError {
    /// The id is the empty string.
    #[error("the container id is empty")]
    Empty,
    /// The id has more than 255 bytes.
    #[error("the container id is {length} bytes long: at most {MAX_BYTES} are allowed")]
    Long {
        /// The length that was given.
        length: usize,
    },
    /// The id holds a character that is not allowed.
    #[error("invalid container id {id:?}: use letters, digits and _ + - . only, no leading dot")]
    Invalid {
        /// The id as given.
        id: String,
    },
}

impl FromStr for ContainerId {
    type Err = IdError;

    fn from_str(id: &str) -> Result<ContainerId, IdError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        if id.is_empty() {
            return Err(IdError::Empty);
        }
        if id.len() > MAX_BYTES {
            return Err(IdError::Long { length: id.len() });
        }
        if id.starts_with('.') || !id.bytes().all(allowed) {
            return Err(IdError::Invalid { id: id.to_owned() });
        }
        Ok(ContainerId(id.to_owned()))
    }
}

impl ContainerId {
    /// The id as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names_without_surprises() {
        for good in ["a", "web-1", "0_1+2.3", "x..y", "-dash", &"a".repeat(255)] {
            assert_eq!(good.parse::<ContainerId>().unwrap().as_str(), good);
        }
        for bad in [".", "..", ".seccomp", "a/b", "a b", "a\n", "é", "a\0"] {
            let want = IdError::Invalid { id: bad.to_owned() };
            assert_eq!(bad.parse::<ContainerId>(), Err(want));
        }
        assert_eq!("".parse::<ContainerId>(), Err(IdError::Empty));
        let long = "a".repeat(256).parse::<ContainerId>();
        assert_eq!(long, Err(IdError::Long { length: 256 }));
    }
}

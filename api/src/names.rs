//! The forms names may have, each with the sentence that explains it.

/// A form of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A DNS label (RFC 1123): containers, volumes, host names, namespaces.
    Label,
    /// DNS labels joined by dots: pods, ConfigMaps, Secrets.
    Subdomain,
    /// The name of a container port (an IANA service name).
    PortName,
    /// An environment variable.
    EnvName,
    /// A key of a ConfigMap or Secret, which becomes a file name.
    ConfigKey,
    /// The key of a label or annotation: `[prefix/]name`.
    LabelKey,
    /// The value of a label.
    LabelValue,
}

impl Form {
    /// What is wrong with `name`, or `None` if it has this form.
    #[must_use]
    pub fn problem(self, name: &str) -> Option<String> {
        if self != Self::LabelValue && name.is_empty() {
            return Some("required value".to_owned());
        }
        let most = self.longest();
        if name.len() > most {
            return Some(format!(
                "{} characters long, at most {most} are allowed",
                name.len()
            ));
        }
        (!self.matches(name)).then(|| format!("invalid value {name:?}: must be {}", self.rule()))
    }

    fn longest(self) -> usize {
        match self {
            Self::Label | Self::LabelValue => 63,
            Self::Subdomain | Self::ConfigKey => 253,
            Self::PortName => 15,
            Self::LabelKey => 253 + 1 + 63,
            Self::EnvName => 4096,
        }
    }

    fn matches(self, name: &str) -> bool {
        match self {
            Self::Label => is_label(name),
            Self::Subdomain => name.split('.').all(is_label),
            Self::PortName => {
                is_label(name)
                    && !name.contains("--")
                    && name.bytes().any(|byte| byte.is_ascii_lowercase())
            }
            // What Kubernetes accepts since 1.34: any printable ASCII but the separator itself.
            Self::EnvName => name
                .bytes()
                .all(|byte| (b' '..=b'~').contains(&byte) && byte != b'='),
            Self::ConfigKey => {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                name.bytes().all(allowed) && name != "." && !name.starts_with("..")
            }
            Self::LabelKey => match name.split_once('/') {
                Some((prefix, name)) => {
                    prefix.len() <= 253 && prefix.split('.').all(is_label) && is_qualified(name)
                }
                None => is_qualified(name),
            },
            Self::LabelValue => name.is_empty() || is_qualified(name),
        }
    }

    fn rule(self) -> &'static str {
        match self {
            Self::Label => {
                "lower-case letters, digits and '-', beginning and ending with a letter or digit"
            }
            Self::Subdomain => {
                "lower-case letters, digits, '-' and '.', each part beginning and ending with a letter or digit"
            }
            Self::PortName => {
                "lower-case letters, digits and single '-' with at least one letter, beginning and ending with a \
                 letter or digit"
            }
            Self::EnvName => "printable ASCII characters without '='",
            Self::ConfigKey => "letters, digits, '-', '_' and '.', and not begin with '..'",
            Self::LabelKey => {
                "an optional DNS name and '/', then up to 63 letters, digits, '-', '_' and '.', beginning and ending \
                 with a letter or digit"
            }
            Self::LabelValue => {
                "letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
            }
        }
    }
}

fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends = !name.starts_with('-') && !name.ends_with('-');
    !name.is_empty() && name.len() <= 63 && ends && name.bytes().all(inner)
}

fn is_qualified(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let bytes = name.as_bytes();
    let ends = end(bytes.first().copied()) && end(bytes.last().copied());
    name.len() <= 63 && ends && name.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(form: Form, good: &[&str], bad: &[&str]) {
        for name in good {
            assert_eq!(form.problem(name), None, "{form:?} {name:?}");
        }
        for name in bad {
            assert!(form.problem(name).is_some(), "{form:?} {name:?}");
        }
    }

    #[test]
    fn names_by_form() {
        let long = "a".repeat(64);
        check(
            Form::Label,
            &["a", "web-1", "0", &long[..63]],
            &["", "-a", "a-", "A", "a.b", "a_b", &long],
        );
        check(
            Form::Subdomain,
            &["a", "a.b", "web-1.example"],
            &[
                "",
                ".",
                "a.",
                ".a",
                "a..b",
                "Apache-Node",
                "a/b",
                &"a.".repeat(127),
            ],
        );
        check(
            Form::PortName,
            &["http", "a1", "1a", "http-alt"],
            &["", "123", "a--b", "-a", "sixteen-letters-x", "HTTP"],
        );
        check(
            Form::EnvName,
            &["A", "a.b", "my-var", "1"],
            &["", "A=B", "A\n", "Ä"],
        );
        check(
            Form::ConfigKey,
            &["a", "my.conf", ".hidden", "A_b-c"],
            &["", ".", "..", "..data", "a/b", "a b"],
        );
        check(
            Form::LabelKey,
            &["app", "app.kubernetes.io/name", "A_b"],
            &["", "/a", "a/", "a/b/c", "UPPER.io/x", "-a", &long],
        );
        check(
            Form::LabelValue,
            &["", "v1", "A.b_c-d"],
            &["-", "a b", "a/b", &long],
        );
    }
}

//! The forms names may have, each with the sentence that explains it.

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
     and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SERVICE_NAME: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
     alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
     must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const PORT_NAME: &str = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
const ENV_NAME: &str = "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
     'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
     alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
     must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
     validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// A form of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A DNS label (RFC 1123): containers, volumes, host names, namespaces.
    Label,
    /// A DNS label that begins with a letter (RFC 1035): services.
    ServiceName,
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

    /// What is wrong with `name` in the words of Kubernetes' own servers (k8s.io/apimachinery, `util/validation`).
    #[must_use]
    pub fn kubernetes(self, name: &str) -> Option<String> {
        self.problem(name)?;
        Some(match self {
            Self::LabelKey => qualified(name),
            Self::PortName => port_name(name).to_owned(),
            _ if name.len() > self.longest() => {
                format!("must be no more than {} bytes", self.longest())
            }
            Self::ConfigKey if name == "." => "must not be '.'".to_owned(),
            Self::ConfigKey if name == ".." => "must not be '..'".to_owned(),
            Self::ConfigKey if name.starts_with("..") => "must not start with '..'".to_owned(),
            _ => self.sentence().to_owned(),
        })
    }

    /// The rule as Kubernetes' servers tell it.
    fn sentence(self) -> &'static str {
        match self {
            Self::Label => LABEL,
            Self::ServiceName => SERVICE_NAME,
            Self::Subdomain => SUBDOMAIN,
            Self::PortName => PORT_NAME,
            Self::EnvName => ENV_NAME,
            Self::ConfigKey => CONFIG_KEY,
            Self::LabelKey => NAME_PART,
            Self::LabelValue => LABEL_VALUE,
        }
    }

    fn longest(self) -> usize {
        match self {
            Self::Label | Self::ServiceName | Self::LabelValue => 63,
            Self::Subdomain | Self::ConfigKey => 253,
            Self::PortName => 15,
            Self::LabelKey => 253 + 1 + 63,
            Self::EnvName => 4096,
        }
    }

    fn matches(self, name: &str) -> bool {
        match self {
            Self::Label => is_label(name),
            Self::ServiceName => {
                is_label(name) && name.starts_with(|first: char| first.is_ascii_lowercase())
            }
            // As in Kubernetes, the parts may be as long as the whole.
            Self::Subdomain => name.split('.').all(is_part),
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
                    prefix.len() <= 253 && prefix.split('.').all(is_part) && is_qualified(name)
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
            Self::ServiceName => {
                "lower-case letters, digits and '-', beginning with a letter and ending with a letter or digit"
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

/// What is wrong with a key of labels, in Kubernetes' words.
fn qualified(key: &str) -> String {
    let name = match key.split_once('/') {
        None => key,
        Some(("", _)) => return "prefix part must be non-empty".to_owned(),
        Some((prefix, _)) if prefix.len() > 253 => {
            return "prefix part must be no more than 253 bytes".to_owned();
        }
        Some((prefix, _)) if !prefix.split('.').all(is_part) => {
            return format!("prefix part {SUBDOMAIN}");
        }
        Some((_, name)) => name,
    };
    if name.is_empty() {
        "name part must be non-empty".to_owned()
    } else if name.contains('/') {
        format!(
            "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
            NAME_PART.trim_start_matches("name part ")
        )
    } else if name.len() > 63 {
        "name part must be no more than 63 bytes".to_owned()
    } else {
        NAME_PART.to_owned()
    }
}

/// What is wrong with the name of a port, in Kubernetes' words.
fn port_name(name: &str) -> &'static str {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.len() > 15 {
        "must be no more than 15 characters"
    } else if !name.bytes().all(plain) {
        PORT_NAME
    } else if !name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        "must contain at least one letter (a-z)"
    } else if name.contains("--") {
        "must not contain consecutive hyphens"
    } else {
        "must not begin or end with a hyphen"
    }
}

fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_part(name)
}

/// A label of whatever length.
fn is_part(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends = !name.starts_with('-') && !name.ends_with('-');
    !name.is_empty() && ends && name.bytes().all(inner)
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

//! `WWW-Authenticate`: what a registry wants before it answers. Pure.

/// One challenge that we can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Fetch a token from a server, then come back with it.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
    /// User and password with each request.
    Basic,
}

/// Picks the best challenge from all header values: a token before a password.
pub(super) fn choose<'a>(values: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<Scheme> = values.flat_map(parse).collect();
    let bearer = all
        .iter()
        .filter(|scheme| scheme.name == "bearer")
        .find_map(|scheme| {
            Some(Challenge::Bearer {
                realm: scheme.get("realm")?,
                service: scheme.get("service"),
                scope: scheme.get("scope"),
            })
        });
    bearer.or_else(|| {
        all.iter()
            .any(|s| s.name == "basic")
            .then_some(Challenge::Basic)
    })
}

struct Scheme {
    name: String,
    params: Vec<(String, String)>,
}

impl Scheme {
    fn get(&self, name: &str) -> Option<String> {
        let hit = self.params.iter().find(|(key, _)| key == name);
        hit.map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    }
}

/// Splits a header value into schemes with their parameters; garbage is passed over.
fn parse(value: &str) -> Vec<Scheme> {
    let mut schemes: Vec<Scheme> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        if rest.is_empty() {
            return schemes;
        }
        let end = rest.find(|c: char| c == '=' || c == ',' || c.is_ascii_whitespace());
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        let key = word.to_ascii_lowercase();
        match after.trim_start().strip_prefix('=') {
            // A token68 of some other scheme may start with '='; it has no name to keep.
            Some(text) => {
                let (value, tail) = parameter(text.trim_start());
                if let Some(scheme) = schemes.last_mut().filter(|_| !key.is_empty()) {
                    scheme.params.push((key, value));
                }
                rest = tail;
            }
            None => {
                schemes.push(Scheme {
                    name: key,
                    params: Vec::new(),
                });
                rest = after;
            }
        }
    }
}

/// One parameter value, quoted or not, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| c == ',' || c.is_ascii_whitespace())
            .unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(values: &[&str], want: impl Into<Option<Challenge>>) {
        let want = want.into();
        assert_eq!(choose(values.iter().copied()), want, "{values:?}");
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_are_read() {
        check(
            &[r#"Bearer realm="https://a/t",service="r",scope="repository:a/b:pull,push""#],
            bearer("https://a/t", Some("r"), Some("repository:a/b:pull,push")),
        );
        check(
            &["bearer realm=https://a/t , service=r"],
            bearer("https://a/t", Some("r"), None),
        );
        check(&[r#"Bearer realm = "x\"y""#], bearer("x\"y", None, None));
        check(&[r#"Basic realm="r""#], Some(Challenge::Basic));
        check(&["Basic"], Some(Challenge::Basic));
        check(
            &[r#"Basic realm="r", Bearer realm="t""#],
            bearer("t", None, None),
        );
        check(
            &[r#"Basic realm="r""#, r#"Bearer realm="t""#],
            bearer("t", None, None),
        );
        check(&["Negotiate abc=="], None);
        check(&["Bearer service=\"only\""], None);
        check(&["Bearer realm=\"unclosed"], bearer("unclosed", None, None));
        check(&[""], None);
        check(&[], None);
    }

    proptest! {
        #[test]
        fn no_header_panics_or_hangs(value in "[ -~]{0,80}") {
            let _choice = choose([value.as_str()].into_iter());
        }
    }
}

//! The query of a stream's request. Some words have two names, and some may stand several times.
use super::super::RequestError;
use axum::extract::Request;
use rkube_stream::remote::Want;

/// Words and values, in order.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(request: &Request) -> Result<Self, RequestError> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(request.uri());
        let pairs = pairs
            .map_err(|err| RequestError::bad_request(format!("cannot read the query: {err}")))?;
        Ok(Query(pairs.0))
    }

    /// All values of a word.
    fn all<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let named = self
            .0
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()));
        named.map(|(_, value)| value.as_str())
    }

    fn is(&self, names: &[&str]) -> bool {
        self.all(names)
            .any(|value| matches!(value, "1" | "true" | "True" | "TRUE" | "t" | "T"))
    }

    /// Which streams are wanted. A terminal has its errors among its output.
    pub(super) fn want(&self) -> Result<Want, RequestError> {
        let tty = self.is(&["tty"]);
        let want = Want {
            stdin: self.is(&["input", "stdin"]),
            stdout: self.is(&["output", "stdout"]),
            stderr: self.is(&["error", "stderr"]) && !tty,
            tty,
        };
        if want.stdin || want.stdout || want.stderr {
            Ok(want)
        } else {
            Err(RequestError::bad_request(
                "you must specify at least 1 of stdin, stdout, stderr",
            ))
        }
    }

    /// The command, a word for each `command`.
    pub(super) fn command(&self) -> Result<Vec<String>, RequestError> {
        let command: Vec<String> = self.all(&["command"]).map(str::to_owned).collect();
        match command.first() {
            Some(first) if !first.is_empty() => Ok(command),
            Some(_) | None => Err(RequestError::bad_request(
                "you must specify a command, as ?command=ls&command=-l",
            )),
        }
    }

    /// The command of `/run`: words between spaces.
    pub(super) fn cmd(&self) -> Result<Vec<String>, RequestError> {
        let cmd = self.all(&["cmd"]).next().unwrap_or_default();
        let words: Vec<String> = cmd
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        match words.is_empty() {
            false => Ok(words),
            true => Err(RequestError::bad_request(
                "you must specify a command, as ?cmd=ls+-l",
            )),
        }
    }

    /// The ports of a WebSocket's request.
    pub(super) fn ports(&self) -> Result<Vec<u16>, RequestError> {
        let words = self
            .all(&["ports", "port"])
            .flat_map(|value| value.split(','));
        words
            .map(|word| match word.trim().parse() {
                Ok(port @ 1..) => Ok(port),
                _ => Err(RequestError::bad_request(format!(
                    "\"{word}\" is not a port"
                ))),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(query: &str) -> Query {
        let request = Request::builder()
            .uri(format!("/x?{query}"))
            .body(axum::body::Body::empty());
        Query::of(&request.unwrap()).unwrap()
    }

    #[test]
    fn what_api_servers_and_people_say() {
        let want = |text: &str| {
            query(text)
                .want()
                .map(|want| (want.stdin, want.stdout, want.stderr, want.tty))
        };
        assert_eq!(
            want("output=1&error=1&command=ls"),
            Ok((false, true, true, false))
        );
        assert_eq!(
            want("stdin=true&stdout=true&stderr=true&tty=true"),
            Ok((true, true, false, true))
        );
        assert!(want("stdin=false&output=0").is_err());
        assert!(want("tty=1&error=1").is_err());
        assert_eq!(
            query("command=a&x=1&command=b+c&command=%00")
                .command()
                .unwrap(),
            ["a", "b c", "\0"]
        );
        assert!(query("command=").command().is_err() && query("").command().is_err());
        assert_eq!(query("cmd=a+b%20%20c").cmd().unwrap(), ["a", "b", "c"]);
        assert!(query("cmd=+").cmd().is_err());
        assert_eq!(query("ports=80,81&port=82").ports().unwrap(), [80, 81, 82]);
        assert_eq!(query("").ports().unwrap(), [0; 0]);
        for wrong in ["ports=0", "ports=http", "ports=65536", "port="] {
            assert!(query(wrong).ports().is_err(), "{wrong}");
        }
    }
}

//! What is asked for: the options of v1's PodLogOptions, and 2014's `tail`.
use crate::logs::Window;
use crate::server::request_error::RequestError;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// The query as it comes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Asked {
    follow: Option<String>,
    previous: Option<String>,
    timestamps: Option<String>,
    tail: Option<String>,
    tail_lines: Option<String>,
    since_seconds: Option<String>,
    since_time: Option<String>,
    limit_bytes: Option<String>,
    stream: Option<String>,
}

/// What it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Go on until the container is over.
    pub(super) follow: bool,
    /// The try before.
    pub(super) previous: bool,
    /// Each line begins with its time.
    pub(super) timestamps: bool,
    /// No more bytes than this.
    pub(super) limit: Option<u64>,
    /// Which lines.
    pub(super) window: Window,
}

impl Asked {
    /// # Errors
    /// 422 names what cannot be.
    pub(super) fn options(&self, now: Timestamp) -> Result<Options, RequestError> {
        let tail = number(
            "tailLines",
            self.tail_lines.as_ref().or(self.tail.as_ref()),
            -1,
        )?;
        let seconds = number("sinceSeconds", self.since_seconds.as_ref(), 1)?;
        let time = given(self.since_time.as_ref())
            .map(|text| {
                text.parse::<Timestamp>()
                    .map_err(|_| invalid(format!("sinceTime: \"{text}\" is no time such as {now}")))
            })
            .transpose()?;
        if seconds.is_some() && time.is_some() {
            return Err(invalid("sinceSeconds and sinceTime exclude each other"));
        }
        let since = seconds.map(|seconds| {
            now.checked_sub(SignedDuration::from_secs(seconds))
                .unwrap_or(Timestamp::MIN)
        });
        match given(self.stream.as_ref()) {
            None | Some("All") => {}
            Some(other) => {
                return Err(invalid(format!(
                    "stream: \"{other}\" is not supported; it is All"
                )));
            }
        }
        let options = Options {
            follow: flag("follow", self.follow.as_ref())?,
            previous: flag("previous", self.previous.as_ref())?,
            timestamps: flag("timestamps", self.timestamps.as_ref())?,
            limit: number("limitBytes", self.limit_bytes.as_ref(), 1)?
                .and_then(|limit| u64::try_from(limit).ok()),
            window: Window {
                // -1 is all, as kubectl has it.
                tail: tail.and_then(|tail| u64::try_from(tail).ok()),
                since: since.or(time),
            },
        };
        match options.follow && options.previous {
            true => Err(invalid(
                "nothing is written to a previous try: follow has no sense",
            )),
            false => Ok(options),
        }
    }
}

fn invalid(message: impl Into<String>) -> RequestError {
    RequestError::new(StatusCode::UNPROCESSABLE_ENTITY, message)
}

fn given(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|value| !value.is_empty())
}

fn number(name: &str, value: Option<&String>, least: i64) -> Result<Option<i64>, RequestError> {
    let Some(value) = given(value) else {
        return Ok(None);
    };
    match value.parse() {
        Ok(number) if number >= least => Ok(Some(number)),
        Ok(_) | Err(_) => Err(invalid(format!(
            "{name}: \"{value}\" is no number from {least} on"
        ))),
    }
}

/// `?follow`, `?follow=true`, `?follow=1`, as Go reads them.
fn flag(name: &str, value: Option<&String>) -> Result<bool, RequestError> {
    match value.map(String::as_str) {
        None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
        Some("" | "1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
        Some(other) => Err(invalid(format!("{name}: \"{other}\" is not true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::Query;

    fn options(query: &str) -> Result<Options, RequestError> {
        let uri = format!("http://x/?{query}").parse().unwrap();
        let Query(asked) = Query::<Asked>::try_from_uri(&uri).unwrap();
        asked.options(Timestamp::from_second(1000).unwrap())
    }

    #[test]
    fn queries() {
        let none = options("").unwrap();
        assert!(!none.follow && !none.previous && !none.timestamps && none.limit.is_none());
        assert_eq!(none.window, Window::default());
        let all = options("follow=true&timestamps=1&tailLines=5&limitBytes=9&container=c").unwrap();
        assert!(all.follow && all.timestamps);
        assert_eq!((all.window.tail, all.limit), (Some(5), Some(9)));
        assert!(options("follow").unwrap().follow);
        assert_eq!(options("tail=3").unwrap().window.tail, Some(3));
        assert_eq!(options("tailLines=-1").unwrap().window.tail, None);
        let since = |query| options(query).unwrap().window.since;
        assert_eq!(since("sinceSeconds=10"), Timestamp::from_second(990).ok());
        assert_eq!(
            since("sinceTime=1970-01-01T00:00:07Z"),
            Timestamp::from_second(7).ok()
        );
        for bad in [
            "follow=yes",
            "tailLines=-2",
            "tailLines=x",
            "sinceSeconds=0",
            "sinceTime=soon",
            "sinceSeconds=1&sinceTime=1970-01-01T00:00:07Z",
            "limitBytes=0",
            "limitBytes=99999999999999999999",
            "follow=1&previous=1",
            "stream=Stdout",
        ] {
            assert_eq!(options(bad).unwrap_err().code().as_u16(), 422, "{bad}");
        }
    }
}

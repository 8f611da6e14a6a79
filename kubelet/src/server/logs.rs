//! `/containerLogs/<namespace>/<pod>/<container>`: what a container wrote, now and, if asked for, from now on.
//!
//! ```text
//! hub: a log grew, the pod changed --wake--> fill: up to 64 KiB of lines --> a chunk of the answer, when it is taken
//! ```
//! Files are read by threads for blocking work, a chunk at a time; a follower that waits has no thread.
mod hub;
mod options;

pub(super) use hub::Hub;

use super::request_error::RequestError;
use super::{Api, Door};
use crate::logs::{Piece, Source};
use crate::state::{ContainerRecord, ContainerState, StoredPod};
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use hub::Ear;
use jiff::Timestamp;
use options::{Asked, Options};
use std::io::{self, Write};
use std::sync::Arc;

/// About how much is sent at once.
const CHUNK: usize = 64 * 1024;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(named))
        // 2014's form, without a namespace.
        .route("/containerLogs/{pod}/{container}", get(of_default))
}

async fn of_default(
    api: State<Api>,
    door: Extension<Door>,
    Path((pod, container)): Path<(String, String)>,
    query: Query<Asked>,
) -> Result<Response, RequestError> {
    named(
        api,
        door,
        Path(("default".to_owned(), pod, container)),
        query,
    )
    .await
}

async fn named(
    State(api): State<Api>,
    Extension(door): Extension<Door>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Response, RequestError> {
    let options = asked.options(Timestamp::now())?;
    let pod = super::pods::named(&api, &namespace, &name)?;
    let record = pod.state.container(&container).ok_or_else(|| {
        let full_name = pod.record.full_name();
        RequestError::not_found(format!(
            "container \"{container}\" not found in pod \"{full_name}\""
        ))
    })?;
    readable(&pod, record, &options)?;
    let dir = api
        .kubelet
        .node
        .paths
        .pod_logs(&namespace, &name, pod.record.uid());
    let dir = dir.join(&container);
    // Before the first look at the files: nothing that is written from here on is missed.
    let ear = match options.follow {
        true => Some(
            api.hub
                .listen(pod.record.uid(), &dir)
                .map_err(|err| RequestError::internal(&err))?,
        ),
        false => None,
    };
    let opened = tokio::task::spawn_blocking(move || {
        Source::open(&dir, &container, options.previous, &options.window)
    });
    let source = match opened.await {
        Ok(Ok(source)) => source,
        Ok(Err(err)) if err.kind() == io::ErrorKind::NotFound => {
            return Err(RequestError::bad_request(err.to_string()));
        }
        Ok(Err(err)) => return Err(RequestError::internal(&err)),
        Err(err) => return Err(RequestError::internal(&err)),
    };
    if options.follow {
        door.streams(api.kubelet.config.streaming_connection_idle_timeout.get());
    }
    let reader = Reader {
        begun: Timestamp::now(),
        left: options.limit.unwrap_or(u64::MAX),
        source,
        options,
    };
    let stream = futures::stream::try_unfold(
        (Some(reader), ear, api, pod),
        |(reader, ear, api, pod)| async move {
            let Some(reader) = reader else {
                return Ok(None);
            };
            let next = chunk(reader, ear.as_ref(), &api, &pod).await?;
            Ok::<_, io::Error>(next.map(|(bytes, reader)| (bytes, (reader, ear, api, pod))))
        },
    );
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok(([(CONTENT_TYPE, text)], Body::from_stream(stream)).into_response())
}

/// Whether there is anything to read, in the words that clients know.
fn readable(
    pod: &StoredPod,
    container: &ContainerRecord,
    options: &Options,
) -> Result<(), RequestError> {
    let (name, full_name) = (&container.name, pod.record.full_name());
    let before = container.last.is_some() || container.restarts > 0;
    if options.previous {
        return match before {
            true => Ok(()),
            false => Err(RequestError::bad_request(format!(
                "previous terminated container \"{name}\" in pod \"{full_name}\" not found"
            ))),
        };
    }
    match &container.state {
        ContainerState::Waiting { reason, message } if !before => {
            let why = match reason.as_str() {
                "ErrImagePull" => "trying and failing to pull image".to_owned(),
                "ImagePullBackOff" => "image can't be pulled".to_owned(),
                _ if message.is_empty() => reason.clone(),
                _ => format!("{reason}: {message}"),
            };
            Err(RequestError::bad_request(format!(
                "container \"{name}\" in pod \"{full_name}\" is waiting to start: {why}"
            )))
        }
        ContainerState::Waiting { .. }
        | ContainerState::Running { .. }
        | ContainerState::Terminated(_) => Ok(()),
    }
}

/// The next chunk, and the reader unless that was the last one. Waits for it where somebody follows.
async fn chunk(
    mut reader: Reader,
    ear: Option<&Ear>,
    api: &Api,
    pod: &Arc<StoredPod>,
) -> io::Result<Option<(Bytes, Option<Reader>)>> {
    loop {
        // In this order: what was written before the end is read after it was seen.
        let over = ear.is_none_or(|_| is_over(api, pod.record.uid(), &reader.source.container));
        if let Some(ear) = ear {
            ear.look(reader.source.dir())?;
        }
        let filled = tokio::task::spawn_blocking(move || {
            let filled = reader.fill(over);
            (reader, filled)
        });
        let (back, filled) = filled.await.map_err(io::Error::other)?;
        reader = back;
        let (bytes, state) = filled?;
        match (state, ear) {
            (Filled::Done, _) if bytes.is_empty() => return Ok(None),
            (Filled::Done, _) => return Ok(Some((bytes, None))),
            (Filled::More | Filled::All, _) if !bytes.is_empty() => {
                return Ok(Some((bytes, Some(reader))));
            }
            (Filled::More | Filled::All, None) => return Ok(None),
            (Filled::More | Filled::All, Some(ear)) => tokio::select! {
                () = ear.wait() => {}
                () = api.closing.cancelled() => return Ok(None),
            },
        }
    }
}

/// Whether nothing more will be written.
fn is_over(api: &Api, uid: &str, container: &str) -> bool {
    let Some(pod) = api.kubelet.node.registry.get(uid) else {
        return true;
    };
    let ended = pod
        .state
        .container(container)
        .is_some_and(|one| matches!(one.state, ContainerState::Terminated(_)));
    ended || pod.state.phase.ended()
}

/// Lines into chunks.
struct Reader {
    source: Source,
    options: Options,
    begun: Timestamp,
    /// How many bytes may still be sent.
    left: u64,
}

/// How far a reader has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filled {
    /// There is more at once.
    More,
    /// That is all for now.
    All,
    /// Nothing more will come.
    Done,
}

impl Reader {
    /// Up to a chunk of what is there; of what is `over`, what never got its end of line as well.
    fn fill(&mut self, over: bool) -> io::Result<(Bytes, Filled)> {
        let mut out = Vec::new();
        let filled = self.lines(&mut out, over)?;
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let filled = if out.len() >= left {
            Filled::Done
        } else {
            filled
        };
        out.truncate(left);
        self.left -= out.len() as u64;
        Ok((out.into(), filled))
    }

    fn lines(&mut self, out: &mut Vec<u8>, over: bool) -> io::Result<Filled> {
        loop {
            while let Some(piece) = self.source.next_piece()? {
                // Who does not follow gets what was there when asked, however fast more is written.
                if !self.options.follow && self.is_later(&piece) {
                    return Ok(Filled::Done);
                }
                self.write(out, &piece)?;
                if out.len() >= CHUNK || out.len() as u64 >= self.left {
                    return Ok(Filled::More);
                }
            }
            let next = self.options.follow && self.source.next_try()?;
            if next || over {
                for piece in self.source.finish() {
                    self.write(out, &piece)?;
                }
            }
            if !next {
                return Ok(if over { Filled::Done } else { Filled::All });
            }
        }
    }

    fn is_later(&self, piece: &Piece) -> bool {
        piece
            .time
            .parse::<Timestamp>()
            .is_ok_and(|at| at > self.begun)
    }

    fn write(&self, out: &mut Vec<u8>, piece: &Piece) -> io::Result<()> {
        if self.options.timestamps && !piece.continues {
            write!(out, "{} ", piece.time)?;
        }
        out.extend_from_slice(&piece.text);
        if piece.ends {
            out.push(b'\n');
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Window;

    fn reader(text: &str, limit: Option<u64>, timestamps: bool) -> (tempfile::TempDir, Reader) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("0.log"), text).unwrap();
        let window = Window::default();
        let options = Options {
            follow: false,
            previous: false,
            timestamps,
            limit,
            window,
        };
        let reader = Reader {
            source: Source::open(dir.path(), "c", false, &window).unwrap(),
            options,
            begun: "2026-01-01T00:00:10Z".parse().unwrap(),
            left: limit.unwrap_or(u64::MAX),
        };
        (dir, reader)
    }

    const TEXT: &str = "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n\
        2026-01-01T00:00:03Z stdout P thr\n2026-01-01T00:00:11Z stdout F ee\n2026-01-01T00:00:12Z stdout F later\n";

    #[track_caller]
    fn check(limit: Option<u64>, timestamps: bool, expected: &str) {
        let (_dir, mut reader) = reader(TEXT, limit, timestamps);
        let (bytes, filled) = reader.fill(true).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        assert_eq!(filled, Filled::Done);
    }

    #[test]
    fn lines_as_they_are_asked_for() {
        check(None, false, "one\ntwo\nthree\n");
        check(Some(6), false, "one\ntw");
        check(Some(4), false, "one\n");
        let stamped =
            "2026-01-01T00:00:01Z one\n2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n";
        check(None, true, stamped);
    }

    #[test]
    fn a_long_log_comes_in_chunks() {
        let line = format!("2026-01-01T00:00:01Z stdout F {}\n", "x".repeat(999));
        let (_dir, mut reader) = reader(&line.repeat(300), None, false);
        let mut total = 0;
        loop {
            let (bytes, filled) = reader.fill(true).unwrap();
            assert!(bytes.len() <= CHUNK + 1000);
            total += bytes.len();
            if filled == Filled::Done {
                break;
            }
        }
        assert_eq!(total, 300_000);
    }
}

//! `/logs/`: the files below /var/log, to be read.
//!
//! Containers may write there, so nothing of a path is trusted: it is opened below the folder's descriptor, links that
//! lead out of it are refused by the kernel, and what is no plain file is not read (a pipe would wait for ever).
use super::Api;
use super::request_error::RequestError;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// The folder.
const ROOT: &str = "/var/log";
/// How much is read at once.
const CHUNK: u64 = 64 * 1024;
/// Entries of one listing.
const MOST_ENTRIES: usize = 10_000;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/logs", get(async || Redirect::permanent("/logs/")))
        .route("/logs/", get(top))
        .route("/logs/{*path}", get(below))
}

async fn top(api: State<Api>, headers: HeaderMap) -> Result<Response, RequestError> {
    below(api, Path(String::new()), headers).await
}

async fn below(
    State(_api): State<Api>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, RequestError> {
    let asked = path.clone();
    let found = tokio::task::spawn_blocking(move || find(std::path::Path::new(ROOT), &path));
    let found = found.await.map_err(|err| RequestError::internal(&err))?;
    match found.map_err(|err| refused(&asked, &err))? {
        Found::Folder(_) if !asked.is_empty() && !asked.ends_with('/') => {
            Ok(Redirect::permanent(&format!("/logs/{}/", escaped(&asked))).into_response())
        }
        Found::Folder(names) => Ok(listing(&names)),
        Found::File(file, size) => Ok(send(file, size, &headers)),
    }
}

/// What is at a path.
enum Found {
    /// The names in it; those of folders end with a slash.
    Folder(Vec<String>),
    /// A file and its size.
    File(File, u64),
}

fn find(root: &std::path::Path, path: &str) -> io::Result<Found> {
    let dir = rustix::fs::open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let name = match path.trim_matches('/') {
        "" => ".",
        name => name,
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Opened for nothing first: even to open a device for reading may do something.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = |flags| rustix::fs::openat2(dir.as_fd(), name, flags, Mode::empty(), resolve);
    let seen = File::from(open(OFlags::PATH | OFlags::CLOEXEC)?).metadata()?;
    if !seen.is_dir() && !seen.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no plain file",
        ));
    }
    let fd: OwnedFd = open(flags)?;
    // It may be another one by now.
    let file = File::from(fd);
    let meta = file.metadata()?;
    if meta.is_file() {
        return Ok(Found::File(file, meta.len()));
    }
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&file)?.take(MOST_ENTRIES) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        match (name.as_str(), entry.file_type()) {
            ("." | "..", _) => {}
            (_, rustix::fs::FileType::Directory) => names.push(format!("{name}/")),
            _ => names.push(name),
        }
    }
    names.sort();
    Ok(Found::Folder(names))
}

fn refused(path: &str, err: &io::Error) -> RequestError {
    let errno = rustix::io::Errno::from_io_error(err);
    let told = |code, what: &str| RequestError::new(code, format!("/logs/{path}: {what}"));
    match errno {
        Some(rustix::io::Errno::XDEV | rustix::io::Errno::LOOP) => {
            told(StatusCode::FORBIDDEN, "it leads out of /var/log")
        }
        Some(
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::NAMETOOLONG,
        ) => told(StatusCode::NOT_FOUND, "there is no such file"),
        _ if err.kind() == io::ErrorKind::InvalidInput => {
            told(StatusCode::FORBIDDEN, "it is no plain file")
        }
        _ => told(StatusCode::INTERNAL_SERVER_ERROR, &err.to_string()),
    }
}

/// A page as Go's file server writes it.
fn listing(names: &[String]) -> Response {
    let mut page = String::from(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n",
    );
    for name in names {
        let shown = name
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&#34;");
        page.push_str(&format!("<a href=\"{}\">{shown}</a>\n", escaped(name)));
    }
    page.push_str("</pre>\n");
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    ([(CONTENT_TYPE, html)], page).into_response()
}

/// A path as a link has it.
fn escaped(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    // A name with a colon in it is no scheme.
    match out
        .split('/')
        .next()
        .is_some_and(|first| first.contains("%3A"))
    {
        true => format!("./{out}"),
        false => out,
    }
}

/// The file as it is now, or the part that is asked for. What is written meanwhile is not waited for.
fn send(file: File, size: u64, headers: &HeaderMap) -> Response {
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
    let (code, from, to) = match range.map(|range| part(range, size)) {
        None | Some(Part::Whole) => (StatusCode::OK, 0, size),
        Some(Part::Of(from, to)) => (StatusCode::PARTIAL_CONTENT, from, to),
        Some(Part::Nothing) => {
            let error = format!("there are {size} bytes");
            let mut response =
                RequestError::new(StatusCode::RANGE_NOT_SATISFIABLE, error).into_response();
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
                response.headers_mut().insert(CONTENT_RANGE, value);
            }
            return response;
        }
    };
    let stream = futures::stream::try_unfold((file, from), move |(file, at)| async move {
        if at >= to {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; usize::try_from(CHUNK.min(to - at)).unwrap_or(0)];
            let count = file.read_at(&mut chunk, at)?;
            chunk.truncate(count);
            Ok::<_, io::Error>((file, Bytes::from(chunk)))
        });
        let (file, chunk) = read.await.map_err(io::Error::other)??;
        if chunk.is_empty() {
            return Err(io::Error::other("the file has become shorter"));
        }
        let next = at + chunk.len() as u64;
        Ok(Some((chunk, (file, next))))
    });
    let mut response = (code, Body::from_stream(stream)).into_response();
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(CONTENT_TYPE, "text/plain; charset=utf-8".to_owned());
    set(CONTENT_LENGTH, (to - from).to_string());
    set(ACCEPT_RANGES, "bytes".to_owned());
    if code == StatusCode::PARTIAL_CONTENT {
        set(CONTENT_RANGE, format!("bytes {from}-{}/{size}", to - 1));
    }
    response
}

/// What `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// All of it: what is not understood is left out, as HTTP has it.
    Whole,
    /// From, and to before.
    Of(u64, u64),
    /// What there is not.
    Nothing,
}

fn part(range: &str, size: u64) -> Part {
    let Some((from, to)) = range
        .strip_prefix("bytes=")
        .filter(|rest| !rest.contains(','))
        .and_then(|rest| rest.split_once('-'))
    else {
        return Part::Whole;
    };
    match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), _) if from >= size => Part::Nothing,
        (Ok(from), Err(_)) if to.is_empty() => Part::Of(from, size),
        (Ok(from), Ok(to)) if to >= from => Part::Of(from, to.saturating_add(1).min(size)),
        (Err(_), Ok(last)) if from.is_empty() && last > 0 && size > 0 => {
            Part::Of(size.saturating_sub(last), size)
        }
        (Err(_), Ok(_)) if from.is_empty() => Part::Nothing,
        (Ok(_) | Err(_), _) => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        for (range, expected) in [
            ("bytes=0-3", Part::Of(0, 4)),
            ("bytes=2-", Part::Of(2, 10)),
            ("bytes=-4", Part::Of(6, 10)),
            ("bytes=-40", Part::Of(0, 10)),
            ("bytes=8-99", Part::Of(8, 10)),
            ("bytes=8-18446744073709551615", Part::Of(8, 10)),
            ("bytes=10-", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=5-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=x-y", Part::Whole),
        ] {
            assert_eq!(part(range, 10), expected, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Nothing);
    }

    #[track_caller]
    fn check(root: &std::path::Path, path: &str, expected: Result<&str, u16>) {
        let found = find(root, path).map_err(|err| refused(path, &err).code().as_u16());
        let found = found.map(|found| match found {
            Found::Folder(names) => names.join(" "),
            Found::File(_, size) => size.to_string(),
        });
        assert_eq!(found.as_deref().map_err(|code| *code), expected, "{path}");
    }

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("log");
        let secret = dir.path().join("secret");
        std::fs::create_dir_all(root.join("pods/a")).unwrap();
        std::fs::write(&secret, "secret").unwrap();
        std::fs::write(root.join("pods/a/0.log"), "12345").unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, root.join(name)).unwrap();
        link("pods/a/0.log", "inner");
        link(secret.to_str().unwrap(), "absolute");
        link("../secret", "outer");
        link("/proc/self/root", "magic");
        link("loop", "loop");
        link("..", "up");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("pipe"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        check(
            &root,
            "",
            Ok("absolute inner loop magic outer pipe pods/ up"),
        );
        check(&root, "pods/", Ok("a/"));
        check(&root, "pods//a/./0.log", Ok("5"));
        check(&root, "inner", Ok("5"));
        check(&root, "pods/../inner", Ok("5"));
        for path in [
            "absolute",
            "outer",
            "magic",
            "loop",
            "up/secret",
            "../secret",
            "pods/../../secret",
            "pipe",
        ] {
            check(&root, path, Err(403));
        }
        for path in ["gone", "inner/x", "pods/b", &"x".repeat(300)] {
            check(&root, path, Err(404));
        }
        assert_eq!(escaped("a b:c/é"), "./a%20b%3Ac/%C3%A9");
    }
}

//! Fetching a manifest: from a file, a URL or standard input, with a limit on its size.
use std::io::{self, Read};
use std::time::Duration;

/// The most bytes that a manifest may have.
pub(crate) const LIMIT: u64 = 16 << 20;
/// How long a server may take to answer.
const FETCH_WAIT: Duration = Duration::from_secs(30);

/// Why a manifest could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The file cannot be read.
    #[error("cannot read the manifest")]
    Read(#[source] io::Error),
    /// The server did not give it.
    #[error("cannot fetch the manifest from {url}")]
    Http {
        /// The address.
        url: String,
        /// What happened.
        source: reqwest::Error,
    },
    /// It is too large to be a manifest.
    #[error("manifest {origin} is larger than {} MiB", LIMIT >> 20)]
    TooLarge {
        /// Where it came from.
        origin: String,
    },
}

/// The bytes of the manifest, and what to call it in messages. `-` is standard input.
///
/// # Errors
/// Names the file or the address.
pub async fn fetch(origin: &str) -> Result<(Vec<u8>, String), FetchError> {
    if origin.starts_with("http://") || origin.starts_with("https://") {
        return http(origin).await.map(|bytes| (bytes, origin.to_owned()));
    }
    let (name, reader): (_, Box<dyn Read>) = match origin {
        "-" => ("standard input".to_owned(), Box::new(io::stdin())),
        path => (
            path.to_owned(),
            Box::new(fs_err::File::open(path).map_err(FetchError::Read)?),
        ),
    };
    let mut bytes = Vec::new();
    reader
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(FetchError::Read)?;
    if bytes.len() as u64 > LIMIT {
        return Err(FetchError::TooLarge { origin: name });
    }
    Ok((bytes, name))
}

async fn http(url: &str) -> Result<Vec<u8>, FetchError> {
    let failed = |source| FetchError::Http {
        url: url.to_owned(),
        source,
    };
    let client = reqwest::Client::builder()
        .timeout(FETCH_WAIT)
        .build()
        .map_err(failed)?;
    let mut response = client
        .get(url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > LIMIT {
            return Err(FetchError::TooLarge {
                origin: url.to_owned(),
            });
        }
    }
    Ok(bytes)
}

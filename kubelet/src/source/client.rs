//! HTTP clients of sources: with an administrator's certificates, which may be replaced while the kubelet runs.
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, Identity};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a connection may take to come about.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// The most hops to the final answer.
const HOPS: usize = 5;

/// The files that say whom to trust and who is asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The only authorities whose certificates count; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// The certificate to show.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The same as PEM, where a settings' file holds it itself.
    pub inline: Inline,
}

/// What stands in a settings' file itself, as PEM. It counts where there is no file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Inline {
    /// Authorities.
    pub ca: Option<Vec<u8>>,
    /// The certificate to show.
    pub cert: Option<Vec<u8>>,
    /// Its key.
    pub key: Option<Vec<u8>>,
}

impl std::fmt::Debug for Inline {
    /// Keys are secrets.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Inline(..)")
    }
}

/// What tells two versions of the files apart.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

impl TlsFiles {
    fn stamp(&self) -> Stamp {
        let files = [&self.ca, &self.cert, &self.key];
        let of = |path: &Path| {
            let meta = fs_err::metadata(path).ok()?;
            Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
        };
        files.map(|path| of(path.as_deref()?)).to_vec()
    }

    fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, String> {
        if let Some((ca, place)) = pem(self.ca.as_deref(), self.inline.ca.as_ref())? {
            let authorities = Certificate::from_pem_bundle(&ca)
                .map_err(|err| format!("{place}: {}", crate::error::chain(&err)))?;
            if authorities.is_empty() {
                return Err(format!("{place}: no certificate in it; it has to be PEM"));
            }
            builder = builder.tls_certs_only(authorities);
        }
        let cert = pem(self.cert.as_deref(), self.inline.cert.as_ref())?;
        let key = pem(self.key.as_deref(), self.inline.key.as_ref())?;
        if let (Some((cert, of_cert)), Some((key, of_key))) = (cert, key) {
            let both = [cert, b"\n".to_vec(), key].concat();
            let identity = Identity::from_pem(&both)
                .map_err(|err| format!("{of_cert} and {of_key}: {}", crate::error::chain(&err)))?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }
}

/// The text, and what to call it.
fn pem(file: Option<&Path>, inline: Option<&Vec<u8>>) -> Result<Option<(Vec<u8>, String)>, String> {
    match (file, inline) {
        (Some(path), _) => {
            let text = fs_err::read(path).map_err(|err| crate::error::chain(&err))?;
            Ok(Some((text, path.display().to_string())))
        }
        (None, Some(text)) => Ok(Some((
            text.clone(),
            "the settings' own certificate".to_owned(),
        ))),
        (None, None) => Ok(None),
    }
}

/// A client that is made anew when its files have changed.
#[derive(Debug)]
pub(super) struct Client {
    tls: TlsFiles,
    /// Whether answers may lead to another host.
    roams: bool,
    made: Option<(Stamp, reqwest::Client)>,
}

impl Client {
    /// `roams` where requests carry nothing that another host should not see.
    pub(super) fn new(tls: TlsFiles, roams: bool) -> Self {
        Client {
            tls,
            roams,
            made: None,
        }
    }

    /// The client as the files are now.
    ///
    /// # Errors
    /// Names the file that is not right.
    pub(super) fn get(&mut self) -> Result<reqwest::Client, String> {
        let stamp = self.tls.stamp();
        if let Some((_, client)) = self.made.as_ref().filter(|(made, _)| *made == stamp) {
            return Ok(client.clone());
        }
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_WAIT)
            .redirect(self.policy());
        let client = self
            .tls
            .apply(builder)?
            .build()
            .map_err(|err| crate::error::chain(&err))?;
        self.made = Some((stamp, client.clone()));
        Ok(client)
    }

    /// A secret is never shown to another host, and never without encryption where it began with it.
    fn policy(&self) -> Policy {
        let roams = self.roams;
        Policy::custom(move |attempt| {
            let Some(first) = attempt.previous().first() else {
                return attempt.stop();
            };
            let next = attempt.url();
            let same = first.host_str() == next.host_str()
                && first.port_or_known_default() == next.port_or_known_default();
            let open = first.scheme() == "https" && next.scheme() != "https";
            if attempt.previous().len() > HOPS {
                attempt.error(Refused("leads on and on"))
            } else if open {
                attempt.error(Refused("leads from https to http"))
            } else if !same && !roams {
                attempt.error(Refused(
                    "leads to another host, and this request carries headers or a certificate",
                ))
            } else {
                attempt.follow()
            }
        })
    }
}

/// A redirection that is not followed.
#[derive(Debug, thiserror::Error)]
#[error("the answer {0}")]
struct Refused(&'static str);

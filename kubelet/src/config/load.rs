//! Reading the settings: the file, the flags over it, and all that is wrong with either in one go.
use super::flags::{Flags, Overrides};
use super::{DEFAULT_PATH, KubeletConfig, known, validate};
use rkube_api::document::{self, Document};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most bytes that the file may have.
const LIMIT: u64 = 1 << 20;

/// The settings of a kubelet, and what their author should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The settings.
    pub config: KubeletConfig,
    /// What has no effect, and why.
    pub warnings: Vec<Remark>,
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
}

/// Something about one setting, and where that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The flag, or the file; empty for a default.
    pub place: String,
    /// The line of the file.
    pub line: Option<u64>,
    /// The setting, as KubeletConfiguration has it; empty for the file as a whole.
    pub path: String,
    /// What there is to say.
    pub text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map(|line| format!("line {line}"));
        for part in [&self.place, &line.unwrap_or_default(), &self.path] {
            if !part.is_empty() {
                write!(out, "{part}: ")?;
            }
        }
        out.write_str(&self.text)
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the settings")]
    Read(#[source] io::Error),
    /// The file is not a file of settings at all.
    #[error("{0}")]
    File(Remark),
    /// Settings have mistakes. One line each.
    #[error("{}", lines(.0))]
    Invalid(Vec<Remark>),
}

impl ConfigError {
    /// What is wrong, each by itself.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        match self {
            ConfigError::Read(err) => vec![format!("cannot read the settings: {err}")],
            ConfigError::File(remark) => vec![remark.to_string()],
            ConfigError::Invalid(remarks) => remarks.iter().map(Remark::to_string).collect(),
        }
    }
}

fn lines(remarks: &[Remark]) -> String {
    let lines: Vec<_> = remarks.iter().map(Remark::to_string).collect();
    lines.join("\n")
}

/// Reads the file, puts the flags over it, and looks at the whole.
///
/// Without a path, [`DEFAULT_PATH`] is read if it is there. Relative names in the file start from its directory.
///
/// # Errors
/// All mistakes at once.
pub fn load(path: Option<&Path>, flags: &Flags) -> Result<Loaded, ConfigError> {
    let (file, text) = match read(path.unwrap_or(Path::new(DEFAULT_PATH))) {
        Ok(text) => (
            Some(path.unwrap_or(Path::new(DEFAULT_PATH)).to_owned()),
            text,
        ),
        Err(err) if path.is_none() && err.kind() == io::ErrorKind::NotFound => {
            (None, String::new())
        }
        Err(err) => return Err(ConfigError::Read(err)),
    };
    parse(&text, file.as_deref(), flags)
}

fn read(path: &Path) -> io::Result<String> {
    let file = fs_err::File::open(path)?;
    // A FIFO or a device has no end that could be waited for.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!(
            "{} is not a file",
            path.display()
        )));
    }
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other(format!(
            "{} is larger than {} MiB",
            path.display(),
            LIMIT >> 20
        )));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::other(format!("{} is not UTF-8 text", path.display())))
}

/// The same with a text that has been read; `file` is for messages and relative names.
///
/// # Errors
/// All mistakes at once.
pub fn parse(text: &str, file: Option<&Path>, flags: &Flags) -> Result<Loaded, ConfigError> {
    let shown = file
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let document: Document<KubeletConfig> = document::read(text).map_err(|err| {
        ConfigError::File(Remark {
            place: shown.clone(),
            line: err.line,
            path: String::new(),
            text: format!("cannot be read as YAML or JSON: {}", err.problem),
        })
    })?;
    let (warnings, mut mistakes) = misfits(&document, &shown);
    let Some(mut config) = document.value.clone() else {
        return Err(ConfigError::Invalid(mistakes));
    };
    if let Some(dir) = file.and_then(Path::parent) {
        resolve(&mut config, dir);
    }
    let overrides = flags.apply(&mut config);
    // A value that could not be read has its default, and nothing is to be said of that.
    let unread: Vec<_> = mistakes.iter().map(|remark| remark.path.clone()).collect();
    for (path, text) in validate::validate(&config) {
        if !unread.contains(&path) {
            mistakes.push(located(path, text, &document, &overrides, &shown));
        }
    }
    // In the order of the file, and the flags after it.
    mistakes.sort_by_key(|remark| (remark.line.is_none(), remark.line));
    if mistakes.is_empty() {
        Ok(Loaded {
            config,
            warnings,
            file: file.map(Path::to_owned),
        })
    } else {
        Err(ConfigError::Invalid(mistakes))
    }
}

/// What the file has that the type has not: warnings and mistakes.
fn misfits(document: &Document<KubeletConfig>, shown: &str) -> (Vec<Remark>, Vec<Remark>) {
    let mut warnings = Vec::new();
    let mut mistakes = Vec::new();
    for misfit in &document.mistakes {
        let remark = |text| Remark {
            place: shown.to_owned(),
            line: misfit.line,
            path: misfit.path.clone(),
            text,
        };
        match known::unsupported(&misfit.path).filter(|_| misfit.unknown) {
            Some(instead) => warnings.push(remark(format!("has no effect here: {instead}"))),
            None => mistakes.push(remark(misfit.problem.clone())),
        }
    }
    (warnings, mistakes)
}

/// A remark on a setting that comes from a flag, from a line of the file, or from nowhere.
fn located(
    path: String,
    text: String,
    document: &Document<KubeletConfig>,
    overrides: &Overrides,
    shown: &str,
) -> Remark {
    let flag = overrides
        .iter()
        .find(|(setting, _)| path.starts_with(**setting));
    let (place, line) = match flag {
        Some((_, flag)) => (*flag, None),
        None => (shown, document.line_of(&path)),
    };
    Remark {
        place: place.to_owned(),
        line,
        path,
        text,
    }
}

/// Relative names start from the file's directory, not from wherever the daemon was started.
fn resolve(config: &mut KubeletConfig, dir: &Path) {
    let rkube = &mut config.rkube;
    for path in [
        &mut config.static_pod_path,
        &mut config.tls_cert_file,
        &mut config.tls_private_key_file,
        &mut config.authentication.x509.client_ca_file,
        &mut rkube.etcd_ca_file,
        &mut rkube.etcd_cert_file,
        &mut rkube.etcd_key_file,
        &mut rkube.kubeconfig,
        &mut rkube.static_pod_url_ca_file,
        &mut rkube.static_pod_url_cert_file,
        &mut rkube.static_pod_url_key_file,
        &mut rkube.token_file,
    ]
    .into_iter()
    .flatten()
    {
        *path = dir.join(&*path);
    }
}

#[cfg(test)]
mod tests;

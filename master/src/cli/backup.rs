//! `rkube-master backup`, `restore`, `rotate-key`: what becomes of the data directory's store and its keys.
use crate::store::{backup, sealed};
use clap::Args;
use std::path::{Path, PathBuf};

/// What can be set.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The backup
    pub file: PathBuf,
    /// The master's data
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rkube-master")]
    pub data_dir: PathBuf,
}

/// Where the keys are.
#[derive(Clone, Debug, Args)]
pub struct KeyOptions {
    /// The master's data
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rkube-master")]
    pub data_dir: PathBuf,
}

/// Where the store is in the master's data.
#[must_use]
pub fn store(data: &Path) -> PathBuf {
    data.join("store")
}

/// Where the keys of secrets are in the master's data.
#[must_use]
pub fn secret_keys(data: &Path) -> PathBuf {
    data.join("secrets.keys")
}

/// Writes a backup; the line for the user.
///
/// # Errors
/// What stopped it.
pub fn backup(options: &Options) -> anyhow::Result<String> {
    let done = backup::backup(&store(&options.data_dir), &options.file)?;
    let (file, keys) = (options.file.display(), secret_keys(&options.data_dir));
    Ok(format!(
        "{file}: {} keys at revision {}, {} bytes\nsecrets in it are sealed: keep {} as well, in another place\n",
        done.keys,
        done.revision,
        done.bytes,
        keys.display()
    ))
}

/// Puts a backup back; the line for the user.
///
/// # Errors
/// What stopped it.
pub fn restore(options: &Options) -> anyhow::Result<String> {
    let done = backup::restore(&options.file, &store(&options.data_dir))?;
    Ok(format!(
        "{} keys of revision {} are in place; the store of before is {}.old\n",
        done.keys,
        done.revision,
        store(&options.data_dir)
            .join(crate::store::embedded::FILE)
            .display()
    ))
}

/// Makes a new key for secrets; the line for the user.
///
/// # Errors
/// What stopped it.
pub fn rotate_key(options: &KeyOptions) -> anyhow::Result<String> {
    let file = secret_keys(&options.data_dir);
    sealed::rotate(&file)?;
    Ok(format!(
        "{} has a new first key; restart rkube-master, and what is written from then on is sealed with it\n",
        file.display()
    ))
}

//! `rkubelet images import`: how images come to be where no builder is.
use crate::cli::output::{self, Output};
use crate::cli::{Failure, Global, open};
use clap::Args;
use rkube_images::archive::{ImportConfig, ImportOptions, Source};
use std::path::Path;

/// Import an image from a file, a directory or standard input.
///
/// The format is found out: an archive of `docker save`, an OCI archive, an OCI layout directory, a root file system
/// as a directory or as a tar (gzip, zstd or plain). The options below are for plain root file systems.
#[derive(Clone, Debug, Args)]
pub struct Import {
    /// A file, a directory, or - for standard input
    source: String,
    /// The name to give the image [default: the names in the archive]
    name: Option<String>,
    /// Of an archive with several images, the one with this name or digest
    #[arg(long, value_name = "NAME")]
    select: Option<String>,
    /// Default arguments; a word each time, or one line that is split at blanks
    #[arg(long, value_name = "WORDS")]
    cmd: Vec<String>,
    /// The command itself, likewise
    #[arg(long, value_name = "WORDS")]
    entrypoint: Vec<String>,
    /// A variable of the environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The directory that commands start in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// A port that the image serves
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,
    /// Who commands run as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// A label
    #[arg(short, long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// The signal that asks it to stop
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// A path that is a volume
    #[arg(long, value_name = "PATH")]
    volume: Vec<String>,
    /// Print nothing but the ids
    #[arg(short, long)]
    quiet: bool,
}

impl Import {
    /// Imports and prints the id and names of each image.
    ///
    /// # Errors
    /// One line: what is wrong with the archive, or with the store.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        let images = open::images(global)?;
        let name = match &self.name {
            Some(name) => Some(
                images
                    .parse(name)
                    .map_err(|err| Failure {
                        code: 2,
                        ..Failure::of(&err)
                    })?
                    .to_string(),
            ),
            None => None,
        };
        let options = ImportOptions {
            name,
            select: self.select.clone(),
            config: self.config()?,
            ..ImportOptions::default()
        };
        let (store, source) = (images.store.clone(), self.source.clone());
        let imported = tokio::task::spawn_blocking(move || match source.as_str() {
            "-" => store.import(Source::Stream(&mut std::io::stdin().lock()), &options),
            path => store.import(Source::Path(Path::new(path)), &options),
        });
        let imported = imported
            .await
            .map_err(|err| Failure::of(&err))?
            .map_err(|err| Failure::of(&err))?;
        let out = Output::detect(self.quiet);
        for image in imported {
            output::print(&format!("{}\n", image.id))?;
            for name in &image.names {
                out.say(&format!("imported {name}, {}", output::bytes(image.size)));
            }
        }
        Ok(0)
    }

    fn config(&self) -> Result<ImportConfig, Failure> {
        let labels = self.label.iter().map(|label| {
            let (name, value) = label.split_once('=').unwrap_or((label, ""));
            (name.to_owned(), value.to_owned())
        });
        if let Some(bad) = self.env.iter().find(|variable| !variable.contains('=')) {
            return Err(Failure::usage(format!("--env {bad}: must be NAME=VALUE")));
        }
        Ok(ImportConfig {
            cmd: words(&self.cmd),
            entrypoint: words(&self.entrypoint),
            env: self.env.clone(),
            workdir: self.workdir.clone(),
            expose: self.expose.clone(),
            user: self.user.clone(),
            labels: labels.collect(),
            stop_signal: self.stop_signal.clone(),
            volumes: self.volume.clone(),
            ..ImportConfig::default()
        })
    }
}

/// One value is a line that is split at blanks, or a JSON list; several values are words.
fn words(values: &[String]) -> Vec<String> {
    match values {
        [one] => serde_json::from_str(one)
            .unwrap_or_else(|_| one.split_whitespace().map(str::to_owned).collect()),
        several => several.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_words() {
        let owned = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            words(&owned(&["/bin/httpd -f"])),
            owned(&["/bin/httpd", "-f"])
        );
        assert_eq!(
            words(&owned(&["[\"sh\", \"-c\", \"a b\"]"])),
            owned(&["sh", "-c", "a b"])
        );
        assert_eq!(
            words(&owned(&["sh", "-c", "a b"])),
            owned(&["sh", "-c", "a b"])
        );
    }
}

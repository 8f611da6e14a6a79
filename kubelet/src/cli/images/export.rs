//! `rkubelet images export`: images as an OCI archive.
use crate::cli::output::{self, Output};
use crate::cli::{Failure, Global, open};
use clap::Args;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Write images into an OCI archive, for `images import` here or elsewhere.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  rkubelet images export nginx redis -o images.tar
  rkubelet images export nginx | ssh other rkubelet images import -")]
pub struct Export {
    /// Names, ids, digests, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The archive, or - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl Export {
    /// Writes the archive. A file appears whole or not at all.
    ///
    /// # Errors
    /// When there is no such image, or the archive cannot be written.
    pub fn execute(self, global: &Global) -> Result<u8, Failure> {
        let library = open::images(global)?;
        let found = self.images.iter().map(|typed| super::find(&library, typed));
        let keys: Vec<String> = found
            .map(|found| found.map(|(key, _)| key))
            .collect::<Result<_, _>>()?;
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        if self.output == Path::new("-") {
            let stdout = io::stdout();
            if stdout.is_terminal() {
                return Err(Failure::usage(
                    "an archive is not for a terminal; use -o FILE or a pipe",
                ));
            }
            let mut out = BufWriter::with_capacity(1 << 20, stdout.lock());
            let exported = library.store.export(&keys, &mut out);
            exported.map_err(|err| Failure::of(&err))?;
            out.flush().map_err(|err| Failure::of(&err))?;
            return Ok(0);
        }
        let size = self.to_file(|out| {
            let exported = library.store.export(&keys, out);
            exported.map_err(|err| Failure::of(&err))
        })?;
        let file = self.output.display();
        Output::detect(false).say(&format!("wrote {file}, {}", output::bytes(size)));
        Ok(0)
    }

    fn to_file(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let failed = |err: io::Error| Failure::of(&err);
        let mut aside = self.output.clone().into_os_string();
        aside.push(format!(".tmp{}", std::process::id()));
        let aside = PathBuf::from(aside);
        let finish = || -> Result<u64, Failure> {
            let file = fs_err::File::create(&aside).map_err(failed)?;
            let mut out = BufWriter::with_capacity(1 << 20, file);
            write(&mut out)?;
            let file = out.into_inner().map_err(|err| failed(err.into_error()))?;
            file.sync_all().map_err(failed)?;
            fs_err::rename(&aside, &self.output).map_err(failed)?;
            Ok(file.metadata().map_err(failed)?.len())
        };
        let done = finish();
        if done.is_err() {
            let _ = std::fs::remove_file(&aside);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let export = Export {
            images: Vec::new(),
            output: dir.path().join("x.tar"),
        };
        let failed = export.to_file(|out| {
            out.write_all(b"half").unwrap();
            Err(Failure::failed("broken"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let size = export.to_file(|out| {
            out.write_all(b"whole").unwrap();
            Ok(())
        });
        assert_eq!(size.unwrap(), 5);
        assert_eq!(std::fs::read(dir.path().join("x.tar")).unwrap(), b"whole");
    }
}

//! `rkubelet completions` and `rkubelet version`: about the program itself.
use super::format::{DataFormat, print_data};
use super::{Cli, Failure, output};
use clap::{Args, CommandFactory, ValueEnum};
use serde::Serialize;

/// Print completions for a shell.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Examples:
  rkubelet completions bash > /etc/bash_completion.d/rkubelet
  rkubelet completions zsh > /usr/share/zsh/site-functions/_rkubelet
  rkubelet completions fish > /etc/fish/completions/rkubelet.fish")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    /// Prints them.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn execute(self) -> Result<u8, Failure> {
        output::print(&self.script())?;
        Ok(0)
    }

    fn script(self) -> String {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "rkubelet", &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}

/// Print the version.
#[derive(Clone, Copy, Debug, Args)]
pub struct Version {
    /// The form of the answer
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<DataFormat>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct About {
    version: &'static str,
    platform: String,
    kernel: String,
}

impl Version {
    /// Prints it.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn execute(self) -> Result<u8, Failure> {
        let about = About {
            version: env!("CARGO_PKG_VERSION"),
            platform: rkube_images::Platform::host().to_string(),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
        };
        match self.output {
            Some(format) => print_data(&about, format)?,
            None => output::print(&format!("rkubelet {}, {}\n", about.version, about.platform))?,
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn completions_know_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = Completions { shell }.script();
            for verb in ["images", "exec", "inspect"] {
                assert!(script.contains(verb), "{shell:?} lacks {verb}");
            }
        }
    }

    #[test]
    fn every_verb_says_what_it_does() {
        fn walk(command: &clap::Command) {
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                assert!(sub.get_about().is_some(), "{}", sub.get_name());
                for arg in sub.get_arguments().filter(|arg| !arg.is_hide_set()) {
                    let named = format!("{} {}", sub.get_name(), arg.get_id());
                    assert!(arg.get_help().is_some(), "{named}");
                }
                walk(sub);
            }
        }
        walk(&Cli::command());
    }
}

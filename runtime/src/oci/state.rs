//! `state`: what the specification says about a container, and a little more.
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::cli::{self, Context, Failure};
use super::container::Container;
use super::hooks;

/// Print the state of a container as JSON.
#[derive(Debug, Args)]
pub(super) struct State {
    /// The container
    id: String,
}

/// The state with the fields that runc adds to it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FullState<'a> {
    #[serde(flatten)]
    state: hooks::State<'a>,
    rootfs: &'a PathBuf,
    created: &'a str,
    owner: String,
}

impl<'a> FullState<'a> {
    /// The state of a container that has been looked at.
    pub(super) fn of(container: &'a Container) -> FullState<'a> {
        FullState {
            state: container.state(),
            rootfs: &container.record.rootfs,
            created: &container.record.created,
            owner: owner(container.record.owner),
        }
    }
}

/// The name of a uid, as far as `/etc/passwd` knows it.
pub(super) fn owner(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

impl State {
    /// Prints the state.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let container = Container::look(&context.root, &self.id)?;
        let mut text = serde_json::to_string_pretty(&FullState::of(&container))?;
        text.push('\n');
        cli::print(text.as_bytes())?;
        Ok(0)
    }
}

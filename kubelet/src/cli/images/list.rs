//! `rkubelet images list` and `df`.
use crate::cli::format::{DataFormat, ListFormat, print_data, print_table, row};
use crate::cli::{Failure, Global, open, output};
use crate::images::used::Used;
use clap::Args;
use jiff::Timestamp;
use rkube_images::store::Image;
use serde::Serialize;

/// List images, the latest first.
#[derive(Clone, Copy, Debug, Args)]
pub struct List {
    /// Print ids, nothing else
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,
    /// The form of the listing
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<ListFormat>,
}

/// Say how much disk images take.
#[derive(Clone, Copy, Debug, Args)]
pub struct Df {
    /// The form of the answer
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<DataFormat>,
}

/// An image as machines read it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) id: String,
    names: Vec<String>,
    digest: String,
    size: u64,
    created: Option<Timestamp>,
    added: Timestamp,
    last_used: Timestamp,
    platform: String,
    layers: usize,
    pinned: bool,
    used_by: Vec<String>,
}

impl Entry {
    pub(super) fn new(image: &Image, used: &Used) -> Self {
        Entry {
            id: image.id.to_string(),
            names: image.names.clone(),
            digest: image.manifest_digest.to_string(),
            size: image.size,
            created: image.created,
            added: image.added,
            last_used: image.last_used,
            platform: image.platform.to_string(),
            layers: image.layers.len(),
            pinned: image.pinned,
            used_by: used.by(&image.id),
        }
    }

    /// A row for each name.
    fn rows(&self, wide: bool, now: Timestamp) -> Vec<Vec<String>> {
        let none = vec!["<none>".to_owned()];
        let names = if self.names.is_empty() {
            &none
        } else {
            &self.names
        };
        let id = self
            .id
            .split_once(':')
            .map_or(self.id.as_str(), |(_, hex)| hex);
        let age = |at: Timestamp| output::age(now.duration_since(at).as_secs());
        let rows = names.iter().map(|name| {
            let mut cells = vec![
                name.clone(),
                id.chars().take(12).collect(),
                output::bytes(self.size),
                self.created.map_or_else(|| "-".to_owned(), age),
            ];
            if wide {
                cells.extend([
                    age(self.added),
                    self.platform.clone(),
                    self.layers.to_string(),
                    if self.pinned { "yes" } else { "-" }.to_owned(),
                    self.digest.clone(),
                    self.used_by.join(","),
                ]);
            }
            cells
        });
        rows.collect()
    }
}

impl List {
    /// Lists.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn execute(self, global: &Global) -> Result<u8, Failure> {
        let library = open::images(global)?;
        let images = library.store.list().map_err(|err| Failure::of(&err))?;
        if self.quiet {
            let ids = images.iter().map(|image| format!("{}\n", image.id));
            output::print(&ids.collect::<String>())?;
            return Ok(0);
        }
        let used = Used::find(&global.paths(), &library);
        let used = used.map_err(|err| Failure::of(&err))?;
        let entries: Vec<Entry> = images
            .iter()
            .map(|image| Entry::new(image, &used))
            .collect();
        match self.output {
            Some(ListFormat::Name) => {
                let names = entries.iter().flat_map(|entry| &entry.names);
                output::print(&names.map(|name| format!("{name}\n")).collect::<String>())?;
            }
            Some(ListFormat::Json) => print_data(&entries, DataFormat::Json)?,
            Some(ListFormat::Yaml) => print_data(&entries, DataFormat::Yaml)?,
            None | Some(ListFormat::Wide) => {
                let wide = self.output.is_some();
                let mut heading = vec!["NAME", "ID", "SIZE", "CREATED"];
                if wide {
                    heading.extend(["ADDED", "PLATFORM", "LAYERS", "PINNED", "DIGEST", "USED BY"]);
                }
                let mut rows = vec![row(&heading)];
                let now = Timestamp::now();
                rows.extend(entries.iter().flat_map(|entry| entry.rows(wide, now)));
                print_table(&rows)?;
            }
        }
        Ok(0)
    }
}

/// What the store holds, as machines read it: a number of images, and bytes on disk.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    images: u64,
    blobs_bytes: u64,
    layers_bytes: u64,
    partial_bytes: u64,
    total_bytes: u64,
}

impl Df {
    /// Measures.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn execute(self, global: &Global) -> Result<u8, Failure> {
        let store = open::images(global)?.store;
        let usage = store.disk_usage().map_err(|err| Failure::of(&err))?;
        let usage = Usage {
            images: usage.images,
            blobs_bytes: usage.blobs,
            layers_bytes: usage.layers,
            partial_bytes: usage.partial,
            total_bytes: usage.blobs + usage.layers + usage.partial,
        };
        if let Some(format) = self.output {
            print_data(&usage, format)?;
            return Ok(0);
        }
        let size = output::bytes;
        let total = format!("all, images: {}", usage.images);
        print_table(&[
            row(&["WHAT", "SIZE"]),
            row(&["unpacked layers", &size(usage.layers_bytes)]),
            row(&["compressed layers, manifests", &size(usage.blobs_bytes)]),
            row(&["pulls under way or broken off", &size(usage.partial_bytes)]),
            row(&[&total, &size(usage.total_bytes)]),
        ])?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_a_row() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut entry = Entry {
            id: "sha256:0123456789abcdef".into(),
            names: vec!["a:1".into(), "b:2".into()],
            digest: "sha256:ff".into(),
            size: 2048,
            created: Some(at(0)),
            added: at(60),
            last_used: at(60),
            platform: "linux/amd64".into(),
            layers: 3,
            pinned: true,
            used_by: vec!["default/web".into()],
        };
        let rows = entry.rows(false, at(100));
        assert_eq!(rows[0], ["a:1", "0123456789ab", "2.0 KiB", "100s"]);
        assert_eq!(rows[1][0], "b:2");
        assert_eq!(
            entry.rows(true, at(100))[0][4..],
            ["40s", "linux/amd64", "3", "yes", "sha256:ff", "default/web"]
        );
        entry.names.clear();
        entry.created = None;
        assert_eq!(
            entry.rows(false, at(100)),
            [["<none>", "0123456789ab", "2.0 KiB", "-"]]
        );
    }
}

//! From what people type to an image record.

use super::StoreError;
use super::record::Record;
use crate::digest::Digest;
use crate::reference::Reference;

/// The shortest ID prefix that is taken.
const MIN_PREFIX: usize = 4;

/// As [`find_record`], where absence is an error.
pub(super) fn existing<'a>(records: &'a [Record], name: &str) -> Result<&'a Record, StoreError> {
    find_record(records, name)?.ok_or_else(|| StoreError::NotFound {
        name: name.to_owned(),
    })
}

/// The name of `record` that `name` means: itself, or what it is short for.
pub(super) fn owned_name(record: &Record, name: &str) -> Option<String> {
    let whole = || Reference::parse(name).ok().map(|whole| whole.to_string());
    [Some(name.to_owned()), whole()]
        .into_iter()
        .flatten()
        .find(|name| record.names.contains_key(name))
}

/// The record that `name` means. A name goes before an ID that looks the same.
pub(super) fn find_record<'a>(
    records: &'a [Record],
    name: &str,
) -> Result<Option<&'a Record>, StoreError> {
    let exact = records
        .iter()
        .find(|record| record.names.contains_key(name));
    let named = exact.or_else(|| {
        records
            .iter()
            .find(|record| owned_name(record, name).is_some())
    });
    if named.is_some() {
        return Ok(named);
    }
    let text = name.rsplit_once('@').map_or(name, |(_, digest)| digest);
    if let Ok(digest) = Digest::parse(text) {
        let found = records
            .iter()
            .find(|r| r.id == digest || r.manifest.digest == digest);
        return Ok(found);
    }
    let prefix = text
        .strip_prefix("sha256:")
        .or_else(|| text.strip_prefix("sha512:"));
    let prefix = prefix.unwrap_or(text).to_ascii_lowercase();
    if prefix.len() < MIN_PREFIX || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let fits = |digest: &Digest| digest.hex().starts_with(&prefix);
    let found: Vec<&Record> = records
        .iter()
        .filter(|r| fits(&r.id) || fits(&r.manifest.digest))
        .collect();
    if found.len() > 1 {
        let candidates = found
            .iter()
            .map(|record| match record.names.keys().next() {
                Some(name) => format!("{} ({name})", record.id.short()),
                None => record.id.short().to_owned(),
            })
            .collect();
        return Err(StoreError::Ambiguous {
            prefix: name.to_owned(),
            candidates,
        });
    }
    Ok(found.first().copied())
}

//! Reads the table that `hack/schema-gen.py` writes.

use super::{Field, Kind, ListKind, Merge, Schemas, Shape, Type};
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;

/// Its head says how it is read.
const TABLE: &str = include_str!("builtin.txt");
/// For each line of the table a line of prose (none for lines with `@` and `#`), all of it compressed by zlib.
const PROSE: &[u8] = include_bytes!("builtin.descriptions");

/// The types of the table. Lines that make no sense are left out; a test sees to it that there are none.
pub(super) fn read() -> Schemas {
    let mut names = Names::default();
    let mut schemas = Schemas::default();
    let mut current: Option<Type> = None;
    for line in TABLE.lines() {
        if let Some(head) = line.strip_prefix('=') {
            if let Some(done) = current.take() {
                schemas.insert(done);
            }
            let (name, atomic) = head
                .split_once(' ')
                .map_or((head, false), |(n, _)| (n, true));
            current = Some(Type {
                name: names.shared(name),
                atomic,
                ..Type::default()
            });
        } else if let Some(of) = current.as_mut() {
            if let Some(kind) = line.strip_prefix('@') {
                of.kinds.extend(read_kind(kind, &mut names));
            } else {
                of.fields.extend(read_field(line, &mut names));
            }
        }
    }
    if let Some(done) = current {
        schemas.insert(done);
    }
    schemas
}

/// Each name is kept once.
#[derive(Default)]
struct Names(HashSet<Arc<str>>);

impl Names {
    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

fn read_kind(text: &str, names: &mut Names) -> Option<Kind> {
    let mut parts = text.split('/').map(|part| names.shared(part));
    Some(Kind {
        group: parts.next()?,
        version: parts.next()?,
        kind: parts.next()?,
    })
}

fn read_field(line: &str, names: &mut Names) -> Option<Field> {
    let mut words = line.split(' ');
    let name = names.shared(words.next()?);
    let tag = words.next()?;
    let (within, tag) = match tag.split_once('.') {
        Some((outer, inner)) => (outer.parse().ok()?, inner),
        None => (0, tag),
    };
    let mut field = Field {
        name,
        tag: tag.parse().ok()?,
        within,
        shape: read_shape(words.next()?, names)?,
        required: false,
        zero_counts: false,
        merge: Merge::default(),
        default: None,
    };
    for flag in words {
        read_flag(flag, &mut field, names)?;
    }
    Some(field)
}

fn read_shape(text: &str, names: &mut Names) -> Option<Shape> {
    if let Some(inner) = text.strip_prefix('[') {
        return Some(Shape::List(Box::new(read_shape(inner, names)?)));
    }
    if let Some(inner) = text.strip_prefix('{') {
        return Some(Shape::Map(Box::new(read_shape(inner, names)?)));
    }
    Some(match text {
        "" => return None,
        "s" => Shape::String,
        "i" => Shape::Integer(32),
        "l" => Shape::Integer(64),
        "n" => Shape::Number,
        "b" => Shape::Boolean,
        "B" => Shape::Bytes,
        "t" => Shape::Time,
        "T" => Shape::MicroTime,
        "q" => Shape::Quantity,
        "x" => Shape::IntOrString,
        "*" => Shape::Any,
        name => Shape::Type(names.shared(name)),
    })
}

fn read_flag(flag: &str, field: &mut Field, names: &mut Names) -> Option<()> {
    let (word, value) = flag.split_once('=').unwrap_or((flag, ""));
    let merge = &mut field.merge;
    match word {
        "!" => field.required = true,
        "?" => field.zero_counts = true,
        "merge" if value.is_empty() => merge.patch_set = true,
        "merge" => merge.patch_key = Some(names.shared(value)),
        "replace" => merge.patch_replace = true,
        "retainKeys" => merge.retain_keys = true,
        "atomic" => merge.list = ListKind::Atomic,
        "granular" => merge.list = ListKind::Granular,
        "set" => merge.list = ListKind::Set,
        "map" => {
            merge.list = ListKind::Map(value.split(',').map(|key| names.shared(key)).collect())
        }
        "default" => field.default = Some(names.shared(value)),
        _ => return None,
    }
    Some(())
}

/// What Kubernetes says of its types and fields, in prose. Big: to be held only while a document is made.
#[derive(Debug)]
pub struct Descriptions {
    text: String,
    /// Where the lines of `text` begin.
    lines: Vec<usize>,
    /// The first line of each type, and its fields.
    types: HashMap<&'static str, (usize, Vec<&'static str>)>,
}

impl Descriptions {
    /// All of them, unpacked.
    #[must_use]
    pub fn builtin() -> Descriptions {
        let mut text = String::new();
        // What cannot be unpacked reads as nothing; a test sees to it that all of it can.
        if flate2::read::ZlibDecoder::new(PROSE)
            .read_to_string(&mut text)
            .is_err()
        {
            text.clear();
        }
        let mut types = HashMap::new();
        let mut current = None;
        let lines = TABLE.lines().filter(|line| !line.starts_with(['#', '@']));
        for (line_number, line) in lines.enumerate() {
            if let Some(head) = line.strip_prefix('=') {
                let name = head.split(' ').next().unwrap_or(head);
                types.insert(name, (line_number, Vec::new()));
                current = Some(name);
            } else if let Some((_, fields)) = current.and_then(|name| types.get_mut(name)) {
                fields.push(line.split(' ').next().unwrap_or(line));
            }
        }
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        Descriptions { text, lines, types }
    }

    /// The prose about a type, and then about each of its fields, by name.
    #[must_use]
    pub fn of(&self, type_name: &str) -> Option<(String, HashMap<&str, String>)> {
        let (first, fields) = self.types.get(type_name)?;
        let rest = self.text.get(*self.lines.get(*first)?..)?;
        let mut lines = rest.split('\n').map(unescape);
        let own = lines.next()?;
        Some((own, fields.iter().copied().zip(lines).collect()))
    }
}

fn unescape(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            (c, false) => out.push(c),
        }
    }
    out
}

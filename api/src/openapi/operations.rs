//! What can be done at which path, from what a resource says of itself.
use super::{Served, ServedPart, root};

/// An operation of a path.
#[derive(Clone, Copy)]
pub(super) struct Operation<'a> {
    /// `get`, `put`.
    pub(super) method: &'static str,
    /// `list`, `deletecollection`: `x-kubernetes-action`.
    pub(super) action: &'static str,
    /// Group, version and kind.
    pub(super) kind: (&'a str, &'a str, &'a str),
}

/// A path with its operations; what is in braces are parameters.
pub(super) struct Path<'a> {
    pub(super) path: String,
    pub(super) namespaced: bool,
    pub(super) operations: Vec<Operation<'a>>,
}

/// Discovery's word, the method, the action, whether it is about one object.
const VERBS: [(&str, &str, &str, bool); 7] = [
    ("get", "get", "get", true),
    ("update", "put", "put", true),
    ("patch", "patch", "patch", true),
    ("delete", "delete", "delete", true),
    ("list", "get", "list", false),
    ("create", "post", "post", false),
    ("deletecollection", "delete", "deletecollection", false),
];

/// All paths of a resource.
pub(super) fn paths<'a>(of: &Served<'a>) -> Vec<Path<'a>> {
    let base = root(of.group, of.version);
    let collection = match of.namespaced {
        true => format!("/{base}/namespaces/{{namespace}}/{}", of.plural),
        false => format!("/{base}/{}", of.plural),
    };
    let kind = (of.group, of.version, of.kind);
    let some = |one: bool| {
        let wanted = VERBS
            .iter()
            .filter(|(verb, .., of_one)| *of_one == one && of.verbs.contains(verb));
        wanted
            .map(|(_, method, action, _)| Operation {
                method,
                action,
                kind,
            })
            .collect::<Vec<_>>()
    };
    let mut out = vec![
        Path {
            path: collection.clone(),
            namespaced: of.namespaced,
            operations: some(false),
        },
        Path {
            path: format!("{collection}/{{name}}"),
            namespaced: of.namespaced,
            operations: some(true),
        },
    ];
    if of.namespaced {
        out.push(Path {
            path: format!("/{base}/{}", of.plural),
            namespaced: false,
            operations: some(false)
                .into_iter()
                .filter(|operation| operation.action == "list")
                .collect(),
        });
    }
    out.extend(
        of.subresources
            .iter()
            .map(|part| part_path(of, part, &collection)),
    );
    out.retain(|path| !path.operations.is_empty());
    out
}

fn part_path<'a>(of: &Served<'a>, part: &ServedPart<'a>, collection: &str) -> Path<'a> {
    let (group, version) = part.group_version.unwrap_or((of.group, of.version));
    let wanted = VERBS.iter().filter(|(verb, ..)| part.verbs.contains(verb));
    let operations = wanted.map(|(_, method, action, _)| Operation {
        method,
        action,
        kind: (group, version, part.kind),
    });
    Path {
        path: format!("{collection}/{{name}}/{}", part.name),
        namespaced: of.namespaced,
        operations: operations.collect(),
    }
}

/// The query parameters of an operation: name, type, what it does.
pub(super) fn parameters(action: &str) -> &'static [(&'static str, &'static str, &'static str)] {
    const READ: &[(&str, &str, &str)] = &[];
    const LIST: &[(&str, &str, &str)] = &[
        (
            "allowWatchBookmarks",
            "boolean",
            "Asks for bookmarks in a watch.",
        ),
        ("continue", "string", "Where the last page ended."),
        (
            "fieldSelector",
            "string",
            "Restricts the objects by their fields.",
        ),
        (
            "labelSelector",
            "string",
            "Restricts the objects by their labels.",
        ),
        ("limit", "integer", "At most so many objects."),
        ("resourceVersion", "string", "How new the state must be."),
        (
            "resourceVersionMatch",
            "string",
            "How resourceVersion is meant: Exact or NotOlderThan.",
        ),
        (
            "sendInitialEvents",
            "boolean",
            "Begins a watch with what there is.",
        ),
        ("timeoutSeconds", "integer", "How long a watch lasts."),
        ("watch", "boolean", "Changes as they come."),
    ];
    const WRITE: &[(&str, &str, &str)] = &[
        (
            "dryRun",
            "string",
            "All: checks the request, stores nothing.",
        ),
        (
            "fieldManager",
            "string",
            "Who writes, for server-side apply.",
        ),
        (
            "fieldValidation",
            "string",
            "What happens to unknown fields: Ignore, Warn or Strict.",
        ),
    ];
    const PATCH: &[(&str, &str, &str)] = &[
        WRITE[0],
        WRITE[1],
        WRITE[2],
        (
            "force",
            "boolean",
            "Takes fields over from other managers (apply only).",
        ),
    ];
    const DELETE: &[(&str, &str, &str)] = &[
        WRITE[0],
        (
            "gracePeriodSeconds",
            "integer",
            "How long the object may take to end.",
        ),
        (
            "propagationPolicy",
            "string",
            "What happens to dependants: Orphan, Background or Foreground.",
        ),
    ];
    match action {
        "list" => LIST,
        "post" | "put" => WRITE,
        "patch" => PATCH,
        "delete" | "deletecollection" => DELETE,
        _ => READ,
    }
}

/// The types of bodies that a patch may have.
pub(super) const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// `patchCoreV1NamespacedPodStatus`: a name that is the operation's own.
pub(super) fn id(operation: &Operation<'_>, path: &Path<'_>, of: &Served<'_>) -> String {
    let word = match operation.action {
        "get" => "read",
        "post" => "create",
        "put" => "replace",
        "deletecollection" => "deleteCollection",
        other => other,
    };
    let group = of.group.trim_end_matches(".k8s.io");
    let group: String = group.split('.').map(capital).collect();
    let group = if group.is_empty() {
        "Core".to_owned()
    } else {
        group
    };
    let rest = path
        .path
        .rsplit("{name}/")
        .next()
        .filter(|_| path.path.contains("{name}/"));
    let scope = match (path.namespaced, of.namespaced) {
        (true, _) => ("Namespaced", ""),
        (false, true) => ("", "ForAllNamespaces"),
        (false, false) => ("", ""),
    };
    let (version, part) = (capital(of.version), rest.map(capital).unwrap_or_default());
    format!(
        "{word}{group}{version}{}{}{part}{}",
        scope.0, of.kind, scope.1
    )
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

//! Noting what is wrong with an object, once and with its place.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{At, Mistake, Reading, Strictness};
use crate::decode::{Misfit, MisfitKind};
use crate::node::{Node, Place};
use crate::validate::FieldError;

/// More mistakes than this are only counted.
const MAX_MISTAKES: usize = 100;

impl Reading {
    /// Notes all mistakes of an object; true if there were none.
    pub(super) fn accept(
        &mut self,
        kind: &'static str,
        at: At<'_>,
        metadata: &ObjectMeta,
        misfits: Vec<Misfit>,
        errors: Vec<FieldError>,
    ) -> bool {
        let before = self.mistakes.len() + self.more;
        for error in errors {
            let path = at.path(&error.path);
            if !misfits
                .iter()
                .any(|misfit| self.is_mistake(misfit) && explains(misfit, &path))
            {
                self.mistake(at, &error.path, error.problem);
            }
        }
        self.note(&named(kind, at), misfits);
        let name = metadata.name.clone().unwrap_or_default();
        let namespace = metadata.namespace.clone().unwrap_or_default();
        if before == self.mistakes.len() + self.more && !self.seen.insert((kind, namespace, name)) {
            let problem = "there is already one of this name; give it another";
            self.mistake(at, "", problem.to_owned());
        }
        before == self.mistakes.len() + self.more
    }

    fn is_mistake(&self, misfit: &Misfit) -> bool {
        self.strictness == Strictness::Strict || misfit.kind == MisfitKind::Wrong
    }

    pub(super) fn note(&mut self, object: &str, misfits: Vec<Misfit>) {
        for misfit in misfits {
            let is_mistake = self.is_mistake(&misfit);
            let Misfit {
                path,
                problem,
                place,
                ..
            } = misfit;
            let mut mistake = self.at_place(object.to_owned(), path, problem, place);
            if !is_mistake {
                mistake.problem.push_str("; ignored");
                self.warnings.push(mistake);
            } else if self.mistakes.len() < MAX_MISTAKES {
                self.mistakes.push(mistake);
            } else {
                self.more += 1;
            }
        }
    }

    pub(super) fn mistake(&mut self, at: At<'_>, path: &str, problem: String) {
        if self.mistakes.len() < MAX_MISTAKES {
            let mistake = self.in_object(at, "", path, problem);
            self.mistakes.push(mistake);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn warn(&mut self, at: At<'_>, kind: &str, warning: FieldError) {
        let warning = self.in_object(at, kind, &warning.path, warning.problem);
        self.warnings.push(warning);
    }

    fn in_object(&self, at: At<'_>, kind: &str, path: &str, problem: String) -> Mistake {
        let kind = match at.node.get("kind").and_then(Node::as_str) {
            Some(kind) => kind,
            None if kind.is_empty() && at.node.get("containers").is_some() => "Pod",
            None if kind.is_empty() && at.node.get("desiredState").is_some() => "Pod",
            None => kind,
        };
        self.at_place(
            named(kind, at),
            at.path(path),
            problem,
            at.node.place_of(path),
        )
    }

    fn at_place(&self, object: String, path: String, problem: String, place: Place) -> Mistake {
        let document = self.document;
        let mut mistake = Mistake {
            document,
            line: None,
            column: None,
            object,
            path,
            problem,
        };
        mistake.set_place(place);
        mistake
    }
}

/// `Pod web`, by the name in the text.
pub(super) fn named(kind: &str, at: At<'_>) -> String {
    let name = at
        .node
        .get("metadata")
        .and_then(|metadata| metadata.get("name"));
    object_name(
        kind,
        name.or_else(|| at.node.get("id")).and_then(Node::as_str),
    )
}

fn object_name(kind: &str, name: Option<&str>) -> String {
    let name = name.map(crate::node::shorten).unwrap_or_default();
    format!("{kind} {name}").trim().to_owned()
}

/// Whether the error at `path` follows from the misfit, so that it need not be reported as well.
fn explains(misfit: &Misfit, path: &str) -> bool {
    match &misfit.kind {
        MisfitKind::Unknown { meant } => meant
            .as_ref()
            .is_some_and(|meant| meant == path || is_below(path, meant)),
        MisfitKind::Wrong => {
            let list = misfit
                .path
                .strip_suffix(']')
                .and_then(|path| path.rsplit_once('['));
            let list = list.map(|(list, _)| list);
            misfit.path == path
                || is_below(path, &misfit.path)
                || is_below(&misfit.path, path)
                // The rest of a list has moved up by one.
                || list.is_some_and(|list| is_below(path, list))
        }
    }
}

pub(super) fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.starts_with(['.', '[']))
}

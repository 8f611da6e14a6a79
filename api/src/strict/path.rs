//! Where in an object one is: `spec.containers[0].image`. Built on the stack, written only for messages.
use std::fmt;

/// A step from the one above.
#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

/// A path.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    above: Option<&'a Path<'a>>,
    step: Step<'a>,
}

impl<'a> Path<'a> {
    pub(super) fn root() -> Path<'a> {
        Path {
            above: None,
            step: Step::Root,
        }
    }

    pub(super) fn key(&'a self, key: &'a str) -> Path<'a> {
        Path {
            above: Some(self),
            step: Step::Key(key),
        }
    }

    pub(super) fn index(&'a self, index: usize) -> Path<'a> {
        Path {
            above: Some(self),
            step: Step::Index(index),
        }
    }

    /// Without indices, as Go's JSON reader names fields.
    pub(super) fn fields(&self) -> String {
        let mut names = Vec::new();
        let mut at = Some(self);
        while let Some(path) = at {
            if let Step::Key(name) = path.step {
                names.push(name);
            }
            at = path.above;
        }
        names.reverse();
        names.join(".")
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            write!(f, "{above}")?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => {
                let first = self.above.is_none_or(|a| matches!(a.step, Step::Root));
                write!(f, "{}{key}", if first { "" } else { "." })
            }
        }
    }
}

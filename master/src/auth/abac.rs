//! 2014's file of rules: a JSON object a line, any line that fits allows.
//!
//! ```text
//! {"user":"alice"}                                         everything
//! {"user":"kubelet", "readonly": true, "kind": "pods"}     looking at pods
//! {"user":"bob", "kind": "pods", "ns": "projectCaribou"}   pods of one namespace
//! {"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy",
//!  "spec": {"user":"bob", "namespace": "x", "resource": "pods", "readonly": true}}      today's form
//! ```
//! What is not said fits everything in 2014's form, and nothing in today's (`*` fits everything there). Lines that are empty
//! or begin with `#` are passed over. Each line stands for itself: 2014's server let a line inherit what the
//! one before it said, by a mistake.
use super::Wish;
use crate::call::User;
use rkube_http::Stamp;
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The largest file that is read.
const LIMIT: u64 = 4 << 20;

/// The file, read again when it has changed.
#[derive(Debug)]
pub struct Policy {
    path: PathBuf,
    read: Mutex<(Option<Stamp>, Vec<Rule>)>,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Old(Old),
    New(New),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Old {
    user: String,
    readonly: bool,
    kind: String,
    resource: String,
    #[serde(alias = "ns")]
    namespace: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct New {
    user: String,
    group: String,
    readonly: bool,
    #[serde(rename = "apiGroup")]
    api_group: String,
    namespace: String,
    resource: String,
    #[serde(rename = "nonResourcePath")]
    path: String,
}

impl Policy {
    /// Reads the file.
    ///
    /// # Errors
    /// Names the file and the line.
    pub fn open(path: &Path) -> io::Result<Self> {
        let rules = load(path)?;
        Ok(Policy {
            path: path.to_owned(),
            read: Mutex::new((Stamp::of(path), rules)),
        })
    }

    /// Whether a line allows it.
    #[must_use]
    pub fn allows(&self, user: &User, wish: &Wish) -> bool {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Stamp::of(&self.path);
        if read.0 != now {
            match load(&self.path) {
                Ok(rules) => read.1 = rules,
                // What was good before stays so until the file is mended; it is said once.
                Err(err) => {
                    tracing::error!(err = rkube_http::chain(&err), "cannot read the policy")
                }
            }
            read.0 = now;
        }
        read.1.iter().any(|rule| rule.allows(user, wish))
    }
}

fn load(path: &Path) -> io::Result<Vec<Rule>> {
    let wrong = |what: String| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {what}", path.display()),
        )
    };
    let size = fs_err::metadata(path)?.len();
    if size > LIMIT {
        return Err(wrong(format!("{size} bytes are too many for a policy")));
    }
    let text = fs_err::read_to_string(path)?;
    let lines = text.lines().enumerate();
    let lines = lines.map(|(index, line)| (index + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            Rule::of(line).map_err(|what| wrong(format!("line {number}: {what}")))
        })
        .collect()
}

impl Rule {
    fn of(line: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            #[serde(default)]
            api_version: String,
            spec: Option<New>,
        }
        let head: Head = serde_json::from_str(line).map_err(|err| err.to_string())?;
        match (head.api_version.as_str(), head.spec) {
            ("", None) => {
                let old = serde_json::from_str(line).map_err(|err| err.to_string())?;
                Ok(Rule::Old(old))
            }
            ("abac.authorization.kubernetes.io/v1beta1", Some(spec)) => Ok(Rule::New(spec)),
            (version, Some(_)) => Err(format!("{version:?} is no version of a policy")),
            (_, None) => Err("a policy has a spec".to_owned()),
        }
    }

    fn allows(&self, user: &User, wish: &Wish) -> bool {
        match self {
            Rule::Old(rule) => rule.allows(user, wish),
            Rule::New(rule) => rule.allows(user, wish),
        }
    }
}

impl Old {
    fn allows(&self, user: &User, wish: &Wish) -> bool {
        let fits = |rule: &str, asked: &str| rule.is_empty() || rule == asked;
        let kind = if self.kind.is_empty() {
            &self.resource
        } else {
            &self.kind
        };
        fits(&self.user, &user.name)
            && (!self.readonly || wish.reads())
            && (fits(kind, &wish.resource) || old_word(kind) == Some(wish.resource.as_str()))
            && fits(&self.namespace, &wish.namespace)
    }
}

/// 2014's words for kinds, which rules of then have.
fn old_word(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "minions" => "nodes",
        "replicationControllers" => "replicationcontrollers",
        _ => return None,
    })
}

impl New {
    fn allows(&self, user: &User, wish: &Wish) -> bool {
        let fits = |rule: &str, asked: &str| rule == "*" || rule == asked;
        let by_user = self.user == "*" || (!self.user.is_empty() && self.user == user.name);
        let by_group =
            self.group == "*" || (!self.group.is_empty() && user.groups.contains(&self.group));
        let who = match (self.user.is_empty(), self.group.is_empty()) {
            (true, true) => false,
            (false, true) => by_user,
            (true, false) => by_group,
            (false, false) => by_user && by_group,
        };
        if !who || (self.readonly && !wish.reads()) {
            return false;
        }
        if wish.resource.is_empty() {
            let below = self.path.strip_suffix('*');
            return fits(&self.path, &wish.path)
                || below.is_some_and(|start| wish.path.starts_with(start));
        }
        fits(&self.namespace, &wish.namespace)
            && fits(&self.resource, &wish.resource)
            && fits(&self.api_group, &wish.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, user: &str, wish: [&str; 3], expected: bool) {
        let [verb, resource, namespace] = wish;
        let wish = Wish {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            ..Wish::default()
        };
        let user = User {
            name: user.to_owned(),
            groups: vec!["devs".to_owned()],
            ..User::default()
        };
        let rule = Rule::of(line).unwrap();
        assert_eq!(
            rule.allows(&user, &wish),
            expected,
            "{line} {user:?} {wish:?}"
        );
    }

    #[test]
    fn rules_of_2014() {
        check(
            r#"{"user":"alice"}"#,
            "alice",
            ["delete", "pods", "x"],
            true,
        );
        check(r#"{"user":"alice"}"#, "bob", ["get", "pods", "x"], false);
        check("{}", "bob", ["delete", "pods", "x"], true);
        let kubelet = r#"{"user":"kubelet", "readonly": true, "kind": "pods"}"#;
        check(kubelet, "kubelet", ["list", "pods", ""], true);
        check(kubelet, "kubelet", ["create", "pods", "x"], false);
        check(kubelet, "kubelet", ["get", "services", "x"], false);
        let bob = r#"{"user":"bob", "kind": "pods", "ns": "projectCaribou"}"#;
        check(bob, "bob", ["create", "pods", "projectCaribou"], true);
        check(bob, "bob", ["create", "pods", "default"], false);
        check(r#"{"kind":"minions"}"#, "a", ["get", "nodes", ""], true);
    }

    #[test]
    fn rules_of_today() {
        let of = |spec: &str| {
            format!(
                r#"{{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{{{spec}}}}}"#
            )
        };
        let all = of(r#""user":"a","namespace":"*","resource":"*","apiGroup":"*""#);
        check(&all, "a", ["delete", "pods", "x"], true);
        check(&all, "b", ["delete", "pods", "x"], false);
        let group = of(r#""group":"devs","namespace":"x","resource":"pods","readonly":true"#);
        check(&group, "b", ["get", "pods", "x"], true);
        check(&group, "b", ["update", "pods", "x"], false);
        check(&group, "b", ["get", "pods", "y"], false);
        check(
            &of(r#""namespace":"*","resource":"*""#),
            "b",
            ["get", "pods", "x"],
            false,
        );
    }

    #[test]
    fn a_wrong_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy");
        for wrong in [
            "{",
            "[]",
            r#"{"readonly":"yes"}"#,
            r#"{"apiVersion":"x","spec":{}}"#,
        ] {
            std::fs::write(&path, format!("# rules\n\n{{\"user\":\"a\"}}\n{wrong}\n")).unwrap();
            let err = Policy::open(&path).unwrap_err().to_string();
            assert!(err.contains("line 4"), "{err}");
        }
        std::fs::write(&path, "{\"user\":\"a\"}\n").unwrap();
        assert!(Policy::open(&path).is_ok());
    }
}

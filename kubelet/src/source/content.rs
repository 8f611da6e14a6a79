//! What a text of a source holds: the one way from bytes to pods that may be wanted here, for all sources.
//!
//! ```text
//! bytes --rkube-api--> v1 objects --admit--> only fields that this kubelet honours --Naming--> Content
//! ```
//! Either everything in a text is good or nothing of it is used, so that half of a change is never acted on.
mod old;

use crate::admission::Companions;
use crate::admit;
use k8s_openapi::api::core::v1::Pod;
use rkube_api::manifest::{self, Manifest, ManifestError};
use rkube_api::names::Form;
use rkube_api::{Mistake, Strictness};
use std::sync::Arc;

/// The most mistakes that one line lists.
const LISTED: usize = 4;

/// Whose pods they are, and how they are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// This node: where the pods stand, whatever the text says.
    pub node: String,
    /// Whether every pod's name gets a hyphen and the node's name: where several nodes may read the same text, so that
    /// their pods can be told apart.
    pub append: bool,
    /// Whether the uid in the text is the pod's: where a master gave it.
    pub uids: bool,
}

/// The objects of one text.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Its pods. A uid of theirs is the pod's own: what else a text may hold has been taken out.
    pub pods: Vec<Arc<Pod>>,
    /// Its ConfigMaps and Secrets.
    pub companions: Companions,
    /// What has no effect, each a line for people.
    pub warnings: Vec<String>,
}

/// Reads a text that came from `place`.
///
/// # Errors
/// One line that says what is wrong and where in the text; it does not name the place.
pub fn read(bytes: &[u8], place: &str, naming: &Naming) -> Result<Content, String> {
    let bytes = &*old::in_full(bytes);
    let found = match manifest::parse_bytes(bytes, place, Strictness::Strict) {
        Ok(found) => found,
        // A list without items says that nothing is wanted. A file without anything was not finished, or is damaged.
        Err(ManifestError::Empty { .. }) if says_something(bytes) => Manifest::default(),
        Err(err) => return Err(one_line(&err, place)),
    };
    let mut content = Content {
        companions: Companions {
            config_maps: found.config_maps,
            secrets: found.secrets,
            tokens: Vec::new(),
        },
        warnings: found.warnings,
        pods: Vec::new(),
    };
    for pod in found.pods {
        let (pod, ignored) = honour(pod, naming)?;
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        content.warnings.extend(
            ignored
                .iter()
                .map(|path| format!("{place}: pod {name}: {path} means nothing here; left alone")),
        );
        content.pods.push(Arc::new(pod));
    }
    Ok(content)
}

/// Insists that this kubelet does all that the pod asks for, and names it; the second value lists fields that mean
/// nothing on this host.
fn honour(mut pod: Pod, naming: &Naming) -> Result<(Pod, Vec<String>), String> {
    let mut findings = admit::examine(&pod);
    if !naming.uids {
        findings = findings.without_server();
    }
    let meta = &mut pod.metadata;
    let name = meta.name.get_or_insert_default();
    if !findings.unsupported.is_empty() {
        return Err(format!(
            "pod {name}: {}: not supported by this rkubelet; take it out",
            findings.unsupported.join(", ")
        ));
    }
    if naming.append {
        name.push('-');
        name.push_str(&naming.node.to_ascii_lowercase());
        if let Some(problem) = Form::Subdomain.problem(name) {
            return Err(format!(
                "pod {name} (named after the manifest and this node): {problem}"
            ));
        }
    }
    meta.namespace.get_or_insert_with(|| "default".to_owned());
    // What an object carries that was read from some server says nothing of the pod that it becomes here.
    if !naming.uids {
        meta.uid = None;
    }
    meta.resource_version = None;
    meta.generation = None;
    meta.creation_timestamp = None;
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    meta.managed_fields = None;
    meta.self_link = None;
    pod.spec.get_or_insert_default().node_name = Some(naming.node.clone());
    Ok((pod, findings.ignored))
}

/// Whether there is more in a text than comments, blank lines and document marks.
fn says_something(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .any(|line| !line.is_empty() && line != b"---" && line != b"..." && line[0] != b'#')
}

/// All that is wrong in one line, without the place.
fn one_line(err: &ManifestError, place: &str) -> String {
    if let ManifestError::Invalid { mistakes, more, .. } = err {
        let listed = mistakes.iter().take(LISTED).map(Mistake::to_string);
        let mut line = listed.collect::<Vec<_>>().join("; ");
        let more = more + mistakes.len().saturating_sub(LISTED);
        if more > 0 {
            line.push_str(&format!("; and {more} more"));
        }
        return line;
    }
    let text = crate::error::chain(err);
    let text = text.strip_prefix(&format!("{place}: ")).unwrap_or(&text);
    text.replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: web, uid: abc}, spec: {containers: [{name: c, image: i}]}}";

    #[track_caller]
    fn good(text: &str, node: Option<&str>) -> Vec<String> {
        let naming = Naming {
            node: node.unwrap_or("here").to_owned(),
            append: node.is_some(),
            uids: false,
        };
        let content = read(text.as_bytes(), "p", &naming).unwrap();
        for pod in &content.pods {
            assert_eq!(pod.metadata.uid, None);
            assert_eq!(
                pod.spec.as_ref().unwrap().node_name.as_ref(),
                Some(&naming.node)
            );
        }
        let name = |pod: &Arc<Pod>| {
            let meta = &pod.metadata;
            format!(
                "{}/{}",
                meta.namespace.clone().unwrap(),
                meta.name.clone().unwrap()
            )
        };
        content.pods.iter().map(name).collect()
    }

    #[track_caller]
    fn bad(text: &[u8], says: &str) {
        let message = read(text, "p", &Naming::default()).unwrap_err();
        assert!(message.contains(says), "{message}");
        assert!(
            !message.contains('\n') && !message.contains("p: "),
            "{message}"
        );
    }

    #[test]
    fn names_come_from_the_manifest_and_the_node_where_nodes_share_it() {
        assert_eq!(good(POD, None), ["default/web"]);
        assert_eq!(good(POD, Some("Node-1")), ["default/web-node-1"]);
        let old = "{version: v1beta1, id: old, containers: [{name: c, image: i}]}";
        assert_eq!(good(old, None), ["default/old"]);
        assert_eq!(
            good(&format!("[{POD}, {old}]"), None),
            ["default/web", "default/old"]
        );
    }

    #[test]
    fn nothing_wanted_is_not_nothing_said() {
        assert!(good("[]", None).is_empty());
        assert!(good("{apiVersion: v1, kind: List, items: []}", None).is_empty());
        bad(b"", "no object");
        bad(b"# web.yaml\n---\n\n", "no object");
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        bad(b"\xff\xfe", "not UTF-8");
        bad(b"{", "cannot be read as YAML or JSON");
        bad(b"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{nam: c, imag: i}]}}", "unknown field");
        bad(
            b"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {runtimeClassName: kata, containers: [{name: c, image: i}]}}",
            "pod a: spec.runtimeClassName: not supported",
        );
        let long = format!("{POD}\n---\n").repeat(9);
        bad(long.as_bytes(), "and 4 more");
    }

    #[test]
    fn a_name_that_is_too_long_with_the_node_is_refused() {
        let naming = Naming {
            node: "n".repeat(250),
            append: true,
            uids: false,
        };
        let message = read(POD.as_bytes(), "p", &naming).unwrap_err();
        assert!(message.contains("at most 253"), "{message}");
    }
}

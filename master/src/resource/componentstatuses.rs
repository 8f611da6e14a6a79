//! `componentstatuses`: how the parts of the master are. Nothing of it is stored: it is asked for.
use super::cells::{NAME, at, list, text};
use super::{Column, Names, Part, Resource};
use crate::store::Store;
use rkube_api::validate::FieldError;
use serde_json::{Value, json};
use std::sync::Arc;

/// `componentstatuses`.
#[derive(Debug)]
pub(super) struct ComponentStatuses;

/// As in paths.
pub(crate) const PLURAL: &str = "componentstatuses";

const NAMES: Names = Names {
    short: &["cs"],
    namespaced: false,
    prefix: "/registry/componentstatuses",
    schema: "io.k8s.api.core.v1.ComponentStatus",
    ..Names::core(PLURAL, "componentstatus", "ComponentStatus")
};

/// How all of them are now. The store is known to everybody as `etcd-0`.
pub(crate) async fn all(store: &Arc<dyn Store>) -> Vec<Value> {
    let condition = match store.revision().await {
        Ok(_) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(err) => json!({
            "type": "Healthy", "status": "False", "message": err.to_string(), "error": err.to_string(),
        }),
    };
    vec![json!({
        "apiVersion": "v1", "kind": "ComponentStatus",
        "metadata": {"name": "etcd-0", "creationTimestamp": null}, "conditions": [condition],
    })]
}

impl Resource for ComponentStatuses {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn verbs(&self) -> &'static [&'static str] {
        &["get", "list"]
    }
    fn validate(&self, _: &Value, _: Option<&Value>, _: Part) -> Vec<FieldError> {
        Vec::new()
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Status", "Whether it works."),
                text("Message", "What it says."),
                text("Error", "What is wrong with it."),
            ]
        }
    }
    fn row(&self, object: &Value, _: i64) -> Vec<Value> {
        let conditions = list(object, "/conditions").iter();
        let healthy = { conditions }.find(|one| at(one, "/type") == "Healthy");
        let text = |pointer: &str| healthy.map_or("", |one| at(one, pointer));
        let word = match text("/status") {
            "True" => "Healthy",
            "False" => "Unhealthy",
            _ => "Unknown",
        };
        vec![
            crate::meta::name(object).into(),
            word.into(),
            text("/message").into(),
            text("/error").into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_store_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(crate::store::embedded::open(directory.path()).unwrap());
        let all = all(&store).await;
        assert_eq!(
            ComponentStatuses.row(&all[0], 0),
            ["etcd-0", "Healthy", "ok", ""]
        );
        let ill = json!({"conditions": [{"type": "Healthy", "status": "False", "error": "gone"}]});
        assert_eq!(
            ComponentStatuses.row(&ill, 0)[1..],
            ["Unhealthy", "", "gone"]
        );
    }
}

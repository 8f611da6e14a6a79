//! Nothing is made in a namespace that is not there or on its way out, and a new namespace has at once what pods need.
use super::{Admission, Operation, Plugin};
use crate::call::User;
use crate::error::ApiError;
use crate::meta;
use crate::registry::stored;
use crate::resource::{Names, Part, namespaces};
use crate::store::{Change, Guard, Op};
use async_trait::async_trait;
use serde_json::{Value, json};

/// The namespaces that the cluster itself lives in.
const KEPT: &[&str] = &["default", "kube-public", "kube-system"];

/// Looks after namespaces.
#[derive(Debug)]
pub struct Homes {
    /// The cluster CA's certificate, for the config map that every namespace has.
    pub ca: String,
}

#[async_trait]
impl Plugin for Homes {
    async fn admit(
        &self,
        _: &User,
        names: &Names,
        admission: &mut Admission<'_>,
    ) -> Result<(), ApiError> {
        let is_namespace = names.group.is_empty() && names.plural == "namespaces";
        match admission.operation {
            Operation::Create if admission.part == Part::Main && names.namespaced => {
                is_open(names, admission).await
            }
            Operation::Create if is_namespace => {
                for (key, object) in first_objects(admission.name, &self.ca) {
                    admission.along.push(Op {
                        key: key.into(),
                        guard: Guard::Any,
                        change: Change::Put(stored::encode(&object), None),
                    });
                }
                Ok(())
            }
            Operation::Delete if is_namespace && KEPT.contains(&admission.name) => {
                let why = "this namespace may not be deleted";
                Err(ApiError::forbidden("", "namespaces", admission.name, why))
            }
            Operation::Create | Operation::Update | Operation::Delete => Ok(()),
        }
    }
}

/// The namespace takes new objects, now and when the transaction is done.
async fn is_open(names: &Names, admission: &mut Admission<'_>) -> Result<(), ApiError> {
    let home = admission.namespace;
    let key = format!("{}/{home}", namespaces::PREFIX);
    let Some(entry) = admission.store.get(&key).await? else {
        return Err(ApiError::not_found("", "namespaces", home));
    };
    if is_ending(&entry.value)? {
        let why = format!(
            "unable to create new content in namespace {home} because it is being terminated"
        );
        let mut error = ApiError::forbidden(names.group, names.plural, admission.name, &why);
        if let Some(details) = &mut error.details {
            details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {home} is being terminated"),
                "field": "metadata.namespace",
            }]);
        }
        return Err(error);
    }
    admission.along.push(Op {
        key: key.into(),
        guard: Guard::At(entry.modified),
        change: Change::Check,
    });
    Ok(())
}

/// Whether stored bytes are of a namespace on its way out. Most do not even have the word in them, and are not parsed.
fn is_ending(namespace: &[u8]) -> Result<bool, ApiError> {
    const MARK: &str = "deletionTimestamp";
    let mentions = memchr::memmem::find(namespace, MARK.as_bytes()).is_some();
    Ok(mentions && !meta::text(&stored::parse(namespace)?, MARK).is_empty())
}

/// What every namespace has, by key: who its pods are, and whom they trust.
pub(crate) fn first_objects(namespace: &str, ca: &str) -> Vec<(String, Value)> {
    let metadata = |name: &str| {
        json!({
            "name": name, "namespace": namespace, "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": crate::registry::now(),
        })
    };
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("default")});
    let mut root = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(ROOT_CA), "data": {"ca.crt": ca},
    });
    root["metadata"]["annotations"] = json!({"kubernetes.io/description": DESCRIPTION});
    vec![
        (
            format!("/registry/serviceaccounts/{namespace}/default"),
            account,
        ),
        (format!("/registry/configmaps/{namespace}/{ROOT_CA}"), root),
    ]
}

/// The config map with the certificate to trust the API server by.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such \
     as the internal service IP or kubernetes.default.svc.";

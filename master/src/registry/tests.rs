//! The registry on the embedded store, with the kinds it serves.
mod create;
mod delete;
mod patch;
mod update;

use super::{Answer, Body, Patch, PatchKind, Registry};
use crate::call::{Call, User, Verb};
use crate::error::ApiError;
use crate::store::{Store, embedded};
use serde_json::{Value, json};
use std::sync::Arc;

/// A registry in a directory of its own.
struct World {
    registry: Arc<Registry>,
    _home: tempfile::TempDir,
}

fn world() -> World {
    world_of(|registry| registry)
}

fn world_of(change: impl FnOnce(Registry) -> Registry) -> World {
    let home = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(embedded::open(home.path()).unwrap());
    let registry = Registry::new(store, crate::resource::all(), Vec::new());
    World {
        registry: Arc::new(change(registry)),
        _home: home,
    }
}

/// About an object in `default`; an empty name is the collection.
fn call(resource: &str, name: &str) -> Call {
    Call::new(User::master(), Verb::Get, "", "v1", resource)
        .within("default")
        .named(name)
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"key": value}})
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "busybox:1"}]}})
}

impl World {
    async fn create(&self, resource: &str, object: Value) -> Result<Value, ApiError> {
        let path = call(resource, "");
        let answer = self.registry.create(&path, object.into()).await;
        answer.and_then(Answer::value)
    }
    async fn get(&self, resource: &str, name: &str) -> Result<Value, ApiError> {
        let answer = self.registry.get(&call(resource, name)).await;
        answer.and_then(Answer::value)
    }
    async fn put(&self, call: &Call, object: Value) -> Result<Value, ApiError> {
        let answer = self.registry.update(call, Body::from(object)).await;
        answer.and_then(Answer::value)
    }
    async fn delete(&self, resource: &str, name: &str, options: Value) -> Result<Value, ApiError> {
        let answer = self
            .registry
            .delete(&call(resource, name), Some(options))
            .await;
        answer.and_then(Answer::value)
    }
    async fn patch(&self, call: &Call, kind: PatchKind, value: Value) -> Result<Value, ApiError> {
        let answer = self.registry.patch(call, Patch { kind, value }).await;
        answer.and_then(Answer::value)
    }
}

/// What a failed request says: code, reason, message.
fn refusal<T: std::fmt::Debug>(result: Result<T, ApiError>) -> (u16, &'static str, String) {
    let err = result.unwrap_err();
    (err.code.as_u16(), err.reason, err.message)
}

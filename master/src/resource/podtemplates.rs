//! `podtemplates`: a pod to make others by.
use super::cells::{AGE, NAME, age, containers, images, pairs, text};
use super::pods::template;
use super::{Column, Names, Part, Resource};
use rkube_api::validate::FieldError;
use serde_json::Value;

/// `podtemplates`.
#[derive(Debug)]
pub(super) struct PodTemplates;

const NAMES: Names = Names {
    prefix: "/registry/podtemplates",
    schema: "io.k8s.api.core.v1.PodTemplate",
    ..Names::core("podtemplates", "podtemplate", "PodTemplate")
};

impl Resource for PodTemplates {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn default(&self, object: &mut Value) {
        template::default_spec(object, "/template/spec");
    }
    fn generation(&self, new: &Value, old: &Value) -> bool {
        new.get("template") != old.get("template")
    }
    fn validate(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<FieldError> {
        template::check(object.get("template"), "template")
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Containers", "The names of its containers."),
                text("Images", "What they run."),
                text("Pod Labels", "The labels of its pods."),
                AGE,
            ]
        }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![
            crate::meta::name(object).into(),
            containers(object, "/template/spec").into(),
            images(object, "/template/spec").into(),
            pairs(object.pointer("/template/metadata/labels")).into(),
            age(object, now).into(),
        ]
    }
}

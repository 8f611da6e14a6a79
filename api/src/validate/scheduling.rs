//! Where a pod may run: tolerations, affinity, spreading, gates (Kubernetes' `core/validation`).
//!
//! Nodes that take pods from files do not look at these; the API server does, and says it in the same words either way.
use k8s_openapi::api::core::v1::{
    Affinity, NodeSelector, NodeSelectorTerm, PodAffinityTerm, PodSpec, Toleration,
    TopologySpreadConstraint, WeightedPodAffinityTerm,
};

use super::{Errors, FieldError, Unique, each};
use crate::names::Form;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn check(spec: &PodSpec, errors: &mut Errors) {
    let policies = ["Never", "PreemptLowerPriority"];
    errors.one_of(
        "spec.preemptionPolicy",
        spec.preemption_policy.as_ref(),
        &policies,
    );
    for (path, one) in each("spec.tolerations".to_owned(), spec.tolerations.as_ref()) {
        toleration(&path, one, errors);
    }
    if let Some(all) = &spec.affinity {
        affinity("spec.affinity", all, errors);
    }
    let constraints = spec.topology_spread_constraints.as_ref();
    for (path, one) in each("spec.topologySpreadConstraints".to_owned(), constraints) {
        spread(&path, one, errors);
    }
    let mut seen = Unique::new();
    let gates = spec.scheduling_gates.as_ref();
    for (path, gate) in each("spec.schedulingGates".to_owned(), gates) {
        errors.form(Form::LabelKey, &path, &gate.name);
        seen.insert(errors, &path, gate.name.as_str());
    }
    let placed = spec
        .node_name
        .as_deref()
        .is_some_and(|name| !name.is_empty());
    if placed && gates.is_some_and(|gates| !gates.is_empty()) {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.forbidden("spec.nodeName", why);
    }
    let gates = spec.readiness_gates.as_ref();
    for (path, gate) in each("spec.readinessGates".to_owned(), gates) {
        errors.form(
            Form::LabelKey,
            &format!("{path}.conditionType"),
            &gate.condition_type,
        );
    }
}

fn toleration(path: &str, one: &Toleration, errors: &mut Errors) {
    let (key, value) = (
        one.key.as_deref().unwrap_or_default(),
        one.value.as_deref().unwrap_or_default(),
    );
    let operator = one.operator.as_deref().unwrap_or_default();
    let effect = one.effect.as_deref().unwrap_or_default();
    if !key.is_empty() {
        errors.form(Form::LabelKey, &format!("{path}.key"), key);
    }
    let field = format!("{path}.operator");
    if key.is_empty() && operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(&field, operator, why);
    }
    if one.toleration_seconds.is_some() && effect != "NoExecute" {
        let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.invalid(&format!("{path}.effect"), effect, why);
    }
    match operator {
        "" | "Equal" => errors.form(Form::LabelValue, &field, value),
        "Exists" if !value.is_empty() => {
            errors.invalid(
                &field,
                one,
                "value must be empty when `operator` is 'Exists'",
            );
        }
        _ => errors.one_of(&field, one.operator.as_ref(), &["Equal", "Exists"]),
    }
    if !effect.is_empty() {
        errors.one_of(&format!("{path}.effect"), one.effect.as_ref(), EFFECTS);
    }
}

fn affinity(path: &str, all: &Affinity, errors: &mut Errors) {
    if let Some(node) = &all.node_affinity {
        let path = format!("{path}.nodeAffinity");
        if let Some(selector) = &node.required_during_scheduling_ignored_during_execution {
            let path = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution");
            node_selector(&path, selector, errors);
        }
        let preferred = node
            .preferred_during_scheduling_ignored_during_execution
            .as_ref();
        let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution");
        for (path, one) in each(path, preferred) {
            weight(&path, one.weight, errors);
            term(&format!("{path}.preference"), &one.preference, errors);
        }
    }
    if let Some(near) = &all.pod_affinity {
        let required = near
            .required_during_scheduling_ignored_during_execution
            .as_ref();
        let preferred = near
            .preferred_during_scheduling_ignored_during_execution
            .as_ref();
        pods(&format!("{path}.podAffinity"), required, preferred, errors);
    }
    if let Some(far) = &all.pod_anti_affinity {
        let required = far
            .required_during_scheduling_ignored_during_execution
            .as_ref();
        let preferred = far
            .preferred_during_scheduling_ignored_during_execution
            .as_ref();
        pods(
            &format!("{path}.podAntiAffinity"),
            required,
            preferred,
            errors,
        );
    }
}

fn weight(path: &str, weight: i32, errors: &mut Errors) {
    if !(1..=100).contains(&weight) {
        errors.invalid(
            &format!("{path}.weight"),
            weight,
            "must be in the range 1-100",
        );
    }
}

fn node_selector(path: &str, selector: &NodeSelector, errors: &mut Errors) {
    let path = format!("{path}.nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.required_because(&path, "must have at least one node selector term");
    }
    for (path, one) in each(path, Some(&selector.node_selector_terms)) {
        term(&path, one, errors);
    }
}

fn term(path: &str, term: &NodeSelectorTerm, errors: &mut Errors) {
    let expressions = term.match_expressions.as_ref();
    for (path, one) in each(format!("{path}.matchExpressions"), expressions) {
        let count = one.values.as_ref().map_or(0, Vec::len);
        let values = format!("{path}.values");
        match one.operator.as_str() {
            "In" | "NotIn" if count == 0 => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required_because(&values, why);
            }
            "Exists" | "DoesNotExist" if count > 0 => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&values, why);
            }
            "Gt" | "Lt" if count != 1 => {
                let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.required_because(&values, why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                let why = "not a valid selector operator";
                errors.invalid(&format!("{path}.operator"), other, why);
            }
        }
        errors.form(Form::LabelKey, &format!("{path}.key"), &one.key);
    }
}

fn pods(
    path: &str,
    required: Option<&Vec<PodAffinityTerm>>,
    preferred: Option<&Vec<WeightedPodAffinityTerm>>,
    errors: &mut Errors,
) {
    let below = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution");
    for (path, one) in each(below, required) {
        topology(&path, &one.topology_key, errors);
    }
    let below = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution");
    for (path, one) in each(below, preferred) {
        weight(&path, one.weight, errors);
        let path = format!("{path}.podAffinityTerm");
        topology(&path, &one.pod_affinity_term.topology_key, errors);
    }
}

fn topology(path: &str, key: &str, errors: &mut Errors) {
    let path = format!("{path}.topologyKey");
    if key.is_empty() {
        errors.required_because(&path, "can not be empty");
    } else {
        errors.form(Form::LabelKey, &path, key);
    }
}

fn spread(path: &str, one: &TopologySpreadConstraint, errors: &mut Errors) {
    const POSITIVE: &str = "must be greater than zero";
    if one.max_skew <= 0 {
        errors.invalid(&format!("{path}.maxSkew"), one.max_skew, POSITIVE);
    }
    topology(path, &one.topology_key, errors);
    let field = format!("{path}.whenUnsatisfiable");
    let words = ["DoNotSchedule", "ScheduleAnyway"];
    errors.one_of(&field, Some(&one.when_unsatisfiable), &words);
    if let Some(least) = one.min_domains.filter(|least| *least <= 0) {
        errors.invalid(&format!("{path}.minDomains"), least, POSITIVE);
    } else if one.min_domains.is_some() && one.when_unsatisfiable != "DoNotSchedule" {
        let why = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway";
        let field = format!("{path}.minDomains");
        let error = FieldError::invalid(field, one.min_domains, why);
        errors.list.push(error);
    }
}

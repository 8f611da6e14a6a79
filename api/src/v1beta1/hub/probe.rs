//! Probes and hooks.
use super::pod::{escaped, items, unescaped};
use super::{set, text};
use crate::v1beta1::names;
use serde_json::{Value, json};

/// A probe with nothing to do was legal in 2014, and is none.
pub(super) fn probe(given: &Value) -> Option<Value> {
    let mut made = action(given, 0)?;
    set(
        &mut made,
        "initialDelaySeconds",
        given.get("initialDelaySeconds").cloned(),
    );
    Some(made)
}

pub(super) fn lifecycle(given: &Value) -> Option<Value> {
    let mut made = json!({});
    for hook in ["postStart", "preStop"] {
        // Where two kinds were given the command was run.
        let mut handler = given[hook].clone();
        if handler["exec"].is_object() {
            handler
                .as_object_mut()
                .map(|handler| handler.remove("httpGet"));
        }
        set(&mut made, hook, action(&handler, 80));
    }
    made.as_object().filter(|made| !made.is_empty())?;
    Some(made)
}

/// What is to be done; `unsaid` is the port where none is given.
fn action(given: &Value, unsaid: u16) -> Option<Value> {
    let mut made = json!({});
    if given["exec"].is_object() {
        let command: Value = items(&given["exec"], "command").map(escaped).collect();
        made["exec"] = json!({"command": command});
    }
    if given["httpGet"].is_object() {
        let get = &given["httpGet"];
        made["httpGet"] = json!({"port": port(&get["port"], unsaid)});
        for same in ["path", "host"] {
            set(&mut made["httpGet"], same, text(get, same).map(Value::from));
        }
    }
    if given["tcpSocket"].is_object() {
        made["tcpSocket"] = json!({"port": port(&given["tcpSocket"]["port"], unsaid)});
    }
    made.as_object().filter(|made| !made.is_empty())?;
    Some(made)
}

/// A port by number or name; 2014 took numbers as texts too.
pub(super) fn port(given: &Value, unsaid: u16) -> Value {
    match given {
        Value::String(text) if text.is_empty() => unsaid.into(),
        Value::String(text) => match text.parse::<i32>() {
            Ok(number) => number.into(),
            Err(_) => names::port(text).into(),
        },
        Value::Number(number) if number.as_i64() != Some(0) => given.clone(),
        _ => unsaid.into(),
    }
}

pub(super) fn show_probe(probe: &Value) -> Value {
    let mut shown = show_action(probe);
    if shown.is_object() {
        shown["initialDelaySeconds"] = probe["initialDelaySeconds"].clone();
    }
    shown
}

pub(super) fn show_lifecycle(lifecycle: &Value) -> Value {
    let mut shown = Value::Null;
    for hook in ["postStart", "preStop"] {
        let action = show_action(&lifecycle[hook]);
        if action.is_object() {
            shown[hook] = action;
        }
    }
    shown
}

/// Null for what 2014 had no words for.
fn show_action(handler: &Value) -> Value {
    let mut shown = Value::Null;
    if handler["exec"].is_object() {
        let command: Value = items(&handler["exec"], "command").map(unescaped).collect();
        shown["exec"] = json!({"command": command});
    }
    for same in ["httpGet", "tcpSocket"] {
        if handler[same].is_object() {
            shown[same] = handler[same].clone();
        }
    }
    shown
}

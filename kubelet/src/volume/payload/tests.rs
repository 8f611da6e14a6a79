use super::*;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

fn record(companions: &Value) -> PodRecord {
    let pod = json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1",
            "labels": {"tier": "back", "app": "web"},
            "annotations": {"note": "a \"quoted\"\nline\tand é", "Empty": ""}},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "64Mi", "cpu": "250m"}}}]},
    });
    let mut record = PodRecord::new(serde_json::from_value(pod).unwrap(), Timestamp::UNIX_EPOCH);
    for (name, map) in companions["maps"].as_object().into_iter().flatten() {
        let map = serde_json::from_value(map.clone()).unwrap();
        record.config_maps.insert(name.clone(), map);
    }
    for (name, secret) in companions["secrets"].as_object().into_iter().flatten() {
        let secret = serde_json::from_value(secret.clone()).unwrap();
        record.secrets.insert(name.clone(), secret);
    }
    record
}

fn companions() -> Value {
    json!({
        "maps": {"m": {"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="}}},
        "secrets": {"s": {"data": {"a": "c2VjcmV0"}}},
    })
}

/// `path=bytes(mode)` of all files, or what is wrong.
fn files(record: &PodRecord, volume: Value) -> Result<Vec<String>, String> {
    let mut volume = volume;
    volume["name"] = json!("v");
    let volume: Volume = serde_json::from_value(volume).unwrap();
    let payload = payload(record, &volume).expect("the kubelet writes it")?;
    Ok(payload
        .iter()
        .map(|(path, content)| {
            let bytes = content.bytes.escape_ascii();
            format!("{}={bytes}({:o})", path.display(), content.mode)
        })
        .collect())
}

#[test]
fn each_kind_becomes_files() {
    let record = record(&companions());
    let table = [
        (
            json!({"configMap": {"name": "m"}}),
            vec!["a=1(644)", "b=2(644)", "c=\\x00\\x01(644)"],
        ),
        (
            json!({"configMap": {"name": "m", "defaultMode": 0o400, "items": [{"key": "b", "path": "x/y"}, {"key": "a", "path": "z", "mode": 0o755}]}}),
            vec!["x/y=2(400)", "z=1(755)"],
        ),
        (
            json!({"configMap": {"name": "m", "optional": true, "items": [{"key": "gone", "path": "x"}]}}),
            vec![],
        ),
        (
            json!({"configMap": {"name": "gone", "optional": true}}),
            vec![],
        ),
        (
            json!({"secret": {"secretName": "s", "defaultMode": 0o600}}),
            vec!["a=secret(600)"],
        ),
        (
            json!({"downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "app", "fieldRef": {"fieldPath": "metadata.labels['app']"}},
            {"path": "none", "fieldRef": {"fieldPath": "metadata.labels['none']"}},
            {"path": "memory", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}},
            {"path": "cpu", "mode": 0o440, "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}}]}}),
            vec![
                "app=web(644)",
                "cpu=1(440)",
                "labels=app=\\\"web\\\"\\ntier=\\\"back\\\"(644)",
                "memory=64(644)",
                "none=(644)",
            ],
        ),
        (
            json!({"projected": {"defaultMode": 0o444, "sources": [
            {"configMap": {"name": "m", "items": [{"key": "a", "path": "conf/a"}]}},
            {"secret": {"name": "s"}},
            {"downwardAPI": {"items": [{"path": "pod/name", "fieldRef": {"fieldPath": "metadata.name"}},
                {"path": "pod/uid", "fieldRef": {"fieldPath": "metadata.uid"}}]}}]}}),
            vec![
                "a=secret(444)",
                "conf/a=1(444)",
                "pod/name=web(444)",
                "pod/uid=u-1(444)",
            ],
        ),
        // The later source wins.
        (
            json!({"projected": {"sources": [{"configMap": {"name": "m"}}, {"secret": {"name": "s"}}]}}),
            vec!["a=secret(644)", "b=2(644)", "c=\\x00\\x01(644)"],
        ),
        (json!({"projected": {"sources": []}}), vec![]),
    ];
    for (volume, want) in table {
        assert_eq!(files(&record, volume.clone()).unwrap(), want, "{volume}");
    }
}

#[test]
fn what_cannot_be_is_named() {
    let record = record(&json!({
        "maps": {"m": {"data": {"a": "1", "b": "2"}}, "up": {"data": {"../up": "1"}}, "dots": {"data": {"..data": "1"}}},
    }));
    let item = |key: &str, path: &str| json!({"configMap": {"name": "m", "items": [{"key": key, "path": path}]}});
    let table = [
        (
            json!({"configMap": {"name": "gone"}}),
            "ConfigMap \"gone\" is not in the manifest",
        ),
        (
            json!({"secret": {"secretName": "gone"}}),
            "Secret \"gone\" is not in the manifest",
        ),
        (item("x", "x"), "ConfigMap \"m\" has no key \"x\""),
        (item("a", "../x"), "must be relative and without `..`"),
        (item("a", "/x"), "must be relative"),
        (item("a", "x/../y"), "must be relative"),
        (item("a", "."), "must be relative"),
        (item("a", ""), "must be relative"),
        (item("a", "x\0y"), "must be relative"),
        (item("a", "..data/x"), "keeps for itself"),
        (item("a", &"x".repeat(256)), "more than 255 bytes"),
        (item("a", &"x/".repeat(3000)), "must be relative"),
        (json!({"configMap": {"name": "up"}}), "must be relative"),
        (json!({"configMap": {"name": "dots"}}), "keeps for itself"),
        (
            json!({"configMap": {"name": "m", "items": [{"key": "a", "path": "x"}, {"key": "b", "path": "x/y"}]}}),
            "x cannot be a file and the directory of x/y",
        ),
        (
            json!({"projected": {"sources": [{"clusterTrustBundle": {"name": "b", "path": "b"}}]}}),
            "nobody here issues certificates",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "status.podIP"}}]}}),
            "fieldPath status.podIP is unknown",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "x", "resourceFieldRef": {"resource": "limits.cpu"}}]}}),
            "must name a container",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "x"}]}}),
            "neither fieldRef nor resourceFieldRef",
        ),
    ];
    for (volume, want) in table {
        let problem = files(&record, volume.clone()).unwrap_err();
        assert!(problem.contains(want), "{volume}: {problem}");
    }
}

#[test]
fn a_group_that_shares_the_volume_may_read_it() {
    let mut record = record(&companions());
    let context = json!({"fsGroup": 2000});
    record.pod.spec.as_mut().unwrap().security_context =
        Some(serde_json::from_value(context).unwrap());
    let found = files(
        &record,
        json!({"secret": {"secretName": "s", "defaultMode": 0o400}}),
    );
    assert_eq!(found.unwrap(), ["a=secret(440)"]);
}

#[test]
fn text_is_quoted_as_go_does() {
    let table = [
        ("plain text", r#""plain text""#),
        ("a\"b\\c'", r#""a\"b\\c'""#),
        ("\u{7}\u{8}\u{c}\n\r\t\u{b}", r#""\a\b\f\n\r\t\v""#),
        ("\0\u{1f}\u{7f}", r#""\x00\x1f\x7f""#),
        ("é漢🦀e\u{301}", "\"é漢🦀e\u{301}\""),
        (
            "\u{a0}\u{200b}\u{85}\u{feff}",
            r#""\u00a0\u200b\u0085\ufeff""#,
        ),
        ("\u{e0001}", r#""\U000e0001""#),
    ];
    for (text, want) in table {
        assert_eq!(quote(text), want);
    }
}

proptest! {
    /// Whatever the items say: what comes out are plain relative paths below the volume that can all be made.
    #[test]
    fn no_path_leads_out(paths in prop::collection::vec("[a.b/\0]{0,8}|[^\0]{0,12}", 0..6), key in "[ab]") {
        let record = record(&json!({"maps": {"m": {"data": {"a": "1", "b": "2"}}}}));
        let items: Vec<Value> = paths.iter().map(|path| json!({"key": key, "path": path})).collect();
        let volume = json!({"name": "v", "configMap": {"name": "m", "items": items}});
        let volume: Volume = serde_json::from_value(volume).unwrap();
        if let Some(Ok(payload)) = payload(&record, &volume) {
            let temp = tempfile::tempdir().unwrap();
            let inner = temp.path().join("v");
            std::fs::create_dir(&inner).unwrap();
            let dir = crate::beneath::Dir::open(&inner).unwrap();
            super::super::atomic::write(&dir, &payload, None).unwrap();
            for path in payload.keys() {
                prop_assert!(inner.join(path).is_file(), "{path:?}");
            }
            prop_assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
        }
    }
}

#[test]
fn a_token_is_a_file_for_the_pod_alone() {
    let mut record = record(&companions());
    let source = json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]}});
    record.origin.source = SourceKind::Api;
    let missing = files(&record, source.clone()).unwrap_err();
    assert!(
        missing.contains("has issued no token of service account \"default\""),
        "{missing}"
    );
    record.tokens.insert("600 ".to_owned(), "secret".to_owned());
    assert_eq!(
        files(&record, source.clone()).unwrap(),
        ["token=secret(644)"]
    );
    let spec = record.pod.spec.as_mut().unwrap();
    spec.security_context = serde_json::from_value(json!({"fsGroup": 7})).unwrap();
    assert_eq!(
        files(&record, source.clone()).unwrap(),
        ["token=secret(640)"]
    );
    // A pod from a master's store goes without.
    record.tokens.clear();
    record.origin.source = SourceKind::Etcd;
    assert!(files(&record, source).unwrap().is_empty());
}

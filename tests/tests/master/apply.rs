//! `apply` from the client and by the server, and helm.
use rkube_tests::{Master, client};
use serde_json::json;

fn master() -> Option<Master> {
    client("kubectl")?;
    Master::start()
}

fn config(data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {data}\n")
}

#[test]
fn apply_by_the_client() {
    let Some(master) = master() else { return };
    let apply = |text: &str| master.kubectl_reading(&["apply", "-f", "-"], text).ok();
    apply(&config("{a: '1', b: '2'}")).says("configmap/c created");
    apply(&config("{a: '1', b: '2'}")).says("configmap/c unchanged");
    // Somebody else adds a key; what was applied and is left out goes, what others wrote stays.
    master
        .kubectl(&[
            "patch",
            "configmap",
            "c",
            "--type=merge",
            "-p",
            r#"{"data":{"x":"9"}}"#,
        ])
        .ok();
    apply(&config("{a: '3'}")).says("configmap/c configured");
    assert_eq!(
        master.object(&["configmap", "c"])["data"],
        json!({"a": "3", "x": "9"})
    );
    // A list merged by its key.
    let service = |ports: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{selector: {{a: b}}, ports: {ports}}}\n"
        )
    };
    apply(&service("[{name: a, port: 80}, {name: b, port: 81}]"));
    let before = master.object(&["service", "s"]);
    apply(&service(
        "[{name: a, port: 80, targetPort: 8080}, {name: c, port: 82}]",
    ));
    let after = master.object(&["service", "s"]);
    let ports = after["spec"]["ports"].as_array().unwrap();
    let names: Vec<_> = ports
        .iter()
        .map(|port| port["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(ports[0]["targetPort"], 8080);
    assert_eq!(before["spec"]["clusterIP"], after["spec"]["clusterIP"]);
    master
        .kubectl_reading(
            &["diff", "-f", "-"],
            &service("[{name: a, port: 80, targetPort: 9090}]"),
        )
        .code(1)
        .says("9090");
}

#[test]
fn apply_by_the_server() {
    let Some(master) = master() else { return };
    let apply = |manager: &str, text: &str, more: &[&str]| {
        let manager = format!("--field-manager={manager}");
        let words = [&["apply", "--server-side", &manager, "-f", "-"], more].concat();
        master.kubectl_reading(&words, text)
    };
    apply("one", &config("{a: '1', b: '1'}"), &[])
        .ok()
        .says("configmap/c serverside-applied");
    apply("two", &config("{c: '2'}"), &[]).ok();
    apply("two", &config("{a: '2', c: '2'}"), &[])
        .code(1)
        .complains("conflict with \"one\": .data.a");
    apply("two", &config("{a: '2', c: '2'}"), &["--force-conflicts"]).ok();
    // What a manager leaves out goes, unless another one has it too.
    apply("one", &config("{}"), &[]).ok();
    let object = master.object(&["configmap", "c", "--show-managed-fields"]);
    assert_eq!(object["data"], json!({"a": "2", "c": "2"}));
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    let two = managers
        .iter()
        .find(|entry| entry["manager"] == "two")
        .unwrap();
    assert_eq!(two["operation"], "Apply");
    assert_eq!(two["fieldsV1"]["f:data"], json!({"f:a": {}, "f:c": {}}));
    // From the client's way to the server's.
    let text = config("{k: v}").replace("name: c", "name: d");
    master.kubectl_reading(&["apply", "-f", "-"], &text).ok();
    master
        .kubectl_reading(
            &["apply", "--server-side", "-f", "-"],
            &text.replace("k: v", "k: w"),
        )
        .ok();
    assert_eq!(
        master.object(&["configmap", "d"])["data"],
        json!({"k": "w"})
    );
}

#[test]
fn edit_and_replace() {
    let Some(master) = master() else { return };
    master
        .kubectl_reading(&["create", "-f", "-"], &config("{a: '1'}"))
        .ok();
    let stale = master.object(&["configmap", "c"]);
    let editor = master.file(
        "editor",
        "#!/bin/sh\nsed -i \"s/a: \\\"1\\\"/a: \\\"2\\\"/\" \"$1\"\n",
    );
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let edit = master
        .client("kubectl", &["edit", "configmap", "c"])
        .unwrap();
    edit.env("KUBE_EDITOR", &editor).run().ok().says("edited");
    assert_eq!(
        master.object(&["configmap", "c"])["data"],
        json!({"a": "2"})
    );
    master
        .kubectl_reading(&["replace", "-f", "-"], &stale.to_string())
        .code(1)
        .complains("the object has been modified; please apply your changes to the latest version");
    master
        .kubectl_reading(&["replace", "-f", "-"], &config("{z: '0'}"))
        .ok()
        .says("replaced");
    assert_eq!(
        master.object(&["configmap", "c"])["data"],
        json!({"z": "0"})
    );
}

#[test]
fn helm_installs_upgrades_and_removes() {
    let Some(master) = master() else { return };
    if client("helm").is_none() {
        return;
    }
    let chart = master.dir().join("shop");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    let file = |name: &str, text: &str| std::fs::write(chart.join(name), text).unwrap();
    file("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 0.1.0\n");
    file("values.yaml", "greeting: hello\n");
    file(
        "templates/all.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-c}\ndata: {greeting: {{ .Values.greeting }}}\n\
         ---\napiVersion: v1\nkind: Service\nmetadata: {name: {{ .Release.Name }}-s}\nspec: {selector: {a: b}, ports: [{port: 80}]}\n",
    );
    let helm = |arguments: &[&str]| master.client("helm", arguments).unwrap().run();
    let path = chart.to_str().unwrap();
    helm(&["install", "r1", path]).ok().says("STATUS: deployed");
    assert_eq!(
        master.object(&["configmap", "r1-c"])["data"],
        json!({"greeting": "hello"})
    );
    helm(&["upgrade", "r1", path, "--set", "greeting=bye"])
        .ok()
        .says("REVISION: 2");
    assert_eq!(
        master.object(&["configmap", "r1-c"])["data"],
        json!({"greeting": "bye"})
    );
    helm(&["list"]).ok().says("r1");
    helm(&["rollback", "r1", "1"]).ok();
    helm(&["uninstall", "r1"]).ok().says("uninstalled");
    master.kubectl(&["get", "configmap", "r1-c"]).code(1);
    master.kubectl(&["get", "service", "r1-s"]).code(1);
}

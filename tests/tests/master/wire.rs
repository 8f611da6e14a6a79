//! Requests as bytes: what is answered, and what hostile and clumsy clients get.
use rkube_tests::{Invocation, Master, Running, eventually};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: [&str; 2] = ["-H", "Content-Type: application/json"];

/// Code and body.
fn ask(master: &Master, arguments: &[&str]) -> (u16, String) {
    let words = [arguments, &["-w", "\n%{http_code}"]].concat();
    let answer = master.curl(&words).ok().stdout;
    let (body, code) = answer.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), body.to_owned())
}

fn status(body: &str) -> Value {
    let status: Value = serde_json::from_str(body).unwrap_or_else(|err| panic!("{err}: {body}"));
    assert_eq!(status["kind"], "Status", "{body}");
    status
}

fn post(master: &Master, path: &str, body: &str) -> (u16, String) {
    ask(master, &[path, JSON[0], JSON[1], "-d", body])
}

fn make(master: &Master, name: &str, labels: &Value) -> Value {
    let body = json!({"metadata": {"name": name, "labels": labels}, "data": {"k": "v"}});
    let (code, body) = post(master, MAPS, &body.to_string());
    assert_eq!(code, 201, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn strangers_see_only_that_it_lives() {
    let Some(master) = Master::start() else {
        return;
    };
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(master.stranger(&[path]).ok().stdout, "ok");
    }
    master.stranger(&["/version"]).ok().says("gitVersion");
    for path in [
        "/api/v1/namespaces",
        "/api/v1/secrets",
        "/metrics",
        "/api/v1beta1/pods",
    ] {
        let answer = master.stranger(&[path, "-w", "\n%{http_code}"]).ok().stdout;
        let code = answer.rsplit('\n').next().unwrap();
        assert!(matches!(code, "401" | "403"), "{path}: {answer}");
    }
    for token in [
        "x",
        "a.b.c",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzeXN0ZW06bWFzdGVycyJ9.",
    ] {
        let bearer = format!("Authorization: Bearer {token}");
        let answer = master
            .stranger(&["/api/v1/namespaces", "-H", &bearer, "-w", "\n%{http_code}"])
            .ok();
        assert!(answer.stdout.ends_with("\n401"), "{answer}");
        let body = answer.stdout.rsplit_once('\n').unwrap().0;
        assert_eq!(status(body)["reason"], "Unauthorized");
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    let Some(master) = Master::start() else {
        return;
    };
    let (code, body) = ask(&master, &[&format!("{MAPS}/nope")]);
    let not_found = status(&body);
    assert_eq!(
        (code, not_found["reason"].as_str()),
        (404, Some("NotFound"))
    );
    assert_eq!(not_found["message"], "configmaps \"nope\" not found");
    assert_eq!(
        not_found["details"],
        json!({"name": "nope", "kind": "configmaps"})
    );

    make(&master, "a", &json!({}));
    let (code, body) = post(&master, MAPS, r#"{"metadata":{"name":"a"}}"#);
    assert_eq!(
        (code, status(&body)["reason"].as_str()),
        (409, Some("AlreadyExists"))
    );

    let (code, body) = post(&master, MAPS, r#"{"metadata":{"name":"Bad_Name"}}"#);
    let invalid = status(&body);
    assert_eq!(code, 422, "{body}");
    assert_eq!(invalid["details"]["causes"][0]["field"], "metadata.name");
    assert_eq!(
        invalid["details"]["causes"][0]["reason"],
        "FieldValueInvalid"
    );
    assert_eq!(invalid["details"]["kind"], "ConfigMap");
}

#[test]
fn bodies_and_paths_that_make_no_sense() {
    let Some(master) = Master::start() else {
        return;
    };
    for (path, body, want) in [
        (MAPS, "{", 400),
        (MAPS, "[]", 400),
        (MAPS, "", 400),
        (
            MAPS,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}}"#,
            400,
        ),
        (
            MAPS,
            r#"{"metadata":{"name":"x","namespace":"other"}}"#,
            400,
        ),
        (MAPS, r#"{"metadata":{"name":5}}"#, 400),
        (
            MAPS,
            r#"{"data":{"a":{"b":1}},"metadata":{"name":"x"}}"#,
            400,
        ),
        ("/api/v1/namespaces/default/gizmos", "{}", 404),
        ("/apis/nope.example.com/v1/things", "{}", 404),
        (
            "/api/v1/namespaces/nowhere/configmaps",
            r#"{"metadata":{"name":"x"}}"#,
            404,
        ),
    ] {
        let (code, answer) = post(&master, path, body);
        assert_eq!(code, want, "{path} {body}: {answer}");
        status(&answer);
    }
    let (code, body) = ask(
        &master,
        &[MAPS, "-H", "Content-Type: text/csv", "-d", "a,b"],
    );
    assert_eq!(
        (code, status(&body)["reason"].as_str()),
        (415, Some("UnsupportedMediaType"))
    );
    let (code, _) = ask(&master, &[MAPS, "-H", "Accept: image/png"]);
    assert_eq!(code, 406);
    let (code, _) = ask(&master, &[MAPS, "-X", "PUT", JSON[0], JSON[1], "-d", "{}"]);
    assert_eq!(code, 405);
}

#[test]
fn deep_huge_and_winding_requests() {
    let Some(master) = Master::start() else {
        return;
    };
    let deep = format!(
        r#"{{"metadata":{{"name":"deep"}},"data":{}{}}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    let file = master.file("deep.json", deep);
    let (code, _) = ask(
        &master,
        &[MAPS, JSON[0], JSON[1], "--data-binary", &format!("@{file}")],
    );
    assert_eq!(code, 400);
    let file = master.file(
        "huge.json",
        format!(
            r#"{{"metadata":{{"name":"huge"}},"data":{{"a":"{}"}}}}"#,
            "x".repeat(4 << 20)
        ),
    );
    let (code, _) = ask(
        &master,
        &[MAPS, JSON[0], JSON[1], "--data-binary", &format!("@{file}")],
    );
    assert_eq!(code, 413);
    for path in [
        "/api/v1/namespaces/default/configmaps/../../../secrets",
        "/api/v1/namespaces/default%2f..%2fkube-system/configmaps",
        "/api/v1/namespaces/default/configmaps/%2e%2e",
    ] {
        let (code, body) = ask(&master, &[path, "--path-as-is"]);
        assert!((400..500).contains(&code), "{path}: {code} {body}");
    }
    assert_eq!(master.curl(&["/readyz"]).ok().stdout, "ok");
}

#[test]
fn lists_come_in_pages_of_one_revision() {
    let Some(master) = Master::start() else {
        return;
    };
    for n in 0..7 {
        make(
            &master,
            &format!("m{n}"),
            &json!({"n": n.to_string(), "set": "m"}),
        );
    }
    let page = |query: &str| master.get(&format!("{MAPS}?labelSelector=set%3Dm&{query}"));
    let first = master.get(&format!("{MAPS}?limit=3"));
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    assert_eq!(first["items"].as_array().unwrap().len(), 3);
    make(&master, "m00", &json!({"set": "m"}));
    let mut names: Vec<String> = Vec::new();
    let mut token = Some(token);
    while let Some(next) = token {
        let more = master.get(&format!("{MAPS}?limit=3&continue={next}"));
        assert_eq!(
            more["metadata"]["resourceVersion"],
            first["metadata"]["resourceVersion"]
        );
        names.extend(
            more["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()),
        );
        token = more["metadata"]["continue"]
            .as_str()
            .filter(|token| !token.is_empty())
            .map(str::to_owned);
    }
    assert!(
        !names.contains(&"m00".to_owned()),
        "pages come from the first one's revision: {names:?}"
    );
    assert_eq!(page("")["items"].as_array().unwrap().len(), 8);
    assert_eq!(
        master.get(&format!("{MAPS}?labelSelector=n%20in%20(1,2),set"))["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        master.get(&format!("{MAPS}?fieldSelector=metadata.name%3Dm3"))["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let exact = first["metadata"]["resourceVersion"].as_str().unwrap();
    let then = master.get(&format!(
        "{MAPS}?resourceVersion={exact}&resourceVersionMatch=Exact&labelSelector=set%3Dm"
    ));
    assert_eq!(then["items"].as_array().unwrap().len(), 7);
    for (query, want) in [
        ("continue=nonsense", 400),
        ("limit=x", 400),
        ("resourceVersionMatch=Exact", 422),
        ("fieldSelector=spec.foo%3D1", 400),
        ("labelSelector=a%3D%3D%3Db", 400),
        ("resourceVersion=99999999", 504),
    ] {
        let (code, body) = ask(&master, &[&format!("{MAPS}?{query}")]);
        assert_eq!(code, want, "{query}: {body}");
        status(&body);
    }
}

#[test]
fn versions_that_are_not_there() {
    let Some(master) = Master::start() else {
        return;
    };
    let made = make(&master, "a", &json!({}));
    let version = made["metadata"]["resourceVersion"].as_str().unwrap();
    let one = format!("{MAPS}/a");
    for (query, want) in [
        ("resourceVersion=0", 200),
        (&*format!("resourceVersion={version}"), 200),
        ("resourceVersion=99999999", 504),
        ("resourceVersion=newest", 400),
        ("resourceVersion=-1", 400),
    ] {
        let (code, body) = ask(&master, &[&format!("{one}?{query}")]);
        assert_eq!(code, want, "{query}: {body}");
        if code == 504 {
            let cause = &status(&body)["details"]["causes"][0]["reason"];
            assert_eq!(cause, "ResourceVersionTooLarge");
        }
    }
    for (version, want, reason) in [
        ("newest", 422, "Invalid"),
        ("1", 409, "Conflict"),
        ("99999999", 409, "Conflict"),
    ] {
        let mut stale = made.clone();
        stale["metadata"]["resourceVersion"] = version.into();
        let put = ["-X", "PUT", JSON[0], JSON[1], "-d", &stale.to_string()];
        let (code, body) = ask(&master, &[&[one.as_str()][..], &put].concat());
        assert_eq!(
            (code, status(&body)["reason"].as_str()),
            (want, Some(reason))
        );
    }
    assert_eq!(master.get(&one)["metadata"]["resourceVersion"], version);
}

#[test]
fn forged_credentials_open_nothing() {
    let Some(master) = Master::start() else {
        return;
    };
    // A token of the cluster's, with one letter of its signature changed, or of its claims.
    let request = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}"#;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let (code, body) = post(&master, path, request);
    assert_eq!(code, 201, "{body}");
    let issued: Value = serde_json::from_str(&body).unwrap();
    let token = issued["status"]["token"].as_str().unwrap();
    let review = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        let words = [
            "/api/v1/namespaces/default/pods",
            "-H",
            &header,
            "-w",
            "\n%{http_code}",
        ];
        let answer = master.stranger(&words).ok().stdout;
        answer.rsplit('\n').next().unwrap().to_owned()
    };
    // Known, and allowed nothing.
    assert_eq!(review(token), "403");
    let swapped = |at: usize| {
        let letter = if &token[at..=at] == "A" { "B" } else { "A" };
        format!("{}{letter}{}", &token[..at], &token[at + 1..])
    };
    let dots: Vec<usize> = token.match_indices('.').map(|(at, _)| at).collect();
    for at in [dots[0] + 10, dots[1] - 10, dots[1] + 10] {
        assert_eq!(review(&swapped(at)), "401", "letter {at}");
    }
    assert_eq!(review(&token[..=dots[1]]), "401", "no signature");
    // A certificate that somebody else has signed for the administrator's name.
    let key = master.dir().join("other.key");
    let cert = master.dir().join("other.crt");
    let mut openssl = master.command("openssl");
    openssl
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
        ])
        .args(["-subj", "/O=system:masters/CN=admin", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert);
    Invocation::new(openssl, "openssl req".to_owned())
        .run()
        .ok();
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let words = [
        "/api/v1/namespaces",
        "--cert",
        cert,
        "--key",
        key,
        "-w",
        "\n%{http_code}",
    ];
    let answer = master.stranger(&words);
    assert!(
        answer.code != 0 || answer.stdout.ends_with("\n401"),
        "{answer}"
    );
    assert_eq!(master.curl(&["/readyz"]).ok().stdout, "ok");
}

/// A client that promises more of a body than it sends has a place until the bound of a request; meanwhile others hear
/// when to come again, and reading goes on.
#[test]
fn too_many_at_once_come_again_later() {
    let bounds = [
        "--max-mutating-requests-inflight",
        "1",
        "--request-timeout",
        "4s",
    ];
    let Some(master) = Master::with(&bounds) else {
        return;
    };
    let slow = start(
        &master,
        &[
            MAPS,
            "--http1.1",
            JSON[0],
            JSON[1],
            "-H",
            "Content-Length: 100",
            "-d",
            "{",
            "-w",
            "\n%{http_code}",
        ],
    );
    let refused = eventually(4, "there is no place", || {
        let (code, body) = ask(&master, &[MAPS, JSON[0], JSON[1], "-d", "{}", "-i"]);
        (code == 429).then_some(body)
    });
    assert!(
        refused.to_lowercase().contains("\nretry-after: 1\r"),
        "{refused}"
    );
    assert!(
        refused.contains("\"reason\":\"TooManyRequests\""),
        "{refused}"
    );
    assert_eq!(ask(&master, &[MAPS]).0, 200);
    let late = slow.wait().ok().stdout;
    let (body, code) = late.rsplit_once('\n').unwrap();
    assert_eq!(
        (code, status(body)["reason"].as_str()),
        ("504", Some("Timeout"))
    );
    make(&master, "after", &json!({}));
}

/// curl on a stream.
fn follow(master: &Master, path: &str) -> Running {
    start(master, &[path, "--no-buffer"])
}

/// curl that goes on while others are asked.
fn start(master: &Master, arguments: &[&str]) -> Running {
    let (path, more) = arguments.split_first().unwrap();
    let mut command = master.command("curl");
    let pki = master.data().join("pki");
    command.arg("--silent");
    command.arg("--cacert").arg(pki.join("ca.crt"));
    command.arg("--cert").arg(pki.join("admin.crt"));
    command.arg("--key").arg(pki.join("admin.key"));
    command
        .args(more)
        .arg(format!("https://127.0.0.1:6443{path}"));
    Invocation::new(command, format!("curl {path}"))
        .within(90)
        .start()
}

#[test]
fn a_watch_tells_every_change_once() {
    let Some(master) = Master::start() else {
        return;
    };
    let list = master.get(MAPS);
    let from = list["metadata"]["resourceVersion"].as_str().unwrap();
    let query = format!("watch=1&resourceVersion={from}&labelSelector=w%3D1&timeoutSeconds=60");
    let watch = follow(&master, &format!("{MAPS}?{query}"));
    make(&master, "other", &json!({}));
    make(&master, "a", &json!({"w": "1"}));
    let patch = |name: &str, body: &Value| {
        let (code, answer) = ask(
            &master,
            &[
                &format!("{MAPS}/{name}"),
                "-X",
                "PATCH",
                "-H",
                "Content-Type: application/merge-patch+json",
                "-d",
                &body.to_string(),
            ],
        );
        assert_eq!(code, 200, "{answer}");
    };
    patch("a", &json!({"data": {"k": "w"}}));
    // In and out of the selection.
    patch("other", &json!({"metadata": {"labels": {"w": "1"}}}));
    patch("a", &json!({"metadata": {"labels": {"w": "2"}}}));
    // Nothing changes: nothing is told.
    patch("other", &json!({"metadata": {"labels": {"w": "1"}}}));
    let (code, _) = ask(&master, &[&format!("{MAPS}/other"), "-X", "DELETE"]);
    assert_eq!(code, 200);
    let events = eventually(10, "five events", || {
        let lines: Vec<Value> = watch
            .stdout()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        (lines.len() >= 5).then_some(lines)
    });
    let told: Vec<(&str, &str)> = events
        .iter()
        .map(|event| {
            (
                event["type"].as_str().unwrap(),
                event["object"]["metadata"]["name"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("ADDED", "a"),
            ("MODIFIED", "a"),
            ("ADDED", "other"),
            ("DELETED", "a"),
            ("DELETED", "other")
        ]
    );
    let revisions: Vec<u64> = events
        .iter()
        .map(|event| {
            event["object"]["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    assert!(revisions.is_sorted(), "{revisions:?}");
    watch.signal(rustix::process::Signal::TERM);
    watch.wait();
}

#[test]
fn a_watch_may_begin_with_all_there_is() {
    let Some(master) = Master::start() else {
        return;
    };
    make(&master, "a", &json!({}));
    let path = format!(
        "{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    );
    let (code, body) = ask(&master, &[&path]);
    assert_eq!(code, 200);
    let last: Value = serde_json::from_str(
        body.lines()
            .rfind(|line| line.contains("initial-events-end"))
            .unwrap(),
    )
    .unwrap();
    assert_eq!(last["type"], "BOOKMARK");
    assert_eq!(
        last["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let (code, body) = ask(
        &master,
        &[&format!("{MAPS}?watch=1&sendInitialEvents=true")],
    );
    assert_eq!(code, 422, "{body}");
}

#[test]
fn finalizers_and_preconditions() {
    let Some(master) = Master::start() else {
        return;
    };
    let body = json!({"metadata": {"name": "f", "finalizers": ["example.com/wait"]}});
    let (code, made) = post(&master, MAPS, &body.to_string());
    assert_eq!(code, 201, "{made}");
    let uid = serde_json::from_str::<Value>(&made).unwrap()["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{MAPS}/f");
    let delete = |options: &Value| {
        ask(
            &master,
            &[
                &path,
                "-X",
                "DELETE",
                JSON[0],
                JSON[1],
                "-d",
                &options.to_string(),
            ],
        )
    };
    let (code, body) = delete(&json!({"preconditions": {"uid": "another"}}));
    assert_eq!(
        (code, status(&body)["reason"].as_str()),
        (409, Some("Conflict"))
    );
    let (code, body) = delete(&json!({"preconditions": {"uid": uid}}));
    assert_eq!(code, 200, "{body}");
    let waiting = master.get(&path);
    assert!(
        waiting["metadata"]["deletionTimestamp"].is_string(),
        "{waiting}"
    );
    let (code, body) = ask(
        &master,
        &[
            &path,
            "-X",
            "PATCH",
            "-H",
            "Content-Type: application/json-patch+json",
            "-d",
            r#"[{"op":"remove","path":"/metadata/finalizers"}]"#,
        ],
    );
    assert_eq!(code, 200, "{body}");
    let (code, _) = ask(&master, &[&path]);
    assert_eq!(code, 404);
}

#[test]
fn large_answers_are_packed_and_yaml_is_spoken() {
    let Some(master) = Master::start() else {
        return;
    };
    for n in 0..3 {
        let body =
            json!({"metadata": {"name": format!("big{n}")}, "data": {"k": "x".repeat(100_000)}});
        assert_eq!(post(&master, MAPS, &body.to_string()).0, 201);
    }
    let answer = master
        .curl(&[
            MAPS,
            "-H",
            "Accept-Encoding: gzip",
            "-D",
            "-",
            "-o",
            "/dev/null",
        ])
        .ok();
    assert!(
        answer
            .stdout
            .to_lowercase()
            .contains("content-encoding: gzip"),
        "{answer}"
    );
    let (code, body) = ask(
        &master,
        &[
            MAPS,
            "-H",
            "Content-Type: application/yaml",
            "--data-binary",
            "metadata:\n  name: yaml\ndata:\n  a: 'b'\n",
        ],
    );
    assert_eq!(code, 201, "{body}");
    let (_, body) = ask(
        &master,
        &[&format!("{MAPS}/yaml"), "-H", "Accept: application/yaml"],
    );
    assert!(body.contains("\n  a: b\n"), "{body}");
}

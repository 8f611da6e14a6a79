use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::helper::{HelperError, ask, ask_program};
use super::*;

fn basic(user: &str, password: &str) -> Option<Login> {
    Some(Login::Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

#[track_caller]
fn check(file: &str, registry: &str, repository: &str, want: Option<&Login>) {
    let file = AuthFile::parse(file.as_bytes()).unwrap();
    assert_eq!(
        file.login(registry, repository).as_ref(),
        want,
        "{registry}/{repository}"
    );
}

#[test]
fn keys_of_every_habit_are_found() {
    // u:p
    let hub = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}}}"#;
    check(hub, "docker.io", "library/nginx", basic("u", "p").as_ref());
    check(hub, "quay.io", "a/b", None);
    for key in [
        "quay.io",
        "https://quay.io",
        "https://quay.io/v2/",
        "QUAY.io/",
    ] {
        let file = format!(r#"{{"auths": {{"{key}": {{"auth": "dTpw"}}}}}}"#);
        check(&file, "quay.io", "a/b", basic("u", "p").as_ref());
    }
    let nested = r#"{"auths": {
        "quay.io": {"auth": "dTpw"},
        "quay.io/a": {"username": "a", "password": "x:y"},
        "quay.io/a/b": {"auth": ""},
        "localhost:5000": {"auth": "dTo="}}}"#;
    check(nested, "quay.io", "a/b", basic("a", "x:y").as_ref());
    check(nested, "quay.io", "ab/c", basic("u", "p").as_ref());
    check(nested, "localhost:5000", "x", basic("u", "").as_ref());
    check(nested, "localhost", "x", None);
}

#[test]
fn tokens_go_before_passwords() {
    let file = r#"{"auths": {"r.io": {"auth": "dTpw", "identitytoken": "id"},
        "s.io": {"registrytoken": "access"}, "t.io": {"auth": "%%%"}, "v.io": {"auth": "dQ=="}}}"#;
    check(
        file,
        "r.io",
        "x",
        Some(&Login::IdentityToken("id".to_owned())),
    );
    check(
        file,
        "s.io",
        "x",
        Some(&Login::AccessToken("access".to_owned())),
    );
    check(file, "t.io", "x", None);
    check(file, "v.io", "x", None);
}

#[test]
fn malformed_files_are_not_quoted() {
    let err = AuthFile::parse(br#"{"auths": "hunter2"}"#)
        .unwrap_err()
        .to_string();
    assert!(err.contains("line 1") && !err.contains("hunter2"), "{err}");
}

#[test]
fn secrets_are_not_in_debug() {
    let mut credentials = Credentials::default();
    let password = "hunter2".to_owned();
    credentials.give(
        "r.io",
        Login::Basic {
            user: "u".to_owned(),
            password,
        },
    );
    let tokens = [
        Login::IdentityToken("hunter2".to_owned()),
        Login::AccessToken("hunter2".to_owned()),
    ];
    let shown = format!("{credentials:?} {tokens:?}");
    assert!(
        shown.contains("r.io") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn usual_places_follow_the_environment() {
    let places = |vars: &[(&str, &str)]| {
        let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into());
        let files = Credentials::usual_places(&var).files;
        files
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        places(&[("HOME", "/h")]),
        "/h/.docker/config.json /h/.config/containers/auth.json /h/.dockercfg"
    );
    assert_eq!(
        places(&[
            ("DOCKER_CONFIG", "/d"),
            ("REGISTRY_AUTH_FILE", "/a.json"),
            ("XDG_RUNTIME_DIR", "/x")
        ]),
        "/a.json /d/config.json /x/containers/auth.json"
    );
    assert_eq!(places(&[("HOME", "")]), "");
}

#[tokio::test]
async fn the_first_hit_wins_and_places_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (config, legacy) = (
        dir.path().join("config.json"),
        dir.path().join(".dockercfg"),
    );
    fs_err::write(&config, r#"{"auths": {"r.io": {"auth": "dTpw"}}}"#).unwrap();
    fs_err::write(
        &legacy,
        r#"{"https://old.io/v1/": {"auth": "dTpw", "email": "x"}}"#,
    )
    .unwrap();
    let missing = dir.path().join("missing.json");
    let mut credentials = Credentials {
        given: Vec::new(),
        files: vec![missing, config.clone(), legacy],
    };

    let found = credentials.find("r.io", "a").await;
    assert_eq!(found.login, basic("u", "p"));
    assert!(
        found.looked[0].ends_with("missing.json (no such file)"),
        "{:?}",
        found.looked
    );

    assert_eq!(credentials.find("old.io", "a").await.login, basic("u", "p"));

    let none = credentials.find("other.io", "a").await;
    assert_eq!(none.login, None);
    assert!(
        none.looked[1].ends_with("config.json (no entry)"),
        "{:?}",
        none.looked
    );

    fs_err::write(&config, "{ nonsense").unwrap();
    let broken = credentials.find("r.io", "a").await;
    assert!(
        broken.looked[1].contains("is not a docker config file"),
        "{:?}",
        broken.looked
    );

    credentials
        .give_docker_config(br#"{"auths": {"r.io": {"auth": "eDp5"}}}"#)
        .unwrap();
    assert_eq!(credentials.find("r.io", "a").await.login, basic("x", "y"));
    credentials
        .give_dockercfg(br#"{"q.io": {"auth": "eDp5"}}"#)
        .unwrap();
    assert_eq!(credentials.find("q.io", "a").await.login, basic("x", "y"));
}

#[test]
fn helpers_are_chosen_by_host() {
    let file = br#"{"credHelpers": {"https://gcr.io": "gcloud"}, "credsStore": "pass"}"#;
    let file = AuthFile::parse(file).unwrap();
    assert_eq!(file.helper("gcr.io"), Some("gcloud"));
    assert_eq!(file.helper("quay.io"), Some("pass"));
    assert_eq!(AuthFile::parse(b"{}").unwrap().helper("quay.io"), None);
}

/// A helper program whose `get` runs `script`.
fn helper(dir: &Path, script: &str) -> String {
    let path = dir.join("docker-credential-test");
    // A copy of the file may still be open for writing in a child forked meanwhile (ETXTBSY), so
    // it is written by another process.
    let text = format!("#!/bin/sh\n{script}\n");
    let written = std::process::Command::new("sh")
        .args(["-c", "printf %s \"$1\" > \"$2\"", "sh", &text])
        .arg(&path)
        .status();
    assert!(written.unwrap().success());
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn helpers_answer_within_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let long = Duration::from_secs(20);

    let script = r#"read s; [ "$1 $s" = "get r.io" ] && echo '{"Username":"u","Secret":"p"}'"#;
    let program = helper(dir.path(), script);
    assert_eq!(
        ask_program(&program, "r.io", long).await.unwrap(),
        basic("u", "p")
    );

    let program = helper(dir.path(), r#"echo '{"Username":"<token>","Secret":"t"}'"#);
    let token = Some(Login::IdentityToken("t".to_owned()));
    assert_eq!(ask_program(&program, "r.io", long).await.unwrap(), token);

    let program = helper(
        dir.path(),
        "echo credentials not found in native keychain; exit 1",
    );
    assert_eq!(ask_program(&program, "r.io", long).await.unwrap(), None);

    let program = helper(dir.path(), "echo hunter2; exit 3");
    let err = ask_program(&program, "r.io", long).await.unwrap_err();
    assert!(matches!(err, HelperError::Failed(_)), "{err}");
    assert!(!err.to_string().contains("hunter2"), "{err}");

    let program = helper(dir.path(), "echo nonsense");
    let err = ask_program(&program, "r.io", long).await.unwrap_err();
    assert!(matches!(err, HelperError::Malformed), "{err}");

    let program = helper(dir.path(), "exec sleep 1000");
    let begun = Instant::now();
    let err = ask_program(&program, "r.io", Duration::from_millis(200))
        .await
        .unwrap_err();
    assert!(matches!(err, HelperError::Timeout), "{err}");
    assert!(begun.elapsed() < long);
}

#[tokio::test]
async fn helper_names_cannot_be_paths() {
    for name in ["", "../evil", "a b", "a/b"] {
        let err = ask(name, "r.io").await.unwrap_err();
        assert!(matches!(err, HelperError::Name), "{name}: {err}");
    }
    let err = ask("rkube-no-such-helper", "r.io").await.unwrap_err();
    assert!(matches!(err, HelperError::Missing), "{err}");
}

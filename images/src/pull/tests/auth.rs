//! Logins: who gets which credentials, and who gets none.

use super::*;
use crate::credentials::Login;

fn login(user: &str, password: &str) -> Login {
    Login::Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    }
}

fn pair() -> (String, String) {
    ("user".to_owned(), "hunter2".to_owned())
}

/// A bench whose registry wants `auth`, and a client with `given`.
fn bench(auth: FixtureAuth, given: Option<Login>) -> Bench {
    let mut bench = Bench::small();
    bench.registry.require(auth);
    if let Some(given) = given {
        bench
            .options
            .credentials
            .give(&bench.registry.host(), given);
    }
    bench
}

#[tokio::test]
async fn every_kind_of_login_works() {
    let (user, password) = pair();
    let kinds = [
        (
            FixtureAuth::Basic(user.clone(), password.clone()),
            Some(login(&user, &password)),
        ),
        (FixtureAuth::AnonymousToken, None),
        (
            FixtureAuth::Token(user.clone(), password.clone()),
            Some(login(&user, &password)),
        ),
        (
            FixtureAuth::Refresh("id-1".to_owned()),
            Some(Login::IdentityToken("id-1".to_owned())),
        ),
    ];
    for (auth, given) in kinds {
        let bench = bench(auth.clone(), given);
        bench
            .pull()
            .await
            .unwrap_or_else(|err| panic!("{auth:?}: {}", chain(&err)));
        // One token serves the whole pull.
        assert!(bench.registry.seen_at("/token").len() <= 1, "{auth:?}");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_with_service_and_scope() {
    let bench = bench(FixtureAuth::AnonymousToken, None);
    bench.pull().await.unwrap();
    let seen = bench.registry.seen_at("/token");
    assert_eq!(
        seen[0].path,
        "/token?service=fixture&scope=repository%3Ax%3Apull"
    );
    assert_eq!(seen[0].header("authorization"), None);
}

#[tokio::test]
async fn a_token_that_expires_in_mid_pull_is_renewed() {
    let bench = bench(FixtureAuth::AnonymousToken, None);
    bench.registry.token_uses(1);
    bench.pull().await.unwrap();
    // The manifest, the configuration and the layer used one each.
    assert_eq!(bench.registry.seen_at("/token").len(), 3);
}

#[tokio::test]
async fn a_refusal_says_where_we_looked_and_shows_no_secret() {
    let (user, password) = pair();
    for auth in [
        FixtureAuth::Basic(user.clone(), password.clone()),
        FixtureAuth::Token(user.clone(), password.clone()),
    ] {
        let mut bench = bench(auth, None);
        let missing = bench.dir.path().join("no-config.json");
        bench.options.credentials.files.push(missing);
        let outcome = bench.pull().await;
        let host = bench.registry.host();
        let wants = [
            &host,
            "refused access to app",
            "no-config.json (no such file)",
        ];
        bench.expect_failure(outcome, &wants);

        bench
            .options
            .credentials
            .give(&host, login(&user, "hunter3"));
        let outcome = bench.pull().await;
        let err = bench.expect_failure(outcome, &["refused access", "given for this pull"]);
        assert!(
            !format!("{err:?} {}", chain(&err)).contains("hunter"),
            "{err:?}"
        );
        assert!(bench.registry.seen_at(MANIFEST).len() <= 3);
    }
}

#[tokio::test]
async fn docker_files_are_read() {
    let (user, password) = pair();
    let mut bench = bench(FixtureAuth::Token(user, password), None);
    let path = bench.dir.path().join("config.json");
    // user:hunter2
    let text = format!(
        r#"{{"auths":{{"http://{}/v2/":{{"auth":"dXNlcjpodW50ZXIy"}}}}}}"#,
        bench.registry.host()
    );
    fs_err::write(&path, text).unwrap();
    bench.options.credentials.files.push(path);
    bench.pull().await.unwrap();
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_login_along() {
    let (user, password) = pair();
    let bench = bench(
        FixtureAuth::Basic(user.clone(), password.clone()),
        Some(login(&user, &password)),
    );
    let elsewhere = FixtureRegistry::start();
    let layer = &bench.image.layers[0];
    elsewhere.put_blob(&layer.blob);
    let target = format!(
        "http://{}/v2/any/blobs/{}",
        elsewhere.host(),
        layer.digest()
    );
    let redirect = Fault::Status(307, vec![("Location".to_owned(), target)]);
    bench.registry.fault(&bench.layer_digest(0), 1, redirect);
    bench.pull().await.unwrap();
    let seen = elsewhere.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), None);
    let own = bench.registry.seen_at(&bench.layer_digest(0));
    assert!(own[0].header("authorization").is_some());
}

#[tokio::test]
async fn redirects_end_somewhere() {
    let bench = Bench::small();
    let itself = "/v2/app/manifests/1".to_owned();
    let redirect = Fault::Status(302, vec![("Location".to_owned(), itself)]);
    bench.registry.fault(MANIFEST, usize::MAX, redirect);
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["more than 5 redirects"]);
    assert_eq!(bench.registry.seen_at(MANIFEST).len(), 6);
}

#[tokio::test]
async fn a_token_server_may_be_busy_but_not_mad() {
    let first = bench(FixtureAuth::AnonymousToken, None);
    first
        .registry
        .fault("/token", 2, Fault::Status(503, Vec::new()));
    first.pull().await.unwrap();

    let second = bench(FixtureAuth::AnonymousToken, None);
    second
        .registry
        .fault("/token", usize::MAX, Fault::Status(403, Vec::new()));
    let outcome = second.pull().await;
    second.expect_failure(outcome, &["refused access to app", "no token: status 403"]);

    let third = bench(FixtureAuth::AnonymousToken, None);
    third
        .registry
        .fault("/token", usize::MAX, Fault::Lengthen(300 << 10));
    let outcome = third.pull().await;
    third.expect_failure(outcome, &["token server's answer", "larger than the limit"]);
}

#[tokio::test]
async fn a_password_is_not_sent_in_clear_to_a_strange_token_server() {
    for realm in [
        "http://192.0.2.1/token",
        "ftp://127.0.0.1/token",
        "nonsense",
        "",
    ] {
        let (user, password) = pair();
        let bench = bench(FixtureAuth::Open, Some(login(&user, &password)));
        let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
        let wants = Fault::Status(401, vec![("WWW-Authenticate".to_owned(), challenge)]);
        bench.registry.fault(MANIFEST, usize::MAX, wants);
        let outcome = bench.pull().await;
        bench.expect_failure(outcome, &[&bench.registry.host()]);
        assert_eq!(bench.registry.seen_at("/token"), []);
        assert_eq!(bench.registry.seen_at(MANIFEST).len(), 1);
    }
}

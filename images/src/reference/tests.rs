use proptest::prelude::*;

use super::*;

const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[track_caller]
fn check(text: &str, canonical: &str, familiar: &str) {
    let reference = Reference::parse(text).unwrap();
    assert_eq!(reference.to_string(), canonical, "canonical form of {text}");
    assert_eq!(reference.familiar(), familiar, "short form of {text}");
    assert_eq!(Reference::parse(canonical).unwrap(), reference);
    assert_eq!(Reference::parse(familiar).unwrap(), reference);
}

#[test]
fn names_are_completed_as_docker_does() {
    check("nginx", "docker.io/library/nginx:latest", "nginx:latest");
    check("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27");
    check(
        "library/nginx",
        "docker.io/library/nginx:latest",
        "nginx:latest",
    );
    check(
        "docker.io/nginx",
        "docker.io/library/nginx:latest",
        "nginx:latest",
    );
    check("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest");
    check(
        "registry-1.docker.io/a/b",
        "docker.io/a/b:latest",
        "a/b:latest",
    );
    check("a/b/c", "docker.io/a/b/c:latest", "a/b/c:latest");
    check("quay.io/a/b:tag", "quay.io/a/b:tag", "quay.io/a/b:tag");
    check(
        "QUAY.io/a/b:Tag_1.x",
        "quay.io/a/b:Tag_1.x",
        "quay.io/a/b:Tag_1.x",
    );
    check("localhost/x", "localhost/x:latest", "localhost/x:latest");
    check(
        "localhost:5000/x",
        "localhost:5000/x:latest",
        "localhost:5000/x:latest",
    );
    check("host:5000/x:1", "host:5000/x:1", "host:5000/x:1");
    check("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest");
    check(
        "127.0.0.1:80/a-b__c.d/e",
        "127.0.0.1:80/a-b__c.d/e:latest",
        "127.0.0.1:80/a-b__c.d/e:latest",
    );
    check(
        "docker.io/library/a/b",
        "docker.io/library/a/b:latest",
        "docker.io/library/a/b:latest",
    );
}

#[test]
fn digests_take_the_place_of_the_default_tag() {
    let text = format!("host:5000/x@{SHA}");
    check(&text, &text, &text);
    check(
        &format!("nginx@{SHA}"),
        &format!("docker.io/library/nginx@{SHA}"),
        &format!("nginx@{SHA}"),
    );
    let both = format!("quay.io/a/b:1@{SHA}");
    check(&both, &both, &both);
    assert_eq!(Reference::parse(&both).unwrap().wanted(), SHA);
    assert_eq!(Reference::parse("a:1").unwrap().wanted(), "1");
}

#[test]
fn another_default_registry_has_no_library() {
    let reference = Reference::parse_in("nginx", "reg.example.com:5000").unwrap();
    assert_eq!(reference.to_string(), "reg.example.com:5000/nginx:latest");
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let err = Reference::parse(text).expect_err(text);
    assert!(err.to_string().contains(message), "{text}: {err}");
    assert!(!err.to_string().contains('\n'), "{text}: {err}");
}

#[test]
fn bad_names_say_what_to_write() {
    refused("", "is empty: write a name such as");
    refused(":tag", "is empty");
    refused(&format!("@{SHA}"), "is empty");
    refused("Nginx", "write \"nginx\"");
    refused("quay.io/A/b:Tag", "write \"quay.io/a/b:Tag\"");
    refused("Team/app", "write \"team/app\"");
    refused("ng inx", "space");
    refused("nginx\n", "space or control");
    refused(
        "https://quay.io/a/b",
        "write it without the scheme, \"quay.io/a/b\"",
    );
    refused("docker://nginx", "write it without the scheme, \"nginx\"");
    refused("nginx:", "bad tag \"\"");
    refused("nginx:-x", "bad tag \"-x\"");
    refused("nginx:a b", "space");
    refused(&format!("nginx:{}", "t".repeat(129)), "bad tag");
    refused("nginx@sha256:12", "write sha256: and 64 hex digits");
    refused("nginx@", "bad digest");
    refused(&format!("nginx@{SHA}@{SHA}"), "bad digest");
    refused("nginx@md5:d41d8cd98f00b204e9800998ecf8427e", "bad digest");
    refused("a//b", "\"\" is not a valid path part");
    refused("a/", "\"\" is not a valid path part");
    refused("/a", "\"\" is not a valid path part");
    refused("a..b", "\"a..b\" is not a valid path part");
    refused("a/../b", "\"..\" is not a valid path part");
    refused("-a", "\"-a\" is not a valid path part");
    refused("a/b_", "\"b_\" is not a valid path part");
    refused("a___b", "is not a valid path part");
    refused("n\u{e4}me", "is not a valid path part");
    refused("host:port/x", "\"host:port\" is not a registry host");
    refused("host:99999/x", "is not a registry host");
    refused("host:0/x", "is not a registry host");
    refused("ho_st:1/x", "is not a registry host");
    refused("-a.b/x", "is not a registry host");
    refused("[::g]:5/x", "is not a registry host");
    refused(&SHA[7..], "is an image id");
    refused(&format!("{}:latest", &SHA[7..]), "is an image id");
    refused("a/".repeat(130).trim_end_matches('/'), "at most 255");
}

#[test]
fn messages_stay_short_and_clean() {
    let long = "x".repeat(100_000) + "!";
    let message = Reference::parse(&long).unwrap_err().to_string();
    assert!(message.len() < 500, "{} bytes", message.len());
    let message = Reference::parse("a\u{1b}[31m").unwrap_err().to_string();
    assert!(!message.contains('\u{1b}'), "{message}");
}

#[test]
fn loopback_hosts_are_known() {
    for host in [
        "localhost",
        "LOCALHOST:5000",
        "127.0.0.1",
        "127.8.9.1:1",
        "[::1]:5000",
        "::1",
    ] {
        assert!(is_loopback(host), "{host}");
    }
    for host in [
        "localhost.example.com",
        "128.0.0.1",
        "docker.io",
        "[::2]:5000",
        "10.0.0.1:5000",
    ] {
        assert!(!is_loopback(host), "{host}");
    }
}

proptest! {
    #[test]
    fn whatever_parses_survives_a_round_trip(text in "[a-zA-Z0-9./:@_\\[\\]-]{0,60}") {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
            prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
        }
    }

    #[test]
    fn well_formed_names_parse(
        host in "([a-z]{1,8}\\.[a-z]{2,4}(:[1-9][0-9]{1,3})?/)?",
        // A dot in the first part would make it a host.
        path in "[a-z0-9]{1,6}((_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,4}\\.[a-z0-9]{1,6}){0,2}",
        tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?",
        with_digest: bool,
    ) {
        let digest = if with_digest { format!("@{SHA}") } else { String::new() };
        let text = format!("{host}{path}{tag}{digest}");
        let reference = Reference::parse(&text);
        prop_assert!(reference.is_ok(), "{}: {:?}", text, reference);
        let reference = reference.unwrap();
        prop_assert_eq!(reference.digest.is_some(), with_digest);
        prop_assert!(reference.tag.is_some() || with_digest);
    }

    #[test]
    fn nothing_panics(text in any::<String>()) {
        let _either = Reference::parse(&text);
    }
}

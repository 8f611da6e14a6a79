//! What is written is read back unchanged, also by readers of YAML 1.1.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::decode::decode;

fn read_back(text: &str) -> BTreeMap<String, String> {
    let nodes = documents(text).unwrap();
    let decoded = decode(&nodes[0], "");
    assert_eq!(decoded.misfits, [], "{text}");
    decoded.value.unwrap()
}

#[test]
fn strings_that_look_like_something_else_are_quoted() {
    for text in [
        "yes",
        "no",
        "on",
        "off",
        "y",
        "n",
        "true",
        "null",
        "~",
        "",
        "0644",
        "0x10",
        "1e3",
        "1_000",
        "-",
        "- a",
        "a: b",
        "#",
        " a",
        "a ",
        "a\n",
        "\ta",
        "'",
        "\"",
        "{",
        "[",
        "&a",
        "*a",
        "!a",
        "%a",
        "@a",
        "`a",
        "1:30",
        ".inf",
        "=",
        "<<",
        "2001-01-01",
        "a\nb\n\n",
        "\u{85}",
        "\u{feff}",
        "ü",
    ] {
        let map = BTreeMap::from([
            (text.to_owned(), text.to_owned()),
            ("k".to_owned(), text.to_owned()),
        ]);
        let written = to_string(&map).unwrap();
        assert_eq!(read_back(&written), map, "{written}");
    }
    assert_eq!(
        to_string(&BTreeMap::from([("a", "yes")])).unwrap(),
        "a: \"yes\"\n"
    );
}

proptest! {
    #[test]
    fn any_strings_are_read_back(map in prop::collection::btree_map(".{0,20}", "(.|\n|\t|\r){0,40}", 0..4)) {
        let written = to_string(&map).unwrap();
        if !map.is_empty() {
            prop_assert_eq!(read_back(&written), map);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-a:{}\\[\\],&*!|>'\"#%@ \n\t?~<=0]{0,60}") {
        let _outcome = crate::manifest::parse(&text, "m", crate::Strictness::Strict);
    }
}

//! Scalars and structure as Envoy 1.40 reads them.

use proptest::prelude::*;

use super::super::node::{Node, Value, parse};
use super::*;

fn yaml(text: &str) -> Result<Node, String> {
    parse(Path::new("f.yaml"), text).map_err(|e| format!("{}: {}", e.line, e.message))
}

fn scalar(text: &str) -> Value {
    yaml(text).expect("valid").value
}

fn text(text: &str) -> Value {
    Value::Text {
        text: text.to_owned(),
        literal: false,
    }
}

#[test]
fn plain_words_are_booleans() {
    for word in [
        "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON",
    ] {
        assert_eq!(scalar(word), Value::Bool(true), "{word}");
    }
    for word in [
        "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF",
    ] {
        assert_eq!(scalar(word), Value::Bool(false), "{word}");
    }
    for word in ["yES", "tRUE", "oN", "yep", "t"] {
        assert_eq!(scalar(word), text(word));
    }
    assert_eq!(scalar("'y'"), text("y"));
    assert_eq!(scalar("\"on\""), text("on"));
}

#[test]
fn plain_numbers() {
    let numbers = [
        ("10", 10.0),
        ("010", 8.0),
        ("0x1f", 31.0),
        ("-5", -5.0),
        ("+5", 5.0),
        ("0", 0.0),
        ("-2147483648", -2_147_483_648.0),
    ];
    for (word, number) in numbers {
        assert_eq!(scalar(word), Value::Number(number), "{word}");
    }
    for word in [
        "0.5",
        "1e3",
        "09",
        "1_000",
        "1:30",
        ".inf",
        "2026-11-22",
        "99999999999999999999",
        "--5",
        "0x",
        "é",
    ] {
        assert_eq!(scalar(word), text(word));
    }
    assert_eq!(
        scalar("0x80000000"),
        text("2147483648"),
        "beyond 32 bits Envoy hands on text, in decimal"
    );
    for word in ["~", "null", "Null", "NULL"] {
        assert_eq!(scalar(word), Value::Null);
    }
}

#[test]
fn lines_and_blocks() {
    let root = yaml("a: 1\nb:\n- x\n- |\n  one\n  two\nc: >\n  f\n").expect("valid");
    let Some(Node {
        value: Value::List(items),
        line: 3,
    }) = root.get("b")
    else {
        panic!("{root:?}")
    };
    assert_eq!(
        items[1],
        Node {
            line: 4,
            value: Value::Text {
                text: "one\ntwo\n".into(),
                literal: true
            }
        }
    );
    assert_eq!(
        root.get("c").map(|n| (n.line, &n.value)),
        Some((7, &text("f\n")))
    );
    assert_eq!(root.nearest("b[0].c").line, 3);
    let root = yaml("a: &x |- # why\n\n\n  x\nb: |\nc: >+\n\n  y\n").expect("valid");
    let lines = ["a", "b", "c"].map(|key| root.get(key).map(|n| n.line));
    assert_eq!(
        lines,
        [Some(1), Some(5), Some(6)],
        "a block stands where its indicator does"
    );
}

#[test]
fn anchors_are_copied_and_ignored_keys_left_out() {
    let root = yaml("!ignore x: &a {k: [v]}\nb: *a\nc: [*a]\n").expect("valid");
    assert_eq!(root.get("x"), None);
    assert_eq!(root.nearest("b.k[0]").value, text("v"));
    assert_eq!(
        root.nearest("c[0].k[0]").line,
        1,
        "an alias stands where its anchor does"
    );
}

#[test]
fn refused() {
    let cases = [
        ("", "1: the file is empty"),
        (
            "a: 1\n---\nb: 2\n",
            "2: a second document (`---`): only the first would be read; keep one in a file",
        ),
        (
            "a: 1\na: 2\n",
            "2: the key \"a\" occurs twice in this mapping",
        ),
        (
            "a: 1\n\"a\": 2\n",
            "2: the key \"a\" occurs twice in this mapping",
        ),
        (
            "a: &b {c: 1}\nd:\n  <<: *b\n",
            "3: merge keys (`<<`) are not supported; use an alias for a whole value",
        ),
        (
            "a: !!str 5\n",
            "1: the tag tag:yaml.org,2002:!str means nothing here; leave it out, or quote the text",
        ),
        ("? [a]\n: b\n", "1: a key must be text"),
        ("a: &b [*b]\n", "1: an alias (`*`) within its own anchor"),
    ];
    for (text, problem) in cases {
        assert_eq!(yaml(text), Err(problem.to_owned()), "{text}");
    }
    assert!(yaml("a: 1\n b: 2\n").is_err_and(|e| e.starts_with("2: not YAML: ")));
}

#[test]
fn json_is_strict() {
    let json = |text: &str| parse(Path::new("f.json"), text).map_err(|e| e.line);
    assert_eq!(json("{\n\"a\": y}"), Err(2));
    assert_eq!(json("{\"a\": 1,\n\"a\": 2}"), Err(2));
    let root = json("{\"a\":\n[1,\n{\"b\": \"\\ud83d\\ude00\"}]}").expect("valid");
    assert_eq!(
        root.nearest("a[1].b"),
        &Node {
            line: 3,
            value: text("😀")
        }
    );
}

#[test]
fn nesting_and_aliases_are_bounded() {
    let deep = [
        format!("{}x", "- ".repeat(50_000)),
        "[".repeat(50_000),
        "{a: ".repeat(50_000),
    ];
    for text in deep {
        assert!(yaml(&text).is_err());
        assert!(parse(Path::new("f.json"), &text).is_err());
    }
    assert!(yaml(&format!("{}x", "- ".repeat(100))).is_ok());
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..20 {
        let alias = format!("*a{}, ", i - 1).repeat(10);
        bomb.push_str(&format!("a{i}: &a{i} [{alias}]\n"));
    }
    assert_eq!(
        yaml(&bomb),
        Err("5: the aliases of this file add up to too much".to_owned())
    );
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for i in 1..200 {
        chain.push_str(&format!("a{i}: &a{i} [[*a{}]]\n", i - 1));
    }
    assert_eq!(
        yaml(&chain),
        Err("51: the aliases of this file add up to too much".to_owned())
    );
}

/// Pieces of files, so that random texts come near to valid ones.
const PIECES: [&str; 40] = [
    "static_resources",
    "clusters",
    "listeners",
    "name",
    "typed_config",
    "\"@type\"",
    WASM,
    "config",
    "vm_config",
    "http_filters",
    "route_config",
    "virtual_hosts",
    "routes",
    "match",
    "prefix",
    "route",
    "cluster",
    ": ",
    ": ",
    ":\n  ",
    "- ",
    "\n",
    "\n  ",
    "\n    ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&a ",
    "*a",
    "|\n  ",
    "!ignore ",
    "'",
    "\"",
    "0x",
    "5s",
    "y",
    "é",
    "---\n",
];

proptest! {
    /// Any text is a tree or a problem.
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        let _ = load_str(Path::new("f.yaml"), &text, &no_env);
        let _ = load_str(Path::new("f.json"), &text, &no_env);
    }

    #[test]
    fn arbitrary_pieces_never_panic(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..80)) {
        let text = pieces.concat();
        let _ = load_str(Path::new("f.yaml"), &text, &no_env);
    }

    /// Any part of a valid file replaced by something else is read or refused, and what is refused names a line.
    #[test]
    fn a_damaged_file_never_panics(at in 0_usize..10_000, length in 0_usize..200, piece in prop::sample::select(&PIECES[..])) {
        let file = std::fs::read_to_string("tests/config/full.yaml").unwrap();
        let start = file.char_indices().map(|(i, _)| i).nth(at % file.chars().count()).unwrap();
        let end = (start + length..file.len()).find(|i| file.is_char_boundary(*i)).unwrap_or(file.len());
        let text = format!("{}{piece}{}", &file[..start], &file[end..]);
        let lines = text.lines().count() + 1;
        if let Err(problems) = load_str(Path::new("f.yaml"), &text, &no_env) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!((1..=lines).contains(&problem.line), "{problem}");
                prop_assert!(!problem.message.is_empty());
            }
        }
    }
}

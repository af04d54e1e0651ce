use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use super::runs::{harmless, plain};
use super::*;

fn scan(pieces: &[&[u8]]) -> Result<Found, Fault> {
    let mut scan = Scan::new();
    pieces.iter().for_each(|piece| scan.feed(piece));
    scan.finish().cloned()
}

fn model(text: &str) -> Option<String> {
    match scan(&[text.as_bytes()]).unwrap().model {
        Some(Model::Text(model, (start, end))) => {
            let quoted = &text[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
            assert_eq!(serde_json::from_str::<String>(quoted).unwrap(), model);
            Some(model)
        }
        _ => None,
    }
}

/// What `serde_json` finds: nothing but the grammar is asked of what lies between.
#[derive(Debug, PartialEq)]
struct Oracle(Option<Result<String, ()>>);

struct Key(Vec<u8>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Key;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Key, E> {
                Ok(Key(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

impl<'de> Deserialize<'de> for Oracle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Root;
        impl<'de> Visitor<'de> for Root {
            type Value = Oracle;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Oracle, A::Error> {
                let mut model = None;
                while let Some(Key(key)) = members.next_key()? {
                    if key == b"model" {
                        let value: Value = members.next_value()?;
                        model = Some(value.as_str().map(str::to_owned).ok_or(()));
                    } else {
                        members.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Oracle(model))
            }
        }
        deserializer.deserialize_map(Root)
    }
}

#[test]
fn the_last_model_counts() {
    assert_eq!(model(r#"{"model": "a"}"#).as_deref(), Some("a"));
    assert_eq!(
        model(r#"{"x": {"model": "b"}, "model" : "a"}"#).as_deref(),
        Some("a")
    );
    assert_eq!(
        model(r#"{"model": "a", "model": "\u0062\n"}"#).as_deref(),
        Some("b\n")
    );
    assert_eq!(
        model(r#"{"mod\u0065l": "\ud83d\ude00"}"#).as_deref(),
        Some("😀")
    );
    assert_eq!(model("\u{feff}{\"model\":\"é\"}").as_deref(), Some("é"));
    assert_eq!(
        model(r#"{"messages": [{"model": "b"}], "modelx": "c"}"#),
        None
    );
    let found = |text: &str| scan(&[text.as_bytes()]).map(|found| found.model);
    assert_eq!(
        found(r#"{"model": "a", "model": {"model": "b"}}"#),
        Ok(Some(Model::NotText))
    );
    assert_eq!(found(r#"{"model": null}"#), Ok(Some(Model::NotText)));
    assert_eq!(found(r#"{"model": "\ud83d"}"#), Ok(Some(Model::NotText)));
    assert_eq!(
        found(&format!(r#"{{"model": "{}"}}"#, "a".repeat(300))),
        Ok(Some(Model::TooLong))
    );
    assert_eq!(found("[1, 2]"), Ok(None));
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "{\"model\": \"a\"",
        "{\"model\" \"a\"}",
        "{model: 1}",
        "[1 2]",
        "[1,]",
        "{\"a\":1,}",
        "01",
        "1.",
        "1e",
        "-",
        "tru",
        "nul",
        "truee",
        "{}{}",
        "\"a\nb\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "]",
        "[}",
        "\u{feff}",
        "{]",
        "\0",
    ] {
        assert_eq!(scan(&[text.as_bytes()]), Err(Fault::NotJson), "{text:?}");
    }
    assert_eq!(scan(&[b"\x1f\x8b\x08{}"]), Err(Fault::NotJson), "gzip");
    assert_eq!(
        scan(&["{\"model\": \"a\"}"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<_>>()
            .as_slice()]),
        Err(Fault::NotJson)
    );
    let nested = |levels: usize| [b"[".repeat(levels), b"]".repeat(levels)].concat();
    assert!(scan(&[&nested(127)]).is_ok());
    assert_eq!(scan(&[&nested(128)]), Err(Fault::TooDeep));
    assert_eq!(scan(&[&b"[".repeat(10_000_000)]), Err(Fault::TooDeep));
}

#[test]
fn usage_is_found_in_every_shape() {
    let usage = |text: Value| scan(&[text.to_string().as_bytes()]).unwrap().usage;
    let chat = json!({"usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 3}}});
    assert_eq!(
        usage(chat),
        Some(Usage {
            input: 9,
            cached: 4,
            output: 12
        })
    );
    let responses = json!({"type": "response.completed", "response": {"model": "x", "output": [{"usage": 1}],
        "usage": {"input_tokens": 36, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 87}}});
    assert_eq!(
        usage(responses),
        Some(Usage {
            input: 36,
            cached: 1,
            output: 87
        })
    );
    assert_eq!(
        usage(json!({"usage": {"prompt_tokens": 8, "total_tokens": 8}})),
        Some(Usage {
            input: 8,
            cached: 0,
            output: 0
        })
    );
    for none in [
        json!({"usage": null}),
        json!({}),
        json!([{"usage": {"prompt_tokens": 1}}]),
        json!({"x": {"usage": {"prompt_tokens": 1}}}),
    ] {
        assert_eq!(usage(none), None);
    }
    let odd = json!({"usage": {"prompt_tokens": -1, "completion_tokens": 1.5, "prompt_tokens_details": null}});
    assert_eq!(usage(odd), Some(Usage::default()));
}

#[test]
fn what_else_matters() {
    let found = |text: &str| scan(&[text.as_bytes()]).unwrap();
    assert!(found(r#"{"stream": true}"#).stream);
    assert!(!found(r#"{"stream": true, "stream": false}"#).stream);
    for likely in ["1", "\"true\"", "\"false\"", "-0.5"] {
        assert!(found(&format!("{{\"stream\": {likely}}}")).stream);
    }
    assert!(!found(r#"{"stream": null}"#).stream);
    let choices = |text: &str| {
        let found = found(text);
        (found.has_no_choices, found.has_choices)
    };
    assert_eq!(choices(r#"{"choices": [ ]}"#), (true, false));
    assert_eq!(choices(r#"{"choices": [[]]}"#), (false, true));
    assert_eq!(
        choices(r#"{"choices": [1], "choices": null}"#),
        (false, false)
    );
    assert_eq!(choices(r#"{"response": {"choices": [1]}}"#), (false, false));
    assert_eq!(
        found(r#" {"stream_options": {}}"#).options,
        Some(Options::Object {
            start: 21,
            is_empty: true,
            include_usage: None
        })
    );
    assert_eq!(
        found(r#"{"stream_options": {"a": 1, "include_usage": true}}"#).options,
        Some(Options::Object {
            start: 20,
            is_empty: false,
            include_usage: Some(((45, 49), true))
        })
    );
    assert_eq!(
        found(r#"{"stream_options":null}"#).options,
        Some(Options::Null((18, 22)))
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[\"\\\\\\n\u{0}-\u{1f}é😀a-z]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let key = prop_oneof![
            Just("model".to_owned()),
            Just("stream".to_owned()),
            "[a-c\"\\\\]{0,3}"
        ];
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((key, inner), 0..5).prop_map(|members| members
                .into_iter()
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

/// A text cut at some places.
fn pieces<'a>(text: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect()
}

fn check_like_serde(text: &[u8], cuts: &[prop::sample::Index]) -> Result<(), TestCaseError> {
    let ours = scan(&pieces(text, cuts));
    prop_assert_eq!(&ours, &scan(&[text]), "cut or whole");
    let theirs = serde_json::from_slice::<Oracle>(text);
    let is_json = serde_json::from_slice::<IgnoredAny>(text).is_ok();
    match (&ours, theirs) {
        (Ok(found), Ok(Oracle(model))) => {
            let ours = found.model.as_ref().map(|model| match model {
                Model::Text(text, _) => Ok(text.clone()),
                Model::TooLong | Model::NotText => Err(()),
            });
            prop_assert_eq!(ours, model);
        }
        // What `serde_json` does not take as a value of its own, such as half a surrogate pair or a number out of range.
        (Ok(found), Err(_)) if is_json => {
            prop_assert!(!matches!(found.model, Some(Model::Text(..))))
        }
        (Err(_), Err(_)) => {}
        (ours, theirs) => prop_assert!(false, "{:?} is not {:?}", ours, theirs),
    }
    Ok(())
}

proptest! {
    #[test]
    fn finds_what_serde_json_finds(value in any_json(), is_pretty: bool, cuts in vec(any::<prop::sample::Index>(), 0..6)) {
        let text = if is_pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        check_like_serde(&text, &cuts)?;
    }

    #[test]
    fn refuses_what_serde_json_refuses(value in any_json(), flaws in vec((any::<prop::sample::Index>(), "[\\[\\]{}\",:\\\\u0e.x -]"), 1..4), cuts in vec(any::<prop::sample::Index>(), 0..3)) {
        let mut text = serde_json::to_vec(&value).unwrap();
        for (place, flaw) in flaws {
            let place = place.index(text.len());
            text[place] = flaw.as_bytes()[0];
        }
        // `serde_json` looks at the encoding of some strings; this scan leaves that to whoever parses.
        prop_assume!(str::from_utf8(&text).is_ok());
        check_like_serde(&text, &cuts)?;
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        let _ = scan(&[&bytes]);
    }

    #[test]
    fn runs_are_what_loops_find(bytes in vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'n'), Just(b'u'), Just(b'0'), Just(b'F'), Just(b'\n'), Just(b'\r'), Just(0x1f), Just(0x20), Just(0x21), Just(0x23), Just(0x5b), Just(0x5d), Just(0xa2), Just(0xff), any::<u8>()], 0..40)) {
        let until = |is_end: fn(&u8) -> bool| bytes.iter().take_while(|byte| !is_end(byte)).count();
        prop_assert_eq!(plain(&bytes), until(|byte| matches!(byte, b'"' | b'\\' | 0..32)));
        prop_assert_eq!(line(&bytes), until(|byte| matches!(byte, b'\n' | b'\r')));
        let mut at = plain(&bytes);
        while let Some([b'\\', escape, hex @ ..]) = bytes.get(at..) {
            let is_unit = *escape == b'u' && hex.len() >= 4 && hex[..4].iter().all(u8::is_ascii_hexdigit);
            match escape {
                b'u' if is_unit => at += 6,
                escape if b"\"\\/bfnrt".contains(escape) => at += 2,
                _ => break,
            }
            at += plain(&bytes[at..]);
        }
        prop_assert_eq!(harmless(&bytes), at);
    }
}

use super::learn::Scope;
use super::*;
use crate::trace::{Argument, CallTrace, CallbackTrace, Value};

fn secrets(names: &[&str]) -> Secrets {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Secrets::new(&names)
}

fn masked(secrets: &Secrets, text: &str) -> String {
    secrets.mask().text(text.as_bytes())
}

#[test]
fn a_value_is_masked_wherever_it_occurs_and_keeps_its_number() {
    let mut s = secrets(&[]);
    s.learn_field(b"authorization", b"Bearer abc-123");
    s.learn_field(b"x-api-key", b"def-456");
    s.learn_field(b"accept", b"text/plain");
    assert_eq!(masked(&s, "Bearer abc-123"), "Bearer <secret 1>");
    assert_eq!(
        masked(&s, "got def-456 and abc-123."),
        "got <secret 2> and <secret 1>."
    );
    assert_eq!(masked(&s, "text/plain"), "text/plain");
}

#[test]
fn what_is_within_credentials_is_secret_too() {
    let mut s = secrets(&[]);
    s.learn_field(b"proxy-authorization", b"Basic dXNlcjpodW50ZXIy");
    s.learn_field(
        b"authorization",
        br#"Digest username="Mufasa", realm="r", response="6629fae4""#,
    );
    s.learn_field(b"cookie", b"session=s3ss10n; theme=dark");
    s.learn_field(b"set-cookie", b"id=fresh1; Path=/; HttpOnly");
    s.learn_field(b":path", b"/a?api_key=qu3ry&page=2");
    let secrets = "dXNlcjpodW50ZXIy hunter2 Mufasa 6629fae4 s3ss10n fresh1 qu3ry";
    for secret in secrets.split(' ') {
        assert!(!masked(&s, secret).contains(secret), "{secret}");
    }
    assert_eq!(masked(&s, "/a?page=2; Path=/"), "/a?page=2; Path=/");
}

#[test]
fn members_of_documents_are_secret_by_name() {
    let mut s = secrets(&["pepper"]);
    let json = serde_json::json!({
        "credential": {"header": "authorization", "scheme": "Bearer", "value": "v4lue"},
        "api_key": "with\"quote", "keys": ["one1", {"sha256": "d1gest"}], "pepper": "p3pper",
        "max_tokens": "many", "name": "plain", "credentials": {"env": "GREEN_API_KEY"},
        "session": 12_345_678, "auth": {"timeout": 5000, "id": 87_654_321}, "usage": {"prompt_tokens": 9876},
    })
    .to_string();
    s.learn_text(json.as_bytes(), Scope::Everywhere);
    for masked in [
        masked(&s, &json),
        masked(&s, "v4lue with\"quote one1 d1gest p3pper 12345678 87654321"),
    ] {
        for secret in [
            "v4lue", "quote", "one1", "d1gest", "p3pper", "12345678", "87654321",
        ] {
            assert!(!masked.contains(secret), "{secret} in {masked}");
        }
    }
    let masked = masked(&s, &json);
    for harmless in [
        "authorization",
        "Bearer",
        "many",
        "plain",
        "GREEN_API_KEY",
        "5000",
        "9876",
    ] {
        assert!(masked.contains(harmless), "{harmless} in {masked}");
    }
}

#[test]
fn configurations_that_are_not_json_have_secrets_too() {
    let mut s = secrets(&[]);
    s.learn_lines(b"listen = 80\nclient_secret: \"l1ne\"\nother.token=tok3n");
    assert_eq!(masked(&s, "l1ne tok3n 80"), "<secret 1> <secret 2> 80");
}

/// A flag or a small number stands everywhere; only behind its name it is the secret.
#[test]
fn a_flag_is_masked_in_its_place() {
    let mut s = secrets(&[]);
    let text = br#"{"password": true, "pin": 123, "other": true}"#;
    s.learn_text(text, Scope::Everywhere);
    assert_eq!(
        masked(
            &s,
            r#"{"password": true, "pin": 123, "other": true, "n": 123}"#
        ),
        r#"{"password": <secret 1>, "pin": <secret 2>, "other": true, "n": 123}"#
    );
}

#[test]
fn what_a_guest_says_makes_secrets_in_their_place() {
    let mut s = secrets(&[]);
    s.learn_text(
        b"auth=none token=abc; Bearer a1b2 https://u:none@h",
        Scope::InPlace,
    );
    assert_eq!(
        masked(
            &s,
            "none: auth=none token=abc; Bearer a1b2 a1b2 https://u:none@h"
        ),
        "none: auth=<secret 1> token=<secret 2>; Bearer <secret 3> a1b2 https://u:<secret 1>@h"
    );
}

#[test]
fn forms_lines_and_events_are_read() {
    let mut s = secrets(&[]);
    for text in [
        "a=1&pass%77ord=f0rm%2Done+two&b=2",
        "{\"token\":\"l1ne-one\"}\n{\"token\":\"l1ne-two\"}\n",
        "event: x\ndata: {\"n\":1,\"token\":\"ev3nt-one\"}\n\ndata: {\"token\":\ndata: 0}",
        "see https://user:url-p4ss@host/a?b",
        "--b\r\ncontent-disposition: form-data; name=\"secret\"\r\n\r\np4rt\r\n--b--",
        r#"{"arguments": "{\"password\": \"inn\\u0065r\"}"}"#,
    ] {
        s.learn_text(text.as_bytes(), Scope::Everywhere);
        let masked = masked(&s, text);
        assert!(masked.contains("<secret "), "{masked}");
    }
    for secret in [
        "f0rm%2Done+two",
        "f0rm-one two",
        "l1ne-one",
        "l1ne-two",
        "ev3nt-one",
        "url-p4ss",
        "p4rt",
        "inner",
    ] {
        assert!(masked(&s, secret).starts_with("<secret "), "{secret}");
    }
}

/// It may be escaped otherwise than where it was learned.
#[test]
fn a_value_is_masked_in_every_form() {
    let mut s = secrets(&[]);
    s.learn_text(br#"{"password": "hunter\u0032\/a+b\""}"#, Scope::Everywhere);
    for form in [
        r#"hunter\u0032\/a+b\""#,
        r#"hunter2/a+b""#,
        r#"h\u0075nter2/a+b\""#,
        "hunter2%2fa%2Bb%22",
        "%68unter2%2Fa+b%22",
        r#"hunter2\\/a+b\\\""#,
        "hunter2%252Fa%252Bb%2522",
    ] {
        assert_eq!(masked(&s, &format!("<{form}>")), "<<secret 1>>", "{form}");
    }
}

#[test]
fn a_short_value_is_masked_only_by_itself() {
    let mut s = secrets(&[]);
    s.add(b"ab");
    assert_eq!(
        masked(&s, "tab ab=ab, about"),
        "tab <secret 1>=<secret 1>, about"
    );
}

#[test]
fn secrets_that_overlap_are_masked_as_one() {
    let mut s = secrets(&[]);
    s.add(b"secret-1");
    s.add(b"secret-1-and-more");
    assert_eq!(
        masked(&s, "secret-1-and-more secret-1"),
        "<secret 2> <secret 1>"
    );
    s.add(b"1-and-more-2");
    assert_eq!(masked(&s, "(secret-1-and-more-2)"), "(<secret 2>)");
}

/// No value of a credential's field is shown, even where nothing of it could be told apart.
#[test]
fn a_field_of_a_secret_name_is_never_shown() {
    let s = secrets(&["x-mine"]);
    let mask = s.mask();
    assert_eq!(mask.field(b"x-mine", b"anything"), "<secret>");
    assert_eq!(mask.field(b"X-Auth-Token", b"anything"), "<secret>");
    assert_eq!(mask.field(b":authority", b"host"), "host");
}

/// However a guest reads a body, piece by piece, no piece of a secret is shown.
#[test]
fn a_part_of_a_body_shows_no_part_of_a_secret() {
    let body = r#"{"q": "hello", "password": "hunt\u0065r2-zyxwv"}"#;
    let mut s = secrets(&[]);
    s.learn_text(body.as_bytes(), Scope::Everywhere);
    let mask = s.mask();
    let read = |start: usize, size: usize| {
        let number = |name, number: usize| Argument {
            name,
            value: Value::Number(number as u64),
        };
        let part = body.as_bytes()[start..(start + size).min(body.len())].to_vec();
        let mut callback = CallbackTrace {
            calls: vec![CallTrace {
                name: "proxy_get_buffer_bytes",
                arguments: vec![number("start", start), number("max_size", size)],
                status: None,
                returned: vec![Argument {
                    name: "bytes",
                    value: Value::Bytes(part),
                }],
                took: std::time::Duration::ZERO,
            }],
            ..CallbackTrace::default()
        };
        mask.callback(&mut callback);
        match &callback.calls[0].returned[0].value {
            Value::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let shown = body.find("hunt").unwrap();
    for start in 0..body.len() {
        for size in 1..=body.len() - start {
            let text = read(start, size);
            let text = text.replace("<secret 1>", "");
            let bare = body.replace(r"hunt\u0065r2-zyxwv", "");
            assert!(
                bare.contains(&text) || text.len() <= 1,
                "{start}+{size}: {text}"
            );
            assert!(!text.contains("zyx") && !text.contains("hunt"), "{text}");
        }
    }
    assert_eq!(read(shown - 3, 5), r#": "<secret 1>"#);
    assert_eq!(read(shown + 2, 2), "<secret 1>");
    assert_eq!(read(0, 9), r#"{"q": "he"#);
}

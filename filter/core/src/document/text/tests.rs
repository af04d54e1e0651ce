//! What leaf values accept.

use proptest::prelude::*;

use super::*;

fn read<T: Read>(json: &str) -> Result<T, String> {
    let node = Node::parse(json.as_bytes()).unwrap();
    let mut problems = Problems::default();
    let value = T::read(&node, &At::Root, &mut problems);
    let messages: Vec<_> = problems
        .into_vec()
        .into_iter()
        .map(|problem| problem.message)
        .collect();
    value.ok_or(messages.join("\n"))
}

#[test]
fn integers() {
    assert_eq!(read::<Weight>("95"), Ok(Weight(95)));
    assert_eq!(read::<Weight>("95.0"), Ok(Weight(95)));
    assert_eq!(read::<Count>("4294967295"), Ok(Count(u32::MAX)));
    assert_eq!(read::<Weight>("-0"), Ok(Weight(0)));
    assert_eq!(
        read::<Weight>("0.5").unwrap_err(),
        "has a fraction: expected an integer from 0 to 1000000"
    );
    assert!(
        read::<Weight>("-1")
            .unwrap_err()
            .starts_with("is out of range")
    );
    assert!(
        read::<Weight>("1e300")
            .unwrap_err()
            .starts_with("is out of range")
    );
    assert_eq!(
        read::<Weight>("\"95\"").unwrap_err(),
        "expected an integer from 0 to 1000000, found a string"
    );
}

#[test]
fn digests_are_never_repeated_in_messages() {
    assert!(
        read::<KeyDigest>(&format!("\"{}\"", "aB".repeat(32)))
            .is_ok_and(|digest| digest.0 == [0xab; 32])
    );
    for wrong in [
        "sk-live-1234".to_owned(),
        "g".repeat(64),
        "a".repeat(63),
        "é".repeat(32),
    ] {
        let Err(message) = read::<KeyDigest>(&format!("\"{wrong}\"")) else {
            panic!("{wrong} was accepted")
        };
        assert!(!message.contains(&wrong), "{message}");
    }
    let Err(message) = read::<Secret>("\"hush\\r\\nx-evil: 1\"") else {
        panic!("accepted")
    };
    assert!(!message.contains("hush"));
    assert_eq!(
        format!("{:?}", read::<Secret>("\"hush\"")),
        "Ok(<redacted>)"
    );
}

fn candidates() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,6}",
        "[ -~]{0,70}",
        "(\\*\\.)?[a-z0-9._-]{0,8}",
        "[A-Z]{0,34}",
        "/[a-z?#]{0,5}",
        "[a-z0-9-]{31,34}",
        proptest::sample::select(FRAMING_HEADERS.to_vec()).prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn patterns_agree_with_checks(text in candidates()) {
        // The one look-ahead (regex has none) is checked apart: it lists the framing headers.
        let ahead = format!("(?!({})$)", FRAMING_HEADERS.join("|"));
        for (pattern, check) in [
            Name::pattern_and_check(), RolloutId::pattern_and_check(), Label::pattern_and_check(),
            ClusterName::pattern_and_check(), HeaderName::pattern_and_check(), Scheme::pattern_and_check(),
            CookieName::pattern_and_check(), QueryName::pattern_and_check(), VariableName::pattern_and_check(),
            Method::pattern_and_check(), UrlPath::pattern_and_check(), HostPattern::pattern_and_check(), ModelName::pattern_and_check(),
            ModelPattern::pattern_and_check(),
        ] {
            let plain = pattern.replace(&ahead, "");
            let refused = plain != pattern && FRAMING_HEADERS.contains(&text.as_str());
            let matches = regex::Regex::new(&plain).unwrap().is_match(&text) && !refused;
            prop_assert_eq!(check(&text), matches, "{} {:?}", pattern, text);
        }
    }
}

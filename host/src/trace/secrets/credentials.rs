//! What is inside a credential: each part of it is secret by itself.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Schemes whose names are shown. What stands before a space may be a part of the secret otherwise.
const SCHEMES: [&[u8]; 14] = [
    b"bearer",
    b"basic",
    b"digest",
    b"token",
    b"apikey",
    b"api-key",
    b"dpop",
    b"negotiate",
    b"ntlm",
    b"signature",
    b"hawk",
    b"oauth",
    b"aws4-hmac-sha256",
    b"sharedkey",
];

/// Parameters that say what the others are.
const ABOUT: [&[u8]; 10] = [
    b"realm",
    b"uri",
    b"algorithm",
    b"qop",
    b"nc",
    b"headers",
    b"signedheaders",
    b"version",
    b"charset",
    b"userhash",
];

/// With padding or without.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// The secret parts of a credential, the whole of it first: without its scheme, where that is known.
pub(super) fn parts(credential: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    gather(credential, &mut parts);
    parts
}

fn gather(credential: &[u8], parts: &mut Vec<Vec<u8>>) {
    let credential = credential.trim_ascii();
    let space = credential.iter().position(|byte| *byte == b' ');
    let Some((scheme, rest)) = space.map(|at| credential.split_at(at)) else {
        parts.push(credential.to_vec());
        return list(credential, parts);
    };
    let rest = rest.trim_ascii();
    if !SCHEMES
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        parts.push(credential.to_vec());
    }
    parts.push(rest.to_vec());
    if scheme.eq_ignore_ascii_case(b"basic") {
        parts.extend(basic(rest));
    }
    list(rest, parts);
}

/// What `Basic` holds, and the password in it.
fn basic(encoded: &[u8]) -> Vec<Vec<u8>> {
    let Ok(pair) = BASE64.decode(encoded) else {
        return Vec::new();
    };
    let colon = pair.iter().position(|byte| *byte == b':');
    let password = colon.and_then(|at| pair.get(at + 1..)).map(<[u8]>::to_vec);
    [Some(pair), password].into_iter().flatten().collect()
}

/// Parameters, and credentials that were joined to one field.
fn list(text: &[u8], parts: &mut Vec<Vec<u8>>) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let items: Vec<&[u8]> = text
        .split(|byte| {
            is_quoted ^= *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            *byte == b',' && !is_quoted
        })
        .collect();
    for item in &items {
        match parameter(item.trim_ascii()) {
            Some((name, value)) if !ABOUT.iter().any(|about| name.eq_ignore_ascii_case(about)) => {
                parts.push(value.to_vec());
                parts.push(
                    value
                        .iter()
                        .copied()
                        .filter(|byte| *byte != b'\\')
                        .collect(),
                );
            }
            None if items.len() > 1 => gather(item, parts),
            _ => {}
        }
    }
}

/// `name=value` or `name="value"`; what ends in `=` is base64.
fn parameter(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (text.get(..at)?, text.get(at + 1..)?);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.iter().all(is_name) || value.is_empty() || value.starts_with(b"=") {
        return None;
    }
    let inside = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    Some((name, inside.unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(credential: &str) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        for part in parts(credential.as_bytes()) {
            let part = String::from_utf8(part).unwrap();
            if !told.contains(&part) {
                told.push(part);
            }
        }
        told
    }

    #[test]
    fn a_known_scheme_is_not_a_part() {
        assert_eq!(told("abc"), ["abc"]);
        assert_eq!(told(" bearer abc= "), ["abc="]);
        assert_eq!(told("correct horse"), ["correct horse", "horse"]);
    }

    #[test]
    fn basic_holds_a_password() {
        for encoded in ["dXNlcjpodW50ZXIyIQ==", "dXNlcjpodW50ZXIyIQ"] {
            assert_eq!(
                told(&format!("Basic {encoded}")),
                [encoded, "user:hunter2!", "hunter2!"]
            );
        }
    }

    #[test]
    fn parameters_are_parts_but_what_is_about_them() {
        let rest = r#"username="Mu\"fasa", realm="r", nc=00000001, qop=auth, response="6629,fa""#;
        assert_eq!(
            told(&format!("Digest {rest}")),
            [rest, r#"Mu\"fasa"#, "Mu\"fasa", "6629,fa"]
        );
        let rest = "Credential=AKID/x/y, SignedHeaders=host, Signature=fe5f";
        assert_eq!(
            told(&format!("AWS4-HMAC-SHA256 {rest}")),
            [rest, "AKID/x/y", "fe5f"]
        );
    }

    #[test]
    fn credentials_may_be_joined() {
        assert_eq!(
            told("Bearer abc, Basic dTpw"),
            ["abc, Basic dTpw", "abc", "dTpw", "u:p", "p"]
        );
    }
}

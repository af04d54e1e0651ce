//! The foreign functions `sign` and `verify_signature`, with keys made by another library.

use serde_json::Value;
use switchover_tests::probe::{Message, Probe};
use switchover_tests::{cases, programs};

/// Makes a pair of keys of each kind, and signs with the one whose signatures are always the same.
const KEYS: &str = "
const crypto = require('crypto');
const pair = (kind, options) => {
  const {privateKey, publicKey} = crypto.generateKeyPairSync(kind, options);
  const der = {format: 'der'}, pem = {format: 'pem'};
  return {
    private: privateKey.export({type: 'pkcs8', ...der}).toString('hex'),
    public: publicKey.export({type: 'spki', ...der}).toString('hex'),
    private_pem: privateKey.export({type: 'pkcs8', ...pem}),
    public_pem: publicKey.export({type: 'spki', ...pem}),
    signature: crypto.sign('sha256', Buffer.from('some text'), privateKey).toString('hex'),
  };
};
console.log(JSON.stringify({
  rsa: pair('rsa', {modulusLength: 2048}),
  ec: pair('ec', {namedCurve: 'P-256'}),
}));
";

fn keys() -> Value {
    let node = programs::python().with_file_name("node");
    let out = std::process::Command::new(node).args(["-e", KEYS]).output();
    serde_json::from_slice(&out.unwrap().stdout).unwrap()
}

fn hex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().unwrap().as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// A field of a protobuf message: bytes or text.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 128 {
        field.push(u8::try_from(length % 128).unwrap() | 128);
        length /= 128;
    }
    field.push(u8::try_from(length).unwrap());
    field.extend(bytes);
    field
}

/// What a function answers to a message of these fields.
async fn call(probe: &mut Probe, function: &str, fields: &[(u8, &[u8])]) -> Vec<u8> {
    let message: Vec<u8> = fields
        .iter()
        .flat_map(|(n, bytes)| field(*n, bytes))
        .collect();
    let escaped: String = message.iter().map(|byte| format!("%{byte:02x}")).collect();
    let script = format!("request_headers: proxy_call_foreign_function '{function} '{escaped} >");
    let outcome = probe.exchange(&script, Message::default()).await;
    let told = outcome.answers("request_headers");
    let answer = told[0]
        .strip_prefix("OK '")
        .unwrap_or_else(|| panic!("{told:?}"));
    let mut bytes = Vec::new();
    let mut rest = answer.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    bytes
}

/// The signature in an answer that says yes: field 1 is true, field 2 the signature.
fn signature(answer: &[u8]) -> Vec<u8> {
    let (yes, rest) = answer.split_at(2);
    assert_eq!(yes, [8, 1], "{answer:?}");
    assert_eq!(rest[0], 2 << 3 | 2, "{answer:?}");
    let length_bytes = 1 + rest[1..].iter().take_while(|byte| **byte >= 128).count();
    let signature = rest[1 + length_bytes..].to_vec();
    assert_eq!(
        rest[..1 + length_bytes],
        field(2, &signature)[..1 + length_bytes]
    );
    signature
}

cases! {
    async fn what_is_signed_is_verified(engine: Engine) {
        let keys = keys();
        let mut probe = Probe::start(engine, Probe::setup(engine, "", |setup| setup)).await;
        for kind in ["rsa", "ec"] {
            let keys = &keys[kind];
            let (private, public) = (hex(&keys["private"]), hex(&keys["public"]));
            let pem = |name: &str| keys[name].as_str().unwrap().as_bytes().to_vec();
            let signed = [
                call(&mut probe, "sign", &[(1, b"sha256"), (2, &private), (3, b"some text")]).await,
                call(&mut probe, "sign", &[(1, b"sha256"), (3, b"some text"), (4, &pem("private_pem"))]).await,
            ];
            let mut signatures: Vec<Vec<u8>> = signed.iter().map(|answer| signature(answer)).collect();
            let of_node = hex(&keys["signature"]);
            if kind == "rsa" {
                assert!(signatures.iter().all(|signature| *signature == of_node), "{signatures:?}");
            }
            signatures.push(of_node);
            for signature in &signatures {
                let by_der = [(1, &b"sha256"[..]), (2, &public), (3, signature), (4, b"some text")];
                assert_eq!(call(&mut probe, "verify_signature", &by_der).await, [8, 1], "{kind}");
                let by_pem = [(1, &b"sha256"[..]), (3, signature), (4, b"some text"), (5, &pem("public_pem"))];
                assert_eq!(call(&mut probe, "verify_signature", &by_pem).await, [8, 1], "{kind}");
                let other = [(1, &b"sha256"[..]), (2, &public), (3, signature), (4, b"another text")];
                let answer = call(&mut probe, "verify_signature", &other).await;
                // No result is no: what is there is the error.
                assert_eq!(answer.first(), Some(&(2 << 3 | 2)), "{kind}: {answer:?}");
            }
        }
    }
}

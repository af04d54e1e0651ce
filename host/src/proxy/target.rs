//! What a request line may ask for, where hyper lets more pass than Envoy does.

use http::{Method, Uri, Version};

use super::reply::GatewayError;

/// Methods besides those that `http` names. Source: the list of Envoy's HTTP/1 codec.
const METHODS: [&str; 25] = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "COPY",
    "LINK",
    "LOCK",
    "M-SEARCH",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "NOTIFY",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// Whether a request line can be served: a known method, and a path, an `http` or `https` URL, or `OPTIONS *`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(method: &Method, target: &Uri, version: Version) -> Result<(), GatewayError> {
    match *method {
        // Its target is the authority alone. Source: RFC 9112, section 3.2.3; an extended one (RFC 8441) has a path too.
        Method::CONNECT => {
            return target.authority().map(|_| ()).ok_or(GatewayError::Target);
        }
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS
        | Method::TRACE => {}
        // Envoy's HTTP/2 codec takes any token.
        _ if version >= Version::HTTP_2 || METHODS.contains(&method.as_str()) => {}
        _ => return Err(GatewayError::Method),
    }
    let valid = match (target.scheme_str(), target.authority()) {
        (Some("http" | "https"), Some(_)) => true,
        (None, None) => {
            target.path().starts_with('/') || (target.path() == "*" && method == Method::OPTIONS)
        }
        // `authority-form` is for CONNECT only. Source: RFC 9112, section 3.2.3.
        _ => false,
    };
    valid.then_some(()).ok_or(GatewayError::Target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(method: &str, target: &str) -> Result<(), GatewayError> {
        check(
            &method.parse().unwrap(),
            &target.parse().unwrap(),
            Version::HTTP_11,
        )
    }

    #[test]
    fn methods() {
        for method in ["GET", "PATCH", "PROPFIND", "M-SEARCH"] {
            assert_eq!(checked(method, "/"), Ok(()));
        }
        for method in ["get", "FOO"] {
            assert_eq!(checked(method, "/"), Err(GatewayError::Method));
        }
        assert_eq!(checked("CONNECT", "a:80"), Ok(()));
        assert_eq!(checked("CONNECT", "/"), Err(GatewayError::Target));
    }

    #[test]
    fn targets() {
        for target in [
            "/",
            "/a?b",
            "//a/b",
            "http://a",
            "http://a/x",
            "https://a:1/x",
        ] {
            assert_eq!(checked("GET", target), Ok(()), "{target}");
        }
        for target in ["no-slash", "a:80", "ftp://a/x", "*"] {
            assert_eq!(
                checked("GET", target),
                Err(GatewayError::Target),
                "{target}"
            );
        }
        assert_eq!(checked("OPTIONS", "*"), Ok(()));
    }
}

//! What a request line may ask for, where hyper lets more pass than Envoy does.

use http::{Method, Uri};

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
pub(super) fn check(method: &Method, target: &Uri) -> Result<(), GatewayError> {
    match *method {
        Method::CONNECT => return Err(GatewayError::Connect),
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS
        | Method::TRACE => {}
        _ if METHODS.contains(&method.as_str()) => {}
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
        check(&method.parse().unwrap(), &target.parse().unwrap())
    }

    #[test]
    fn methods() {
        for method in ["GET", "PATCH", "PROPFIND", "M-SEARCH"] {
            assert_eq!(checked(method, "/"), Ok(()));
        }
        for method in ["get", "FOO"] {
            assert_eq!(checked(method, "/"), Err(GatewayError::Method));
        }
        assert_eq!(checked("CONNECT", "a:80"), Err(GatewayError::Connect));
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

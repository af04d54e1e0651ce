//! Who may use the console, and what a request must look like that changes something.
//!
//! Without a token the console is for this machine: it listens on loopback, and answers only under names of loopback,
//! so that a web page elsewhere cannot reach it by a name of its own that leads here. With a token any name will do.
//! What changes something must come from the console's own page.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, ORIGIN};
use http::uri::{Authority, Uri};
use http::{HeaderMap, StatusCode};
use subtle::ConstantTimeEq as _;
use switchover_core::Secret;

/// The header that only the console's own page, or a program, can send: others would have to ask first.
pub(super) const OWN_HEADER: &str = "x-switchover-console";

/// The fewest characters of a token.
const LEAST: usize = 16;

/// What systems call their own loopback, beside addresses and what ends in `.localhost`; no registry has any of them.
const NAMES: [&str; 6] = [
    "localhost",
    "localhost4",
    "localhost6",
    "localhost.localdomain",
    "ip6-localhost",
    "ip6-loopback",
];

/// What is asked of requests.
#[derive(Debug)]
pub(super) struct Access {
    token: Option<Secret>,
    /// The cookie's name, one for each process: consoles on other ports of this host have theirs.
    cookie: String,
    /// What the cookie holds, for as long as this process lives.
    session: Secret,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The name may belong to someone else.
    #[error(
        "the console answers under names of this machine only, such as localhost or 127.0.0.1; start it with \
         --token-file to use it under another name"
    )]
    Name,
    /// There is no token, or a wrong one.
    #[error("sign in with the console's token first")]
    Token,
    /// It comes from elsewhere.
    #[error("the request comes from another site's page")]
    CrossSite,
    /// It lacks what the console's page sends.
    #[error("the header {OWN_HEADER} is missing")]
    NoOwnHeader,
    /// Its body is something else.
    #[error("the body must be application/json")]
    NotJson,
}

/// Why a text is no token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It can be guessed.
    #[error("the token has fewer than {LEAST} characters")]
    Short,
    /// It cannot be typed or sent.
    #[error("the token has characters other than visible ASCII, or more than one line")]
    Characters,
}

/// Reads a token: a line of at least 16 visible characters.
///
/// # Errors
/// What is allowed.
pub fn token(text: &str) -> Result<Secret, TokenError> {
    let text = text.trim_end();
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::Characters);
    }
    if text.len() < LEAST {
        return Err(TokenError::Short);
    }
    Ok(Secret::new(text.as_bytes()))
}

/// So many random bytes, in hexadecimal digits.
///
/// # Errors
/// The system has none.
pub(super) fn random(bytes: usize) -> Result<String, getrandom::Error> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer)?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Compares in a time that tells neither bytes nor lengths.
fn same(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (switchover_core::sha256(a), switchover_core::sha256(b));
    a.ct_eq(&b).into()
}

// === impl Access ===

impl Access {
    /// With this token, or for this machine only.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub(super) fn new(token: Option<Secret>) -> Result<Self, getrandom::Error> {
        Ok(Self {
            token,
            cookie: format!("switchover_console_{}", random(4)?),
            session: Secret::new(random(32)?.into_bytes()),
        })
    }

    /// Whether anything may be answered at all.
    pub(super) fn name(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.token.is_some() {
            return Ok(());
        }
        let host = only(headers, &HOST).and_then(|host| host.parse::<Authority>().ok());
        match host {
            Some(host) if is_loopback(host.host()) => Ok(()),
            _ => Err(Refusal::Name),
        }
    }

    /// Whether the sender has the token: by its cookie, or as a bearer.
    pub(super) fn token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let bearer = only(headers, &AUTHORIZATION).and_then(|value| value.split_once(' '));
        let by_bearer = bearer.is_some_and(|(scheme, value)| {
            scheme.eq_ignore_ascii_case("bearer") && same(value.trim().as_bytes(), token.expose())
        });
        if by_bearer || self.has_session(headers) {
            Ok(())
        } else {
            Err(Refusal::Token)
        }
    }

    fn has_session(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(COOKIE).iter();
        let pairs = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        pairs
            .filter_map(|pair| pair.trim().split_once('='))
            .any(|(name, value)| {
                name == self.cookie && same(value.as_bytes(), self.session.expose())
            })
    }

    /// Whether a request that changes something comes from the console's own page, or from a program.
    pub(super) fn origin(headers: &HeaderMap) -> Result<(), Refusal> {
        let site = headers.get("sec-fetch-site");
        if site.is_some_and(|site| site != "same-origin") {
            return Err(Refusal::CrossSite);
        }
        if headers.contains_key(ORIGIN) {
            let origin = only(headers, &ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
            let origin = origin.as_ref().and_then(Uri::authority);
            let host = only(headers, &HOST);
            let is_own = origin
                .zip(host)
                .is_some_and(|(origin, host)| origin.as_str().eq_ignore_ascii_case(host));
            if !is_own {
                return Err(Refusal::CrossSite);
            }
        }
        if !headers.contains_key(OWN_HEADER) {
            return Err(Refusal::NoOwnHeader);
        }
        let kind = only(headers, &CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::NotJson);
        }
        Ok(())
    }

    /// The cookie for who sends this token; it is no script's business, and goes to no other site.
    pub(super) fn sign_in(&self, token: &str) -> Result<String, Refusal> {
        let own = self.token.as_ref().ok_or(Refusal::Token)?;
        if !same(token.trim().as_bytes(), own.expose()) {
            return Err(Refusal::Token);
        }
        let session = String::from_utf8_lossy(self.session.expose());
        let cookie = &self.cookie;
        Ok(format!(
            "{cookie}={session}; HttpOnly; SameSite=Strict; Path=/"
        ))
    }
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Name | Self::CrossSite | Self::NoOwnHeader => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

/// A header's only value.
fn only<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether a host's name, or address, is always this machine.
fn is_loopback(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = address.unwrap_or(host);
    let short = || short_form(address).map(IpAddr::V4);
    if let Some(address) = address.parse::<IpAddr>().ok().or_else(short) {
        let address = address.to_canonical();
        // Whoever connects to no address at all connects to this machine, and no page elsewhere has such an origin.
        return address.is_loopback() || address.is_unspecified();
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name.ends_with(".localhost") || NAMES.contains(&name.as_str())
}

/// An address as `127.1` has it: the last number stands for all bytes that are left.
fn short_form(host: &str) -> Option<Ipv4Addr> {
    if !host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return None;
    }
    let (first, last) = host
        .rsplit_once('.')
        .map_or((None, host), |(a, b)| (Some(a), b));
    let first = first.into_iter().flat_map(|first| first.split('.'));
    let first: Vec<u8> = first.map(str::parse).collect::<Result<_, _>>().ok()?;
    let last = last.parse::<u32>().ok()?.to_be_bytes();
    let mut bytes = [0; 4];
    let (begin, end) = bytes.split_at_mut_checked(first.len())?;
    let (zeros, rest) = last.split_at_checked(first.len())?;
    begin.copy_from_slice(&first);
    end.copy_from_slice(rest);
    // What is too great for the bytes that are left would be lost.
    (zeros.iter().all(|byte| *byte == 0) && !end.is_empty()).then(|| bytes.into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn with_token() -> Access {
        Access::new(Some(token("0123456789abcdef\n").expect("a token"))).expect("random bytes")
    }

    #[test]
    fn names_of_loopback() {
        let access = Access::new(None).expect("random bytes");
        for good in [
            "localhost",
            "LOCALHOST:9902",
            "localhost.:1",
            "a.localhost:80",
            "127.0.0.1",
            "127.8.9.1:9902",
            "[::1]:9902",
            "[::ffff:127.0.0.1]",
            "127.1:9902",
            "127.0.1",
            "2130706433",
            "0.0.0.0:9902",
            "0",
            "[::]:9902",
            "ip6-localhost:9902",
            "localhost.localdomain",
        ] {
            assert_eq!(access.name(&headers(&[("host", good)])), Ok(()), "{good}");
        }
        for bad in [
            "",
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "10.0.0.1:9902",
            "notlocalhost",
            "10.1",
            "127.256.1",
            "127.16777216",
            "1.2.3.4.5",
            "127.0.0.1.1",
            "127..1",
            "127.",
            "127.de",
            "localdomain",
            "[::2]",
            "evil.test@localhost@",
        ] {
            assert_eq!(
                access.name(&headers(&[("host", bad)])),
                Err(Refusal::Name),
                "{bad}"
            );
        }
        assert_eq!(access.name(&headers(&[])), Err(Refusal::Name));
        let two = headers(&[("host", "localhost"), ("host", "evil.test")]);
        assert_eq!(access.name(&two), Err(Refusal::Name));
        assert_eq!(
            with_token().name(&headers(&[("host", "console.example")])),
            Ok(())
        );
    }

    #[test]
    fn tokens_and_cookies() {
        let access = with_token();
        let bearer = headers(&[("authorization", "bearer 0123456789abcdef")]);
        assert_eq!(access.token(&bearer), Ok(()));
        for wrong in [
            "Bearer 0123456789abcdeF",
            "Bearer ",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert_eq!(
                access.token(&headers(&[("authorization", wrong)])),
                Err(Refusal::Token),
                "{wrong}"
            );
        }
        assert_eq!(access.sign_in("0123456789abcde"), Err(Refusal::Token));
        let cookie = access.sign_in("0123456789abcdef").expect("signed in");
        assert!(
            cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/"),
            "{cookie}"
        );
        assert!(
            !cookie.contains("0123456789abcdef"),
            "the cookie is not the token"
        );
        let pair = cookie.split(';').next().expect("a pair").to_owned();
        let mut map = HeaderMap::new();
        map.insert(
            COOKIE,
            HeaderValue::try_from(format!("a=b; {pair}")).expect("a value"),
        );
        assert_eq!(access.token(&map), Ok(()));
        assert_eq!(
            with_token().token(&map),
            Err(Refusal::Token),
            "another process has another session"
        );
        assert_eq!(token("0123456789abcde"), Err(TokenError::Short));
        assert_eq!(token("0123456789 abcdef"), Err(TokenError::Characters));
        assert!(!format!("{access:?}").contains("0123"), "{access:?}");
    }

    #[test]
    fn changes_come_from_the_own_page() {
        let own = [
            ("host", "localhost:9902"),
            (OWN_HEADER, "1"),
            ("content-type", "application/json"),
        ];
        let with = |more: &[(&'static str, &'static str)]| {
            Access::origin(&headers(&[own.as_slice(), more].concat()))
        };
        assert_eq!(with(&[]), Ok(()), "a program");
        assert_eq!(
            with(&[
                ("origin", "http://localhost:9902"),
                ("sec-fetch-site", "same-origin")
            ]),
            Ok(())
        );
        assert_eq!(
            with(&[("origin", "http://localhost:9903")]),
            Err(Refusal::CrossSite)
        );
        assert_eq!(with(&[("origin", "null")]), Err(Refusal::CrossSite));
        for site in ["cross-site", "same-site", "none"] {
            assert_eq!(
                with(&[("sec-fetch-site", site)]),
                Err(Refusal::CrossSite),
                "{site}"
            );
        }
        assert_eq!(
            Access::origin(&headers(&[own[0], own[2]])),
            Err(Refusal::NoOwnHeader)
        );
        let form = headers(&[own[0], own[1], ("content-type", "text/plain")]);
        assert_eq!(Access::origin(&form), Err(Refusal::NotJson));
    }
}

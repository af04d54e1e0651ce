//! Sticky keys: where they come from, and the cookie that makes one.

use crate::document::text::CookieName;
use crate::headers::{Headers, Slot};
use crate::strategy::Random;
use crate::time::Duration;

/// Which requests belong together.
#[derive(Debug, Default)]
pub(crate) struct Sticky {
    /// Where keys come from, in order.
    pub(crate) by: Vec<KeySource>,
    /// How long clients keep the cookie that [`KeySource::OwnCookie`] reads.
    pub(crate) max_age: Option<Duration>,
}

/// One source of sticky keys.
#[derive(Debug)]
pub(crate) enum KeySource {
    /// The verified consumer's name, else the digest of the credential that the request carries
    Consumer,
    /// A header
    Header(Slot),
    /// A cookie of someone else's
    Cookie(CookieName),
    /// The cookie that responses set
    OwnCookie(CookieName),
    /// The client's address
    SourceAddress,
}

/// The opaque id in a sticky cookie: 128 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieId([u8; 32]);

// === impl Sticky ===

impl Sticky {
    /// The `set-cookie` value for an id; `None` if no cookie is to be set.
    pub(crate) fn set_cookie(&self, id: &CookieId) -> Option<Vec<u8>> {
        let name = self.by.iter().find_map(|source| match source {
            KeySource::OwnCookie(name) => Some(name),
            _ => None,
        })?;
        let max_age = self.max_age?.as_secs().to_string();
        let parts = [
            name.as_str().as_bytes(),
            b"=",
            id.as_bytes(),
            b"; Max-Age=",
            max_age.as_bytes(),
        ];
        Some([&parts.concat()[..], b"; Path=/; HttpOnly; SameSite=Lax"].concat())
    }
}

// === impl CookieId ===

impl CookieId {
    /// A new id.
    pub(crate) fn new(random: &mut Random) -> Self {
        let bits = [random.bits().to_be_bytes(), random.bits().to_be_bytes()];
        let nibbles = bits
            .as_flattened()
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15]);
        let mut id = [b'0'; 32];
        for (digit, nibble) in id.iter_mut().zip(nibbles) {
            *digit = if nibble < 10 {
                b'0' + nibble
            } else {
                b'a' + nibble - 10
            };
        }
        Self(id)
    }

    /// The id as it stands in the cookie: 32 hexadecimal digits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The value of a cookie, in whichever `cookie` header it is; empty ones are none.
#[inline]
pub(crate) fn cookie<'a>(headers: &Headers<'a>, slot: Slot, name: &CookieName) -> Option<&'a [u8]> {
    let pairs = headers
        .values(slot)
        .flat_map(|value| value.split(|byte| *byte == b';'));
    let value = pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let (own, value) = pair.split_at_checked(name.as_str().len())?;
        (own == name.as_str().as_bytes()).then(|| value.strip_prefix(b"="))?
    });
    value.filter(|value| !value.is_empty())
}

/// An address without its port: `10.0.0.1:1234` and `[::1]:1234`.
#[inline]
pub(crate) fn without_port(address: &[u8]) -> &[u8] {
    let colon = address.iter().rposition(|byte| *byte == b':');
    colon
        .and_then(|colon| address.get(..colon))
        .unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::tests::serialise;
    use crate::headers::{Names, Spans};

    #[test]
    fn finds_cookies() {
        let mut names = Names::default();
        let slot = names.slot("cookie");
        let map = serialise(&[
            ("cookie", b"a=1; bb=2;b=;c=\xff"),
            ("cookie", b"b=x=y; a=9"),
        ]);
        let mut spans = Spans::default();
        let headers = names.index(&map, &mut spans).unwrap();
        let get = |name| cookie(&headers, slot, &CookieName::new(name).unwrap());
        assert_eq!(
            [get("a"), get("bb"), get("c"), get("d")],
            [Some(&b"1"[..]), Some(b"2"), Some(b"\xff"), None]
        );
        assert_eq!(get("b"), None);
    }

    #[test]
    fn makes_cookies() {
        let id = CookieId::new(&mut Random::new(1));
        assert!(id.as_bytes().iter().all(u8::is_ascii_hexdigit));
        let by = vec![KeySource::OwnCookie(CookieName::new("s").unwrap())];
        let sticky = Sticky {
            by,
            max_age: Some(Duration::from_millis(3_600_000)),
        };
        let text = String::from_utf8(sticky.set_cookie(&id).unwrap()).unwrap();
        assert_eq!(
            text.len(),
            "s=".len() + 32 + "; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax".len()
        );
        assert!(
            text.starts_with("s=")
                && text.ends_with("; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax")
        );
        assert_eq!(Sticky::default().set_cookie(&id), None);
    }

    #[test]
    fn addresses() {
        assert_eq!(without_port(b"10.0.0.1:1234"), b"10.0.0.1");
        assert_eq!(without_port(b"[::1]:80"), b"[::1]");
        assert_eq!(without_port(b"pipe"), b"pipe");
    }
}

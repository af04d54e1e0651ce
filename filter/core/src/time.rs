//! Instants (RFC 3339) and durations (`90s`, `1h30m`) of the document.

const MILLIS_PER_DAY: i64 = 86_400_000;

/// An instant in milliseconds since 1970-01-01T00:00:00Z. Fractions below a millisecond are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// A length of time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(u64);

/// A cursor over ASCII text.
struct Scanner<'a>(&'a [u8]);

// === impl Timestamp ===

impl Timestamp {
    /// From a host's clock, which counts nanoseconds since 1970.
    #[must_use]
    #[inline]
    pub fn from_nanos(nanos: u64) -> Self {
        Self(i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX))
    }

    /// From milliseconds since 1970.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970; negative before.
    #[must_use]
    #[inline]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// The instant so much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.0).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// Parses RFC 3339, section 5.6: a date, `T`, a time with optional fraction, and `Z` or an offset. Letters may be
    /// small. A leap second (`:60`) counts as the second after it. `None` if the text is anything else or no such date
    /// exists.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut scanner = Scanner(text.as_bytes());
        let year = scanner.digits(4)?;
        scanner.expect(b"-")?;
        let month = scanner.digits(2)?;
        scanner.expect(b"-")?;
        let day = scanner.digits(2)?;
        scanner.expect(b"Tt")?;
        let hour = scanner.digits(2)?;
        scanner.expect(b":")?;
        let minute = scanner.digits(2)?;
        scanner.expect(b":")?;
        let second = scanner.digits(2)?;
        let millis = scanner.fraction()?;
        let offset = scanner.offset()?;
        let exists = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
        if !exists || hour > 23 || minute > 59 || second > 60 || !scanner.0.is_empty() {
            return None;
        }
        let of_day = ((hour * 60 + minute - offset) * 60 + second) * 1000 + millis;
        Some(Self(
            days_since_epoch(year, month, day) * MILLIS_PER_DAY + of_day,
        ))
    }
}

// === impl Duration ===

impl Duration {
    /// From milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// In milliseconds.
    #[must_use]
    #[inline]
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// In whole seconds, rounded down.
    #[must_use]
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Parses numbers with units, from the largest unit to the smallest, each at most once: `d`, `h`, `m`, `s`, `ms`,
    /// such as `90s`, `5m`, `1h30m`, `250ms`. `None` if the text is anything else, or longer than 64 bits hold.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        const UNITS: [(&[u8], u64); 5] = [
            (b"d", 86_400_000),
            (b"h", 3_600_000),
            (b"m", 60_000),
            (b"s", 1000),
            (b"ms", 1),
        ];
        let mut scanner = Scanner(text.as_bytes());
        let mut units = UNITS.iter();
        let mut total = 0_u64;
        while !scanner.0.is_empty() {
            let number = scanner.number()?;
            let unit = scanner.letters();
            let (_, millis) = units.find(|(name, _)| *name == unit)?;
            total = total.checked_add(number.checked_mul(*millis)?)?;
        }
        (!text.is_empty()).then_some(Self(total))
    }
}

// === impl Scanner ===

impl<'a> Scanner<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn expect(&mut self, any_of: &[u8]) -> Option<u8> {
        self.next().filter(|byte| any_of.contains(byte))
    }

    /// Exactly `count` digits; few enough for an `i64`.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let mut value = 0;
        for _ in 0..count {
            let digit = self.next().filter(u8::is_ascii_digit)?;
            value = value * 10 + i64::from(digit - b'0');
        }
        Some(value)
    }

    /// One or more digits.
    fn number(&mut self) -> Option<u64> {
        let digits = self.take_while(u8::is_ascii_digit);
        let add =
            |value: u64, digit: &u8| value.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
        if digits.is_empty() {
            None
        } else {
            digits.iter().try_fold(0, add)
        }
    }

    fn letters(&mut self) -> &'a [u8] {
        self.take_while(u8::is_ascii_alphabetic)
    }

    fn take_while(&mut self, belongs: impl Fn(&u8) -> bool) -> &'a [u8] {
        let length = self.0.iter().take_while(|byte| belongs(byte)).count();
        let (taken, rest) = self.0.split_at_checked(length).unwrap_or((self.0, &[]));
        self.0 = rest;
        taken
    }

    /// `.` and digits, in milliseconds; zero where there is no fraction.
    fn fraction(&mut self) -> Option<i64> {
        if self.0.first() != Some(&b'.') {
            return Some(0);
        }
        self.next();
        let digits = self.take_while(u8::is_ascii_digit);
        if digits.is_empty() {
            return None;
        }
        let padded = digits
            .iter()
            .copied()
            .chain(std::iter::repeat(b'0'))
            .take(3);
        Some(padded.fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
    }

    /// `Z` or `±hh:mm`, in minutes.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.expect(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.digits(2)?;
        self.expect(b":")?;
        let minutes = self.digits(2)?;
        (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar, for years from 0 on.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_BEFORE_1970: i64 = 719_528;
    let before_year = year * 365 + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let before_month: i64 = (1..month).map(|earlier| days_in_month(year, earlier)).sum();
    before_year + before_month + day - 1 - DAYS_BEFORE_1970
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    #[test]
    fn durations() {
        let parse = |text| Duration::parse(text).map(Duration::as_millis);
        assert_eq!(parse("90s"), Some(90_000));
        assert_eq!(parse("1h30m"), Some(5_400_000));
        assert_eq!(parse("1d2h3m4s5ms"), Some(93_784_005));
        assert_eq!(parse("0s"), Some(0));
        for bad in [
            "",
            "5",
            "m",
            "5x",
            "1m1h",
            "1m1m",
            "-5s",
            "1.5s",
            " 5s",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn instants() {
        let parse = |text| Timestamp::parse(text).map(Timestamp::as_millis);
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            parse("2026-11-22T20:00:00.25+02:00"),
            Some(1_795_370_400_250)
        );
        assert_eq!(parse("0001-01-01T00:00:00Z"), Some(-62_135_596_800_000));
        for bad in [
            "",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-22",
            "2026-11-22T20:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T20:00:00",
            "2026-11-22T20:00:00.Z",
            "2026-11-22T20:00:00+2:00",
            "2026-11-22T20:00:00Zx",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_time_crate(seconds in -62_167_219_200_i64..253_402_300_800, nanos in 0_u32..1_000_000_000, minutes in -1439_i32..1440) {
            let instant = OffsetDateTime::from_unix_timestamp(seconds).unwrap() + std::time::Duration::from_nanos(nanos.into());
            let offset = time::UtcOffset::from_whole_seconds(minutes * 60).unwrap();
            if let Some(text) = instant.checked_to_offset(offset).and_then(|local| local.format(&Rfc3339).ok()) {
                let millis = i64::try_from(instant.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap();
                prop_assert_eq!(Timestamp::parse(&text), Some(Timestamp(millis)), "{}", text);
            }
        }

        #[test]
        fn accepts_nothing_that_the_time_crate_refuses(text in "[0-9]{4}-[0-9]{2}-[0-3][0-9]T[0-2][0-9]:[0-9]{2}:[0-5][0-9](\\.[0-9]{0,4})?(Z|[+-][0-2][0-9]:[0-6][0-9])") {
            let theirs = OffsetDateTime::parse(&text, &Rfc3339).ok().map(|t| t.unix_timestamp_nanos().div_euclid(1_000_000));
            let ours = Timestamp::parse(&text).map(|t| i128::from(t.as_millis()));
            if theirs.is_some() || !text.contains(":60") {
                prop_assert_eq!(ours, theirs, "{}", text);
            }
        }

        #[test]
        fn never_panics(text in ".*") {
            let _ = (Timestamp::parse(&text), Duration::parse(&text));
        }
    }
}

//! Names of metrics: `switchover.FAMILY;LABEL=VALUE;…`, labels in order of their names.

/// The labels of the filter's metrics; each needs a tag rule in the proxy's file.
pub const LABELS: [&str; 11] = [
    "cause",
    "consumer",
    "document",
    "environment",
    "from",
    "model",
    "outcome",
    "reason",
    "rollout",
    "usage",
    "version",
];

/// The name of a metric. Labels must come in order of their names; one without a value is left out, and values are escaped.
///
/// `;`, `=`, `%` and everything but printable ASCII become `%XX`, so that a tag regex can take any value out
/// again; `"` and `\` too, for they end a label's value where it is quoted.
#[must_use]
pub fn name(family: &str, labels: &[(&str, &str)]) -> String {
    debug_assert!(labels.is_sorted(), "{family}: labels out of order");
    let mut name = ["switchover.", family].concat();
    for (label, value) in labels {
        if value.is_empty() {
            continue;
        }
        name.push(';');
        name.push_str(label);
        name.push('=');
        for byte in value.bytes() {
            escape(byte, &mut name);
        }
    }
    name
}

fn escape(byte: u8, into: &mut String) {
    let digit = |nibble: u8| {
        char::from(if nibble < 10 {
            b'0' + nibble
        } else {
            b'A' + nibble - 10
        })
    };
    if byte.is_ascii_graphic() && !b";=%\"\\".contains(&byte) {
        into.push(char::from(byte));
    } else {
        into.push('%');
        into.push(digit(byte >> 4));
        into.push(digit(byte & 15));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_or_left_out() {
        let name = name(
            "requests",
            &[
                ("environment", "blue"),
                ("from", ""),
                ("rollout", "a;b=c%é d\"\\"),
            ],
        );
        assert_eq!(
            name,
            "switchover.requests;environment=blue;rollout=a%3Bb%3Dc%25%C3%A9%20d%22%5C"
        );
    }
}

//! Names of metrics: `switchover.FAMILY;LABEL=VALUE;…`, labels in order of their names.

/// What is wrong with a family or label stays with whoever wrote the code; values are escaped.
///
/// `;`, `=`, `%` and everything but printable ASCII become `%XX`, so that a tag regex can take any value out again.
#[must_use]
pub fn name(family: &str, labels: &[(&str, &str)]) -> String {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    let mut name = ["switchover.", family].concat();
    for (label, value) in labels {
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
    if byte.is_ascii_graphic() && !b";=%".contains(&byte) {
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
    fn labels_are_sorted_and_escaped() {
        let name = name(
            "requests",
            &[("rollout", "a;b=c%é d"), ("environment", "blue")],
        );
        assert_eq!(
            name,
            "switchover.requests;environment=blue;rollout=a%3Bb%3Dc%25%C3%A9%20d"
        );
    }
}

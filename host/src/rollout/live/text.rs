//! The text of Prometheus's exposition format 0.0.4, as far as counters and gauges need it.

/// What families are called after; both engines may put a prefix before.
const NAMESPACE: &str = "switchover_";

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(super) family: String,
    pub(super) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

/// The samples of these families, such as `weight`; lines that are none are left out, most of them without a closer look.
pub(crate) fn samples(text: &str, families: &[&str]) -> Vec<Sample> {
    let wanted = |line: &&str| {
        let name = line.split(['{', ' ', '\t']).next().unwrap_or_default();
        families.iter().any(|family| is_of(name, family))
    };
    let lines = text.lines().filter(wanted);
    lines.filter_map(Sample::parse).collect()
}

/// Whether a name is that of a family of Switchover's.
pub(super) fn is_of(name: &str, family: &str) -> bool {
    let before = name.strip_suffix(family);
    let before = before.and_then(|rest| rest.strip_suffix(NAMESPACE));
    before.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('_'))
}

// === impl Sample ===

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        let (family, mut rest) = line.split_at_checked(line.find(['{', ' ', '\t'])?)?;
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside.trim_start();
            while !rest.starts_with('}') {
                let (name, after) = rest.split_once("=\"")?;
                let end = end_of_value(after)?;
                labels.push((name.trim().to_owned(), unescaped(after.get(..end)?)));
                rest = after.get(end + 1..)?.trim_start();
                rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            }
            rest = rest.get(1..)?;
        }
        // A timestamp may follow.
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self {
            family: family.to_owned(),
            labels,
            value,
        })
    }

    /// Whether it is of a family of Switchover's, such as `weight`.
    pub(crate) fn is_of(&self, family: &str) -> bool {
        is_of(&self.family, family)
    }

    /// A label's value.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The place of the quote that ends a label's value.
fn end_of_value(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_both_engines() {
        let line = r#"envoy_switchover_weight{environment="green",rollout="a\"b\\,}c"} 2500"#;
        let sample = Sample::parse(line).expect("a sample");
        assert!(
            sample.is_of("weight") && !sample.is_of("weight_planned") && !sample.is_of("eight")
        );
        assert_eq!(sample.label("environment"), Some("green"));
        assert_eq!(sample.label("rollout"), Some("a\"b\\,}c"));
        assert_eq!(sample.value.to_bits(), 2500_f64.to_bits());
        let plain = Sample::parse("switchover_weight 1.5 1700000000").expect("a sample");
        assert!(plain.is_of("weight") && plain.value > 1.4);
        let spaced = Sample::parse("switchover_x{ a=\"1\", b=\"2\", } 3").expect("a sample");
        assert_eq!(
            (spaced.label("a"), spaced.label("b")),
            (Some("1"), Some("2"))
        );
        for bad in [
            "",
            "# TYPE x counter",
            "x",
            "x{a=\"1\" 2",
            "x{a=\"1} 2",
            "x{a} 2",
            "x{} y",
        ] {
            assert_eq!(Sample::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(line in ".*") {
            let _ = Sample::parse(&line);
        }
    }
}

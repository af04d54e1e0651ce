//! Outcomes in JUnit's XML, as CI systems read it.

use std::fmt::Write as _;
use std::time::Duration;

use super::Outcome;

/// All outcomes, a `testsuite` for each file.
#[must_use]
pub fn xml(outcomes: &[Outcome], took: Duration) -> String {
    let failed = |outcomes: &[Outcome]| outcomes.iter().filter(|o| !o.passed()).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        out,
        "<testsuites name=\"switchover\" tests=\"{}\" failures=\"{}\" time=\"{:.3}\">",
        outcomes.len(),
        failed(outcomes),
        took.as_secs_f64()
    );
    for file in outcomes.chunk_by(|one, next| one.file == next.file) {
        let name = file
            .first()
            .map(|outcome| outcome.file.display().to_string());
        let name = escaped(&name.unwrap_or_default());
        let seconds: f64 = file.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
        let _ = writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" time=\"{seconds:.3}\">",
            file.len(),
            failed(file),
        );
        for outcome in file {
            case(&mut out, &name, outcome);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn case(out: &mut String, file: &str, outcome: &Outcome) {
    let _ = write!(
        out,
        "    <testcase classname=\"{file}\" name=\"{}\" file=\"{file}\" line=\"{}\" time=\"{:.3}\"",
        escaped(&outcome.name),
        outcome.line,
        outcome.took.as_secs_f64()
    );
    if outcome.passed() {
        out.push_str("/>\n");
        return;
    }
    out.push_str(">\n");
    for failure in &outcome.failures {
        let message = format!(
            "{}: {}: expected {}, found {}",
            failure.step, failure.place, failure.expected, failure.actual
        );
        let text = format!(
            "{file}:{}: {}\n{}",
            failure.line,
            message,
            failure.context.join("\n")
        );
        let _ = writeln!(
            out,
            "      <failure message=\"{}\">{}</failure>",
            escaped(&message),
            escaped(&text)
        );
    }
    out.push_str("    </testcase>\n");
}

/// Text as XML takes it; characters that XML does not know are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' | '\r' => out.push_str(&format!("&#{};", u32::from(c))),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Failure;
    use std::path::Path;

    #[test]
    fn a_suite_for_each_file_and_no_bad_characters() {
        let outcome = |file: &str, failures| Outcome {
            file: Path::new(file).into(),
            name: "a <name> & \"more\"".to_owned(),
            line: 3,
            failures,
            took: Duration::from_millis(1500),
            passed_by: Duration::ZERO,
            requests: 1,
            told: Vec::new(),
        };
        let failure = Failure {
            line: 7,
            place: "expect.response".to_owned(),
            step: "step 1".to_owned(),
            expected: "1".to_owned(),
            actual: "2\u{1}".to_owned(),
            context: vec!["log".to_owned()],
        };
        let outcomes = [
            outcome("a.yaml", Vec::new()),
            outcome("b.yaml", vec![failure]),
        ];
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <testsuites name=\"switchover\" tests=\"2\" failures=\"1\" time=\"2.000\">\n  \
            <testsuite name=\"a.yaml\" tests=\"1\" failures=\"0\" time=\"1.500\">\n    \
            <testcase classname=\"a.yaml\" name=\"a &lt;name&gt; &amp; &quot;more&quot;\" file=\"a.yaml\" line=\"3\" time=\"1.500\"/>\n  \
            </testsuite>\n  \
            <testsuite name=\"b.yaml\" tests=\"1\" failures=\"1\" time=\"1.500\">\n    \
            <testcase classname=\"b.yaml\" name=\"a &lt;name&gt; &amp; &quot;more&quot;\" file=\"b.yaml\" line=\"3\" time=\"1.500\">\n      \
            <failure message=\"step 1: expect.response: expected 1, found 2\">b.yaml:7: step 1: expect.response: expected 1, found 2&#10;log</failure>\n    \
            </testcase>\n  \
            </testsuite>\n\
            </testsuites>\n";
        assert_eq!(xml(&outcomes, Duration::from_secs(2)), expected);
    }
}

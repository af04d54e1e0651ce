//! Everything that goes wrong, in one page: `host/ERRORS.md` is made here, out of the enumerations and the sources.
//!
//! Answers and statuses come from the types that the program answers with, messages from its sources; what a variant's
//! documentation says is what the page says. So a new one is on the page, or the test fails.

mod page;
pub(crate) mod source;

use switchover_tests::programs;

use source::{Message, Rule};

/// Whether the page is to be written anew.
pub(crate) const WRITE: &str = "SWITCHOVER_ERRORS";

#[test]
fn the_page_is_up_to_date() {
    let page = page::write();
    let file = programs::root().join("host/ERRORS.md");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let mut lines = committed.lines().zip(page.lines());
    let line = lines.find(|(a, b)| a != b);
    assert!(
        committed == page,
        "host/ERRORS.md is out of date, run `make errors`; first difference: {line:#?}"
    );
}

/// Every part of the program that has error types is on the page.
#[test]
fn no_module_is_left_out() {
    let listed = |file: &std::path::Path| {
        let listed = page::MODULES.iter().any(|(module, ..)| {
            let module = programs::root().join(module);
            file.with_extension("").starts_with(module)
        });
        listed || page::INNER.iter().any(|inner| file.ends_with(inner))
    };
    for file in source::files("host/src") {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            listed(&file) || !text.contains("thiserror::Error"),
            "no section of host/ERRORS.md has {}",
            file.display()
        );
    }
}

/// No verb ends with another code than those that the page has.
#[test]
fn exit_codes_are_those_of_the_page() {
    let mut seen = Vec::new();
    for file in source::files("host/src/cli") {
        let text = std::fs::read_to_string(&file).unwrap();
        let names = text.split("ExitCode::from(").skip(1);
        for name in names.filter_map(|rest| rest.split_once(')')) {
            let value = format!("const {}: u8 = ", name.0);
            let value = text
                .split_once(&value)
                .and_then(|(_, rest)| rest.split_once(';'));
            // Tests write the number itself.
            seen.push(value.map_or(name.0, |(value, _)| value).to_owned());
        }
    }
    assert!(!seen.is_empty());
    assert!(
        seen.iter().all(|code| ["1", "2"].contains(&code.as_str())),
        "{seen:?}"
    );
}

/// What is taken for a message, and what it looks like.
#[test]
fn messages_are_found_in_sources() {
    let found = source::messages_of(
        r#"
        /// Ignored.
        #[derive(Debug, thiserror::Error)]
        enum E {
            /// The file is gone.
            /// Bring it back.
            #[error("cannot read {}: {error}, {{so}}", path.display())]
            Read,
            #[error(transparent)]
            Other(#[from] Other),
        }
        fn f() {
            bail!("{count} are too many");
            x.with_context(|| format!("no {it}"))?;
            println!("not this one");
        }
        #[cfg(test)]
        mod tests { fn f() { bail!("nor this one"); } }
        "#,
        Rule::Errors,
    );
    let message = |text: &str, meaning: &str| Message {
        text: text.into(),
        meaning: meaning.into(),
    };
    assert_eq!(
        found,
        [
            message("cannot read …: …, {so}", "The file is gone. Bring it back."),
            message("no …", ""),
            message("… are too many", ""),
        ]
    );
    let found = source::messages_of(
        r#"fn f() { o.refuse(&["a", "b"], "use another field"); ["the key `", k, "` is gone"].concat() }"#,
        Rule::Texts,
    );
    assert_eq!(
        found,
        [
            message("the key `…` is gone", ""),
            message("use another field", "")
        ]
    );
}

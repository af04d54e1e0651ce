//! What guests see of the ABI, with guests of a few lines.

mod calls;
mod costs;
mod guest;
mod lints;
mod observed;
mod phases;
mod start;
mod versions;

/// `host/ABI.md` names all functions and rules.
#[test]
fn the_page_says_what_is_offered() {
    let page = include_str!("../../ABI.md");
    let (_, functions) = page
        .split_once("<!-- functions: checked by a test -->")
        .unwrap();
    let (functions, _) = functions.split_once("<!-- end -->").unwrap();
    let named: std::collections::BTreeSet<_> = functions
        .split('`')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    let offered = super::imports()
        .filter(|import| import.modules == ["env"])
        .map(|import| import.name);
    assert_eq!(named, offered.collect());
    for rule in super::lint::Rule::ALL {
        let row = format!("| `{}` | {} |", rule.id(), rule.text());
        assert!(page.contains(&row), "{row}");
    }
    for function in super::foreign::FUNCTIONS {
        assert!(page.contains(&format!("`{function}`")), "{function}");
    }
}

//! Templates: YAML with places for values, which are written as JSON.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

use super::RenderError;

/// What Envoy needs to make labels of the filter's metrics.
const DEMO: &str = include_str!("../../../envoy/demo.yaml");
const STATS_CONFIG: &str = "stats_config:";

/// Fills a target's template.
///
/// # Errors
/// The template asks for what `values` does not have.
pub(super) fn fill(
    target: &'static str,
    source: &str,
    values: &serde_json::Value,
) -> Result<String, RenderError> {
    let failed = |error| RenderError::Template(target, error);
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Json);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true);
    environment.set_syntax(syntax.build().map_err(failed)?);
    environment
        .render_str(source, Serde(values))
        .map_err(failed)
}

/// The demo's `stats_config`, each line after so many spaces.
pub(super) fn stats_config(indent: usize) -> String {
    let lines = DEMO.lines().skip_while(|line| *line != STATS_CONFIG);
    let inner = lines
        .clone()
        .skip(1)
        .take_while(|line| line.starts_with(' '));
    let lines = lines.take(1).chain(inner);
    indented(lines, indent)
}

/// Lines after so many spaces, but for empty ones; the last without its end.
pub(super) fn indented<'a>(lines: impl IntoIterator<Item = &'a str>, spaces: usize) -> String {
    let lines = lines.into_iter().map(|line| match line {
        "" => String::new(),
        line => format!("{:spaces$}{line}", ""),
    });
    lines.collect::<Vec<_>>().join("\n")
}

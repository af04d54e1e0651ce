//! Reading what a route matches on.

use regex::Regex;

use super::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, ValueMatch};
use crate::config::reader::{Field, Object};

/// Reads a `RouteMatch`.
pub(super) fn route_match(field: &Field<'_>) -> Option<RouteMatch> {
    field.object(|o| {
        o.refuse(
            &["runtime_fraction"],
            "there is no runtime; use weighted_clusters",
        );
        o.only_bool("case_sensitive", true);
        let path = o.required_one_of(&[
            "prefix",
            "path",
            "path_separated_prefix",
            "safe_regex",
            "connect_matcher",
        ]);
        let headers = o
            .list("headers")
            .iter()
            .filter_map(header_matcher)
            .collect();
        let query = o
            .list("query_parameters")
            .iter()
            .filter_map(query_match)
            .collect();
        Some(RouteMatch {
            path: path_match(path?)?,
            headers,
            query,
        })
    })?
}

fn path_match((name, field): (&'static str, Field<'_>)) -> Option<PathMatch> {
    if name == "safe_regex" {
        return regex(&field).map(PathMatch::Regex);
    }
    if name == "connect_matcher" {
        return field.object(|_| PathMatch::Connect);
    }
    let text = field.text()?.to_owned();
    Some(match name {
        "prefix" => PathMatch::Prefix(text),
        "path" => {
            if text.contains(['?', '#']) {
                field.error("a path that can never match: the query is not part of it");
            }
            PathMatch::Exact(text)
        }
        _ => {
            if text.len() < 2 || text.contains(['?', '#']) || text.ends_with('/') {
                field.expected("a path such as \"/v1\", without ?, # and a slash at its end");
            }
            PathMatch::SeparatedPrefix(text)
        }
    })
}

/// Reads a `HeaderMatcher`.
pub(in crate::config) fn header_matcher(field: &Field<'_>) -> Option<HeaderMatch> {
    field.object(|o| {
        o.refuse(
            &[
                "exact_match",
                "safe_regex_match",
                "prefix_match",
                "suffix_match",
                "contains_match",
            ],
            "deprecated; use string_match",
        );
        o.refuse(&["range_match"], "use string_match");
        let name = o.required_name("name");
        Some(HeaderMatch {
            name: name.to_ascii_lowercase(),
            invert: o.bool("invert_match", false),
            missing_as_empty: o.bool("treat_missing_header_as_empty", false),
            test: test(o)?,
        })
    })?
}

fn query_match(field: &Field<'_>) -> Option<QueryMatch> {
    field.object(|o| {
        Some(QueryMatch {
            name: o.required_name("name"),
            test: test(o)?,
        })
    })?
}

/// Reads the test of a header or parameter; without any it asks for presence.
fn test(o: &Object<'_>) -> Option<ValueMatch> {
    match o.one_of(&["string_match", "present_match"]) {
        None => Some(ValueMatch::Present(true)),
        Some(("present_match", field)) => field.bool().map(ValueMatch::Present),
        Some((_, field)) => string_match(&field),
    }
}

/// Reads a `StringMatcher`.
pub(in crate::config) fn string_match(field: &Field<'_>) -> Option<ValueMatch> {
    field.object(|o| {
        o.refuse(&["custom"], "use one of the other matches");
        let ignore_case = o.bool("ignore_case", false);
        let (name, field) =
            o.required_one_of(&["exact", "prefix", "suffix", "contains", "safe_regex"])?;
        if name == "safe_regex" {
            if ignore_case {
                field.error(
                    "ignore_case has no effect on safe_regex; write (?i) into the expression",
                );
            }
            return regex(&field).map(ValueMatch::Regex);
        }
        let text = if name == "exact" {
            field.text()?
        } else {
            field.name()?
        }
        .to_owned();
        Some(match name {
            "exact" => ValueMatch::Exact(text, ignore_case),
            "prefix" => ValueMatch::Prefix(text, ignore_case),
            "suffix" => ValueMatch::Suffix(text, ignore_case),
            _ => ValueMatch::Contains(text, ignore_case),
        })
    })?
}

/// Reads a `RegexMatcher`, anchored at both ends.
fn regex(field: &Field<'_>) -> Option<Regex> {
    field.object(|o| {
        // Deprecated and without meaning to Envoy, but many files carry it.
        if let Some(engine) = o.get("google_re2") {
            engine.object(|_| ());
        }
        let field = o.required("regex")?;
        let text = field.name()?;
        compile(&field, text).and_then(|()| compile_anchored(&field, text))
    })?
}

/// Checks the expression by itself, so that a message shows it as the file has it.
fn compile(field: &Field<'_>, text: &str) -> Option<()> {
    Regex::new(text)
        .map(drop)
        .map_err(|e| field.error(regex_message(&e)))
        .ok()
}

fn compile_anchored(field: &Field<'_>, text: &str) -> Option<Regex> {
    Regex::new(&format!(r"\A(?:{text})\z"))
        .map_err(|e| field.error(regex_message(&e)))
        .ok()
}

/// A regular expression's error in one line.
pub(in crate::config) fn regex_message(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    format!(
        "not a regular expression: {}",
        last.trim_start_matches("error: ")
    )
}

//! Reading access logs.

use std::path::PathBuf;

use super::format::{Format, JsonNode, compile};
use super::{AccessLog, Compare, Comparison, Filter, Sink};
use crate::config::common::{self, Data};
use crate::config::node::Value;
use crate::config::reader::{Field, Object};
use crate::config::route;

const FILE_URL: &str = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";
const STDOUT_URL: &str =
    "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";
const STDERR_URL: &str =
    "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog";

/// Envoy's format where the file has none.
const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// The lines of `serve --access-log`. The path goes without its query, which may hold a credential.
const STANDARD: [(&str, &str); 17] = [
    ("attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("client", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("cluster", "%UPSTREAM_CLUSTER%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("duration_ms", "%DURATION%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%PATH(NQ:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_bytes", "%BYTES_RECEIVED%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("response_bytes", "%BYTES_SENT%"),
    ("route", "%ROUTE_NAME%"),
    ("status", "%RESPONSE_CODE%"),
    ("time", "%START_TIME%"),
    ("upstream", "%UPSTREAM_HOST%"),
];

/// The log of `serve --access-log`: a JSON line for each exchange, on standard output.
#[must_use]
pub fn standard() -> AccessLog {
    let field = |(name, text): (&str, &str)| {
        let parts = compile(text).unwrap_or_default();
        (name.to_owned(), JsonNode::Text(parts))
    };
    AccessLog {
        filter: None,
        sink: Sink::Stdout,
        format: Format::Json {
            root: JsonNode::Object(STANDARD.into_iter().map(field).collect()),
            omit_empty: false,
        },
    }
}

/// Reads `access_log`.
pub(in crate::config) fn access_logs(o: &Object<'_>) -> Vec<AccessLog> {
    o.list("access_log").iter().filter_map(access_log).collect()
}

fn access_log(field: &Field<'_>) -> Option<AccessLog> {
    field.object(|o| {
        o.required_name("name");
        let filter = o.get("filter").map(|f| filter(&f));
        let config = o.required("typed_config")?;
        let read = |sink: Sink| move |o: &Object<'_>| Some((sink, format(o)?));
        let (sink, format) = match config.type_url(&[FILE_URL, STDOUT_URL, STDERR_URL])? {
            FILE_URL => config.any(FILE_URL, |o| {
                let path = PathBuf::from(o.required_name("path"));
                Some((Sink::File(path), format(o)?))
            })?,
            STDOUT_URL => config.any(STDOUT_URL, read(Sink::Stdout))?,
            _ => config.any(STDERR_URL, read(Sink::Stderr))?,
        }?;
        Some(AccessLog {
            filter: match filter {
                Some(filter) => Some(filter?),
                None => None,
            },
            sink,
            format,
        })
    })?
}

fn format(o: &Object<'_>) -> Option<Format> {
    o.refuse(
        &["format", "json_format", "typed_json_format"],
        "deprecated; use log_format",
    );
    let Some(format) = o.get("log_format") else {
        return compile(DEFAULT).ok().map(Format::Text);
    };
    format.object(|o| {
        o.refuse(&["text_format"], "deprecated; use text_format_source");
        o.refuse(&["formatters"], "the operators are built in");
        o.refuse(&["json_format_options"], "names stand in order in any case");
        let omit_empty = o.bool("omit_empty_values", false);
        match o.required_one_of(&["text_format_source", "json_format"])? {
            ("json_format", f) => Some(Format::Json {
                root: json(&f)?,
                omit_empty,
            }),
            (_, f) => {
                if omit_empty {
                    f.error("omit_empty_values is for json_format here");
                }
                let text = match common::data_source(&f)? {
                    Data::Inline(bytes) => String::from_utf8(bytes.to_vec()).ok(),
                    Data::File(path) => std::fs::read_to_string(path).ok(),
                };
                let Some(text) = text else {
                    f.expected("text that can be read");
                    return None;
                };
                compiled(&f, &text).map(Format::Text)
            }
        }
    })?
}

fn compiled(field: &Field<'_>, text: &str) -> Option<Vec<super::Part>> {
    compile(text).map_err(|error| field.error(error)).ok()
}

fn json(field: &Field<'_>) -> Option<JsonNode> {
    Some(match &field.node().value {
        Value::Map(_) => {
            let mut fields = Vec::new();
            for (name, value) in field.entries() {
                fields.push((name.to_owned(), json(&value)?));
            }
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            JsonNode::Object(fields)
        }
        Value::List(_) => JsonNode::List(field.items().iter().map(json).collect::<Option<_>>()?),
        Value::Text { text, .. } => JsonNode::Text(compiled(field, text)?),
        Value::Bool(flag) => JsonNode::Literal((*flag).into()),
        Value::Number(number) => {
            // A whole number is written without a point.
            let whole = format!("{number}").parse::<i64>();
            JsonNode::Literal(whole.map_or_else(|_| (*number).into(), Into::into))
        }
        Value::Null => JsonNode::Literal(serde_json::Value::Null),
    })
}

fn filter(field: &Field<'_>) -> Option<Filter> {
    field.object(|o| {
        o.refuse(
            &[
                "runtime_filter",
                "traceable_filter",
                "extension_filter",
                "metadata_filter",
                "log_type_filter",
                "grpc_status_filter",
            ],
            "use one of the other filters",
        );
        let names = [
            "status_code_filter",
            "duration_filter",
            "not_health_check_filter",
            "header_filter",
            "response_flag_filter",
            "and_filter",
            "or_filter",
        ];
        let (name, f) = o.required_one_of(&names)?;
        match name {
            "status_code_filter" => comparison(&f).map(Filter::Status),
            "duration_filter" => comparison(&f).map(Filter::Duration),
            "not_health_check_filter" => f.object(|_| Filter::NotHealthCheck),
            "header_filter" => f
                .object(|o| route::read_header_match(&o.required("header")?))?
                .map(Filter::Header),
            "response_flag_filter" => f.object(|o| {
                let flags = o.list("flags");
                Filter::Flags(
                    flags
                        .iter()
                        .filter_map(|f| f.text())
                        .map(str::to_owned)
                        .collect(),
                )
            }),
            "and_filter" => filters(&f).map(Filter::All),
            _ => filters(&f).map(Filter::Any),
        }
    })?
}

fn filters(field: &Field<'_>) -> Option<Vec<Filter>> {
    field.object(|o| {
        let items = o.required("filters")?.items();
        items.iter().map(filter).collect::<Option<Vec<_>>>()
    })?
}

fn comparison(field: &Field<'_>) -> Option<Comparison> {
    field.object(|o| {
        o.required("comparison")?.object(|o| {
            let operation = o.get("op").map_or(Some(Compare::Equal), |f| {
                f.choice(&[
                    ("EQ", Compare::Equal),
                    ("GE", Compare::AtLeast),
                    ("LE", Compare::AtMost),
                    ("NE", Compare::Different),
                ])
            });
            let value = o.required("value")?.object(|o| {
                // Envoy wants a key; there is no runtime that could know it.
                o.text("runtime_key");
                o.uint("default_value", 0)
            });
            Some(Comparison {
                operation: operation?,
                value: value?,
            })
        })?
    })?
}

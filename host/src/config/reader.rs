//! Reading protobuf messages from [`Node`]s: typed fields, all problems at once, nothing ignored.
//!
//! An [`Object`] hands out its fields by name and remembers which it was asked for; when the reading closure ends,
//! every other field of the file is a problem that lists what is allowed there: a closure asks for all of them before
//! it leaves. Readers go on after a problem with
//! whatever default is at hand, since a file with an error is never served.

mod scalar;

use std::cell::RefCell;
use std::path::Path;

use super::facts::Facts;
use super::node::{Node, Value};
use super::{Problem, Severity};

/// Looks up a variable of the process's environment.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What all readers of one file share.
pub(super) struct Context<'a> {
    /// The file, for messages.
    pub(super) file: &'a Path,
    /// The process's environment.
    pub(super) env: Env<'a>,
    /// What readers note for checks across messages.
    pub(super) facts: Facts,
    problems: RefCell<Vec<Problem>>,
}

/// Where in a file something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Line, from 1.
    pub(super) line: usize,
    /// The field's path.
    pub(super) path: String,
}

/// One value and its place.
#[derive(Clone)]
pub(super) struct Field<'a> {
    cx: &'a Context<'a>,
    node: &'a Node,
    path: String,
}

/// One message.
pub(super) struct Object<'a> {
    field: Field<'a>,
    known: RefCell<Vec<&'static str>>,
    refused: RefCell<Vec<&'static str>>,
}

// === impl Context ===

impl<'a> Context<'a> {
    /// For one file.
    pub(super) fn new(file: &'a Path, env: Env<'a>) -> Self {
        Context {
            file,
            env,
            facts: Facts::default(),
            problems: RefCell::default(),
        }
    }

    /// The whole file as a value.
    pub(super) fn root(&'a self, node: &'a Node) -> Field<'a> {
        Field {
            cx: self,
            node,
            path: String::new(),
        }
    }

    /// Adds a problem.
    pub(super) fn report(&self, severity: Severity, place: &Place, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            line: place.line,
            path: place.path.clone(),
            message: message.into(),
            severity,
        });
    }

    /// What was noted and all problems, by line.
    pub(super) fn finish(self) -> (Facts, Vec<Problem>) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|p| p.line);
        (self.facts, problems)
    }
}

// === impl Field ===

impl<'a> Field<'a> {
    /// The shared context.
    pub(super) fn context(&self) -> &'a Context<'a> {
        self.cx
    }

    /// The value itself.
    pub(super) fn node(&self) -> &'a Node {
        self.node
    }

    /// Where it stands.
    pub(super) fn place(&self) -> Place {
        Place {
            line: self.node.line,
            path: self.path.clone(),
        }
    }

    /// Reports an error here.
    pub(super) fn error(&self, message: impl Into<String>) {
        self.cx.report(Severity::Error, &self.place(), message);
    }

    /// Reports a warning here.
    pub(super) fn warning(&self, message: impl Into<String>) {
        self.cx.report(Severity::Warning, &self.place(), message);
    }

    /// Reports that something else was expected here.
    pub(super) fn expected(&self, what: &str) {
        self.error(format!(
            "expected {what}, found {}",
            self.node.value.describe()
        ));
    }

    fn child(&self, name: &str, node: &'a Node) -> Field<'a> {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let path = match (plain, self.path.is_empty()) {
            (false, _) => format!("{}[{name:?}]", self.path),
            (true, true) => name.to_owned(),
            (true, false) => format!("{}.{name}", self.path),
        };
        Field {
            cx: self.cx,
            node,
            path,
        }
    }

    /// Reads a message; fields that `read` does not ask for are errors.
    pub(super) fn object<T>(&self, read: impl FnOnce(&Object<'a>) -> T) -> Option<T> {
        if !matches!(self.node.value, Value::Map(_)) {
            self.expected("a mapping");
            return None;
        }
        let object = Object {
            field: self.clone(),
            known: RefCell::default(),
            refused: RefCell::default(),
        };
        let result = read(&object);
        object.finish();
        Some(result)
    }

    /// The elements of a repeated field.
    pub(super) fn items(&self) -> Vec<Field<'a>> {
        let Value::List(items) = &self.node.value else {
            self.expected("a list");
            return Vec::new();
        };
        let item = |(i, node)| Field {
            cx: self.cx,
            node,
            path: format!("{}[{i}]", self.path),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The entries of a `map<string, …>` field.
    pub(super) fn entries(&self) -> Vec<(&'a str, Field<'a>)> {
        let Value::Map(entries) = &self.node.value else {
            self.expected("a mapping");
            return Vec::new();
        };
        entries
            .iter()
            .map(|(key, node)| (key.as_str(), self.child(key, node)))
            .collect()
    }

    /// Reads a `google.protobuf.Any` of the given type.
    pub(super) fn any<T>(
        &self,
        url: &'static str,
        read: impl FnOnce(&Object<'a>) -> T,
    ) -> Option<T> {
        self.type_url(&[url])?;
        self.object(|o| {
            o.get("@type");
            read(o)
        })
    }

    /// The `@type` of a `google.protobuf.Any`, which must be one of these.
    pub(super) fn type_url(&self, allowed: &[&'static str]) -> Option<&'static str> {
        if !matches!(self.node.value, Value::Map(_)) {
            self.expected("a mapping with an @type");
            return None;
        }
        let Some(node) = self.node.get("@type") else {
            self.error(format!(
                "the field @type is missing; supported here: {}",
                allowed.join(", ")
            ));
            return None;
        };
        let field = self.child("@type", node);
        let url = field.text()?;
        let found = allowed.iter().find(|a| **a == url);
        if found.is_none() {
            field.error(format!(
                "the type {url:?} is not supported here; supported: {}",
                allowed.join(", ")
            ));
        }
        found.copied()
    }
}

// === impl Object ===

impl<'a> Object<'a> {
    /// The message as a value.
    pub(super) fn field(&self) -> &Field<'a> {
        &self.field
    }

    /// A field, if the file has it; `null` is as good as absent.
    pub(super) fn get(&self, name: &'static str) -> Option<Field<'a>> {
        self.known.borrow_mut().push(name);
        let node = self.field.node.get(name)?;
        (node.value != Value::Null).then(|| self.field.child(name, node))
    }

    /// A field that must be there.
    pub(super) fn required(&self, name: &'static str) -> Option<Field<'a>> {
        let field = self.get(name);
        if field.is_none() {
            self.missing(name, "is required");
        }
        field
    }

    /// Reports an absent field.
    pub(super) fn missing(&self, name: &str, message: &str) {
        let place = self.field.child(name, self.field.node).place();
        self.field.cx.report(Severity::Error, &place, message);
    }

    /// The elements of a repeated field; none where it is absent.
    pub(super) fn list(&self, name: &'static str) -> Vec<Field<'a>> {
        self.get(name).map(|f| f.items()).unwrap_or_default()
    }

    /// The one field that is set of a `oneof`; more than one are an error.
    pub(super) fn one_of(&self, names: &[&'static str]) -> Option<(&'static str, Field<'a>)> {
        let mut set = names
            .iter()
            .filter_map(|name| Some((*name, self.get(name)?)));
        let first = set.next()?;
        for (name, field) in set {
            field.error(format!(
                "only one of {} may be set; {} is, so leave {name} out",
                names.join(", "),
                first.0
            ));
        }
        Some(first)
    }

    /// The same where one must be set; refused alternatives, which were reported already, count.
    pub(super) fn required_one_of(
        &self,
        names: &[&'static str],
    ) -> Option<(&'static str, Field<'a>)> {
        let set = self.one_of(names);
        if set.is_none() && self.refused.borrow().is_empty() {
            match names {
                [only] => self.missing(only, "is required"),
                _ => self
                    .field
                    .error(format!("one of {} is required", names.join(", "))),
            }
        }
        set
    }

    /// Refuses fields that Envoy has, with the reason and what to do instead.
    pub(super) fn refuse(&self, names: &[&'static str], why: &str) {
        for name in names {
            if let Some(node) = self.field.node.get(name) {
                self.refused.borrow_mut().push(name);
                self.field
                    .child(name, node)
                    .error(format!("is not supported: {why}"));
            }
        }
    }

    /// Accepts a field only with the value that Envoy takes when it is left out.
    pub(super) fn only_bool(&self, name: &'static str, value: bool) {
        if let Some(field) = self.get(name)
            && field.bool() == Some(!value)
        {
            field.error(format!("only {value}, Envoy's default, is supported"));
        }
    }

    /// Reports the fields that nobody asked for.
    fn finish(&self) {
        let mut known = self.known.borrow().clone();
        known.sort_unstable();
        known.dedup();
        let Value::Map(entries) = &self.field.node.value else {
            return;
        };
        for (name, node) in entries {
            if known.contains(&name.as_str()) || self.refused.borrow().contains(&name.as_str()) {
                continue;
            }
            let field = self.field.child(name, node);
            let snake = snake_case(name);
            if snake != *name && known.contains(&snake.as_str()) {
                field.error(format!("is written {snake} here (snake_case)"));
            } else if known.is_empty() {
                field.error("is not supported here; this message must be empty ({})");
            } else {
                field.error(format!(
                    "is not supported here; supported: {}",
                    known.join(", ")
                ));
            }
        }
    }
}

/// The protobuf name of a lowerCamelCase JSON name.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

//! What a module was written in and built with, guessed from what tools leave behind.

use serde::Serialize;

use super::Module;
use super::strings::{has, has_wide, printable, wide_text};

/// A guess, with what speaks for it.
#[derive(Debug, Default, Serialize)]
pub struct Toolchain {
    /// The language; `None` where nothing tells.
    pub language: Option<&'static str>,
    /// The Proxy-Wasm SDK, with its version where that is there.
    pub sdk: Option<String>,
    /// What speaks for them.
    pub evidence: Vec<Evidence>,
    /// Versions of packages and tools that are written in it, each once.
    pub versions: Vec<String>,
}

/// Something that speaks for a language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// For which.
    pub language: &'static str,
    /// What it is.
    pub found: String,
    /// How much it says: what a tool wrote about itself is 3, what no other would leave is 2, a habit is 1.
    pub weight: u8,
}

/// Versions that are shown, at most.
const MOST_VERSIONS: usize = 40;

// === impl Toolchain ===

impl Toolchain {
    /// Guesses.
    pub(super) fn guess(module: &Module) -> Self {
        let mut evidence = Vec::new();
        producers(module, &mut evidence);
        exports(module, &mut evidence);
        imports(module, &mut evidence);
        names(module, &mut evidence);
        data(module, &mut evidence);
        let language = heaviest(&evidence);
        // What speaks for others would only be noise, but where it is as strong.
        evidence.sort_by_key(|e| (Some(e.language) != language, std::cmp::Reverse(e.weight)));
        Self {
            language,
            sdk: language.and_then(|language| sdk(module, language)),
            evidence,
            versions: versions(module),
        }
    }
}

/// The language that most speaks for. TinyGo says all that Go does, and C++ most of what C does.
fn heaviest(evidence: &[Evidence]) -> Option<&'static str> {
    let mut sums: Vec<(u32, &'static str)> = Vec::new();
    for one in evidence {
        match sums
            .iter_mut()
            .find(|(_, language)| *language == one.language)
        {
            Some((sum, _)) => *sum += u32::from(one.weight),
            None => sums.push((u32::from(one.weight), one.language)),
        }
    }
    // The first of equals: producers come first.
    sums.into_iter()
        .rev()
        .max_by_key(|(sum, _)| *sum)
        .map(|(_, language)| language)
}

fn note(
    evidence: &mut Vec<Evidence>,
    language: &'static str,
    weight: u8,
    found: impl Into<String>,
) {
    evidence.push(Evidence {
        language,
        found: found.into(),
        weight,
    });
}

/// What tools wrote about themselves.
fn producers(module: &Module, evidence: &mut Vec<Evidence>) {
    for (field, tool) in &module.producers {
        let language = match (field.as_str(), tool.as_str()) {
            ("language", "Rust") => "Rust",
            ("language", tool) if tool.starts_with("C_plus_plus") => "C++",
            ("language", tool) if tool.starts_with('C') => "C",
            ("language", tool) if tool.starts_with("Zig") => "Zig",
            ("language", tool) if tool.starts_with("Go") => "Go",
            (_, tool) if tool.starts_with("rustc") => "Rust",
            (_, tool) if tool.starts_with("TinyGo") => "TinyGo",
            (_, tool) if tool.starts_with("Go cmd/compile") => "Go",
            _ => continue,
        };
        note(
            evidence,
            language,
            3,
            format!("producers section: {field} {tool}"),
        );
    }
}

/// Exports that only one tool makes.
fn exports(module: &Module, evidence: &mut Vec<Evidence>) {
    const TELLING: [(&str, &str, u8); 9] = [
        ("__rtti_base", "AssemblyScript", 2),
        ("__new", "AssemblyScript", 2),
        ("__pin", "AssemblyScript", 1),
        ("_rt0_wasm_wasip1", "Go", 2),
        ("_rt0_wasm_wasip1_lib", "Go", 2),
        ("asyncify_start_unwind", "TinyGo", 1),
        ("emscripten_stack_get_current", "C++", 1),
        ("__getTypeName", "C++", 1),
        ("__cxa_is_pointer_type", "C++", 2),
    ];
    for (name, language, weight) in TELLING {
        if module.exports(name) {
            note(evidence, language, weight, format!("exports {name}"));
        }
    }
}

/// Imports that only one tool makes.
fn imports(module: &Module, evidence: &mut Vec<Evidence>) {
    let imports = |name: &str, signature: &str| {
        let mut all = module.imports.iter();
        all.any(|i| i.module == "env" && i.name == name && i.signature == signature)
    };
    if imports("abort", "(i32, i32, i32, i32)") {
        note(
            evidence,
            "AssemblyScript",
            2,
            "imports env.abort of four arguments",
        );
    }
    if imports("emscripten_notify_memory_growth", "(i32)") {
        note(
            evidence,
            "C++",
            1,
            "imports emscripten_notify_memory_growth",
        );
    }
}

/// How the name section's names are mangled.
fn names(module: &Module, evidence: &mut Vec<Evidence>) {
    let mut found = |language, weight, what: &str, is: &dyn Fn(&str) -> bool| {
        if let Some(name) = module.names.iter().find(|name| is(name)) {
            let short: String = name.chars().take(60).collect();
            note(evidence, language, weight, format!("{what}: {short}"));
        }
    };
    let is_legacy =
        |name: &str| name.starts_with("_ZN") && name.contains("17h") && name.ends_with('E');
    found("Rust", 2, "function name mangled as by rustc", &|name| {
        is_legacy(name) || name.starts_with("_R") && name.len() > 10
    });
    found("Rust", 2, "function name", &|name| {
        name == "rust_begin_unwind" || name == "__rust_alloc"
    });
    found(
        "C++",
        2,
        "function name mangled as by a C++ compiler",
        &|name| name.starts_with("_Z") && !is_legacy(name),
    );
    // Wasm's linker demangles on request.
    found("C++", 2, "function name", &|name| {
        name.starts_with("std::__2::")
    });
    found("Go", 2, "function name", &|name| {
        name == "runtime.gcStart" || name == "_rt0_wasm_wasip1"
    });
    found("TinyGo", 3, "function name", &|name| {
        name.starts_with("tinygo_")
            || name == "runtime.runGC"
            || name.starts_with("(*internal/task")
    });
    found("AssemblyScript", 2, "function name", &|name| {
        name.starts_with("~lib/")
    });
    found("C++", 1, "function name", &|name| {
        name == "__wasm_call_ctors" && module.exports("malloc")
    });
}

/// What runtimes leave in the data.
fn data(module: &Module, evidence: &mut Vec<Evidence>) {
    let data = &module.data;
    let mut text = |language, weight, text: &str| {
        if has(data, text) {
            note(evidence, language, weight, format!("data holds {text:?}"));
        }
    };
    text("Rust", 2, "/rustc/");
    text("Rust", 2, "called `Option::unwrap()` on a `None` value");
    text("Go", 3, "\u{20}Go buildinf:");
    text("Go", 1, "runtime: ");
    text("C++", 2, "N10__cxxabiv1");
    text("C++", 1, "terminating due to");
    text("TinyGo", 2, "panic: runtime error: nil pointer dereference");
    if has_wide(data, "~lib/rt/") {
        note(
            evidence,
            "AssemblyScript",
            3,
            "data holds \"~lib/rt/\" as UTF-16",
        );
    }
    if let Some(text) = wide_text(data) {
        let found = format!("data holds text as UTF-16: {text:?}");
        note(evidence, "AssemblyScript", 1, found);
    }
    for section in &module.custom {
        if section.name == "go:buildid" || section.name == "go.buildid" {
            note(
                evidence,
                "Go",
                3,
                format!("custom section {}", section.name),
            );
        }
    }
    if module
        .custom
        .iter()
        .any(|section| section.name == "sourceMappingURL")
    {
        note(
            evidence,
            "AssemblyScript",
            1,
            "custom section sourceMappingURL",
        );
    }
}

/// The Proxy-Wasm SDK of that language that is in it.
fn sdk(module: &Module, language: &str) -> Option<String> {
    let data = &module.data;
    let any_name = |part: &str| module.names.iter().any(|name| name.contains(part));
    match language {
        "Rust" => {
            let package = packages(data).find(|package| package.starts_with("proxy-wasm "));
            package.or_else(|| {
                let is_there = any_name("proxy_wasm") || has(data, "proxy-wasm");
                is_there.then(|| "proxy-wasm".to_owned())
            })
        }
        "Go" | "TinyGo" => {
            let known = [
                "github.com/proxy-wasm/proxy-wasm-go-sdk",
                "github.com/tetratelabs/proxy-wasm-go-sdk",
                "github.com/higress-group/proxy-wasm-go-sdk",
                "github.com/alibaba/higress/plugins/wasm-go",
            ];
            let found = known
                .into_iter()
                .find(|name| has(data, name) || any_name(name))?;
            Some(go_version(data, found).map_or(found.to_owned(), |v| format!("{found} {v}")))
        }
        "AssemblyScript" => [
            "@solo-io/proxy-runtime",
            "@higress/proxy-wasm-assemblyscript-sdk",
        ]
        .into_iter()
        .find(|name| has_wide(data, name) || any_name(name))
        .map(str::to_owned),
        "C++" => {
            // Names of the SDK's classes, as type information keeps them.
            let is_there = has(data, "11ContextBase")
                || has(data, "11RootContext")
                || any_name("RegisterContextFactory")
                || any_name("RootContext");
            is_there.then(|| "proxy-wasm-cpp-sdk".to_owned())
        }
        _ => None,
    }
}

/// `v1.2.3` behind a module's path, as Go's build information writes it: path, tab, version.
fn go_version(data: &[u8], path: &str) -> Option<String> {
    let starts = memchr::memmem::find_iter(data, path.as_bytes());
    starts
        .filter_map(|at| data.get(at + path.len()..))
        .filter_map(|rest| rest.strip_prefix(b"\t"))
        .find_map(|rest| {
            let end = rest.iter().position(|byte| !byte.is_ascii_graphic());
            let version = std::str::from_utf8(rest.get(..end?)?).ok()?;
            version.starts_with('v').then(|| version.to_owned())
        })
}

/// Packages whose sources' paths are in panic messages, as `serde_json-1.0.154/src/read.rs`: `serde_json 1.0.154`.
fn packages(data: &[u8]) -> impl Iterator<Item = String> {
    printable(data, 8).flat_map(|run| {
        run.match_indices("/src/").filter_map(|(end, _)| {
            let path = run.get(..end)?;
            let folder = path.rsplit(['/', ' ']).next()?;
            let (name, version) = folder.rsplit_once('-')?;
            let is_version = version.split('.').count() == 3
                && version.starts_with(|c: char| c.is_ascii_digit());
            let is_name = !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            (is_version && is_name).then(|| format!("{name} {version}"))
        })
    })
}

/// Versions that are written in it: of tools, of Go and its modules, of packages, of the compiler.
fn versions(module: &Module) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let tools = module
        .producers
        .iter()
        .filter(|(field, _)| field != "language");
    found.extend(tools.map(|(_, tool)| tool.clone()));
    for section in &module.custom {
        if let Some(text) = &section.text
            && section.name.contains("version")
        {
            found.push(format!("{}: {text}", section.name));
        }
    }
    for run in printable(&module.data, 6) {
        if let Some((_, rest)) = run.split_once("/rustc/") {
            let commit: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
            if commit.len() == 40 {
                found.push(format!(
                    "rustc of commit {}",
                    commit.get(..9).unwrap_or(&commit)
                ));
            }
        }
        if run.starts_with("go1.") {
            let is_version = |c: &char| c.is_ascii_alphanumeric() || *c == '.';
            found.push(run.chars().take_while(is_version).take(16).collect());
        }
    }
    found.extend(packages(&module.data));
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|version| seen.insert(version.clone()));
    found.truncate(MOST_VERSIONS);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_from_panics_paths() {
        let data = b"\0serde_json-1.0.154/src/read.rs\0/x/reg/proxy-wasm-0.2.4/src/hostcalls.rssrc/lib.rs\0a/b-1/src/";
        let found: Vec<_> = packages(data).collect();
        assert_eq!(found, ["serde_json 1.0.154", "proxy-wasm 0.2.4"]);
    }

    #[test]
    fn go_modules_have_their_version_behind_a_tab() {
        let data = b"dep\tgithub.com/a/b\tv1.2.3\th1:abc\n";
        assert_eq!(
            go_version(data, "github.com/a/b").as_deref(),
            Some("v1.2.3")
        );
        assert_eq!(go_version(data, "github.com/a/c"), None);
    }

    #[test]
    fn what_a_tool_says_of_itself_weighs_more_than_a_habit() {
        let mut evidence = Vec::new();
        note(&mut evidence, "C++", 1, "a");
        note(&mut evidence, "Rust", 3, "b");
        note(&mut evidence, "C++", 1, "c");
        assert_eq!(heaviest(&evidence), Some("Rust"));
        assert_eq!(heaviest(&[]), None);
    }
}

//! What `switchover inspect` prints for people.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::inspect::{
    BUILD_SECTION, Build, Callbacks, ENVOY_VERSION, Group, Import, Module, Report, Toolchain,
    Verdict,
};
use crate::terminal::escaped;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Columns of the labels.
const LABEL: usize = 14;
/// Columns of a line, about.
const WIDTH: usize = 100;
/// Pieces of evidence that are shown.
const EVIDENCE: usize = 4;

/// Writes all of it.
pub(super) fn write(out: &mut dyn Write, name: &str, report: &Report) -> io::Result<()> {
    writeln!(
        out,
        "{BOLD}{}{BOLD:#}: {} bytes",
        escaped(name),
        grouped(report.size)
    )?;
    line(out, "sha256", &report.sha256)?;
    if let Some(module) = &report.module {
        line(out, "ABI", &abi(module))?;
        if let Some(build) = &module.build {
            built_from(out, build)?;
        }
    }
    if let Some(toolchain) = &report.toolchain {
        written_in(out, toolchain)?;
    }
    verdict(out, "this host", &report.loads_here)?;
    verdict(
        out,
        &format!("Envoy {ENVOY_VERSION}"),
        &report.loads_in_envoy,
    )?;
    if let Some(found) = &report.callbacks {
        callbacks(out, found)?;
    }
    let Some(module) = &report.module else {
        return Ok(());
    };
    imports(out, module)?;
    exports(out, module)?;
    contents(out, module, report)?;
    sections(out, module, report.size)
}

fn abi(module: &Module) -> String {
    let versions = module.abi.markers.iter().map(|marker| {
        let version = marker.trim_start_matches("proxy_abi_version_");
        escaped(&version.replace('_', ".")).into_owned()
    });
    match module.abi.markers.as_slice() {
        [] => {
            format!("{RED}no marker{RED:#}: not built for Proxy-Wasm, or its exports were stripped")
        }
        [_] => format!("Proxy-Wasm {}", versions.collect::<String>()),
        _ => format!(
            "{YELLOW}several markers{YELLOW:#}: {}; hosts take the first they know",
            versions.collect::<Vec<_>>().join(", ")
        ),
    }
}

/// What its maker says, each line of it that there is.
fn built_from(out: &mut dyn Write, build: &Build) -> io::Result<()> {
    let mut label = "build";
    for (what, said) in [
        ("", [&build.name, &build.version]),
        ("commit ", [&build.commit, &None]),
        ("ABI ", [&build.abi, &None]),
        ("SDK ", [&build.sdk, &None]),
        ("", [&build.compiler, &None]),
        ("", [&build.optimizer, &None]),
    ] {
        let said: Vec<&str> = said.into_iter().flatten().map(String::as_str).collect();
        if !said.is_empty() {
            line(out, label, &escaped(&format!("{what}{}", said.join(" "))))?;
            label = "";
        }
    }
    Ok(())
}

fn written_in(out: &mut dyn Write, toolchain: &Toolchain) -> io::Result<()> {
    let language = toolchain.language.unwrap_or("nothing tells");
    line(out, "written in", language)?;
    for evidence in toolchain.evidence.iter().take(EVIDENCE) {
        // What speaks against the guess is told with its language.
        let other = match Some(evidence.language) == toolchain.language {
            true => String::new(),
            false => format!(" ({})", evidence.language),
        };
        line(
            out,
            "",
            &format!("{DIM}{}{other}{DIM:#}", escaped(&evidence.found)),
        )?;
    }
    if let Some(sdk) = &toolchain.sdk {
        line(out, "SDK", &escaped(sdk))?;
    }
    if !toolchain.versions.is_empty() {
        list(out, "versions", own(&toolchain.versions))?;
    }
    Ok(())
}

fn verdict(out: &mut dyn Write, label: &str, verdict: &Verdict) -> io::Result<()> {
    if verdict.loads {
        return line(out, label, &format!("{GREEN}loads{GREEN:#}"));
    }
    line(out, label, &format!("{RED}does not load it{RED:#}"))?;
    for reason in &verdict.reasons {
        line(out, "", &format!("- {}", escaped(reason)))?;
    }
    Ok(())
}

fn callbacks(out: &mut dyn Write, callbacks: &Callbacks) -> io::Result<()> {
    let short = |names: &[&str]| -> Vec<String> {
        let names = names.iter();
        names
            .map(|name| name.trim_start_matches("proxy_").to_owned())
            .collect()
    };
    heading(out, &format!("Callbacks ({})", callbacks.implemented.len()))?;
    list(out, "has", short(&callbacks.implemented))?;
    list(out, "has not", short(&callbacks.absent))?;
    if !callbacks.tcp.is_empty() {
        list(out, "TCP", short(&callbacks.tcp))?;
        line(
            out,
            "",
            &format!("{YELLOW}never called here: this host does not run network filters{YELLOW:#}"),
        )?;
    }
    for uncalled in &callbacks.uncalled {
        list(out, "never called", short(&[uncalled.name]))?;
        line(out, "", &format!("{YELLOW}{}{YELLOW:#}", uncalled.why))?;
    }
    if !callbacks.unknown.is_empty() {
        list(out, "unknown", own(&callbacks.unknown))?;
        line(
            out,
            "",
            &format!("{YELLOW}no host is known to call these: misspelt?{YELLOW:#}"),
        )?;
    }
    Ok(())
}

fn imports(out: &mut dyn Write, module: &Module) -> io::Result<()> {
    heading(out, &format!("Imports ({})", module.imports.len()))?;
    for (group, label) in [
        (Group::ProxyWasm, "Proxy-Wasm"),
        (Group::Wasi, "WASI"),
        (Group::Other, "other"),
    ] {
        let of_group = module.imports.iter().filter(|import| import.group == group);
        let names: Vec<String> = of_group.map(import).collect();
        if !names.is_empty() {
            list(out, label, names)?;
        }
    }
    Ok(())
}

/// An import's name, with who lacks it.
fn import(import: &Import) -> String {
    let name = match import.group {
        Group::ProxyWasm => import.name.trim_start_matches("proxy_").to_owned(),
        Group::Wasi => import.name.clone(),
        Group::Other => format!("{}.{}", import.module, import.name),
    };
    let name = escaped(&name).into_owned();
    match (import.here, import.in_envoy) {
        (true, true) => name,
        (false, false) => format!("{RED}{name} [nobody has it]{RED:#}"),
        (false, true) => format!("{RED}{name} [not here]{RED:#}"),
        (true, false) => format!("{YELLOW}{name} [not in Envoy]{YELLOW:#}"),
    }
}

/// What it exports besides callbacks.
fn exports(out: &mut dyn Write, module: &Module) -> io::Result<()> {
    let is_other = |name: &str| {
        let is_callback = name.starts_with("proxy_on_") && name != "proxy_on_memory_allocate";
        !is_callback && !name.starts_with("proxy_abi_version_")
    };
    let all = module.exports.iter().map(|export| &export.name);
    let names = own(all.filter(|name| is_other(name)));
    if names.is_empty() {
        return Ok(());
    }
    heading(out, &format!("Other exports ({})", names.len()))?;
    list(out, "", names)
}

fn contents(out: &mut dyn Write, module: &Module, report: &Report) -> io::Result<()> {
    heading(out, "Contents")?;
    line(
        out,
        "functions",
        &format!(
            "{}, the greatest of {} bytes; {} have names",
            grouped(module.functions as usize),
            grouped(module.greatest_function),
            grouped(module.named_functions as usize)
        ),
    )?;
    for memory in &module.memories {
        let most = memory
            .maximum
            .map_or("as the host allows".to_owned(), bytes);
        let mut text = format!("{} at the start, at most {most}", bytes(memory.initial));
        for (is, word) in [
            (memory.imported, "imported"),
            (memory.shared, "shared"),
            (memory.wide, "64-bit addresses"),
        ] {
            if is {
                text = format!("{text}, {word}");
            }
        }
        line(out, "memory", &text)?;
    }
    if module.data_segments > 0 {
        let size = grouped(module.data_bytes);
        line(
            out,
            "data",
            &format!("{} segments, {size} bytes", module.data_segments),
        )?;
    }
    for table in &module.tables {
        let most = table
            .limits
            .maximum
            .map_or("no limit".to_owned(), |most| most.to_string());
        let text = format!(
            "{} of {}, at most {most}",
            table.limits.initial, table.element
        );
        line(out, "table", &text)?;
    }
    if module.globals > 0 {
        let text = format!(
            "{}, of them {} mutable",
            module.globals, module.mutable_globals
        );
        line(out, "globals", &text)?;
    }
    if let Some(start) = &module.start {
        let name = start.name.as_deref().unwrap_or("no name");
        line(
            out,
            "start",
            &format!("function {} ({})", start.function, escaped(name)),
        )?;
    }
    if report.problem.is_none() {
        let features = report.features.iter().map(|feature| (*feature).to_owned());
        match report.features.is_empty() {
            true => line(out, "Wasm features", "none beyond the first version")?,
            false => list(out, "Wasm features", features)?,
        }
    }
    Ok(())
}

fn sections(out: &mut dyn Write, module: &Module, size: usize) -> io::Result<()> {
    heading(out, "Sections")?;
    for section in &module.sections {
        let text = module
            .custom
            .iter()
            .find(|custom| section.name.strip_prefix("custom ") == Some(&custom.name))
            .filter(|custom| custom.name != BUILD_SECTION)
            .and_then(|custom| custom.text.as_deref())
            .map_or(String::new(), |text| {
                format!("  {DIM}{}{DIM:#}", escaped(text))
            });
        #[expect(clippy::cast_precision_loss, reason = "a share in whole percent")]
        let share = section.bytes as f64 * 100.0 / size.max(1) as f64;
        writeln!(
            out,
            "  {:<24} {:>12}  {share:>3.0} %{text}",
            escaped(&section.name),
            grouped(section.bytes)
        )?;
    }
    Ok(())
}

/// Names that are the module's own.
fn own<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let names = names.into_iter();
    names.map(|name| escaped(name).into_owned()).collect()
}

fn heading(out: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(out, "\n{BOLD}{text}{BOLD:#}")
}

fn line(out: &mut dyn Write, label: &str, text: &str) -> io::Result<()> {
    writeln!(out, "  {label:<LABEL$}{text}")
}

/// Names with commas between them, on as many lines as they need.
fn list(
    out: &mut dyn Write,
    label: &str,
    names: impl IntoIterator<Item = String>,
) -> io::Result<()> {
    let mut label = label;
    let mut row = String::new();
    let mut columns = 0;
    let mut names = names.into_iter().peekable();
    while let Some(name) = names.next() {
        let shown = anstream::adapter::strip_str(&name)
            .to_string()
            .chars()
            .count();
        if columns > 0 && LABEL + columns + shown > WIDTH {
            line(out, label, row.trim_end())?;
            (label, row, columns) = ("", String::new(), 0);
        }
        row += &name;
        if names.peek().is_some() {
            row += ", ";
        }
        columns += shown + 2;
    }
    if row.is_empty() {
        row = "none".to_owned();
    }
    line(out, label, &row)
}

/// `1234567` as `1,234,567`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(number: u64) -> String {
    indicatif::BinaryBytes(number).to_string()
}

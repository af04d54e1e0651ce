//! WASI preview 1: what each function answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use switchover_tests::{Engine, Setup, Upstream, assert_eventually, guest, probe};

/// The functions that Envoy offers, with their arguments: `i` of 32 bits, `I` of 64. Source: WASI preview 1.
/// `path_link` and `path_symlink` are left out: Envoy has them with one argument less than WASI.
pub(super) const FUNCTIONS: [(&str, &str); 42] = [
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "iIi"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pread", "iiiIi"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_prestat_get", "ii"),
    ("fd_pwrite", "iiiIi"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_seek", "iIii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_open", "iiiiiIIii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("random_get", "ii"),
    ("sched_yield", ""),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// Which arguments they are called with: the first, and all others of 32 bits.
pub(super) const ARGUMENTS: [(&str, i32, i32); 4] = [
    ("0, and 0 for the rest", 0, 0),
    ("1, and 64 for the rest", 1, 64),
    ("9, and 64 for the rest", 9, 64),
    ("1, and addresses outside the memory", 1, -256),
];

/// Error numbers by function.
pub(super) type Errors = BTreeMap<&'static str, String>;

/// Calls all of them.
pub(super) async fn observe(engine: Engine, edit: impl Fn(Setup) -> Setup) -> Errors {
    let directory = tempfile::tempdir().unwrap();
    let blue = Upstream::named("blue").await;
    let file = guest::compile("wasi", &text(), directory.path());
    let setup = Setup::new(&[("blue", &blue)])
        .route_guest(&file)
        .without_attempt_role()
        .inline();
    let gateway = edit(setup).start(engine).await;
    assert_eq!(
        gateway.client().get("/").send().await.text(),
        "blue",
        "{}",
        gateway.output()
    );
    let (last, _) = FUNCTIONS[FUNCTIONS.len() - 1];
    let told = || probe::lines(&gateway.output());
    assert_eventually!(
        told().iter().any(|line| line.command == last),
        "{}",
        gateway.output()
    );
    let lines = told();
    let errors = |name: &'static str| {
        let line = lines.iter().find(|line| line.command == name);
        (
            name,
            line.map_or("?".to_owned(), |line| line.answer.clone()),
        )
    };
    FUNCTIONS.iter().map(|(name, _)| errors(name)).collect()
}

/// A guest that calls each function with each set of arguments, and logs the error numbers in two digits.
fn text() -> String {
    let (mut imports, mut data, mut calls) = (String::new(), String::new(), String::new());
    for (at, (name, arguments)) in FUNCTIONS.iter().enumerate() {
        let kinds: Vec<&str> = arguments
            .chars()
            .map(|kind| if kind == 'I' { "i64" } else { "i32" })
            .collect();
        let _ = writeln!(
            imports,
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {}) (result i32)))",
            kinds.join(" ")
        );
        let line = format!("PROBE | wasi | request_headers | {name} | ");
        let place = 1024 + at * 128;
        let _ = writeln!(
            data,
            "(data (i32.const {place}) \"{line}{}\")",
            "00 ".repeat(ARGUMENTS.len())
        );
        for (set, (_, first, rest)) in ARGUMENTS.iter().enumerate() {
            let value = |(at, kind): (usize, &&str)| match (*kind, at) {
                ("i64", _) => "(i64.const 0)".to_owned(),
                (_, 0) => format!("(i32.const {first})"),
                _ => format!("(i32.const {rest})"),
            };
            let values: Vec<String> = kinds.iter().enumerate().map(value).collect();
            let digits = place + line.len() + set * 3;
            let _ = writeln!(
                calls,
                "(call $put (i32.const {digits}) (call ${name} {}))",
                values.join(" ")
            );
        }
        let length = line.len() + ARGUMENTS.len() * 3 - 1;
        let _ = writeln!(
            calls,
            "(drop (call $log (i32.const 2) (i32.const {place}) (i32.const {length})))"
        );
    }
    format!(
        "(module {imports}
         (import \"env\" \"proxy_log\" (func $log (param i32 i32 i32) (result i32)))
         (memory (export \"memory\") 1) {data}
         (func (export \"proxy_abi_version_0_2_1\"))
         (func (export \"malloc\") (param i32) (result i32) (i32.const 32768))
         (func $put (param $at i32) (param $number i32)
           (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.div_u (local.get $number) (i32.const 10))))
           (i32.store8 (i32.add (local.get $at) (i32.const 1)) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10)))))
         (func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32) {calls} (i32.const 0)))"
    )
}

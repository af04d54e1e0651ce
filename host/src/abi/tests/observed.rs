//! Observers, and the table of imports.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::guest::{Source, engine};
use crate::abi::observe::{Callback, Guest, Hostcall, Observer, Observers};
use crate::abi::{Kind, Options, imports};

/// Writes what it is told.
struct Scribe(Arc<Mutex<Vec<String>>>);

impl Scribe {
    fn write(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Observer for Scribe {
    fn callback_begins(&mut self, guest: &Guest<'_>, callback: &Callback<'_>) {
        self.write(format!(
            "> {}{:?} in {} of {}",
            callback.name, callback.arguments, guest.context, guest.plugin
        ));
    }

    fn callback_ends(
        &mut self,
        _: &Guest<'_>,
        callback: &Callback<'_>,
        result: Result<Option<u64>, &wasmtime::Error>,
        _: Duration,
    ) {
        let result = result.map_err(|error| format!("{error:#}").contains("unreachable"));
        self.write(format!("< {} {result:?}", callback.name));
    }

    fn hostcall(&mut self, guest: &Guest<'_>, call: &Hostcall<'_>) {
        let mut arguments = call.arguments.iter();
        let mut shown = Vec::new();
        for parameter in call.import.parameters {
            let at = u32::try_from(*arguments.next().unwrap()).unwrap();
            shown.push(match parameter.kind {
                Kind::Bytes => {
                    let len = u32::try_from(*arguments.next().unwrap()).unwrap();
                    String::from_utf8_lossy(guest.memory.bytes(at, len).unwrap()).into_owned()
                }
                _ => at.to_string(),
            });
        }
        let result = call.result.map_err(|error| format!("{error:#}"));
        self.write(format!("{}{shown:?} {result:?}", call.import.name));
    }
}

#[test]
fn an_observer_sees_callbacks_and_hostcalls_with_their_arguments() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let scribe = seen.clone();
    let options = Options {
        observers: Some(Observers::new(move || Box::new(Scribe(scribe.clone())))),
        ..Options::default()
    };
    let source = Source::new(
        "",
        r#"
          (data (i32.const 100) "hello")
          (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (call $log (i32.const 1) (i32.const 100) (i32.const 5)))
          (func (export "proxy_on_tick") (param i32) unreachable)"#,
    );
    // the status 0 of the last hostcall is `false` to the host
    assert!(source.start(options.clone()).is_err());
    let mut expected = vec![
        "> proxy_on_configure[1, 20] in 1 of plugin".to_owned(),
        "proxy_log[\"1\", \"hello\"] Ok(Some(0))".to_owned(),
        "< proxy_on_configure Ok(Some(0))".to_owned(),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    let (mut vm, _) = source.vm(super::guest::process(options)).unwrap();
    assert!(vm.tick(7).is_err());
    expected.extend([
        "> proxy_on_tick[7] in 0 of ".to_owned(),
        "< proxy_on_tick Err(true)".to_owned(),
    ]);
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn the_table_says_what_is_linked() {
    let linker = crate::abi::linker(engine().wasmtime()).unwrap();
    let mut store = wasmtime::Store::new(
        engine().wasmtime(),
        crate::vm::state::State::new(
            super::guest::process(Options::default()),
            Arc::new(super::guest::plugin(Vec::new()).vm),
            crate::abi::Version::default(),
            Arc::default(),
        ),
    );
    let mut named = HashSet::new();
    for import in imports() {
        let width: usize = import.parameters.iter().map(|p| p.kind.width()).sum();
        for module in import.modules {
            assert!(named.insert((module, import.name)), "{} twice", import.name);
            let function = linker.get(&mut store, module, import.name).unwrap();
            let kind = function.into_func().unwrap().ty(&store);
            assert_eq!(kind.params().len(), width, "{}", import.name);
        }
    }
    let linked = linker.iter(&mut store).count();
    assert_eq!(named.len(), linked);
}

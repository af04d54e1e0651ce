//! What each callback reaches: the answers are those of Envoy 1.40, taken down from the same guest.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::SystemTime;

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::guest::{Guest, Source};
use crate::abi::{Mode, Options};
use crate::stream::head::Target;
use crate::stream::{RequestHead, ResponseHead, Stream, StreamCell, StreamInfo};

const IMPORTS: &str = r#"
  (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_size" (func $size (param i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))"#;

/// In each callback: the answers of one function after the other, for the buffers or maps 0 to 9, as a line of digits.
const BODY: &str = r#"
  (data (i32.const 100) "x-k")
  (global $n (mut i32) (i32.const 0))
  (func $put (param i32)
    (i32.store8 (i32.add (i32.const 200) (global.get $n)) (i32.add (i32.const 48) (local.get 0)))
    (global.set $n (i32.add (global.get $n) (i32.const 1))))
  (func $flush
    (drop (call $log (i32.const 2) (i32.const 200) (global.get $n)))
    (global.set $n (i32.const 0)))
  (func $probe (param $edits i32) (local $i i32)
    (loop $l (call $put (call $buffer (local.get $i) (i32.const 0) (i32.const 9) (i32.const 8) (i32.const 12)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
    (call $flush) (local.set $i (i32.const 0))
    (loop $l (call $put (call $pairs (local.get $i) (i32.const 8) (i32.const 12)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
    (call $flush) (local.set $i (i32.const 0))
    (loop $l (call $put (call $value (local.get $i) (i32.const 100) (i32.const 3) (i32.const 8) (i32.const 12)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
    (call $flush) (local.set $i (i32.const 0))
    (loop $l (call $put (call $size (local.get $i) (i32.const 8)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
    (call $flush) (local.set $i (i32.const 0))
    (loop $l (call $put (call $set_buffer (local.get $i) (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 0)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
    (call $flush) (local.set $i (i32.const 0))
    (loop $l (call $put (call $replace (local.get $i) (i32.const 100) (i32.const 3) (i32.const 100) (i32.const 3)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
    (call $flush))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $probe (i32.const 0)) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $probe (i32.const 0)) (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $probe (i32.const 0)) (i32.const 0))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (call $probe (i32.const 0)) (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (call $probe (i32.const 0)) (i32.const 0))
  (func (export "proxy_on_log") (param i32) (call $probe (i32.const 0)))
  (func (export "proxy_on_done") (param i32) (result i32) (call $probe (i32.const 0)) (i32.const 1))"#;

pub(super) fn stream() -> StreamCell {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let head = RequestHead::new(
        Method::GET,
        Target::from_bytes(b"/path?q=1"),
        HeaderValue::from_static("http"),
        HeaderMap::new(),
    );
    let info = StreamInfo::new(SystemTime::UNIX_EPOCH, nowhere, nowhere, "name".into());
    Rc::new(RefCell::new(Stream::new(head, info)))
}

/// Takes the lines logged since the last time.
fn taken(guest: &Guest, seen: &mut usize) -> Vec<String> {
    let lines = guest.lines();
    let new = lines.get(*seen..).unwrap_or_default().to_vec();
    *seen = lines.len();
    new
}

#[test]
fn callbacks_reach_what_they_reach_in_envoy() {
    let mut guest = Source::new(IMPORTS, BODY)
        .start(Options::default())
        .unwrap();
    let mut seen = 0;
    let none = ["0000000002", "2222222222", "2222222222"];
    let started = taken(&guest, &mut seen);
    let expected = |buffers: &str, values: &str, sizes: &str, set: &str, replace: &str| {
        [buffers, "0000000022", values, sizes, set, replace]
            .map(ToOwned::to_owned)
            .to_vec()
    };
    assert_eq!(
        started,
        [
            expected("0000100102", none[1], none[2], "2222122122", none[2]),
            expected("0000100002", none[1], none[2], "2222122222", none[2]),
        ]
        .concat()
    );
    let cell = stream();
    let id = guest.vm.add_stream(guest.root, cell.clone()).unwrap();
    guest.vm.request_headers(id, 3, false).unwrap();
    assert_eq!(
        taken(&guest, &mut seen),
        expected(
            "0000100102",
            "1222222222",
            "0222222222",
            "2222122122",
            "0222222222"
        )
    );
    cell.borrow_mut().request_body = BytesMut::from(&b"body"[..]);
    guest.vm.request_body(id, 4, true).unwrap();
    assert_eq!(
        taken(&guest, &mut seen),
        expected(
            "0000100102",
            "2222222222",
            "2022222222",
            "0222122122",
            "2022222222"
        )
    );
    cell.borrow_mut().response = Some(ResponseHead::new(StatusCode::OK, HeaderMap::new()));
    guest.vm.response_headers(id, 1, true).unwrap();
    assert_eq!(
        taken(&guest, &mut seen),
        expected(
            "0000100102",
            "2012222222",
            "2002222222",
            "2222122122",
            "2002222222"
        )
    );
    guest.vm.end(id, true);
    assert_eq!(
        taken(&guest, &mut seen),
        [
            expected(
                "0000100102",
                "0101111122",
                "2022222222",
                "2222122122",
                "2022222222"
            ),
            expected(
                "0000100102",
                "2022222222",
                "2022222222",
                "2222122122",
                "2022222222"
            ),
        ]
        .concat()
    );
}

#[test]
fn by_the_specification_what_is_absent_is_not_found() {
    let options = Options {
        mode: Mode::Strict,
        ..Options::default()
    };
    let mut guest = Source::new(IMPORTS, BODY).start(options).unwrap();
    let mut seen = guest.lines().len();
    let id = guest.vm.add_stream(guest.root, stream()).unwrap();
    guest.vm.request_headers(id, 3, false).unwrap();
    assert_eq!(
        taken(&guest, &mut seen),
        [
            "1111110112",
            "0000000022",
            "1111111122",
            "0000000022",
            "1111112112",
            "0222222222"
        ]
    );
}

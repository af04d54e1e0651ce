//! Where a request goes: by its own word, by its key, by a cookie.

use super::*;

#[test]
fn overrides() {
    let routing = r#""routing": {"blue": {"weight": 1}, "green": {"weight": 0}}"#;
    let named: &[(&str, &[u8])] = &[("x-deployment-mode", b" Green ")];
    let refused = Worker::new(&format!("{{{routing}}}")).request(named);
    assert!(
        refused.override_refused
            && refused
                .result
                .is_ok_and(|routed| routed.environment == "blue")
    );
    let mut anyone = Worker::new(&format!(
        r#"{{{routing}, "override": {{"allow": "anyone", "header": "x-env"}}, "rollback": true}}"#
    ));
    assert_eq!(anyone.routed(&[]).reason, Reason::Stable);
    let routed = anyone.routed(&[("x-env", b"green"), ("x-deployment-mode", b"blue")]);
    assert_eq!(
        (routed.environment.as_str(), routed.reason),
        ("green", Reason::Override)
    );
    let Err(reply) = anyone.request(&[("x-env", b"pur\"ple\xff")]).result else {
        panic!("passed")
    };
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert!(
        reply.status == 400
            && body["error"]["message"]
                .as_str()
                .unwrap()
                .ends_with("The environments are: blue, green.")
    );

    let mut consumers = replace(r#""override": {"allow": "consumers"},"#);
    let not_allowed = consumers.request(&[("api-key", b"ka"), ("x-deployment-mode", b"nowhere")]);
    assert!(not_allowed.override_refused && not_allowed.result.is_ok());
    let routed = consumers.routed(&[("api-key", b"old"), ("x-deployment-mode", b"green")]);
    assert_eq!(
        (routed.environment.as_str(), routed.reason),
        ("green", Reason::Override)
    );
}

#[test]
fn sticky_sources_are_tried_in_order() {
    let mut worker = Worker::new(
        r#"{"routing": {"a": {"weight": 1}, "b": {"weight": 1}, "c": {"weight": 1}, "d": {"weight": 1}},
            "sticky": {"by": [{"header": "x-user"}, {"cookie": "session"}, "consumer", "source_address"]}}"#,
    );
    let place = |worker: &mut Worker, headers: &[(&str, &[u8])]| {
        let places: Vec<_> = (0..8).map(|_| worker.routed(headers).environment).collect();
        assert!(
            places.iter().all(|place| *place == places[0]),
            "{headers:?}"
        );
        places[0].clone()
    };
    for user in 0..50_u32 {
        let user = user.to_string();
        let key = user.as_bytes();
        let expected = place(&mut worker, &[("x-user", key)]);
        let cookie = format!("a=b; session={user}");
        assert_eq!(
            place(&mut worker, &[("cookie", cookie.as_bytes())]),
            expected
        );
        assert_eq!(
            place(
                &mut worker,
                &[("cookie", b"session=other"), ("x-user", key)]
            ),
            expected
        );
        let by_key = place(&mut worker, &[("api-key", key)]);
        assert_eq!(
            place(
                &mut worker,
                &[("authorization", format!("Bearer {user}").as_bytes())]
            ),
            by_key
        );
    }
    worker.address = Some("10.0.0.7:1111");
    let expected = place(&mut worker, &[]);
    worker.address = Some("10.0.0.7:2222");
    assert_eq!(place(&mut worker, &[("x-user", b"")]), expected);
    worker.address = None;
    assert_eq!(worker.routed(&[]).reason, Reason::Strategy);
}

#[test]
fn a_cookie_keeps_clients_where_they_began() {
    let by = r#""sticky": {"by": ["source_address"], "set_cookie": {"name": "s"}}"#;
    let mut worker = Worker::new(&format!(
        r#"{{"routing": {{"a": {{"weight": 1}}, "b": {{"weight": 1}}}}, {by}}}"#
    ));
    for address in [
        None,
        Some("10.0.0.1:1"),
        Some("10.0.0.2:1"),
        Some("10.0.0.3:1"),
    ] {
        worker.address = address;
        let first = worker.routed(&[]);
        assert_eq!(first.reason, Reason::Sticky);
        let cookie = [b"s=", first.cookie.unwrap().as_bytes()].concat();
        worker.address = Some("192.168.0.9:9");
        let next = worker.routed(&[("cookie", &cookie)]);
        assert_eq!((next.environment, next.cookie), (first.environment, None));
    }
}

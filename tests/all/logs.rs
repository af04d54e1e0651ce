//! The log and access logs, where whoever should read them does not.

use std::io::{PipeReader, Read as _};

use serde_json::Value;
use switchover_tests::probe::Probe;
use switchover_tests::{Engine, assert_eventually, cases};

/// Has the guest write a megabyte.
const CHATTY: &str = "x1 request_headers: times 64 proxy_log 2 ~16000:a";

/// A gateway with a chatty guest and an access log whose standard output and error nobody reads yet.
async fn unread(engine: Engine) -> (Probe, PipeReader, PipeReader) {
    let (output, output_end) = std::io::pipe().unwrap();
    let (error, error_end) = std::io::pipe().unwrap();
    let setup = Probe::setup(engine, "", |setup| {
        let setup = setup.printing_into(output_end, error_end);
        setup.argument("--access-log")
    });
    (Probe::start(engine, setup).await, output, error)
}

/// Reads in the background to the end.
fn reading(mut pipe: PipeReader) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}

async fn lost(probe: &Probe) -> u64 {
    let text = probe.gateway.admin("/stats").await;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("switchover.host_log_lines_lost: "));
    line.unwrap().parse().unwrap()
}

cases! {
    /// Envoy's workers wait for whoever reads its log.
    host async fn a_log_that_nobody_reads_holds_nothing_up(engine: Engine) {
        let (mut probe, output, error) = unread(engine).await;
        let mut client = probe.gateway.client();
        for _ in 0..24 {
            let reply = client.get("/probe").header("x-probe", CHATTY).send().await;
            assert_eq!(reply.status, 200);
        }
        assert!(lost(&probe).await > 0);
        assert_eq!(probe.gateway.admin("/ready").await.trim(), "LIVE");

        // What comes when there is room again has the count in it.
        let (output, error) = (reading(output), reading(error));
        assert_eventually!(
            {
                let before = lost(&probe).await;
                client.get("/probe").send().await;
                lost(&probe).await == before
            },
            "lines are still lost"
        );
        let lost = lost(&probe).await;
        probe.gateway.terminate();
        assert!(probe.gateway.ended().await.success());
        let log = error.join().unwrap();
        let told = log.lines().filter_map(|line| {
            let (told, _) = line.split_once(" lines of the log were lost")?;
            told.rsplit(' ').next()?.parse::<u64>().ok()
        });
        assert_eq!(told.sum::<u64>(), lost);
        // How many were lost may be told behind it.
        assert!(log.contains("drained\n"), "{:?}", log.lines().last());
        assert!(log.lines().all(|line| line.starts_with("20")), "a line is broken");
        for line in output.join().unwrap().lines() {
            serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }

    host async fn a_log_that_nobody_reads_is_not_waited_for(engine: Engine) {
        let (mut probe, _output, _error) = unread(engine).await;
        let mut client = probe.gateway.client();
        for _ in 0..2 {
            client.get("/probe").header("x-probe", CHATTY).send().await;
        }
        probe.gateway.terminate();
        assert!(probe.gateway.ended().await.success());
    }
}

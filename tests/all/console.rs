//! The console in a real browser: what it shows against what was sent, and each button against its effect on traffic.

mod shown;

use std::path::PathBuf;

use serde_json::{Value, json};
use switchover_tests::{Engine, Gateway, Setup, Upstream};

/// The file that a gateway watches.
fn file(gateway: &Gateway) -> PathBuf {
    gateway.directory().join("ecds/route.json")
}

fn document(green: u64) -> Value {
    json!({"rollout": "api-1", "stable": "blue", "attempts": true, "routing": {
        "blue": {"weight": 100 - green, "version": "1.0", "clusters": ["blue-only"]},
        "green": {"weight": green, "version": "2.0", "clusters": ["green-only"]},
    }})
}

async fn both() -> [Upstream; 2] {
    [
        Upstream::named("blue").await,
        Upstream::named("green").await,
    ]
}

async fn start(engine: Engine, document: Value, [blue, green]: &[Upstream; 2]) -> Gateway {
    let setup = Setup::new(&[("blue", blue), ("green", green)]);
    setup.document(document).start(engine).await
}

/// How many of a hundred requests green answers.
async fn greens(gateway: &Gateway) -> usize {
    let mut client = gateway.client();
    let mut count = 0;
    for _ in 0..100 {
        count += usize::from(client.get("/").send().await.text() == "green");
    }
    count
}

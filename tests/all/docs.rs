//! Every command of the documentation is run: each page in a copy of the files that it may change.
//!
//! The blocks of a page that are marked `sh` run one after another in one shell, as a reader types them. A page may hold
//! comments for this test, each on a line of its own:
//!
//! - `<!-- prints: TEXT -->`: this text was printed, after that of the last of these.
//! - `<!-- not run: REASON -->`: before a block that no test can run. What it names is still looked at, see [`page`].
//!
//! What serves until it is stopped runs in the background. The demo's ports are others here, so that pages run at the
//! same time. What would change the machine or a cluster does nothing, but that objects for `kubectl apply` are held
//! against the published schemas.

mod page;
mod sandbox;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switchover_tests::setup::documents;
use switchover_tests::{programs, python};

use page::Page;
use sandbox::Sandbox;

/// Where pages are.
const FOLDERS: [&str; 4] = ["", "envoy", "filter", "host"];
/// So many run at a time.
const AT_A_TIME: usize = 3;
/// Kubernetes' own kinds, of which there are no schemas here.
const CORE: [&str; 3] = ["ConfigMap", "Namespace", "Secret"];

fn pages() -> Vec<PathBuf> {
    let in_folder = |folder: &str| {
        let entries = std::fs::read_dir(programs::root().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .map(|name| Path::new(folder).join(name))
            .collect::<Vec<_>>()
    };
    let mut pages: Vec<_> = FOLDERS.into_iter().flat_map(in_folder).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    assert!(pages.len() > 5, "{pages:?}");
    pages
}

/// Runs a page, and gives the objects that it applied, or what went wrong.
async fn run(path: PathBuf) -> Result<Vec<Value>, String> {
    let page = Page::read(&path);
    if page.blocks.is_empty() {
        return Ok(Vec::new());
    }
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&page).await;
    ran.map_err(|e| format!("{}: {e}", path.display()))?;
    let applied = sandbox.applied();
    let objects = applied.iter().flat_map(|text| documents(text));
    Ok(objects
        .filter(|object| !CORE.contains(&object["kind"].as_str().unwrap_or_default()))
        .collect())
}

#[test]
fn every_command_runs() {
    switchover_tests::run(async {
        let mut waiting = pages().into_iter();
        let mut running = tokio::task::JoinSet::new();
        let (mut wrong, mut objects) = (Vec::new(), Vec::new());
        for page in waiting.by_ref().take(AT_A_TIME) {
            running.spawn(run(page));
        }
        while let Some(ended) = running.join_next().await {
            match ended.unwrap() {
                Ok(applied) => objects.extend(applied),
                Err(e) => wrong.push(e),
            }
            waiting.next().map(|page| running.spawn(run(page)));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
        let case = json!([{"name": "what the pages apply", "valid": true, "objects": objects}]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), case.to_string()).unwrap();
        let schemas = programs::root().join("tests/crds");
        python::client(
            "crds.py",
            &[schemas.to_str().unwrap(), file.path().to_str().unwrap()],
        )
        .await;
    });
}

/// A page whose command fails, or prints something else, is found out.
#[test]
fn what_does_not_run_is_told() {
    switchover_tests::run(async {
        let ran = async |text: &str| Sandbox::new().run(&Page::parse("a.md", text)).await;
        assert_eq!(
            ran("```sh\ntrue\necho yes\n```\n<!-- prints: yes -->").await,
            Ok(())
        );
        for (text, expected) in [
            ("text\n```sh\nfalse\n```", "a.md:2: false"),
            (
                "```sh\nswitchover frobnicate\n```",
                "unrecognized subcommand",
            ),
            (
                "```sh\nswitchover serve no-such-file.yaml\n```",
                "has ended",
            ),
            ("```sh\nno-such-program\n```", "no-such-program"),
            (
                "```sh\necho no\n```\n<!-- prints: yes -->",
                "a.md:4: \"yes\" was not printed",
            ),
            (
                "```sh\necho yes\n```\n<!-- prints: yes -->\n<!-- prints: yes -->",
                "a.md:5: \"yes\" was not printed",
            ),
            ("```sh\nkubectl delete everything\n```", "kubectl delete"),
            (
                "<!-- not run: no cluster -->\n```sh\nswitchover frobnicate\n```",
                "no verb `frobnicate`",
            ),
        ] {
            let error = ran(text).await.expect_err(text);
            assert!(error.contains(expected), "{expected}: {error}");
        }
    });
}

/// `--help` of every verb is a page.
#[test]
fn the_command_line_is_in_step() {
    let mut command = std::process::Command::new(programs::switchover());
    let output = command.args(["man", "--markdown"]).output().unwrap();
    let committed = std::fs::read_to_string(programs::root().join("host/CLI.md")).unwrap();
    assert!(
        String::from_utf8(output.stdout).unwrap() == committed,
        "run `switchover man --markdown > host/CLI.md`"
    );
}

/// Links between pages, and within them, lead somewhere.
#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for path in pages() {
        let text = std::fs::read_to_string(programs::root().join(&path)).unwrap();
        for link in page::links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            let target = programs::root().join(target);
            let leads = if anchor.is_empty() {
                target.exists()
            } else {
                std::fs::read_to_string(&target)
                    .is_ok_and(|text| page::anchors(&text).contains(anchor))
            };
            if !leads {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

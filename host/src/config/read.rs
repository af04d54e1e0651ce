//! Reading a whole file.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;

use super::cluster::{self, ClusterKind};
use super::facts::Facts;
use super::reader::{Context, Env, Field, Object};
use super::route::regex_message;
use super::{Bootstrap, Cluster, Node, Problem, Severity, StatsTag, common, listener, node};

/// Reads a file's text.
pub(super) fn read_file(path: &Path) -> Result<String, Problem> {
    let error = |message| Problem {
        file: path.to_owned(),
        line: 0,
        path: String::new(),
        message,
        severity: Severity::Error,
    };
    let failed = |e| error(format!("cannot be read: {e}"));
    // A pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(error("is not a file".to_owned()));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| error("is not text in UTF-8".to_owned()))
}

/// Errors and warnings.
pub(super) fn split(problems: Vec<Problem>) -> (Vec<Problem>, Vec<Problem>) {
    problems
        .into_iter()
        .partition(|p| p.severity == Severity::Error)
}

/// Parses a text and reads its root.
pub(super) fn with_root<T>(
    cx: Context<'_>,
    text: &str,
    read: impl FnOnce(&Field<'_>) -> T,
) -> (Option<T>, Facts, Vec<Problem>) {
    match node::parse(cx.file, text) {
        Ok(root) => {
            let cx = cx;
            let result = read(&cx.root(&root));
            let (facts, problems) = cx.finish();
            (Some(result), facts, problems)
        }
        Err(e) => {
            let place = super::reader::Place {
                line: e.line,
                path: String::new(),
            };
            cx.report(Severity::Error, &place, e.message);
            let (facts, problems) = cx.finish();
            (None, facts, problems)
        }
    }
}

/// Reads a bootstrap; its first part is to be used only if no problem is an error.
pub(super) fn bootstrap(
    path: &Path,
    text: &str,
    env: Env<'_>,
) -> (Option<Bootstrap>, Facts, Vec<Problem>) {
    let (bootstrap, facts, problems) = with_root(Context::new(path, env), text, |root| {
        root.object(read_bootstrap)
    });
    (bootstrap.flatten(), facts, problems)
}

fn read_bootstrap(o: &Object<'_>) -> Bootstrap {
    o.refuse(
        &["dynamic_resources"],
        "there is no xDS server; write listeners and clusters into static_resources",
    );
    o.refuse(
        &["layered_runtime", "runtime"],
        "there is no runtime; write values into the fields themselves",
    );
    o.refuse(
        &["overload_manager"],
        "limits are those of circuit_breakers",
    );
    o.refuse(
        &["tracing", "stats_sinks"],
        "metrics are read from the admin address",
    );
    let resources = o.required("static_resources");
    let (listeners, clusters) = resources
        .and_then(|f| f.object(static_resources))
        .unwrap_or_default();
    check_cluster_uses(o.field(), &clusters);
    let node = o.get("node").and_then(|f| f.object(read_node));
    let node = node.unwrap_or_default();
    let discovers = !o.field().context().facts.discoveries.borrow().is_empty();
    if discovers && (node.id.is_empty() || node.cluster.is_empty()) {
        let place = super::reader::Place {
            line: o.field().node().line,
            path: "node".to_owned(),
        };
        let message = "config_discovery needs node.id and node.cluster in Envoy, here or by --service-node, --service-cluster";
        o.field()
            .context()
            .report(Severity::Warning, &place, message);
    }
    Bootstrap {
        file: o.field().context().file.to_owned(),
        node,
        admin: o.get("admin").and_then(|f| f.object(admin)).flatten(),
        stats_tags: o
            .get("stats_config")
            .and_then(|f| f.object(stats_tags))
            .unwrap_or_default(),
        listeners,
        clusters,
    }
}

fn read_node(o: &Object<'_>) -> Node {
    Node {
        id: o.text("id"),
        cluster: o.text("cluster"),
    }
}

fn admin(o: &Object<'_>) -> Option<std::net::SocketAddr> {
    o.refuse(
        &["access_log", "access_log_path"],
        "the admin server keeps no log",
    );
    common::listen_address(&o.required("address")?)
}

fn stats_tags(o: &Object<'_>) -> Vec<StatsTag> {
    o.refuse(&["stats_matcher"], "all metrics are kept");
    o.only_bool("use_all_default_tags", true);
    o.list("stats_tags")
        .iter()
        .filter_map(|f| f.object(stats_tag).flatten())
        .collect()
}

fn stats_tag(o: &Object<'_>) -> Option<StatsTag> {
    o.refuse(&["fixed_value"], "use regex");
    let name = o.required_name("tag_name");
    let (_, field) = o.required_one_of(&["regex"])?;
    match Regex::new(field.name()?) {
        Ok(regex) if regex.captures_len() > 1 => Some(StatsTag { name, regex }),
        Ok(_) => {
            field.error("needs a capture group: the first is removed from the name, the second or else the first is the value");
            None
        }
        Err(e) => {
            field.error(regex_message(&e));
            None
        }
    }
}

type Resources = (Vec<super::Listener>, BTreeMap<String, Cluster>);

fn static_resources(o: &Object<'_>) -> Resources {
    o.refuse(
        &["secrets"],
        "name certificates by file, or by path_config_source, where they are used",
    );
    let mut clusters = BTreeMap::new();
    for field in o.list("clusters") {
        let Some(cluster) = cluster::read(&field) else {
            // Known all the same, so that its uses are not reported as well.
            note_broken(&field);
            continue;
        };
        if clusters.contains_key(&cluster.name) {
            field.error(format!("there is a cluster {:?} already", cluster.name));
        }
        clusters.insert(cluster.name.clone(), cluster);
    }
    let mut listeners: Vec<super::Listener> = Vec::new();
    for (index, field) in o.list("listeners").iter().enumerate() {
        let Some(listener) = listener::read(field, index) else {
            continue;
        };
        if listeners.iter().any(|l| l.name == listener.name) {
            field.error(format!("there is a listener {:?} already", listener.name));
        }
        if listeners
            .iter()
            .any(|l| l.address == listener.address && l.address.port() != 0)
        {
            field.error(format!(
                "there is a listener at {} already",
                listener.address
            ));
        }
        listeners.push(listener);
    }
    (listeners, clusters)
}

/// Notes the name of a cluster that has an error.
fn note_broken(field: &Field<'_>) {
    if let Some(node::Value::Text { text, .. }) = field.node().get("name").map(|n| &n.value) {
        field
            .context()
            .facts
            .broken_clusters
            .borrow_mut()
            .push(text.clone());
    }
}

/// Each cluster that is mentioned must exist; those of an aggregate must be leaves.
fn check_cluster_uses(field: &Field<'_>, clusters: &BTreeMap<String, Cluster>) {
    let cx = field.context();
    let broken = cx.facts.broken_clusters.borrow();
    for mention in cx.facts.cluster_uses.borrow().iter() {
        let message = match clusters.get(&mention.name) {
            None if broken.contains(&mention.name) => continue,
            None if clusters.is_empty() => {
                format!("there is no cluster {:?}; the file has none", mention.name)
            }
            None => {
                let names: Vec<_> = clusters.keys().map(String::as_str).collect();
                format!(
                    "there is no cluster {:?}; the file has {}",
                    mention.name,
                    names.join(", ")
                )
            }
            Some(Cluster {
                kind: ClusterKind::Aggregate(_),
                ..
            }) if mention.leaf => {
                format!("{:?} is an aggregate itself; name its leaves", mention.name)
            }
            Some(_) => continue,
        };
        cx.report(Severity::Error, &mention.place, message);
    }
}

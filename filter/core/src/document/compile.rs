//! From the document as it is written to types that cannot be invalid: defaults, and the checks that span fields.

mod auth;
mod models;
mod operate;
mod sticky;

use crate::auth::Auth;
use crate::document::raw::{self, Allow, AuthMode, ByName, Items, Strategy};
use crate::document::read::{At, Problems, Read, list};
use crate::document::text::{
    ClusterName, HeaderName, HostPattern, Name, RolloutId, Scheme, UrlPath, is_header_value,
};
use crate::document::{
    CommonSlots, Credential, Document, Environment, MODE_HEADER, Rollout, VERSION_HEADER,
    Variables, digest,
};
use crate::headers::{Names, Slot};
use crate::json::Node;
use crate::secret::Secret;
use crate::shadow::SHADOW_HEADER;
use crate::strategy::Salt;

const DEFAULT_ROLLOUT: &str = "default";

/// What is gathered while rollouts are compiled.
struct Compiler<'a> {
    variables: Variables<'a>,
    names: Names,
    needed: Vec<String>,
}

/// Reads and compiles a document; `None` once a problem has been noted.
pub(super) fn document(
    node: &Node,
    variables: Variables<'_>,
    problems: &mut Problems,
) -> Option<Document> {
    let root = At::Root;
    let mut compiler = Compiler {
        variables,
        names: Names::default(),
        needed: Vec::new(),
    };
    let slots = CommonSlots {
        method: compiler.names.slot(":method"),
        path: compiler.names.slot(":path"),
        authority: compiler.names.slot(":authority"),
        mode: compiler.names.slot(MODE_HEADER),
        cookie: compiler.names.slot("cookie"),
        shadow: compiler.names.slot(SHADOW_HEADER),
    };
    let rollouts = match raw::Document::read(node, &root, problems)? {
        raw::Document::One(rollout) => vec![compiler.rollout(*rollout, &root, problems)?],
        raw::Document::Many(many) => compiler.rollouts(many, &root.member("rollouts"), problems)?,
    };
    Some(Document {
        rollouts,
        names: compiler.names,
        slots,
        variables: compiler.needed,
        digest: digest::short(node),
    })
}

// === impl Compiler ===

impl Compiler<'_> {
    #[cold]
    #[inline(never)]
    fn rollouts(
        &mut self,
        many: raw::Rollouts,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Vec<Rollout>> {
        let Items(items) = many.rollouts?;
        if items.is_empty() {
            problems.push(at, "is empty: expected at least one rollout");
        }
        let mut rollouts: Vec<(usize, Rollout)> = Vec::new();
        for (index, raw) in items {
            let at = at.item(index);
            let Some(rollout) = self.rollout(raw, &at, problems) else {
                continue;
            };
            if let Some((other, _)) = rollouts.iter().find(|(_, other)| other.id == rollout.id) {
                let message = [
                    "is the same as that of `rollouts[",
                    &other.to_string(),
                    "]`: each needs its own",
                ];
                problems.push(&at.member("rollout"), message.concat());
            }
            if let Some((other, _)) = rollouts.iter().find(|(_, other)| other.fits_all()) {
                let message = [
                    "is never reached: `rollouts[",
                    &other.to_string(),
                    "]` before it fits every request",
                ];
                problems.push(&at, message.concat());
            }
            rollouts.push((index, rollout));
        }
        Some(rollouts.into_iter().map(|(_, rollout)| rollout).collect())
    }

    fn rollout(
        &mut self,
        raw: raw::Rollout,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Rollout> {
        let id = raw.rollout.or_else(|| RolloutId::new(DEFAULT_ROLLOUT))?;
        let auth = self.auth(raw.auth, &at.member("auth"), problems);
        let strategy = raw.strategy.unwrap_or(Strategy::WeightedRoundRobin);
        let sticky = self.sticky(raw.sticky, strategy, &at.member("sticky"), problems);
        let (allow, override_header) = override_rule(raw.r#override, auth.as_ref(), at, problems)?;
        let (hosts, path_prefix) = match_rule(raw.r#match, at, problems);
        let (environments, weights) =
            self.environments(raw.routing?, &id, &at.member("routing"), problems)?;
        let stable = stable(raw.stable, &environments, &at.member("stable"), problems);
        let credential_headers =
            self.credential_headers(&environments, auth.as_ref(), at, problems);
        let among = operate::Among {
            environments: &environments,
            stable,
        };
        let schedule = among.schedule(raw.schedule, &at.member("schedule"), problems);
        let guard = among.guard(raw.guard, &at.member("guard"), problems);
        let health = among.health(raw.health, &at.member("health"), problems);
        let shadow = among.shadow(raw.shadow, &at.member("shadow"), problems);
        let models = models::models(
            raw.models,
            &environments,
            &mut self.names,
            &at.member("models"),
            problems,
        );
        match (&models, &auth) {
            (None, Some(auth)) => auth.note_models(&at.member("models"), problems),
            (Some(models), Some(auth)) => {
                models.note_unread(auth.needs_usage(), &at.member("models"), problems);
                auth.note_unverified(models, at, problems);
            }
            _ => {}
        }
        Some(Rollout {
            id,
            stable: stable?,
            environments,
            weights,
            strategy,
            sticky: sticky?,
            override_slot: self.names.slot(override_header.as_str()),
            override_header,
            allow,
            auth: auth?,
            attempts: raw.attempts.unwrap_or(false),
            rollback: raw.rollback.unwrap_or(false),
            resume: raw.resume.map_or(0, |count| count.0),
            schedule,
            guard,
            health,
            shadow,
            models,
            hosts,
            path_prefix,
            response_headers: raw.response_headers.unwrap_or(true),
            credential_headers,
        })
    }

    /// Every header that carries some environment's credential, each once.
    fn credential_headers(
        &mut self,
        environments: &[Environment],
        auth: Option<&Auth>,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Vec<(HeaderName, Slot)> {
        let mut headers: Vec<(HeaderName, Slot)> = Vec::new();
        for credential in environments
            .iter()
            .filter_map(|environment| environment.credential.as_ref())
        {
            let header = &credential.header;
            if headers.iter().all(|(other, _)| other != header) {
                headers.push((header.clone(), self.names.slot(header.as_str())));
            }
        }
        if let Some((identity, _)) = auth.and_then(|auth| auth.identity.as_ref())
            && headers.iter().any(|(header, _)| header == identity)
        {
            let message = "carries an environment's credential already: choose another";
            problems.push(&at.member("auth").member("identity_header"), message);
        }
        headers
    }

    #[cold]
    #[inline(never)]
    fn environments(
        &mut self,
        ByName(raw): ByName<raw::Environment>,
        rollout: &RolloutId,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<(Vec<Environment>, Vec<u32>)> {
        let salt = Salt::new(rollout.as_str());
        let mut environments = Vec::new();
        let mut weights = Vec::new();
        let mut taken: Vec<(ClusterName, Name)> = Vec::new();
        let complete = raw
            .iter()
            .all(|(_, environment)| environment.weight.is_some());
        for (name, raw) in raw {
            let at = at.member(name.as_str());
            let clusters = clusters(
                raw.clusters,
                &name,
                &mut taken,
                &at.member("clusters"),
                problems,
            );
            let credential = raw
                .credential
                .map(|raw| self.credential(raw, &at.member("credential"), problems));
            weights.push(raw.weight.map_or(0, |weight| weight.0));
            let hasher = salt.hasher(name.as_str());
            environments.push(Environment {
                name: name.clone(),
                version: raw.version,
                clusters,
                credential: credential.flatten(),
                models: models::allowed(raw.models, &at.member("models"), problems),
                hasher,
            });
        }
        if environments.is_empty() {
            problems.push(at, "has no valid environment: expected at least one");
            return None;
        }
        if complete && weights.iter().all(|weight| *weight == 0) {
            problems.push(
                at,
                "has only weights of 0: at least one environment needs more",
            );
        }
        Some((environments, weights))
    }

    #[cold]
    #[inline(never)]
    fn credential(
        &mut self,
        raw: raw::Credential,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Credential> {
        let header = raw.header.or_else(|| HeaderName::new("authorization"))?;
        if [MODE_HEADER, VERSION_HEADER].contains(&header.as_str()) {
            problems.push(
                &at.member("header"),
                "is a header that Switchover writes itself: choose another",
            );
        }
        let scheme = raw.scheme.or_else(|| Scheme::new("Bearer"))?;
        let value = match (raw.value, raw.env) {
            (Some(value), None) => value,
            (None, Some(variable)) => {
                self.variable(variable.as_str(), &at.member("env"), problems)?
            }
            (None, None) => {
                problems.push(at, "expected one of `value` and `env`, found neither");
                return None;
            }
            (Some(_), Some(_)) => {
                problems.push(at, "expected one of `value` and `env`, found both");
                return None;
            }
        };
        let separator: &[u8] = if scheme.as_str().is_empty() {
            b""
        } else {
            b" "
        };
        let whole = [scheme.as_str().as_bytes(), separator, value.expose()].concat();
        Some(Credential {
            header,
            value: Secret::new(whole),
        })
    }

    fn variable(&mut self, name: &str, at: &At<'_>, problems: &mut Problems) -> Option<Secret> {
        if self.needed.iter().all(|other| other != name) {
            self.needed.push(name.to_owned());
        }
        let Some(value) = (self.variables)(name) else {
            let message = [
                "the environment variable `",
                name,
                "` is not set in the VM (`environment_variables`)",
            ];
            problems.push(at, message.concat());
            return None;
        };
        let value = value.trim_ascii();
        if !is_header_value(value.as_bytes()) {
            let message = [
                "the environment variable `",
                name,
                "` is empty or holds characters that no header may hold",
            ];
            problems.push(at, message.concat());
            return None;
        }
        Some(Secret::new(value.as_bytes()))
    }
}

/// Who may name the environment, and in which header.
fn override_rule(
    raw: Option<raw::Override>,
    auth: Option<&Auth>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<(Allow, HeaderName)> {
    let (allow, header) = raw.map_or((None, None), |raw| (raw.allow, raw.header));
    let allow = allow.unwrap_or(Allow::Nobody);
    if allow == Allow::Consumers && auth.is_some_and(|auth| auth.mode != AuthMode::Replace) {
        let message = "lets verified consumers name the environment, and only `auth.mode` `replace` verifies any";
        problems.push(&at.member("override").member("allow"), message);
    }
    Some((allow, header.or_else(|| HeaderName::new(MODE_HEADER))?))
}

/// Which requests the rollout is for.
fn match_rule(
    raw: Option<raw::Match>,
    at: &At<'_>,
    problems: &mut Problems,
) -> (Vec<HostPattern>, Option<UrlPath>) {
    let (hosts, path_prefix) = raw.map_or((None, None), |raw| (raw.hosts, raw.path_prefix));
    if hosts.as_ref().is_some_and(|Items(hosts)| hosts.is_empty()) {
        problems.push(
            &at.member("match").member("hosts"),
            "is empty: leave it out to fit every host",
        );
    }
    (hosts.map(values).unwrap_or_default(), path_prefix)
}

fn stable(
    named: Option<Name>,
    environments: &[Environment],
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<usize> {
    match named {
        Some(name) => named_environment(&name, environments, at, problems),
        None => Some(position(environments, "blue").unwrap_or(0)),
    }
}

fn position(environments: &[Environment], name: &str) -> Option<usize> {
    let mut names = environments.iter().map(|own| own.name.as_str());
    names.position(|own| own == name)
}

/// The index of the environment of that name.
fn named_environment(
    name: &Name,
    environments: &[Environment],
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<usize> {
    let index = position(environments, name.as_str());
    if index.is_none() {
        let names = list(environments.iter().map(|own| own.name.as_str()));
        problems.push(at, ["names no environment: expected ", &names].concat());
    }
    index
}

fn clusters(
    raw: Option<Items<ClusterName>>,
    environment: &Name,
    taken: &mut Vec<(ClusterName, Name)>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Vec<ClusterName> {
    let clusters = match raw {
        Some(Items(clusters)) => clusters,
        None => ClusterName::new(environment.as_str())
            .map(|name| (0, name))
            .into_iter()
            .collect(),
    };
    for (index, cluster) in &clusters {
        if let Some((_, other)) = taken.iter().find(|(name, _)| name == cluster) {
            let message = [
                "the cluster `",
                cluster.as_str(),
                "` belongs to environment `",
                other.as_str(),
                "` already",
            ];
            problems.push(&at.item(*index), message.concat());
        }
        taken.push((cluster.clone(), environment.clone()));
    }
    values(Items(clusters))
}

fn values<T>(Items(items): Items<T>) -> Vec<T> {
    items.into_iter().map(|(_, item)| item).collect()
}

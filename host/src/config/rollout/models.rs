//! What `models` says that nobody can have meant.

use switchover_core::document::{ModelPattern, Rollout};
use switchover_core::models::{Model, Models, Price};

/// A JSON path in the rollout, and what is doubtful there.
type Doubt = (String, String);

/// What is doubtful in a rollout's `models`, and in the lists of them that environments and consumers have.
pub(super) fn doubts(rollout: &Rollout) -> Vec<Doubt> {
    let Some(models) = rollout.models() else {
        return Vec::new();
    };
    let mut doubts = unknown(rollout, models);
    doubts.extend(untaken(rollout, models));
    doubts.extend(free(rollout, models));
    doubts
}

/// Names in lists that no model has.
fn unknown(rollout: &Rollout, models: &Models) -> Vec<Doubt> {
    if models.passes_unknown() {
        return Vec::new();
    }
    let lists = rollout.model_lists().into_iter();
    let names = lists.flat_map(|(path, list)| {
        let named = list.iter().enumerate();
        let named = named.map(|(index, name)| (format!("{path}[{index}]"), name));
        named.collect::<Vec<_>>()
    });
    let doubt = |(path, pattern): (String, &ModelPattern)| {
        if models
            .catalogue()
            .iter()
            .any(|model| pattern.fits(model.id()))
        {
            return None;
        }
        let name = pattern.as_str();
        let model = models
            .find(name)
            .and_then(|index| models.catalogue().get(index));
        let message = match model.map(Model::id) {
            Some(own) => format!(
                "{name:?} is another name for {own:?}, and models are listed by their own: write {own:?}"
            ),
            None => format!("{name:?} is no model of the catalogue, so nothing fits it"),
        };
        Some((path, message))
    };
    names.filter_map(doubt).collect()
}

/// Models that may go nowhere.
fn untaken(rollout: &Rollout, models: &Models) -> Vec<Doubt> {
    let all = models.catalogue().iter().enumerate();
    let untaken = all.filter(|(_, model)| {
        let mut environments = 0..rollout.environments().len();
        !environments.any(|environment| rollout.may_go(environment, model.id()))
    });
    let doubt = |(index, _)| {
        let message = "no environment takes it, so requests for it get 404; name it in an environment's models, or leave it out";
        (format!("models.catalogue[{index}].id"), message.to_owned())
    };
    untaken.map(doubt).collect()
}

/// Budgets that nothing uses up.
fn free(rollout: &Rollout, models: &Models) -> Option<Doubt> {
    let mut consumers = (0..).take_while(|index| rollout.consumer(*index).is_some());
    let in_dollars = |index| {
        rollout
            .limits(index)
            .is_some_and(|limits| limits.are_of_cost())
    };
    let is_free = |model: &Model| model.price() == Price::default();
    (consumers.any(in_dollars) && models.catalogue().iter().all(is_free)).then(|| {
        let message = "no model has a usd_per_million, so nothing uses up the dollars that consumers are limited to";
        ("models.catalogue".to_owned(), message.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn doubted(edit: Value) -> Vec<String> {
        let mut document = json!({
            "routing": {"blue": {"weight": 1}, "green": {"weight": 0}},
            "auth": {"mode": "replace", "consumers": [{"name": "a", "keys": [{"sha256": "0".repeat(64)}]}]},
            "models": {"catalogue": [{"id": "large"}, {"id": "small"}], "aliases": {"big": "large"}, "hold_headers": true},
        });
        for (pointer, value) in edit.as_object().expect("an object") {
            *document.pointer_mut(pointer).expect("it is there") = value.clone();
        }
        let text = document.to_string();
        let document = switchover_core::document::parse(text.as_bytes(), &|_| None).expect("good");
        let doubts = doubts(&document.rollouts()[0]).into_iter();
        doubts
            .map(|(path, message)| format!("{path}: {message}"))
            .collect()
    }

    #[test]
    fn lists_name_models_of_the_catalogue() {
        let lists =
            json!({"/routing/green": {"weight": 0, "models": ["large", "s*", "big", "smal"]}});
        assert_eq!(
            doubted(lists),
            [
                "routing.green.models[2]: \"big\" is another name for \"large\", and models are listed by their own: write \"large\"",
                "routing.green.models[3]: \"smal\" is no model of the catalogue, so nothing fits it",
            ]
        );
        let consumer = json!({"name": "a", "keys": [{"sha256": "0".repeat(64)}], "models": ["x*"]});
        assert_eq!(
            doubted(json!({"/auth/consumers/0": consumer})),
            [
                "auth.consumers[0].models[0]: \"x*\" is no model of the catalogue, so nothing fits it"
            ]
        );
    }

    #[test]
    fn each_model_goes_somewhere() {
        let both = json!({
            "/routing/blue": {"weight": 1, "models": ["small"]},
            "/routing/green": {"weight": 0, "models": ["s*"]},
        });
        assert_eq!(
            doubted(both),
            [
                "models.catalogue[0].id: no environment takes it, so requests for it get 404; name it in an environment's models, or leave it out"
            ]
        );
    }

    #[test]
    fn dollars_need_prices() {
        let limited = |price: Value| {
            let mut models =
                json!({"catalogue": [{"id": "a"}, {"id": "b"}], "limits": {"usd_per_day": 1}});
            models["catalogue"][1]["usd_per_million"] = price;
            doubted(json!({"/models": models}))
        };
        assert_eq!(
            limited(Value::Null),
            [
                "models.catalogue: no model has a usd_per_million, so nothing uses up the dollars that consumers are limited to"
            ]
        );
        assert!(limited(json!(2)).is_empty());
    }
}

//! `GET /v1/models` and `/v1/models/{id}`, answered from the catalogue.

use crate::document::{ModelList, Rollout};
use crate::models::Model;
use crate::reply::{Reply, quote};

const PATH: &[u8] = b"/v1/models";

impl Rollout {
    /// The answer to a request for the list of models, or for one of them; `None` if it is no such request, or upstream's.
    pub(crate) fn listing(
        &self,
        method: &[u8],
        path: &[u8],
        consumer: Option<usize>,
    ) -> Option<Reply> {
        let rest = path.strip_prefix(PATH)?;
        let models = self.models.as_ref()?;
        if method != b"GET" || models.list == ModelList::Upstream {
            return None;
        }
        if rest.is_empty() || rest == b"/" {
            let mut body = String::from("{\"object\":\"list\",\"data\":[");
            let mine = models.catalogue.iter();
            for (index, model) in mine
                .filter(|model| self.offers(consumer, model.id()))
                .enumerate()
            {
                body.push_str(if index > 0 { "," } else { "" });
                model.write(&mut body);
            }
            body.push_str("]}");
            return Some(json(body));
        }
        let name = crate::auth::source::percent_decode(rest.strip_prefix(b"/")?);
        let name = String::from_utf8_lossy(&name);
        let model = models
            .find(&name)
            .and_then(|index| models.catalogue.get(index));
        let Some(model) = model.filter(|model| self.offers(consumer, model.id())) else {
            return Some(self.not_found(&name, consumer));
        };
        let mut body = String::new();
        model.write(&mut body);
        Some(json(body))
    }
}

impl Model {
    /// Writes the model as the API describes one.
    fn write(&self, into: &mut String) {
        into.push_str("{\"id\":");
        into.push_str(&self.quoted);
        into.extend([
            ",\"object\":\"model\",\"created\":",
            &self.created.to_string(),
        ]);
        into.push_str(",\"owned_by\":");
        quote(
            self.owned_by
                .as_ref()
                .map_or("system", |label| label.as_str()),
            into,
        );
        into.push('}');
    }
}

fn json(body: String) -> Reply {
    Reply {
        status: 200,
        headers: vec![("content-type", "application/json".into())],
        body,
        details: "switchover_models",
    }
}

//! DELETE of a collection: all that selectors pick go, one by one.
use super::Registry;
use super::answer::Answer;
use super::delete::DeleteOptions;
use super::target::{Target, api_version};
use crate::cache::Caches;
use crate::call::Call;
use crate::error::ApiError;
use crate::list;
use futures::{StreamExt, TryStreamExt};
use http::StatusCode;
use serde_json::{Value, json};

/// How many deletions are on their way at a time.
const AT_ONCE: usize = 32;

impl Registry {
    /// Deletes what a list with the same query would show; answers with that list.
    ///
    /// # Errors
    /// Those of a list, those of a deletion; what was deleted before the first error stays so.
    pub async fn delete_collection(
        &self,
        caches: &Caches,
        call: &Call,
        body: Option<Value>,
    ) -> Result<Answer, ApiError> {
        let options = DeleteOptions::of(call, body)?;
        let resource = self.resource_of(call)?;
        let names = resource.names();
        if names.namespaced && call.namespace.is_empty() {
            return Err(super::target::no_method());
        }
        let selected = list::select(caches, resource, call).await?;
        let deletions = selected.items.iter().map(|object| async {
            let target = Target::new(self, call, object.name())?;
            match self.delete_one(&target, &options).await {
                Err(err) if err.reason == "NotFound" => Ok(()),
                other => other.map(|_| ()),
            }
        });
        // Collected first: they borrow what is here, and are all of one type.
        let deletions: Vec<_> = deletions.collect();
        let all = futures::stream::iter(deletions).buffer_unordered(AT_ONCE);
        all.try_collect::<Vec<()>>().await?;
        let version = api_version(names);
        let shown = selected.items.iter().map(|item| {
            let mut object = item.value();
            if object["apiVersion"] != version.as_str() {
                resource.show(&mut object);
            }
            object
        });
        let items: Vec<Value> = shown.collect();
        let answer = json!({
            "kind": format!("{}List", names.kind),
            "apiVersion": version,
            "metadata": {"resourceVersion": self.store.revision().await?.to_string()},
            "items": items,
        });
        Ok(Answer::of(StatusCode::OK, answer))
    }
}

//! Writes as operations: what is not done soon goes on by itself, and can be asked for.
use super::answer;
use super::path::Asked;
use crate::call::User;
use crate::error::ApiError;
use axum::body::Body;
use http::{Response, StatusCode};
use rkube_api::v1beta1::table::Version;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer is waited for where nothing is said.
const SOON: Duration = Duration::from_millis(25);
/// With `sync=true`, if there is no `timeout`.
const SYNC: Duration = Duration::from_secs(30);
/// The longest that anybody waits.
const LONGEST: Duration = Duration::from_secs(60);
/// How long what came of it is kept.
const KEPT: Duration = Duration::from_secs(600);
/// How many are kept; the oldest go first.
const MOST: usize = 1_000;

/// All operations that are remembered: those that were not done when their client was answered.
#[derive(Debug, Default)]
pub(super) struct Operations(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    last: u64,
    known: BTreeMap<u64, Operation>,
}

#[derive(Debug)]
struct Operation {
    user: String,
    done: Option<(Instant, StatusCode, Arc<Value>)>,
}

impl Operations {
    /// Does the work, and answers when it is done or when the client has waited enough.
    pub(super) async fn run(
        self: &Arc<Self>,
        asked: &Asked,
        work: (
            String,
            impl Future<Output = (StatusCode, Value)> + Send + 'static,
        ),
    ) -> Response<Body> {
        let (user, work) = work;
        let mut task = tokio::spawn(work);
        if let Ok(done) = tokio::time::timeout(patience(asked), &mut task).await {
            let (code, value) = done.unwrap_or_else(|_| crashed(asked));
            return answer::json(code, &value);
        }
        let id = self.begin(user);
        let (operations, asked_for) = (self.clone(), asked.clone());
        tokio::spawn(async move {
            let (code, value) = task.await.unwrap_or_else(|_| crashed(&asked_for));
            operations.finish(id, code, value);
        });
        answer::json(StatusCode::ACCEPTED, &working(id, asked.version))
    }

    /// All operations of a user.
    pub(super) fn list(&self, user: &User, version: Version) -> Response<Body> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all
            .known
            .iter()
            .filter(|(_, operation)| sees(user, operation));
        let items: Vec<Value> = own
            .map(|(id, _)| json!({"id": id.to_string(), "creationTimestamp": null}))
            .collect();
        let list = json!({
            "kind": "ServerOpList", "apiVersion": version.as_str(), "creationTimestamp": null, "items": items,
        });
        answer::json(StatusCode::OK, &list)
    }

    /// What came of one.
    pub(super) fn answer(
        &self,
        user: &User,
        id: &str,
        version: Version,
    ) -> Result<Response<Body>, ApiError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = id
            .parse()
            .ok()
            .and_then(|id: u64| Some((id, all.known.get(&id)?)));
        let found = found.filter(|(_, operation)| sees(user, operation));
        let (id, operation) = found.ok_or_else(|| ApiError::not_found("", "operation", id))?;
        Ok(match &operation.done {
            Some((_, _, value)) => answer::json(StatusCode::OK, value),
            None => answer::json(StatusCode::ACCEPTED, &working(id, version)),
        })
    }

    fn begin(&self, user: String) -> u64 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.known.retain(|_, operation| {
            let over = operation
                .done
                .as_ref()
                .map(|(since, ..)| since.elapsed() > KEPT);
            !over.unwrap_or_default()
        });
        while all.known.len() >= MOST {
            all.known.pop_first();
        }
        all.last += 1;
        let id = all.last;
        all.known.insert(id, Operation { user, done: None });
        id
    }

    fn finish(&self, id: u64, code: StatusCode, value: Value) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(operation) = all.known.get_mut(&id) {
            operation.done = Some((Instant::now(), code, Arc::new(value)));
        }
    }
}

fn sees(user: &User, operation: &Operation) -> bool {
    user.name == operation.user || user.groups.iter().any(|group| group == "system:masters")
}

fn crashed(asked: &Asked) -> (StatusCode, Value) {
    answer::failed(
        &ApiError::internal("something went wrong in the server; its log says more"),
        asked,
    )
}

fn working(id: u64, version: Version) -> Value {
    json!({
        "kind": "Status", "apiVersion": version.as_str(), "creationTimestamp": null, "status": "Working", "reason": "Working",
        "details": {"id": id.to_string(), "kind": "operation"}, "code": 202,
    })
}

fn patience(asked: &Asked) -> Duration {
    if asked.parameter("sync") != Some("true") {
        return SOON;
    }
    let given = asked.parameter("timeout").and_then(duration);
    given.unwrap_or(SYNC).min(LONGEST)
}

/// A duration as Go writes it, whole units only: `20s`, `1m0s`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let number: u64 = number.parse().ok()?;
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::super::path::Action;
    use super::*;
    use rkube_api::v1beta1::table::Kind;

    fn asked(query: &[(&str, &str)]) -> Asked {
        let query = query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Asked {
            version: Version::V1beta1,
            action: Action::Create,
            kind: Kind::Pod,
            id: String::new(),
            query,
        }
    }

    #[test]
    fn durations() {
        let cases = [
            ("20s", 20_000),
            ("1m0s", 60_000),
            ("500ms", 500),
            ("1h", 3_600_000),
        ];
        for (text, want) in cases {
            assert_eq!(duration(text), Some(Duration::from_millis(want)), "{text}");
        }
        assert_eq!(duration("soon"), None);
        assert_eq!(duration("5"), None);
        assert_eq!(
            patience(&asked(&[("sync", "true"), ("timeout", "48h0m0s")])),
            LONGEST
        );
        assert_eq!(patience(&asked(&[("timeout", "5s")])), SOON);
    }

    #[tokio::test]
    async fn what_takes_long_can_be_asked_for() {
        let operations = Arc::new(Operations::default());
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let work = async move {
            let _ = wait.await;
            (StatusCode::OK, json!({"kind": "Pod"}))
        };
        let user = User {
            name: "a".to_owned(),
            ..User::default()
        };
        let answer = operations.run(&asked(&[]), (user.name.clone(), work)).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let version = Version::V1beta1;
        assert_eq!(
            operations.answer(&user, "1", version).unwrap().status(),
            StatusCode::ACCEPTED
        );
        assert!(operations.answer(&User::default(), "1", version).is_err());
        assert!(operations.answer(&user, "2", version).is_err());
        go.send(()).unwrap();
        let done = async {
            while operations.answer(&user, "1", version).unwrap().status() != StatusCode::OK {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), done)
            .await
            .unwrap();
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let operations = Operations::default();
        (0..MOST + 5).for_each(|_| {
            operations.begin("a".to_owned());
        });
        assert_eq!(operations.0.lock().unwrap().known.len(), MOST);
    }
}

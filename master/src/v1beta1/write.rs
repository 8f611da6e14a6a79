//! Changing objects.
use super::path::{Action, Asked};
use super::{Hub, answer, unsupported};
use crate::call::{Call, User, Verb};
use crate::error::ApiError;
use http::StatusCode;
use rkube_api::v1beta1::hub;
use rkube_api::v1beta1::table::Kind;
use rkube_api::validate::FieldError;
use serde_json::{Value, json};
use std::future::Future;

/// How often an update that names no state is tried, when others write too.
const TRIES: usize = 5;

/// The work that a request asks for, once it is seen that it can be begun.
pub(super) fn work(
    hub: Hub,
    asked: Asked,
    mut call: Call,
    given: Option<Value>,
) -> Result<impl Future<Output = (StatusCode, Value)> + Send + 'static, ApiError> {
    let mut given = given.unwrap_or_default();
    check(&asked, &mut call, &mut given)?;
    Ok(async move {
        let mut asked = asked;
        if asked.id.is_empty() {
            let id = if asked.kind == Kind::Binding {
                "podID"
            } else {
                "id"
            };
            given[id]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut asked.id);
        }
        let done = match asked.action {
            Action::Create if asked.kind == Kind::Binding => hub.bind(&asked, call, &given).await,
            Action::Create => hub.create(&asked, call, &given).await,
            Action::Update => hub.update(&asked, call, &given).await,
            _ => match hub.registry.delete(&call, None).await {
                Ok(_) => Ok(answer::success(asked.version)),
                Err(err) => Err(err),
            },
        };
        match done {
            Ok(value) => (StatusCode::OK, value),
            Err(err) => answer::failed(&err, &asked),
        }
    })
}

/// What can be said at once.
fn check(asked: &Asked, call: &mut Call, given: &mut Value) -> Result<(), ApiError> {
    match (&asked.action, asked.kind) {
        (Action::Delete, Kind::Endpoints) => {
            return Err(unsupported("endpoints go with their service; delete that"));
        }
        (Action::Update, Kind::Event) => return Err(unsupported("an event cannot be changed")),
        (Action::Delete, _) => return Ok(()),
        _ => {}
    }
    if asked.kind.namespaced() {
        let own = given["namespace"].as_str().unwrap_or_default();
        if !own.is_empty() && own != call.namespace {
            let why = format!(
                "the namespace of the object, {own:?}, is not that of the request, {:?}",
                call.namespace
            );
            return Err(ApiError::new(StatusCode::CONFLICT, "Conflict", why));
        }
        given["namespace"] = call.namespace.clone().into();
    }
    let id = given["id"].as_str().unwrap_or_default().to_owned();
    match asked.action {
        Action::Create if given.get("resourceVersion").is_some() => Err(ApiError::bad_request(
            "resourceVersion may not be set on objects to be created",
        )),
        Action::Create
            if id.is_empty() && matches!(asked.kind, Kind::Pod | Kind::ReplicationController) =>
        {
            given["id"] = uuid::Uuid::new_v4().to_string().into();
            Ok(())
        }
        Action::Update if !id.is_empty() && id != asked.id => Err(ApiError::bad_request(format!(
            "the object is {id:?}, the path says {:?}",
            asked.id
        ))),
        Action::Update => {
            given["id"] = asked.id.clone().into();
            Ok(())
        }
        _ => Ok(()),
    }
}

/// 422 with mistakes in words of 2014.
fn invalid(asked: &Asked, mistakes: &[FieldError]) -> ApiError {
    ApiError::invalid("", asked.kind.v1_kind(), &asked.id, mistakes)
}

impl Hub {
    async fn create(&self, asked: &Asked, call: Call, given: &Value) -> Result<Value, ApiError> {
        let object = hub::store(asked.kind, given).map_err(|wrong| invalid(asked, &wrong))?;
        self.namespace(&call).await?;
        let status = object.get("status").cloned();
        let mut stored = self.registry.create(&call, object.into()).await?.value()?;
        if let (Kind::Minion, Some(status)) = (asked.kind, status) {
            // Its amounts are status, which `v1` writes by itself.
            let name = crate::meta::name(&stored).to_owned();
            stored["status"] = status;
            let call = Call::new(User::master(), Verb::Update, "", "v1", "nodes")
                .named(&name)
                .sub("status");
            stored = self.registry.update(&call, stored.into()).await?.value()?;
        }
        Ok(self.show(asked, &stored, &self.around(asked.kind), true))
    }

    /// In 2014 a namespace was there as soon as somebody named it.
    async fn namespace(&self, call: &Call) -> Result<(), ApiError> {
        if call.namespace.is_empty() || call.namespace == "default" {
            return Ok(());
        }
        let of = |verb| Call::new(User::master(), verb, "", "v1", "namespaces");
        if self
            .registry
            .find(&of(Verb::Get).named(&call.namespace))
            .await?
            .is_some()
        {
            return Ok(());
        }
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": call.namespace}});
        match self.registry.create(&of(Verb::Create), object.into()).await {
            Err(err) if err.reason != "AlreadyExists" => Err(err),
            _ => Ok(()),
        }
    }

    async fn bind(&self, asked: &Asked, call: Call, given: &Value) -> Result<Value, ApiError> {
        let object = hub::store(Kind::Binding, given).map_err(|wrong| invalid(asked, &wrong))?;
        let call = call.named(crate::meta::name(&object));
        self.registry.create(&call, object.into()).await?;
        Ok(answer::success(asked.version))
    }

    async fn update(&self, asked: &Asked, call: Call, given: &Value) -> Result<Value, ApiError> {
        let wanted = given["resourceVersion"].as_u64();
        let conflict = |why: &str| ApiError::conflict("", asked.kind.v1_plural(), &asked.id, why);
        if wanted.is_none() && !matches!(asked.kind, Kind::Endpoints | Kind::Minion) {
            return Err(conflict(
                "say by resourceVersion which state of it is to be replaced",
            ));
        }
        let mut last = conflict("others write it all the time; try again");
        for _ in 0..TRIES {
            let Some(stored) = self.registry.find(&call).await? else {
                if asked.kind == Kind::Endpoints && wanted.is_none() {
                    let mut call = call;
                    call.verb = Verb::Create;
                    call.name.clear();
                    return self.create(asked, call, given).await;
                }
                return Err(ApiError::not_found("", asked.kind.v1_plural(), &asked.id));
            };
            let is = crate::meta::text(&stored, "resourceVersion").to_owned();
            if wanted.is_some_and(|wanted| wanted.to_string() != is) {
                return Err(conflict("it has been changed since; get it and try again"));
            }
            let mut object =
                hub::update(asked.kind, &stored, given).map_err(|wrong| invalid(asked, &wrong))?;
            crate::meta::of_mut(&mut object).insert("resourceVersion".to_owned(), is.into());
            match self.registry.update(&call, object.into()).await {
                Ok(answer) => {
                    let stored = answer.value()?;
                    return Ok(self.show(asked, &stored, &self.around(asked.kind), true));
                }
                Err(err) if err.reason == "Conflict" && wanted.is_none() => last = err,
                Err(err) => return Err(err),
            }
        }
        Err(last)
    }
}

//! A call to a resource: may it be, is there a place, then the part of the master that does it.
use super::accept::{Accepted, Text, takes_gzip};
use super::route::{self, Target};
use super::{Front, answer, body, limits, parts};
use crate::audit::Trail;
use crate::auth::{Wish, reviews};
use crate::call::{Call, User, Verb};
use crate::connect::Connector;
use crate::error::ApiError;
use crate::metrics::Note;
use crate::resource::{Resource, componentstatuses};
use crate::{list, watch};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use std::sync::Arc;

/// Answers a request for a resource.
pub(super) async fn serve(
    front: &Front,
    request: Request<Body>,
    target: Target,
    user: User,
    trail: &mut Trail,
) -> Result<Response<Body>, ApiError> {
    let mut call = match read(&request, target, user) {
        Ok(call) => call,
        Err(error) => return refuse(request, error).await,
    };
    if let Some(note) = request.extensions().get::<Note>() {
        note.about(&call, &front.registry);
    }
    trail.note(&call);
    let wish = Wish::of(&call, call.verb.as_str());
    if let Err(error) = front.allowed(&call.user, &wish).await {
        return refuse(request, error).await;
    }
    if Connector::takes(&call) {
        if call.subresource != "log" {
            call.verb = Verb::Connect;
        }
        return front.connector.serve(&call, request).await;
    }
    if call.verb == Verb::Watch {
        return watched(front, &call).await;
    }
    if let Err(error) = check(front, &call) {
        return refuse(request, error).await;
    }
    let place = match front.limits.enter(limits::writes(call.verb)).await {
        Ok(place) => place,
        Err(error) => return refuse(request, error).await,
    };
    let gzip = takes_gzip(&call.headers);
    let done = tokio::time::timeout(front.patience, dispatch(front, call, request)).await;
    drop(place);
    let response = done.unwrap_or_else(|_| Err(late()))?;
    Ok(if gzip {
        answer::packed(response).await
    } else {
        response
    })
}

/// An error before the body was read: clients send it to its end before they listen.
async fn refuse(request: Request<Body>, error: ApiError) -> Result<Response<Body>, ApiError> {
    rkube_http::body::drain(request.into_body()).await;
    Err(error)
}

/// The call that a request is.
fn read(request: &Request<Body>, target: Target, user: User) -> Result<Call, ApiError> {
    let query = route::query(request.uri())
        .ok_or_else(|| ApiError::bad_request("the query cannot be read"))?;
    let call = route::call(target, request.method(), query, request.headers(), user);
    call.ok_or_else(not_allowed)
}

/// Whether there is what the call asks for, in a form that its client takes.
fn check(front: &Front, call: &Call) -> Result<(), ApiError> {
    Accepted::of(call)?;
    match reviews::kind(call) {
        Some(_) => Ok(()),
        None => resource(front, call).map(drop),
    }
}

/// 405.
pub(super) fn not_allowed() -> ApiError {
    let message = "the server does not allow this method on the requested resource";
    let mut error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
    error.details = Some(serde_json::json!({}));
    error
}

/// 504.
fn late() -> ApiError {
    let message = "request did not complete within the allowed duration";
    let mut error = ApiError::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message);
    error.retry_after = Some(1);
    error
}

/// What the call is about; 404 where there is no such thing, 405 where that cannot be done with it.
fn resource<'f>(front: &'f Front, call: &Call) -> Result<&'f Arc<dyn Resource>, ApiError> {
    let resource = front.registry.resource_of(call)?;
    let verb = call.verb.as_str();
    let allowed = match call.subresource.as_str() {
        "" => resource.verbs().contains(&verb),
        name => {
            let subs = resource.subresources();
            let sub = subs.iter().find(|sub| sub.name == name);
            sub.ok_or_else(ApiError::no_resource)?.verbs.contains(&verb)
        }
    };
    let in_namespace = !call.namespace.is_empty();
    if in_namespace && !resource.names().namespaced {
        return Err(ApiError::no_resource());
    }
    let whole = matches!(call.verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
    // An object of a namespace without its namespace is no object; all of all namespaces can only be looked at.
    let lost = resource.names().namespaced
        && !in_namespace
        && (!whole || call.verb == Verb::DeleteCollection);
    match (allowed && !lost, lost && !call.name.is_empty()) {
        (true, _) => Ok(resource),
        (false, true) => Err(ApiError::no_resource()),
        (false, false) => Err(not_allowed()),
    }
}

async fn watched(front: &Front, call: &Call) -> Result<Response<Body>, ApiError> {
    let resource = resource(front, call)?;
    let accepted = Accepted::of(call)?;
    let body = watch::watch(&front.caches, resource, call, accepted.form).await?;
    Ok(answer::json(StatusCode::OK, body))
}

async fn dispatch(
    front: &Front,
    call: Call,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let accepted = Accepted::of(&call)?;
    if let Some(kind) = reviews::kind(&call) {
        return review(front, &call, kind, request, accepted).await;
    }
    let resource = resource(front, &call)?;
    if resource.names().plural == componentstatuses::PLURAL {
        return parts::components(front, resource, &call, accepted).await;
    }
    let registry = &front.registry;
    let done = match call.verb {
        Verb::List => return listed(front, resource, &call, accepted).await,
        Verb::Get => {
            caught_up(front, &call).await?;
            registry.get(&call).await
        }
        Verb::Create => parts::create(front, resource, &call, request.into_body()).await,
        Verb::Update => {
            let body = body::object(resource, &call, request.into_body()).await?;
            registry.update(&call, body).await
        }
        Verb::Patch => {
            let patch = body::patch(&call, request.into_body()).await?;
            registry.patch(&call, patch).await
        }
        Verb::Delete => {
            let options = body::delete_options(&call, request.into_body()).await?;
            registry.delete(&call, options).await
        }
        Verb::DeleteCollection => {
            let options = body::delete_options(&call, request.into_body()).await?;
            registry
                .delete_collection(&front.caches, &call, options)
                .await
        }
        Verb::Watch | Verb::Connect => return Err(not_allowed()),
    };
    answer::object(&done?, Some(resource), accepted)
}

/// Waits until the state is there that a get must not be older than; what is read then is the newest anyway.
async fn caught_up(front: &Front, call: &Call) -> Result<(), ApiError> {
    match call.parameter("resourceVersion") {
        None => Ok(()),
        Some(version) => match list::revision(version)? {
            0 => Ok(()),
            revision => front.caches.reach(revision).await.map(drop),
        },
    }
}

async fn review(
    front: &Front,
    call: &Call,
    kind: &'static str,
    request: Request<Body>,
    accepted: Accepted,
) -> Result<Response<Body>, ApiError> {
    if call.verb != Verb::Create {
        return Err(not_allowed());
    }
    let bytes = body::read(call, request.into_body()).await?;
    let body = body::decode(call, &bytes, [&call.group, &call.version, kind])?;
    let (identify, authorizer) = (&front.identify, &front.authorizer);
    let answered = reviews::answer(identify, authorizer, call, kind, body.value).await?;
    let mut response = answer::written(
        StatusCode::CREATED,
        answered.to_string().into(),
        accepted.text,
    )?;
    answer::warn(&mut response, &body.warnings);
    Ok(response)
}

async fn listed(
    front: &Front,
    resource: &Arc<dyn Resource>,
    call: &Call,
    accepted: Accepted,
) -> Result<Response<Body>, ApiError> {
    let listed = list::list(&front.caches, resource, call, accepted.form).await?;
    if accepted.text == Text::Json {
        let mut response = answer::json(StatusCode::OK, listed.body);
        if let Some(length) = listed.length {
            let length = http::HeaderValue::from(length);
            response
                .headers_mut()
                .insert(http::header::CONTENT_LENGTH, length);
        }
        return Ok(response);
    }
    let whole = http_body_util::BodyExt::collect(listed.body).await;
    let whole = whole.map_err(|err| ApiError::internal(err.to_string()))?;
    answer::written(StatusCode::OK, whole.to_bytes(), accepted.text)
}

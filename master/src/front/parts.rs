//! Subresources that do something else than write their object: evictions, tokens, bindings by themselves;
//! and what is not stored at all.
use super::accept::Accepted;
use super::{Front, answer, body};
use crate::admission::tokens;
use crate::call::{Call, Verb};
use crate::error::ApiError;
use crate::meta;
use crate::registry::{Answer, Content};
use crate::render::{ListMeta, Painter};
use crate::resource::{Resource, componentstatuses, pods::eviction};
use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::json;
use std::sync::Arc;

/// A POST: to one of these, or to the registry.
pub(super) async fn create(
    front: &Front,
    resource: &Arc<dyn Resource>,
    call: &Call,
    request: Body,
) -> Result<Answer, ApiError> {
    let body = body::object(resource, call, request).await?;
    let part = (
        call.group.as_str(),
        call.resource.as_str(),
        call.subresource.as_str(),
    );
    let mut answer = match part {
        ("", "pods", "eviction") => {
            let options = eviction::options(&body.value, &call.namespace, &call.name)?;
            let delete = Call {
                verb: Verb::Delete,
                subresource: String::new(),
                ..call.clone()
            };
            front.registry.delete(&delete, Some(options)).await?;
            let done = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
            });
            created(Content::Value(done))
        }
        ("", "serviceaccounts", "token") => {
            let issued = tokens::issue(&front.registry, front.key.as_ref(), call, &body.value);
            created(Content::Value(issued.await?))
        }
        ("", "bindings", "") => {
            let bind = Call {
                resource: "pods".to_owned(),
                subresource: "binding".to_owned(),
                name: meta::name(&body.value).to_owned(),
                ..call.clone()
            };
            return front.registry.create(&bind, body).await;
        }
        _ => return front.registry.create(call, body).await,
    };
    answer.warnings = body.warnings;
    Ok(answer)
}

/// The states of the master's parts, or of one of them.
pub(super) async fn components(
    front: &Front,
    resource: &Arc<dyn Resource>,
    call: &Call,
    accepted: Accepted,
) -> Result<Response<Body>, ApiError> {
    let all = componentstatuses::all(front.registry.store()).await;
    if call.verb == Verb::Get {
        let found = all.into_iter().find(|one| meta::name(one) == call.name);
        let found = found.ok_or_else(|| ApiError::not_found("", &call.resource, &call.name))?;
        let answer = Answer {
            status: StatusCode::OK,
            ..created(Content::Value(found))
        };
        return answer::object(&answer, Some(resource), accepted);
    }
    let painter = Painter::new(resource, accepted.form);
    let mut bytes = painter.list_head(&ListMeta::default());
    for (index, one) in all.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(&painter.item(&one.to_string().into()));
    }
    bytes.extend_from_slice(painter.list_tail());
    answer::written(StatusCode::OK, bytes.into(), accepted.text)
}

fn created(content: Content) -> Answer {
    Answer {
        status: StatusCode::CREATED,
        content,
        warnings: Vec::new(),
    }
}

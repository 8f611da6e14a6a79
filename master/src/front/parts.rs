//! Subresources that do something else than write their object: evictions, tokens, and bindings by themselves.
use super::{Front, body};
use crate::admission::tokens;
use crate::call::{Call, Verb};
use crate::error::ApiError;
use crate::meta;
use crate::registry::{Answer, Content};
use crate::resource::{Resource, pods::eviction};
use axum::body::Body;
use http::StatusCode;
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

fn created(content: Content) -> Answer {
    Answer {
        status: StatusCode::CREATED,
        content,
        warnings: Vec::new(),
    }
}

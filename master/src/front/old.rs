//! The way to 2014's API: who asks and whether they may is decided as for everything else.
use super::{Front, limits, route};
use crate::auth::Wish;
use crate::call::{Call, User};
use crate::error::ApiError;
use crate::v1beta1::House;
use async_trait::async_trait;
use axum::body::Body;
use http::{Method, Request, Response};
use rkube_api::v1beta1::table::Version;

/// Answers a request for one of the old versions.
pub(super) async fn serve(
    front: &Front,
    request: Request<Body>,
    (version, rest): (&str, &str),
    user: User,
) -> Result<Response<Body>, ApiError> {
    let query = route::query(request.uri())
        .ok_or_else(|| ApiError::bad_request("the query cannot be read"))?;
    let version = Version::parse(version).ok_or_else(ApiError::no_resource)?;
    // Connections last; everything else has its place among the requests.
    let lasts = rest.starts_with("proxy/") || rest.starts_with("watch/");
    let _place = match lasts {
        true => None,
        false => {
            let verb = match *request.method() {
                Method::GET => crate::call::Verb::Get,
                _ => crate::call::Verb::Update,
            };
            Some(front.limits.enter(limits::writes(verb)).await?)
        }
    };
    Ok(front
        .old
        .serve(front, (version, rest), request, &query, user)
        .await)
}

#[async_trait]
impl House for Front {
    async fn allowed(&self, call: &Call) -> Result<(), ApiError> {
        let wish = Wish::of(call, call.verb.as_str());
        Front::allowed(self, &call.user, &wish).await
    }
    async fn connect(
        &self,
        call: &Call,
        request: Request<Body>,
    ) -> Result<Response<Body>, ApiError> {
        self.connector.serve(call, request).await
    }
}

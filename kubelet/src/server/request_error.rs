//! An answer other than what was asked for: a v1 `Status`, or its message alone for clients that ask for no JSON.
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, Status};

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    code: StatusCode,
    message: String,
}

impl RequestError {
    /// With this code.
    pub fn new(code: StatusCode, message: impl Into<String>) -> Self {
        RequestError {
            code,
            message: message.into(),
        }
    }
    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        RequestError::new(StatusCode::BAD_REQUEST, message)
    }
    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        RequestError::new(StatusCode::NOT_FOUND, message)
    }
    /// 500: it should have worked.
    pub fn internal(err: &(dyn std::error::Error + 'static)) -> Self {
        RequestError::new(StatusCode::INTERNAL_SERVER_ERROR, crate::error::chain(err))
    }
    /// The code of the answer.
    #[must_use]
    pub fn code(&self) -> StatusCode {
        self.code
    }
    /// What is said.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The word that programs look at.
    fn reason(&self) -> Option<&'static str> {
        Some(match self.code {
            StatusCode::BAD_REQUEST => "BadRequest",
            StatusCode::UNAUTHORIZED => "Unauthorized",
            StatusCode::FORBIDDEN => "Forbidden",
            StatusCode::NOT_FOUND => "NotFound",
            StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
            StatusCode::CONFLICT => "Conflict",
            StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLarge",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "UnsupportedMediaType",
            StatusCode::UNPROCESSABLE_ENTITY => "Invalid",
            StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
            StatusCode::INTERNAL_SERVER_ERROR => "InternalError",
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => "Timeout",
            _ => return None,
        })
    }

    fn render(&self, asked: &HeaderMap) -> Response {
        let mut response = if wants_json(asked) {
            let status = Status {
                code: Some(i32::from(self.code.as_u16())),
                message: Some(self.message.clone()),
                metadata: ListMeta::default(),
                reason: self.reason().map(str::to_owned),
                status: Some("Failure".to_owned()),
                ..Status::default()
            };
            axum::Json(status).into_response()
        } else {
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            ([(CONTENT_TYPE, text)], format!("{}\n", self.message)).into_response()
        };
        *response.status_mut() = self.code;
        if self.code == StatusCode::UNAUTHORIZED {
            let how = HeaderValue::from_static("Bearer realm=\"kubelet\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, how);
        }
        // What is left of a body that nobody will read is not read.
        if matches!(
            self.code,
            StatusCode::UNAUTHORIZED | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT
        ) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }
}

/// An API server passes on what a kubelet says as the text of its own answer, and sends no `Accept` when it asks;
/// people and programs do.
fn wants_json(asked: &HeaderMap) -> bool {
    asked.get_all(ACCEPT).iter().any(|accept| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.contains("json") || accept.contains("*/*"))
    })
}

impl From<rkube_http::body::BodyError> for RequestError {
    fn from(err: rkube_http::body::BodyError) -> Self {
        RequestError::new(err.code(), err.to_string())
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let mut response = self.code.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives refusals their bodies, and the router's own ones words.
pub(super) async fn words(request: Request, next: Next) -> Response {
    let asked = request.headers().clone();
    let what = format!("{} {}", request.method(), request.uri().path());
    // HTTP/2 has no such header, and hyper would refuse the whole answer.
    let two = request.version() == http::Version::HTTP_2;
    let mut response = next.run(request).await;
    let error = match response.extensions_mut().remove::<RequestError>() {
        Some(error) => error,
        None if response.status() == StatusCode::METHOD_NOT_ALLOWED => {
            let allowed = response.headers().get(http::header::ALLOW).cloned();
            let mut other = RequestError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{what} is not allowed"),
            )
            .render(&asked);
            if let Some(allowed) = allowed {
                other.headers_mut().insert(http::header::ALLOW, allowed);
            }
            return other;
        }
        None => return response,
    };
    let mut response = error.render(&asked);
    if two {
        response.headers_mut().remove(CONNECTION);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(error: &RequestError, accept: Option<&str>) -> String {
        let mut asked = HeaderMap::new();
        if let Some(accept) = accept {
            asked.insert(ACCEPT, accept.parse().unwrap());
        }
        let response = error.render(&asked);
        assert_eq!(response.status(), error.code());
        let bytes = axum::body::to_bytes(response.into_body(), 4096).await;
        String::from_utf8(bytes.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn programs_get_a_status_and_api_servers_the_words() {
        let error = RequestError::not_found("no pod \"x\"");
        assert_eq!(body(&error, None).await, "no pod \"x\"\n");
        assert_eq!(body(&error, Some("text/plain")).await, "no pod \"x\"\n");
        for accept in [
            "*/*",
            "application/json",
            "text/html, application/json;q=0.5",
        ] {
            let status: serde_json::Value =
                serde_json::from_str(&body(&error, Some(accept)).await).unwrap();
            assert_eq!(
                status,
                serde_json::json!({"apiVersion": "v1", "kind": "Status", "metadata": {},
                    "status": "Failure", "code": 404, "reason": "NotFound", "message": "no pod \"x\""})
            );
        }
    }
}

//! `/configz`: the settings in force, under the key that Kubernetes' tools look for.
use super::Api;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/configz", get(all))
}

async fn all(State(api): State<Api>) -> Json<Value> {
    Json(json!({"kubeletconfig": shown(&api.kubelet.config)}))
}

/// Headers of a request may hold a password; whoever may ask for this may not ask for that.
fn shown(config: &crate::config::KubeletConfig) -> Value {
    let mut config = config.clone();
    for values in config.static_pod_url_header.values_mut() {
        *values = vec!["<masked>".to_owned()];
    }
    serde_json::to_value(config).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_not_shown() {
        let mut config = crate::config::KubeletConfig::default();
        let secret = vec!["Bearer hunter2".to_owned()];
        config
            .static_pod_url_header
            .insert("Authorization".to_owned(), secret);
        let shown = shown(&config);
        assert!(!shown.to_string().contains("hunter2"));
        assert_eq!(shown["staticPodURLHeader"]["Authorization"][0], "<masked>");
        assert_eq!(shown["port"], 10250);
    }
}

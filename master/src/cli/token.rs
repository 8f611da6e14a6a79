//! `rkube-master token create`: a token with which a node may show who it is, kept as a secret of `kube-system`.
use crate::auth::bootstrap;
use crate::pki::Keys;
use anyhow::Context;
use clap::{Args, Subcommand};
use rkube_api::duration::GoDuration;
use std::path::PathBuf;
use std::time::Duration;

/// How long the master may take to answer.
const WAIT: Duration = Duration::from_secs(30);

/// What to do with tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Make a token and print it
    Create(Create),
}

/// What can be set.
#[derive(Clone, Debug, Args)]
pub struct Create {
    /// How long it is good for
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub ttl: GoDuration,
    /// A group more, which begins with `system:bootstrappers:`
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// Where the master is reached
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:6443")]
    pub server: String,
    /// The master's data
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rkube-master")]
    pub data_dir: PathBuf,
}

/// Makes the token: the text to print.
///
/// # Errors
/// The master does not answer, or refuses.
pub async fn create(options: &Create) -> anyhow::Result<String> {
    let keys = Keys::new(&options.data_dir);
    let read = |name: &str| fs_err::read(keys.pki().join(name));
    let identity = [read("admin.crt")?, read("admin.key")?].concat();
    let client = reqwest::Client::builder()
        .timeout(WAIT)
        .tls_certs_only([reqwest::Certificate::from_pem(&read("ca.crt")?)?])
        .identity(reqwest::Identity::from_pem(&identity)?)
        .build()?;
    let seconds = i64::try_from(options.ttl.get().as_secs()).unwrap_or(i64::MAX);
    let (token, secret) = bootstrap::make(seconds, &options.group)?;
    let url = format!("{}/api/v1/namespaces/kube-system/secrets", options.server);
    let sent = client.post(url).json(&secret).send().await;
    let answer = sent.context("the master does not answer; is it running?")?;
    if !answer.status().is_success() {
        let status = answer.json::<serde_json::Value>().await.unwrap_or_default();
        let message = status.get("message").and_then(serde_json::Value::as_str);
        anyhow::bail!(
            "the master refuses: {}",
            message.unwrap_or("it does not say why")
        );
    }
    Ok(format!("{token}\n"))
}

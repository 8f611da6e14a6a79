//! The master of a cluster: one object store and the API in front of it.
//!
//! ```text
//!   HTTP, TLS, who is it, may they      front/  auth/  audit
//!        | Call { user, verb, resource, namespace, name, options }
//!   v1beta1 edge --.                    v1beta1/ (converts, then the same path)
//!        |         |
//!   registry: admit, default, validate, merge       registry/ resource/ admission/
//!        | compare-and-swap        ^ bytes, encoded once
//!   store: embedded | etcd  --->  watch cache        store/  cache/
//! ```
#![forbid(unsafe_code)]

pub mod admission;
pub mod audit;
pub mod auth;
pub mod bootstrap;
pub mod cache;
pub mod call;
pub mod cli;
pub mod connect;
pub mod discovery;
pub mod error;
pub mod front;
pub mod list;
pub mod meta;
pub mod metrics;
pub mod pki;
pub mod registry;
pub mod render;
pub mod resource;
pub mod select;
pub mod serve;
pub mod store;
pub mod table;
pub mod v1beta1;
pub mod watch;

/// Why a verb failed.
#[derive(Debug)]
pub struct Failure {
    /// The exit code: 1, or 2 for settings that cannot be used.
    pub code: u8,
    /// The line for the user.
    pub message: String,
}

impl From<anyhow::Error> for Failure {
    fn from(err: anyhow::Error) -> Self {
        let message = rkube_http::chain(&*err);
        Failure { code: 1, message }
    }
}

/// Does what the command line says.
///
/// # Errors
/// What stopped it, in words for the user.
pub fn run(cli: &cli::Cli) -> Result<(), Failure> {
    match &cli.verb {
        cli::Verb::Kubeconfig(options) => print(&cli::kubeconfig::make(options)?)?,
        cli::Verb::Backup(options) => print(&cli::backup::backup(options)?)?,
        cli::Verb::Restore(options) => print(&cli::backup::restore(options)?)?,
        cli::Verb::RotateKey(options) => print(&cli::backup::rotate_key(options)?)?,
        cli::Verb::Token(cli::token::Verb::Create(options)) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.map_err(anyhow::Error::from)?;
            print(&runtime.block_on(cli::token::create(options))?)?;
        }
        cli::Verb::Serve(options) => {
            let wrong = options.wrong();
            if !wrong.is_empty() {
                let message = wrong.join("\nrkube-master: ");
                return Err(Failure { code: 2, message });
            }
            if options.check {
                return Ok(print("the settings can be used\n")?);
            }
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(anyhow::Error::from)?;
            runtime.block_on(serve::serve(options))?;
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        }
    }
    Ok(())
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?;
    Ok(())
}

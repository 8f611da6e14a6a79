//! The image of a container: from the store, or from its registry first.
pub mod used;

use crate::state::PodRecord;
use crate::update::Reporter;
use k8s_openapi::api::core::v1::Container;
use oci_spec::image::ImageConfiguration;
use rkube_images::reference::ReferenceError;
use rkube_images::store::{Image, Store, StoreError};
use rkube_images::{
    Credentials, Digest, Progress, PullError, PullOptions, PullPolicy, Reference, RegistryConfig,
    pull,
};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Why a container has no image; each has Kubernetes' word.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The name cannot be read.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// `imagePullPolicy: Never`, and the store does not have it.
    #[error(
        "image {name} is not on this host and imagePullPolicy is Never; pull or import it with `rkubelet images`"
    )]
    Never {
        /// The name.
        name: String,
    },
    /// It could not be pulled.
    #[error("cannot pull image {name}")]
    Pull {
        /// The name.
        name: String,
        /// What the registry or the network said.
        source: Box<PullError>,
    },
    /// It could not be read from the store.
    #[error("cannot use image {name}")]
    Store {
        /// The name.
        name: String,
        /// What is wrong with the store.
        source: StoreError,
    },
    /// An imagePullSecret cannot be used.
    #[error("imagePullSecrets \"{name}\": {what}")]
    Secret {
        /// The Secret's name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// The work was cut short by the end of the program.
    #[error("interrupted while reading image {name}")]
    Interrupted {
        /// The name.
        name: String,
    },
}

impl ImageError {
    /// Kubernetes' word for the container's state.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            ImageError::Name(_) => "InvalidImageName",
            ImageError::Never { .. } => "ErrImageNeverPull",
            ImageError::Pull { .. } | ImageError::Secret { .. } => "ErrImagePull",
            ImageError::Store { .. } | ImageError::Interrupted { .. } => "CreateContainerError",
        }
    }
}

/// An image that is ready to be a container's root.
#[derive(Clone, Debug)]
pub struct ReadyImage {
    /// The digest of its configuration.
    pub id: Digest,
    /// Command, environment, user and so on.
    pub config: ImageConfiguration,
    /// The unpacked layers, the top-most first.
    pub lowers: Vec<PathBuf>,
}

/// Says once that a registry is asked.
struct Announce<'a> {
    reporter: &'a Reporter,
    container: &'a Container,
    said: AtomicBool,
}

impl Progress for Announce<'_> {
    fn event(&self, _event: &rkube_images::Event<'_>) {
        if !self.said.swap(true, Ordering::Relaxed) {
            let image = self.container.image.as_deref().unwrap_or_default();
            let message = format!("image {image}");
            self.reporter
                .event("Pulling", Some(&self.container.name), message);
        }
    }
}

/// The store and the ways to fill it.
#[derive(Clone, Debug)]
pub struct Images {
    /// The store.
    pub store: Store,
    registries: RegistryConfig,
    credentials: Credentials,
}

impl Images {
    /// Brings store, registries file and logins together.
    #[must_use]
    pub fn new(store: Store, registries: RegistryConfig, credentials: Credentials) -> Self {
        Images {
            store,
            registries,
            credentials,
        }
    }

    /// Settings for a pull with this policy.
    #[must_use]
    pub fn pull_options(&self, policy: PullPolicy) -> PullOptions {
        PullOptions {
            policy,
            registries: self.registries.clone(),
            credentials: self.credentials.clone(),
            ..PullOptions::default()
        }
    }

    /// Reads a name as Docker users write it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(&self, name: &str) -> Result<Reference, ImageError> {
        Ok(Reference::parse_in(
            name,
            &self.registries.default_registry,
        )?)
    }

    /// The image of a container, pulled quietly if it must be.
    ///
    /// # Errors
    /// Names the image and what stood in the way.
    pub async fn ensure(
        &self,
        record: &PodRecord,
        container: &Container,
        reporter: &Reporter,
    ) -> Result<ReadyImage, ImageError> {
        let name = container.image.as_deref().unwrap_or_default();
        let since = Instant::now();
        let announce = Announce {
            reporter,
            container,
            said: AtomicBool::new(false),
        };
        let (image, pulled) = self.fetch(record, container, &announce).await?;
        if pulled {
            reporter.timing(&format!("pull of {name}"), since);
            reporter.event(
                "Pulled",
                Some(&container.name),
                format!("image {name} ({})", image.id),
            );
        }
        let store = self.store.clone();
        let failed = |source| ImageError::Store {
            name: name.to_owned(),
            source,
        };
        let (id, config) = (image.id.clone(), image.config.clone());
        let lowers = tokio::task::spawn_blocking(move || {
            store.touch(&image.id)?;
            store.lowerdirs(&image)
        });
        let lowers = lowers
            .await
            .map_err(|_| ImageError::Interrupted {
                name: name.to_owned(),
            })?
            .map_err(failed)?;
        Ok(ReadyImage { id, config, lowers })
    }

    /// Gets the image by the container's pull policy. The flag says whether the registry was asked.
    ///
    /// # Errors
    /// Names the image and what stood in the way.
    pub async fn fetch(
        &self,
        record: &PodRecord,
        container: &Container,
        progress: &dyn Progress,
    ) -> Result<(Image, bool), ImageError> {
        let name = container.image.as_deref().unwrap_or_default();
        let reference = self.parse(name)?;
        let store = self.store.clone();
        let wanted = reference.to_string();
        let local = tokio::task::spawn_blocking(move || store.find(&wanted)).await;
        let local = match local.map_err(|_| ImageError::Interrupted {
            name: name.to_owned(),
        })? {
            Ok(local) => local,
            Err(source) if container.image_pull_policy.as_deref() == Some("Never") => {
                return Err(ImageError::Store {
                    name: name.to_owned(),
                    source,
                });
            }
            // A pull mends what is damaged, and says what it cannot mend.
            Err(_) => None,
        };
        match (container.image_pull_policy.as_deref(), local) {
            (Some("Never"), Some(image)) => Ok((image, false)),
            (Some("Never"), None) => Err(ImageError::Never {
                name: name.to_owned(),
            }),
            // An image that was imported here has no registry that could know a newer one.
            (Some("Always"), Some(image)) if reference.registry == "localhost" => {
                Ok((image, false))
            }
            (Some("Always"), _) | (_, None) => {
                let options = self.with_secrets(record, self.pull_options(PullPolicy::Always))?;
                let pulled = pull(&self.store, &reference, &options, progress).await;
                pulled
                    .map(|image| (image, true))
                    .map_err(|source| ImageError::Pull {
                        name: name.to_owned(),
                        source: Box::new(source),
                    })
            }
            (_, Some(image)) => Ok((image, false)),
        }
    }

    fn with_secrets(
        &self,
        record: &PodRecord,
        mut options: PullOptions,
    ) -> Result<PullOptions, ImageError> {
        let wanted = record
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.image_pull_secrets.as_ref());
        for reference in wanted.into_iter().flatten() {
            let fail = |what: &str| ImageError::Secret {
                name: reference.name.clone(),
                what: what.to_owned(),
            };
            let secret = record
                .secrets
                .get(&reference.name)
                .ok_or_else(|| fail("no such Secret is in the manifest"))?;
            let data = secret.data.as_ref();
            let new = data.and_then(|data| data.get(".dockerconfigjson"));
            let old = data.and_then(|data| data.get(".dockercfg"));
            let given = match (new, old) {
                (Some(text), _) => options.credentials.give_docker_config(&text.0),
                (None, Some(text)) => options.credentials.give_dockercfg(&text.0),
                (None, None) => return Err(fail("has neither .dockerconfigjson nor .dockercfg")),
            };
            given.map_err(|err| fail(&err.to_string()))?;
        }
        Ok(options)
    }

    /// The STOPSIGNAL of an image, by its id.
    #[must_use]
    pub fn stop_signal(&self, id: &str) -> Option<String> {
        let image = self.store.find(id).ok()??;
        image.config.config().as_ref()?.stop_signal().clone()
    }
}

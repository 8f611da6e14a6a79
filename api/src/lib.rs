//! Objects, manifests, defaults and validation.

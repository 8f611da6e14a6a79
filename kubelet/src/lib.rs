//! Manifests in, running pods out, status back.

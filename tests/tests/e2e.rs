//! `rkubelet` on real kernels with real images: what a user sees, end to end. A file a feature, below `e2e/`.
#[path = "e2e/manifests.rs"]
mod manifests;
#[path = "e2e/pods.rs"]
mod pods;

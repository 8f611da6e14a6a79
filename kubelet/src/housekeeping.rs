//! House-keeping: what keeps a node usable for years without anybody looking after it.
//!
//! ```text
//! every 10 s, and when memory stalls:  measure -> signals -> conditions, reclaim, evict one pod
//! every minute:                        dead pods and tries, the pods' parent cgroups
//! every 5 minutes:                     image garbage collection, leases, published ports, leftovers of pods nobody knows
//! ```
//! Decisions are pure functions ([`gc`], [`eviction`], [`signals`], [`node`]); [`measure`] reads the kernel.
pub mod eviction;
pub mod gc;
pub mod limits;
pub mod measure;
pub mod node;
pub mod signals;

//! `rkube-master`: the master of a cluster.
fn main() -> anyhow::Result<()> {
    rkube_master::run()
}

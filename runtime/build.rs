//! Builds `rkube-pause`, the pods' supervisor, so that `src/supervisor` can carry it in its own
//! bytes.
//!
//! It is a package of its own: no std, a profile for size, link arguments that nothing else wants.
//! The nested cargo gets a clean environment, because the one that runs here may be `cargo clippy`
//! or `cargo test` with flags for other code.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// A static program without libc at a fixed address, laid out by `link.ld`.
const FLAGS: [&str; 8] = [
    "-Crelocation-model=static",
    "-Cforce-unwind-tables=no",
    "-Cforce-frame-pointers=no",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    "-Clink-arg=-no-pie",
    "-Clink-arg=-Wl,--build-id=none,--no-eh-frame-hdr,-z,norelro",
];

fn main() -> ExitCode {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    for path in [
        "pause/src",
        "pause/link.ld",
        "pause/Cargo.toml",
        "pause/Cargo.lock",
        "init/src",
        "init/Cargo.toml",
        "../Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed={}", here.join(path).display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("pause");
    let target = env::var("TARGET").unwrap_or_default();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["CARGO_HOME", "CARGO_NET_OFFLINE"].contains(&text.as_ref());
        let foreign = [
            "CARGO",
            "RUSTFLAGS",
            "RUSTDOCFLAGS",
            "RUSTC",
            "RUSTDOC",
            "CLIPPY",
            "DEP_",
            "MAKEFLAGS",
        ];
        if !ours && foreign.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    let layout = format!("-Clink-arg=-Wl,-T,{}", here.join("pause/link.ld").display());
    cargo.env(
        "CARGO_ENCODED_RUSTFLAGS",
        [&FLAGS.join("\x1f"), layout.as_str()].join("\x1f"),
    );
    cargo
        .args(["build", "--release", "--target", &target, "--target-dir"])
        .arg(&out);
    cargo
        .arg("--manifest-path")
        .arg(here.join("pause/Cargo.toml"));
    match cargo.status() {
        Ok(status) if status.success() => {
            let built = out.join(target).join("release/rkube-pause");
            println!("cargo::rustc-env=RKUBE_PAUSE_ELF={}", built.display());
            ExitCode::SUCCESS
        }
        Ok(status) => {
            println!("cargo::error=building rkube-pause failed: {status}");
            ExitCode::FAILURE
        }
        Err(err) => {
            println!("cargo::error=cannot run cargo to build rkube-pause: {err}");
            ExitCode::FAILURE
        }
    }
}

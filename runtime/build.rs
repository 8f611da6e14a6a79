//! Builds `rkube-pause`, the pods' supervisor, so that `src/supervisor` can carry it in its own
//! bytes.
//!
//! It is a package of its own: no std, a profile for size, link arguments that nothing else wants.
//! The nested cargo gets a clean environment, because the one that runs here may be `cargo clippy`
//! or `cargo test` with flags for other code.
//!
//! And it has the command line linked statically, where the C library can be: the dynamic linker
//! and the relocations took a fifth of the time of a `run`.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
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

/// What the standard library asks the linker for.
const SYSTEM: [&str; 7] = ["c", "dl", "gcc_s", "m", "pthread", "rt", "util"];

fn main() -> ExitCode {
    link_command_line();
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

/// Has `rkube-runtime`, and nothing else of this package, linked at a fixed address, and statically
/// if there are archives of the C library.
///
/// It does not matter for cargo's flags: `-C target-feature=+crt-static` would hold for every
/// program of the workspace, of which some resolve names, and a static glibc cannot do that.
fn link_command_line() {
    let argument = |text: &str| println!("cargo::rustc-link-arg-bin=rkube-runtime={text}");
    argument("-no-pie");
    let dir = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("static");
    match static_libraries(&dir) {
        Ok(true) => {
            argument("-static");
            argument(&format!("-L{}", dir.display()));
        }
        Ok(false) => {}
        Err(err) => println!("cargo::warning=rkube-runtime will not be static: {err}"),
    }
}

/// Fills `dir`, which the linker searches first, with linker scripts in the place of the system's
/// shared libraries; each names the archives that belong together. False if there are none.
fn static_libraries(dir: &Path) -> io::Result<bool> {
    let mut archives = Vec::new();
    for name in ["c", "m", "gcc_eh", "gcc"] {
        match archive(name)? {
            Some(path) => archives.push(path.display().to_string()),
            None => return Ok(false),
        }
    }
    let script = format!("GROUP({})\n", archives.join(" "));
    fs::create_dir_all(dir)?;
    SYSTEM
        .iter()
        .try_for_each(|name| fs::write(dir.join(format!("lib{name}.a")), &script))?;
    Ok(true)
}

/// Where the C compiler has a library's archive; it repeats the name of what it does not have.
fn archive(name: &str) -> io::Result<Option<PathBuf>> {
    let compiler = Command::new("cc")
        .arg(format!("-print-file-name=lib{name}.a"))
        .output()?;
    let path = PathBuf::from(String::from_utf8_lossy(&compiler.stdout).trim());
    Ok(Some(path).filter(|path| path.is_absolute()))
}

//! The suite `pull`: a large image from a registry on loopback into an empty store.

use std::fs::File;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::Settings;
use crate::bed::{self, Bed, millis};
use crate::contest::{Contestant, Sample, hold};
use crate::image::{self, Layout};
use crate::podman::Podman;
use crate::process::Process;
use crate::report::Table;

const OURS: &str = "rkubelet images pull";
const PODMAN: &str = "podman pull";
const TAR: &str = "tar -xz of the layers";
const METRICS: [&str; 4] = ["wall ms", "and on disk ms", "CPU ms", "max RSS MiB"];
const PATIENCE: Duration = Duration::from_secs(20);

/// The tables of this suite.
///
/// # Errors
/// When the image cannot be made or served, or the user has asked for the end.
pub(crate) fn suite(bed: &Bed, settings: &Settings) -> Result<Vec<Table>> {
    let layout = image::six_layers(&bed.subdir("pull/layout")?)?;
    let mut table = Table::new("Pull and unpack a large image", &METRICS)
        .note(format!(
            "{} layers, {} MB of gzip, {} MB of tar, 18,000 files; registry on loopback, its files in the page cache; an empty \
             store each time, all on the same file system.",
            layout.layers.len(),
            layout.packed / 1_000_000,
            layout.unpacked / 1_000_000
        ))
        .note(
            "Before each run the file system is synced. `wall` is until the command ends; `and on disk` until a syncfs after it has \
             ended, for all alike. tar unpacks one layer after the other into one directory each.",
        );
    let registry = Registry::start(bed, &layout)?;
    let contestants = vec![
        ours(bed, &registry),
        podman(bed, &registry),
        tar(bed, &layout)?,
    ];
    table = hold(table, contestants, settings.rounds(3, Duration::ZERO))?;
    table.limit_ratio(OURS, PODMAN, 1, 0.5);
    table.limit_ratio(OURS, TAR, 1, 1.0);
    table.limit_ratio(OURS, PODMAN, 0, 0.5);
    table.limit_ratio(OURS, TAR, 0, 1.0);
    Ok(vec![table])
}

/// Runs something that fills a directory.
fn fill(bed: &Bed, dir: &Path, commands: &mut [Command]) -> Result<Sample> {
    std::fs::create_dir_all(dir)?;
    let disk = File::open(dir)?;
    rustix::fs::syncfs(&disk)?;
    let since = Instant::now();
    let (mut cpu, mut rss) = (Duration::ZERO, 0.0_f64);
    for command in commands {
        let took = bed.time(command)?;
        cpu += took.usage.cpu;
        rss = rss.max(took.sample().get(2).copied().unwrap_or(0.0));
    }
    let wall = millis(since.elapsed());
    rustix::fs::syncfs(&disk)?;
    let synced = millis(since.elapsed());
    Ok(vec![wall, synced, millis(cpu), rss])
}

fn ours<'a>(bed: &'a Bed, registry: &Registry) -> Contestant<'a> {
    let program = match bed.ours("rkubelet") {
        Ok(program) => program,
        Err(err) => return Contestant::missing(OURS, format!("{err:#}")),
    };
    let dir = bed.dir().join("pull/rkubelet");
    let mut command = Command::new(program);
    command
        .arg("--root")
        .arg(dir.join("root"))
        .arg("--run-root")
        .arg(dir.join("run"));
    command.arg("--log-root").arg(dir.join("log"));
    command
        .args(["images", "pull", "--quiet"])
        .arg(&registry.image);
    let line = bed::words(&command);
    let mut commands = [command];
    Contestant::new(OURS, line, move || {
        let sample = fill(bed, &dir, &mut commands);
        bed.retire(&dir)?;
        sample
    })
}

fn podman<'a>(bed: &'a Bed, registry: &Registry) -> Contestant<'a> {
    let podman = match Podman::new(bed, "pull/podman") {
        Ok(podman) => podman,
        Err(err) => return Contestant::missing(PODMAN, format!("{err:#}")),
    };
    let image = registry.image.clone();
    let mut command = podman.command();
    command
        .args(["pull", "--quiet", "--tls-verify=false"])
        .arg(&image);
    let line = bed::words(&command);
    let mut commands = [command];
    Contestant::new(PODMAN, line, move || {
        let sample = fill(bed, podman.dir(), &mut commands);
        podman.forget_mounts()?;
        bed.retire(podman.dir())?;
        sample
    })
}

fn tar<'a>(bed: &'a Bed, layout: &Layout) -> Result<Contestant<'a>> {
    let dir = bed.subdir("pull/tar")?;
    let commands = layout.layers.iter().enumerate().map(|(number, layer)| {
        let mut command = Command::new("tar");
        command
            .arg("-xzf")
            .arg(layer)
            .arg("-C")
            .arg(dir.join(number.to_string()));
        command
    });
    let mut commands: Vec<Command> = commands.collect();
    let line = commands
        .iter()
        .map(bed::words)
        .collect::<Vec<_>>()
        .join(" && \\\n  ");
    Ok(Contestant::new(TAR, line, move || {
        for number in 0..commands.len() {
            std::fs::create_dir_all(dir.join(number.to_string()))?;
        }
        let sample = fill(bed, &dir, &mut commands);
        bed.retire(&dir)?;
        sample
    }))
}

/// Debian's docker-registry with the image in it.
struct Registry {
    image: String,
    _process: Process,
}

impl Registry {
    fn start(bed: &Bed, layout: &Layout) -> Result<Self> {
        let program = bed::find("docker-registry").or_else(|| bed::find("registry"));
        let program = program.context("no docker-registry; install it")?;
        let skopeo = bed::find("skopeo").context("no skopeo; install it")?;
        // This network namespace is ours: nobody else has ports in it.
        let address = "127.0.0.1:5000";
        let config = bed.dir().join("pull/registry.yml");
        std::fs::write(
            &config,
            configuration(address, &bed.subdir("pull/registry")?),
        )?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&config).stdin(Stdio::null());
        let mut process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if process.has_ended() || Instant::now() > deadline {
                bail!("docker-registry does not answer at {address}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let image = format!("{address}/bench:v1");
        let mut push = Command::new(skopeo);
        push.args([
            "copy",
            "--quiet",
            "--insecure-policy",
            "--dest-tls-verify=false",
        ]);
        push.arg(format!("oci:{}:v1", layout.dir.display()))
            .arg(format!("docker://{image}"));
        bed::output(&mut push).context("push the image")?;
        Ok(Self {
            image,
            _process: process,
        })
    }
}

fn configuration(address: &str, storage: &Path) -> String {
    format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: \"{address}\"}}\n",
        storage.display()
    )
}

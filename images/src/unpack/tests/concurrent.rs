//! Several unpackers of one layer, and unpackers that are killed.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::store::{PruneOptions, Repair, What};

const CHILD: &str = "RKUBE_TEST_UNPACK_CHILD";

/// Not a test by itself: what the tests below run in processes of their own.
#[test]
fn child_process() {
    let Ok(task) = std::env::var(CHILD) else {
        return;
    };
    let (root, blob) = task.split_once('\n').unwrap();
    let bytes = std::fs::read(blob).unwrap();
    let store = Store::open(Path::new(root)).unwrap();
    let diff_id = Digest::sha256(&bytes);
    match store.partial(&diff_id).unwrap() {
        crate::store::Claim::Complete(_) => {}
        crate::store::Claim::Open(mut partial) => {
            let there = usize::try_from(partial.len()).unwrap();
            for piece in bytes[there..].chunks(10_000) {
                partial.write(piece).unwrap();
            }
            partial.commit(bytes.len() as u64).unwrap();
        }
    }
    let blob = store.blob(&diff_id).unwrap();
    store
        .unpack(
            &blob,
            Compression::None,
            &diff_id,
            &Limits::default(),
            &unwatched,
        )
        .unwrap();
}

fn spawn_child(root: &Path, blob: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "unpack::tests::concurrent::child_process",
            "--nocapture",
        ])
        .env(CHILD, format!("{}\n{}", root.display(), blob.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn layer(files: u32) -> Vec<u8> {
    let content = "some content ".repeat(40);
    let tar = (0..files).fold(Tar::default(), |tar, n| {
        tar.file(
            &format!("dir{}/sub/file{n}", n % 20),
            &format!("{n} {content}"),
        )
    });
    tar.file("dir1/.wh.gone", "").done()
}

#[test]
fn two_processes_and_four_threads_unpack_once() {
    if !is_root("two_processes_and_four_threads_unpack_once") {
        return;
    }
    let bench = Bench::new();
    let tar = layer(2000);
    let blob = bench.dir.path().join("blob");
    std::fs::write(&blob, &tar).unwrap();
    let diff_id = Digest::sha256(&tar);
    let mut children: Vec<Child> = (0..2)
        .map(|_| spawn_child(bench.store.root(), &blob))
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let run = || {
                let limits = Limits::default();
                bench
                    .store
                    .unpack(&blob, Compression::None, &diff_id, &limits, &unwatched)
                    .unwrap()
            };
            scope.spawn(run);
        }
    });
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    bench.assert_no_leftovers();
    let report = bench.store.fsck(Repair::Report).unwrap();
    assert!(report.is_clean() && report.layers == 1, "{report:?}");
}

#[test]
fn a_layer_of_a_killed_process_is_good_until_the_power_fails() {
    if !is_root("a_layer_of_a_killed_process_is_good_until_the_power_fails") {
        return;
    }
    let bench = Bench::new();
    let tar = layer(50);
    let blob = bench.dir.path().join("blob");
    std::fs::write(&blob, &tar).unwrap();
    let diff_id = Digest::sha256(&tar);
    let mut child = spawn_child(bench.store.root(), &blob);
    let started = std::time::Instant::now();
    while bench.store.layer(&diff_id).is_none() {
        assert!(started.elapsed() < Duration::from_secs(30), "no layer");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    // It may have ended by itself, which is no other thing to the store.
    drop(child.kill());
    child.wait().unwrap();
    let root = bench.store.root();
    assert!(Store::open(root).unwrap().layer(&diff_id).is_some());
    let other = Store::open_in_boot(root, Some("another".to_owned())).unwrap();
    assert_eq!(other.layer(&diff_id), None);
    assert!(other.blob(&diff_id).is_some());
}

#[test]
fn what_dead_unpackers_left_is_swept_and_what_live_ones_do_is_not() {
    let bench = Bench::new();
    let partial = bench.store.partial_layers();
    let [dead, live] = ["dead", "live"].map(|text| Digest::sha256(text.as_bytes()));
    for digest in [&dead, &live] {
        let tree = partial.join(format!("{}.1-1/tree/dir", digest.hex()));
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("file"), "half").unwrap();
    }
    std::fs::create_dir_all(partial.join("trash.1-2/tree")).unwrap();
    let lock = DirLock::wait(&partial.join(format!("{}.lock", live.hex()))).unwrap();
    bench.store.sweep_all().unwrap();
    let left: Vec<_> = std::fs::read_dir(&partial)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    assert_eq!(left, [format!("{}.1-1", live.hex())]);
    drop(lock);
    bench.store.sweep_all().unwrap();
    bench.assert_no_leftovers();
}

#[test]
fn an_unpacking_is_called_off_also_while_it_waits() {
    if !is_root("an_unpacking_is_called_off_also_while_it_waits") {
        return;
    }
    let bench = Bench::new();
    let tar = layer(2000);
    let blob = bench.dir.path().join("blob");
    std::fs::write(&blob, &tar).unwrap();
    let diff_id = Digest::sha256(&tar);
    let unpack = |progress: &Watch<'_>| {
        let limits = Limits::default();
        bench
            .store
            .unpack(&blob, Compression::None, &diff_id, &limits, progress)
    };
    let stop_at_once = |_| ControlFlow::Break(());
    assert!(matches!(unpack(&stop_at_once), Err(UnpackError::CalledOff)));
    bench.assert_no_leftovers();
    // Another is at it, and gets no further than its first piece before we come.
    let (at_work, working) = std::sync::mpsc::sync_channel(0);
    let (go_on, told) = std::sync::mpsc::sync_channel::<()>(0);
    std::thread::scope(|scope| {
        let unpack = &unpack;
        let first = scope.spawn(move || {
            unpack(&move |_| {
                // Both ends are there for the first piece only.
                if at_work.send(()).is_ok() {
                    let _closed = told.recv();
                }
                ControlFlow::Continue(())
            })
            .unwrap()
        });
        working.recv().unwrap();
        assert!(matches!(unpack(&stop_at_once), Err(UnpackError::CalledOff)));
        drop(working);
        drop(go_on);
        first.join().unwrap();
    });
    assert!(bench.store.layer(&diff_id).is_some());
}

#[test]
fn killed_anywhere_nothing_half_done_is_visible() {
    if !is_root("killed_anywhere_nothing_half_done_is_visible") {
        return;
    }
    let bench = Bench::new();
    let tar = layer(300);
    let blob = bench.dir.path().join("blob");
    std::fs::write(&blob, &tar).unwrap();
    let diff_id = Digest::sha256(&tar);
    // How long a whole run takes here, now, so that the kills fall all over it.
    let whole = Bench::new();
    let started = std::time::Instant::now();
    assert!(
        spawn_child(whole.store.root(), &blob)
            .wait()
            .unwrap()
            .success()
    );
    let whole = started.elapsed();
    let mut finished = 0;
    for round in 0..16_u32 {
        let mut child = spawn_child(bench.store.root(), &blob);
        let deadline = whole.mul_f64(f64::from(round % 8) / 10.0);
        let started = std::time::Instant::now();
        while started.elapsed() < deadline && child.try_wait().unwrap().is_none() {
            std::thread::park_timeout(Duration::from_micros(200));
        }
        // It may have finished already, which is fine.
        drop(child.kill());
        child.wait().unwrap();
        let store = Store::open(bench.store.root()).unwrap();
        let report = store.fsck(Repair::Report).unwrap();
        assert!(report.is_clean(), "round {round}: {report:?}");
        if store.layer(&diff_id).is_some() {
            finished += 1;
            store.discard_layer(&diff_id).unwrap();
        }
    }
    println!("{finished} of 16 finished before they were killed");
    assert!(
        spawn_child(bench.store.root(), &blob)
            .wait()
            .unwrap()
            .success()
    );
    bench.assert_no_leftovers();
    let options = PruneOptions {
        what: What::Leftovers,
        older_than: Duration::ZERO,
        dry_run: false,
    };
    bench.store.prune(&options, &BTreeSet::new()).unwrap();
    let usage = bench.store.disk_usage().unwrap();
    assert_eq!((usage.partial, usage.layers, usage.blobs), (0, 0, 0));
}

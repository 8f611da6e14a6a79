//! Log files: their lines, their bounds, and disks that are full.

use std::io::Read;
use std::time::Instant;

use rkube_runtime::supervisor::{Event, LogLimits};

use crate::bed::{LONG, Pod, Wishes, able, eventually};

#[test]
fn lines_have_the_format_of_the_field() {
    if !able("lines_have_the_format_of_the_field") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "echo one", Wishes::default());
    pod.exited("web");
    let log = pod.log("web.log");
    let (time, rest) = log.split_once(' ').unwrap();
    assert_eq!(rest, "stdout F one\n");
    assert_eq!(time.len(), "2026-11-23T15:28:46.123456789Z".len());
    let then: jiff::Timestamp = time.parse().unwrap();
    let age = jiff::Timestamp::now().duration_since(then);
    assert!(
        age < jiff::SignedDuration::from_secs(20) && !age.is_negative(),
        "{time}"
    );
}

#[test]
fn an_unfinished_line_is_written_after_a_while_and_at_the_end() {
    if !able("an_unfinished_line_is_written_after_a_while_and_at_the_end") {
        return;
    }
    let mut pod = Pod::new();
    let wishes = Wishes {
        stdin: true,
        ..Wishes::default()
    };
    pod.run(
        "web",
        "echo -n 'name? '; read x; echo got; echo -n bye",
        wishes,
    );
    eventually("the prompt is there", || {
        pod.lines("web.log") == ["stdout P name? "]
    });
    pod.supervisor.close_stdin("web").unwrap();
    pod.exited("web");
    assert_eq!(
        pod.lines("web.log"),
        ["stdout P name? ", "stdout F got", "stdout P bye"]
    );
}

#[test]
fn a_long_line_is_written_in_parts() {
    if !able("a_long_line_is_written_in_parts") {
        return;
    }
    let mut pod = Pod::new();
    pod.run(
        "web",
        "head -c 40000 /dev/zero; echo end",
        Wishes::default(),
    );
    pod.exited("web");
    let lines = pod.lines("web.log");
    let lengths: Vec<_> = lines
        .iter()
        .map(|line| (&line[..8], line.len() - 9))
        .collect();
    assert_eq!(
        lengths,
        [
            ("stdout P", 16384),
            ("stdout P", 16384),
            ("stdout F", 40000 - 32768 + 3)
        ]
    );
}

#[test]
fn a_log_stays_within_its_bounds_and_loses_no_line_of_what_it_keeps() {
    if !able("a_log_stays_within_its_bounds_and_loses_no_line_of_what_it_keeps") {
        return;
    }
    let mut pod = Pod::new();
    let limits = Some(LogLimits {
        size: 1 << 20,
        files: 3,
    });
    let line = "x".repeat(99);
    let script = format!("yes {line} | head -n 400000; echo the end");
    pod.run(
        "web",
        &script,
        Wishes {
            limits,
            ..Wishes::default()
        },
    );
    let deadline = Instant::now() + LONG;
    let mut rotated = 0;
    let ended = loop {
        match pod
            .supervisor
            .wait_event(deadline.saturating_duration_since(Instant::now()))
            .unwrap()
        {
            Some(Event::LogRotated(_)) => rotated += 1,
            Some(Event::Exited(container)) => break container,
            Some(_) => {}
            None => panic!("not within {LONG:?}"),
        }
    };
    assert!(
        rotated >= 40_000_000 / (1 << 20),
        "{rotated} files were begun"
    );
    assert_eq!(ended.log_dropped, 0);
    let mut files: Vec<_> = std::fs::read_dir(pod.logs())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["web.log", "web.log.1", "web.log.2"]);
    for file in ["web.log.2", "web.log.1"] {
        let log = pod.log(file);
        assert!(
            log.len() <= 1 << 20 && log.len() > (1 << 20) - 200,
            "{file}: {}",
            log.len()
        );
        assert!(log.lines().all(|text| text.len() == 40 + 99), "{file}");
    }
    assert!(pod.log("web.log").ends_with("stdout F the end\n"));
    assert_eq!(ended.log_size, pod.log("web.log").len() as u64);
}

#[test]
fn bounds_can_be_changed_and_the_file_moved_away() {
    if !able("bounds_can_be_changed_and_the_file_moved_away") {
        return;
    }
    let mut pod = Pod::new();
    let wishes = Wishes {
        stdin: true,
        ..Wishes::default()
    };
    pod.run(
        "web",
        "echo first; read x; echo second; read y; yes | head -n 5000",
        wishes,
    );
    let attach = rkube_runtime::supervisor::Attach {
        stdin: true,
        ..Default::default()
    };
    let mut stdin =
        std::fs::File::from(pod.supervisor.attach("web", attach, &[]).unwrap().unwrap());
    eventually("the first line", || {
        pod.lines("web.log") == ["stdout F first"]
    });
    std::fs::rename(pod.logs().join("web.log"), pod.logs().join("away")).unwrap();
    pod.supervisor.reopen_log("web").unwrap();
    std::io::Write::write_all(&mut stdin, b"\n").unwrap();
    eventually("the second line", || {
        pod.lines("web.log") == ["stdout F second"]
    });
    pod.supervisor
        .log_limits(
            "web",
            LogLimits {
                size: 10_000,
                files: 1,
            },
        )
        .unwrap();
    std::io::Write::write_all(&mut stdin, b"\n").unwrap();
    pod.exited("web");
    assert!(pod.log("web.log").len() <= 10_000);
    assert!(!pod.logs().join("web.log.1").exists());
    assert_eq!(pod.lines("away"), ["stdout F first"]);
}

#[test]
fn a_chatty_container_starves_nobody() {
    if !able("a_chatty_container_starves_nobody") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("chatty", "exec yes", Wishes::default());
    for n in 0..20 {
        let name = format!("job{n}");
        pod.run(&name, "echo done", Wishes::default());
        pod.exited(&name);
        assert_eq!(pod.lines(&format!("{name}.log")), ["stdout F done"]);
    }
    pod.supervisor.kill_all("chatty").unwrap();
    assert_eq!(pod.exited("chatty").exited.signal, 9);
}

#[test]
fn a_full_disk_stops_nobody() {
    if !able("a_full_disk_stops_nobody") {
        return;
    }
    let mut pod = Pod::new();
    let logs = pod.logs();
    let disk = Disk::new(&logs, c"size=64k");
    pod.run(
        "web",
        "yes | head -n 100000; echo done >&2",
        Wishes::default(),
    );
    let ended = pod.exited("web");
    assert_eq!(ended.exited.code, 0);
    assert!(ended.log_dropped > 0);
    let log = pod.log("web.log");
    assert!(
        log.ends_with('\n') && log.lines().all(|line| line.ends_with(" stdout F y")),
        "only whole lines"
    );
    drop(pod);
    drop(disk);
}

/// A small file system on a directory, until dropped.
struct Disk(std::path::PathBuf);

impl Disk {
    fn new(at: &std::path::Path, options: &std::ffi::CStr) -> Self {
        rustix::mount::mount(
            "tmpfs",
            at,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            options,
        )
        .unwrap();
        Self(at.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn a_stopped_supervisor_does_not_stop_its_containers() {
    if !able("a_stopped_supervisor_does_not_stop_its_containers") {
        return;
    }
    let mut pod = Pod::new();
    let mark = pod.logs().join("../rootfs/tmp/mark");
    let wishes = Wishes {
        stdin: true,
        ..Wishes::default()
    };
    pod.run(
        "web",
        "read x; echo said; echo done > /tmp/mark; exec sleep 1000",
        wishes,
    );
    let attach = rkube_runtime::supervisor::Attach {
        stdin: true,
        ..Default::default()
    };
    let mut stdin =
        std::fs::File::from(pod.supervisor.attach("web", attach, &[]).unwrap().unwrap());
    rustix::process::pidfd_send_signal(pod.supervisor.pidfd(), rustix::process::Signal::STOP)
        .unwrap();
    std::io::Write::write_all(&mut stdin, b"\n").unwrap();
    let mut text = String::new();
    eventually("the container goes on", || {
        text.clear();
        std::fs::File::open(&mark).is_ok_and(|mut file| file.read_to_string(&mut text).is_ok())
            && text == "done\n"
    });
    assert_eq!(pod.log("web.log"), "");
    rustix::process::pidfd_send_signal(pod.supervisor.pidfd(), rustix::process::Signal::CONT)
        .unwrap();
    eventually("the log follows", || {
        pod.lines("web.log") == ["stdout F said"]
    });
}

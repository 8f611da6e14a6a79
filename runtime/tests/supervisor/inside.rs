//! What containers of a pod can see of its supervisor and of one another: nothing that matters.

use crate::bed::{Pod, Wishes, able, eventually, exists, open_fds};

#[test]
fn a_parked_process_holds_nothing_of_the_supervisor_or_of_others() {
    if !able("a_parked_process_holds_nothing_of_the_supervisor_or_of_others") {
        return;
    }
    let mut pod = Pod::new();
    let stdin = Wishes {
        stdin: true,
        ..Wishes::default()
    };
    let web = pod.run("web", "exec sleep 1000", stdin);
    let parked = pod.prepare("parked", "true", stdin);
    let theirs = open_fds(web.pid);
    let foreign = |name: &String| {
        name.contains("anon_inode:[")
            || name.starts_with("socket:")
            || name.ends_with("/exits")
            || name.starts_with("pipe:") && theirs.contains(name)
    };
    // The first thing it does is to close what is not its own.
    eventually("all that is not its own is closed", || {
        !open_fds(parked.pid).iter().any(foreign)
    });
    assert!(open_fds(parked.pid).len() >= 3);
}

#[test]
fn a_shared_pid_namespace_shows_nothing_of_the_supervisor_or_of_parked_processes() {
    if !able("a_shared_pid_namespace_shows_nothing_of_the_supervisor_or_of_parked_processes") {
        return;
    }
    let mut pod = Pod::new();
    let shared = Wishes {
        share_pid: true,
        ..Wishes::default()
    };
    let parked = pod.prepare("parked", "exit 7", shared);
    let script = "\
        count=0; \
        for dir in /proc/[0-9]*; do \
            [ $dir = /proc/$$ ] && continue; count=$((count+1)); \
            for file in maps environ auxv; do cat $dir/$file >/dev/null 2>&1 && echo $dir/$file; done; \
            (cd $dir/root) 2>/dev/null && echo $dir/root; \
            (: < $dir/exe) 2>/dev/null && echo $dir/exe; \
            for fd in 0 1 2 3 4 5; do (: < $dir/fd/$fd) 2>/dev/null && echo $dir/fd/$fd; done; \
        done; \
        kill -9 1; echo $count others";
    pod.run("web", script, shared);
    assert_eq!(pod.exited("web").exited.code, 0);
    assert_eq!(pod.lines("web.log"), ["stdout F 2 others"]);
    // Nor was it hurt, or the other one.
    assert!(exists(parked.pid));
    pod.supervisor.start("parked").unwrap();
    assert_eq!(pod.exited("parked").exited.code, 7);
}

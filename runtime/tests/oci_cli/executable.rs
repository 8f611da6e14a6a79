//! CVE-2019-5736: nobody in a container can write to the runtime's file.
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;

use super::lab::{Lab, eventually};

#[test]
fn cve_2019_5736_the_runtimes_file_cannot_be_written_to_from_a_container() {
    let Some(lab) = Lab::open("cve_2019_5736") else {
        return;
    };
    if !lab.is_ours() {
        return;
    }
    let lab = lab.with_copy();
    let before = std::fs::read(lab.runtime()).unwrap();
    let bundle = lab.bundle("true");
    let id = lab.id();
    lab.detached(&["create", "--bundle", bundle.dir(), &id]);
    let pid = lab.state(&id)["pid"].as_i64().unwrap();
    // What a process in there gets hold of, more easily than it could.
    let held = File::open(format!("/proc/{pid}/exe")).unwrap();
    lab.ok(&["delete", "--force", &id]);
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    let open = || File::options().write(true).open(&path).unwrap_err().kind();
    eventually("the file is not busy any more", || {
        open() != ErrorKind::ExecutableFileBusy
    });
    assert_eq!(open(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(std::fs::read(lab.runtime()).unwrap(), before);
}

//! Device nodes: the usual ones, and those of the spec.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};
use rkube_init::record::layout::flag;

use super::mounts::normal;
use super::{CompileError, Draft, clone_tree};
use crate::record::Device;

/// What every container has, all character devices with mode 666.
const USUAL: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

pub(super) fn compile(draft: &mut Draft, spec: &Spec) -> Result<(), CompileError> {
    let mut devices: Vec<Device> = USUAL
        .iter()
        .map(|&(path, major, minor)| usual(path, major, minor))
        .collect();
    let given = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.devices().as_ref());
    for (index, device) in given.into_iter().flatten().enumerate() {
        let device = compile_one(device, index)?;
        devices.retain(|other| other.path != device.path);
        devices.push(device);
    }
    if draft.record.flags & flag::BIND_DEVICES != 0 {
        for device in &mut devices {
            let path = Path::new(std::ffi::OsStr::from_bytes(&device.path));
            let tree = clone_tree(path, false)
                .map_err(|source| CompileError::open("linux.devices", path, source))?;
            device.tree = Some(draft.add(tree));
        }
    }
    draft.record.devices = devices;
    Ok(())
}

fn usual(path: &str, major: u32, minor: u32) -> Device {
    let mode = libc::S_IFCHR | 0o666;
    Device {
        path: path.into(),
        mode,
        major,
        minor,
        uid: 0,
        gid: 0,
        tree: None,
    }
}

fn compile_one(device: &LinuxDevice, index: usize) -> Result<Device, CompileError> {
    let field = |name: &str| format!("linux.devices[{index}].{name}");
    let kind = match device.typ() {
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(CompileError::invalid(
                field("type"),
                "is not one of c, b, u and p",
            ));
        }
    };
    let number = |name: &str, value: i64| {
        let value = u32::try_from(value)
            .ok()
            .filter(|_| kind != libc::S_IFIFO || value == 0);
        value.ok_or_else(|| CompileError::invalid(field(name), "is not a device number"))
    };
    Ok(Device {
        path: normal(&field("path"), device.path())?,
        mode: kind | device.file_mode().unwrap_or(0o666) & 0o7777,
        major: number("major", device.major())?,
        minor: number("minor", device.minor())?,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        tree: None,
    })
}

//! Records that must be refused; the round trip with the builder is tested in `rkube_runtime::record`.

use super::*;

fn empty() -> [u8; header::WORDS * 4] {
    let mut bytes = [0u8; header::WORDS * 4];
    let len = u32::try_from(bytes.len()).expect("small");
    for (field, word) in [
        (header::MAGIC, MAGIC),
        (header::VERSION, VERSION),
        (header::LENGTH, len),
    ] {
        put(&mut bytes, field, word);
    }
    for field in header::FDS {
        put(&mut bytes, *field, NONE);
    }
    bytes
}

fn put(bytes: &mut [u8], field: usize, word: u32) {
    bytes[field * 4..field * 4 + 4].copy_from_slice(&word.to_le_bytes());
}

#[track_caller]
fn check(change: &[(usize, u32)], want: Option<Malformed>) {
    let mut bytes = empty();
    for &(field, word) in change {
        put(&mut bytes, field, word);
    }
    assert_eq!(Record::parse(&bytes, 1).err(), want);
}

#[test]
fn lying_records_are_refused() {
    check(&[], None);
    check(&[(header::LENGTH, 4)], Some(Malformed::Length));
    check(&[(header::MAGIC, 4)], Some(Malformed::Version));
    check(&[(header::VERSION, 2)], Some(Malformed::Version));
    check(&[(header::ROOTFS, 0)], None);
    check(
        &[(header::ROOTFS, 1)],
        Some(Malformed::Descriptor(header::ROOTFS * 4)),
    );
    check(
        &[(header::CWD, 0), (header::CWD + 1, 9999)],
        Some(Malformed::Text(header::CWD * 4)),
    );
    check(
        &[(header::CWD, u32::MAX), (header::CWD + 1, u32::MAX)],
        Some(Malformed::Text(header::CWD * 4)),
    );
    check(
        &[(header::SECCOMP, 8), (header::SECCOMP + 1, u32::MAX)],
        Some(Malformed::Table(header::SECCOMP)),
    );
    let argv = layout::ARGV.field;
    check(
        &[(argv, 0), (argv + 1, u32::MAX)],
        Some(Malformed::Table(argv)),
    );
    check(
        &[(argv, u32::MAX), (argv + 1, 1)],
        Some(Malformed::Table(argv)),
    );
    // A row that lies over the magic: a string at 0x74736b72.
    check(&[(argv, 0), (argv + 1, 1)], Some(Malformed::Text(0)));
}

#[test]
fn short_buffers_are_refused() {
    let bytes = empty();
    for len in 0..bytes.len() {
        assert_eq!(
            Record::parse(&bytes[..len], 1).err(),
            Some(Malformed::Length)
        );
    }
}

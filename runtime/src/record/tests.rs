//! What the builder writes, the view reads back.

use super::*;
use rkube_init::record::{Malformed, Record};

fn full() -> StartRecord {
    StartRecord {
        flags: layout::flag::TERMINAL,
        namespaces: 0x2000_0000,
        uid: 7,
        gid: 8,
        groups: vec![9, 10],
        umask: 0o27,
        oom_score_adj: Some(-5),
        terminal_size: Some((24, 80)),
        rootfs: Some(1),
        seccomp: vec![1; 16],
        capabilities: Capabilities {
            bounding: 1 << 40 | 3,
            ..Capabilities::default()
        },
        cwd: b"/work".to_vec(),
        hostname: "box".into(),
        limits: vec![Limit {
            resource: 7,
            soft: 5,
            hard: 1 << 33,
        }],
        argv: vec![b"sh".to_vec(), b"".to_vec(), b"\xff".to_vec()],
        envp: vec![b"A=b".to_vec()],
        mounts: vec![
            Mount {
                destination: b"/a".to_vec(),
                options: vec![("size".into(), "1k".into())],
                ..Mount::default()
            },
            Mount {
                destination: b"/b".to_vec(),
                options: vec![("x".into(), String::new()), ("y".into(), "z".into())],
                set: 5,
                origin: 4,
                ..Mount::default()
            },
        ],
        sysctls: vec![("net/ipv4/ip_forward".into(), "1".into())],
        attach: vec![0, 1],
        ..StartRecord::default()
    }
}

#[test]
fn the_view_reads_what_was_built() {
    let bytes = full().encode(2).expect("encodes");
    let record = Record::parse(&bytes, 2).expect("parses");
    assert!(record.terminal());
    assert_eq!(record.field(header::UID), 7);
    assert_eq!(record.long(header::BOUNDING), 1 << 40 | 3);
    assert_eq!(record.field(header::OOM_SCORE), 996);
    assert_eq!(record.optional(header::TARGET), None);
    assert_eq!(record.text(header::CWD), c"/work");
    assert_eq!(record.text(header::DOMAINNAME), c"");
    assert_eq!(record.filter(), [1; 16]);
    let argv: Vec<_> = record
        .rows(&layout::ARGV)
        .map(|row| row.text(0).to_bytes().to_vec())
        .collect();
    assert_eq!(argv, full().argv);
    let limit = record.row(&layout::LIMITS, 0).expect("a limit");
    assert_eq!(
        (limit.word(0), limit.long(2), limit.long(4)),
        (7, 5, 1 << 33)
    );
    let second = record.row(&layout::MOUNTS, 1).expect("a mount");
    assert_eq!(
        (
            second.text(mount::DEST),
            second.long(mount::SET),
            second.word(mount::ORIGIN)
        ),
        (c"/b", 5, 4)
    );
    assert_eq!(
        (second.word(mount::OPTION), second.word(mount::OPTION_COUNT)),
        (1, 2)
    );
    let option = record.row(&layout::OPTIONS, 2).expect("an option");
    assert_eq!((option.text(0), option.text(2)), (c"y", c"z"));
    assert_eq!(record.row(&layout::OPTIONS, 3).map(|row| row.word(0)), None);
}

#[test]
fn a_record_with_too_few_descriptors_is_refused() {
    let bytes = full().encode(2).expect("encodes");
    assert!(matches!(
        Record::parse(&bytes, 1),
        Err(Malformed::Descriptor(_))
    ));
}

#[test]
fn what_cannot_travel_is_an_error() {
    let nul = StartRecord {
        argv: vec![b"a\0b".to_vec()],
        ..StartRecord::default()
    };
    assert_eq!(
        nul.encode(0),
        Err(EncodeError::Nul {
            text: "a\0b".into()
        })
    );
    let long = StartRecord {
        envp: vec![vec![b'x'; MAX_LEN]],
        ..StartRecord::default()
    };
    assert!(matches!(long.encode(0), Err(EncodeError::TooLong { .. })));
    assert_eq!(
        StartRecord::default().encode(251),
        Err(EncodeError::TooManyFds { count: 251 })
    );
}

proptest::proptest! {
    /// Whatever the bytes are, reading them neither panics nor leaves them.
    #[test]
    fn damaged_records_are_refused_or_harmless(at in 0usize..600, byte in 0u8..=255) {
        let mut bytes = full().encode(2).expect("encodes");
        let len = bytes.len();
        bytes[at % len] = byte;
        if let Ok(record) = Record::parse(&bytes, 2) {
            for row in record.rows(&layout::MOUNTS) {
                proptest::prop_assert!(row.text(mount::DEST).count_bytes() < len);
            }
            proptest::prop_assert!(record.filter().len() <= len);
        }
    }
}

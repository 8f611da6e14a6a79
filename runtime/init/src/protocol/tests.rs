extern crate std;

use super::*;
use crate::status::FRAME;
use std::vec;
use std::vec::Vec;

/// Writes a payload behind a header, checks that the header comes back, and gives the payload.
fn sent(encode: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let header = Header {
        kind: Kind::Hello,
        seq: 7,
        container: 9,
    };
    let mut buffer = [0; 1024];
    let mut write = header.begin(&mut buffer);
    encode(&mut write);
    let message = write.finish().unwrap();
    let (back, payload) = Header::decode(message).unwrap();
    assert_eq!(back, header);
    payload.to_vec()
}

/// A payload that comes back as it was sent, and not at all when a byte is missing.
macro_rules! check {
    ($type:ident, $value:expr) => {{
        let value = $value;
        let payload = sent(|write| value.encode(write));
        assert_eq!($type::decode(&payload), Ok(value));
        for len in 0..payload.len() {
            assert_eq!(
                $type::decode(&payload[..len]),
                Err(DecodeError),
                "{len} bytes"
            );
        }
    }};
}

#[test]
fn an_exec_of_an_older_client_is_not_tied() {
    let exec = |tied| Exec {
        tty: true,
        record: 5,
        tied,
    };
    let payload = sent(|write| exec(true).encode(write));
    assert_eq!(Exec::decode(&payload), Ok(exec(true)));
    let (older, cut) = (payload.len() - 1, payload.len() - 2);
    assert_eq!(Exec::decode(&payload[..older]), Ok(exec(false)));
    for len in 0..=cut {
        assert_eq!(Exec::decode(&payload[..len]), Err(DecodeError));
    }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

#[test]
fn payloads_survive_the_wire() {
    let limits = LogLimits {
        size: 1 << 40,
        files: 3,
    };
    let wiring = Wiring {
        tty: true,
        stdin: false,
        log: true,
    };
    let exited = Exited {
        code: 3,
        signal: 9,
        started: 5,
        exited: u64::MAX,
    };
    check!(Hello, Hello { subscribe: true });
    check!(Signal, Signal { signal: 64 });
    check!(
        Attach,
        Attach {
            stdin: true,
            stdout: false,
            stderr: true
        }
    );
    check!(LogLimits, limits);
    check!(Exited, exited);
    check!(Started, Started { started: 8 });
    check!(Refused, Refused::stage([7; FRAME]));
    check!(
        Prepare,
        Prepare {
            name: name("web"),
            attempt: 2,
            wiring,
            limits,
            log_name: name("0.log"),
            record: 77
        }
    );
    check!(
        Container,
        Container {
            name: name("web"),
            attempt: 1,
            state: ContainerState::Exited,
            wiring,
            exited,
            refused: Refused::call(-1),
            log_size: 1,
            log_dropped: 2,
        }
    );
    check!(
        BootFailed,
        BootFailed {
            step: BootStep::Sysctls,
            errno: 22,
            index: 1
        }
    );
}

#[test]
fn a_boot_message_carries_sysctls() {
    let sysctls = b"\x03\0a/b\x01\x001";
    let boot = Boot {
        namespaces: Namespaces {
            net: true,
            uts: false,
        },
        hostname: b"pod",
        domainname: b"",
        sysctls: Sysctls(sysctls),
    };
    let payload = sent(|write| boot.encode(write));
    let back = Boot::decode(&payload).unwrap();
    assert_eq!(back, boot);
    assert_eq!(
        back.sysctls.collect::<Vec<_>>(),
        [Ok((&b"a/b"[..], &b"1"[..]))]
    );
    let cut = Sysctls(&sysctls[..sysctls.len() - 1]);
    assert_eq!(cut.collect::<Vec<_>>(), [Err(DecodeError)]);
}

#[test]
fn headers_are_checked() {
    let mut buffer = [0; Header::LEN];
    let header = Header {
        kind: Kind::Forget,
        seq: 0x0102_0304,
        container: 5,
    };
    let good = header.begin(&mut buffer).finish().unwrap().to_vec();
    assert_eq!(
        good,
        [16, 0, 0, 0, VERSION, 10, 0, 0, 4, 3, 2, 1, 5, 0, 0, 0]
    );
    for (at, value) in [(0, 17), (3, 1), (4, VERSION + 1), (5, 0), (5, 200), (6, 1)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(
            Header::decode(&bad),
            Err(DecodeError),
            "byte {at} is {value}"
        );
    }
    assert_eq!(Header::decode(&good[..15]), Err(DecodeError));
    assert_eq!(Header::decode(&[]), Err(DecodeError));
}

#[test]
fn a_message_that_does_not_fit_is_not_sent() {
    let mut buffer = [0; Header::LEN + 3];
    let mut write = Header {
        kind: Kind::Ok,
        seq: 1,
        container: 0,
    }
    .begin(&mut buffer);
    write.u32(1);
    assert_eq!(write.finish(), Err(DecodeError));
}

#[test]
fn names_are_plain() {
    assert_eq!(name("0.log_A-z").as_str(), "0.log_A-z");
    assert!(Name::new(&[b'a'; MAX_NAME]).is_some());
    for bad in ["a/b", ".", "..", ".hidden", "a b", "a\0", "\u{e4}"] {
        assert_eq!(Name::new(bad.as_bytes()), None, "{bad:?}");
    }
    assert_eq!(Name::new(&[b'a'; MAX_NAME + 1]), None);
    assert!(Name::EMPTY.is_empty());
}

#[test]
fn exit_records_keep_their_layout() {
    let exited = Exited {
        code: 1,
        signal: 2,
        started: 0x0304,
        exited: 0x0506,
    };
    let record = ExitRecord {
        what: ExitOf::Container,
        name: name("web"),
        attempt: 7,
        id: 8,
        exited,
    };
    let bytes = record.encode();
    assert_eq!(ExitRecord::decode(&bytes), Ok(record));
    let mut golden = vec![1, 1, 1, 2, 7, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0];
    golden.extend([4, 3, 0, 0, 0, 0, 0, 0, 6, 5, 0, 0, 0, 0, 0, 0]);
    golden.extend([0; 16]);
    golden.extend(b"web");
    golden.resize(ExitRecord::LEN, 0);
    assert_eq!(bytes[..], golden);
    let long = Name::new(&[b'x'; MAX_NAME]).unwrap();
    let record = ExitRecord {
        name: long,
        what: ExitOf::Supervisor,
        ..record
    };
    assert_eq!(ExitRecord::decode(&record.encode()), Ok(record));
    let mut other = bytes;
    other[0] = 9;
    assert_eq!(ExitRecord::decode(&other), Err(DecodeError));
}

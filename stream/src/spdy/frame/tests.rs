use super::*;
use proptest::prelude::*;

fn bytes_of(frames: &[Frame]) -> BytesMut {
    let (mut encoder, mut out) = (Encoder::default(), BytesMut::new());
    for frame in frames {
        encoder.encode(frame, &mut out).unwrap();
    }
    out
}

/// All frames in `bytes`, which come `step` at a time. The pieces of one data frame are put together.
fn frames_in(bytes: &[u8], step: usize) -> Result<Vec<Frame>, FrameError> {
    let (mut decoder, mut buffer, mut frames) = (Decoder::default(), BytesMut::new(), Vec::new());
    let mut open: Option<(u32, Vec<u8>)> = None;
    for chunk in bytes.chunks(step.max(1)) {
        buffer.extend_from_slice(chunk);
        while let Some(frame) = decoder.decode(&mut buffer)? {
            let Frame::Data { id, fin, bytes } = frame else {
                frames.push(frame);
                continue;
            };
            let (_, mut all) = open.take().unwrap_or((id, Vec::new()));
            all.extend_from_slice(&bytes);
            match decoder.body {
                Some(_) => open = Some((id, all)),
                None => frames.push(Frame::Data {
                    id,
                    fin,
                    bytes: all.into(),
                }),
            }
        }
    }
    Ok(frames)
}

fn headers() -> impl Strategy<Value = Headers> {
    proptest::collection::vec(("[a-z:]{1,20}", "[ -~]{0,200}"), 0..20).prop_map(|pairs| {
        pairs
            .into_iter()
            .fold(Headers::default(), |all, (name, value)| {
                all.with(&name, value)
            })
    })
}

fn frame() -> impl Strategy<Value = Frame> {
    let id = 0..=ID;
    prop_oneof![
        (id.clone(), any::<bool>(), any::<bool>(), headers()).prop_map(
            |(id, fin, unidirectional, headers)| Frame::Syn {
                id,
                fin,
                unidirectional,
                headers
            }
        ),
        (id.clone(), any::<bool>(), headers()).prop_map(|(id, fin, headers)| Frame::Reply {
            id,
            fin,
            headers
        }),
        (id.clone(), any::<bool>(), headers()).prop_map(|(id, fin, headers)| Frame::Headers {
            id,
            fin,
            headers
        }),
        (id.clone(), any::<u32>()).prop_map(|(id, status)| Frame::Reset { id, status }),
        any::<Option<u32>>().prop_map(|window| Frame::Settings { window }),
        any::<u32>().prop_map(Frame::Ping),
        (id.clone(), any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
        (id.clone(), id.clone()).prop_map(|(id, more)| Frame::Window { id, more }),
        (
            id,
            any::<bool>(),
            proptest::collection::vec(any::<u8>(), 0..3000)
        )
            .prop_map(|(id, fin, bytes)| Frame::Data {
                id,
                fin,
                bytes: bytes.into()
            }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read(frames in proptest::collection::vec(frame(), 0..20), step in 1_usize..4000) {
        prop_assert_eq!(frames_in(&bytes_of(&frames), step), Ok(frames));
    }

    /// Whatever comes: an answer, in bounded memory, the same however it is cut.
    #[test]
    fn bytes_of_strangers(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 0_u8..12, step in 1_usize..50) {
        if bytes.len() > 6 {
            // Else nearly all would end at the version.
            bytes[..4].copy_from_slice(&[0x80, 3, 0, kind]);
            bytes[5..7].fill(0);
        }
        prop_assert_eq!(frames_in(&bytes, step), frames_in(&bytes, 600));
    }

    /// Frames with one byte gone wrong.
    #[test]
    fn damaged_frames(frames in proptest::collection::vec(frame(), 1..8), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = bytes_of(&frames);
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = frames_in(&bytes, 64);
    }
}

#[test]
fn a_golden_frame_of_each_kind_without_headers() {
    let frames = [
        Frame::Reset { id: 5, status: 3 },
        Frame::Settings {
            window: Some(65536),
        },
        Frame::Ping(2),
        Frame::GoAway { last: 7, status: 1 },
        Frame::Window { id: 1, more: 512 },
        Frame::Data {
            id: 9,
            fin: true,
            bytes: Bytes::from_static(b"hi"),
        },
    ];
    let want: &[u8] = &[
        0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 3, // reset
        0x80, 3, 0, 4, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 7, 0, 1, 0, 0, // settings
        0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2, // ping
        0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 1, // goaway
        0x80, 3, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 2, 0, // window
        0, 0, 0, 9, 1, 0, 0, 2, b'h', b'i',
    ];
    assert_eq!(&bytes_of(&frames)[..], want);
}

#[test]
fn what_is_refused() {
    let check = |bytes: &[u8], want: &str| {
        let refused = frames_in(bytes, 7).unwrap_err().to_string();
        assert!(refused.contains(want), "{refused}");
    };
    check(b"\x80\x02\0\x01\0\0\0\0", "version 2");
    check(b"\xff\xff\0\x01\0\0\0\0", "version 32767");
    check(b"\x80\x03\0\x01\0\xff\xff\xff", "too large");
    check(b"\x80\x03\0\x03\0\0\0\x04\0\0\0\x05", "type 3 and 4 bytes");
    check(
        b"\x80\x03\0\x01\0\0\0\x09\0\0\0\x01\0\0\0\0\0",
        "type 1 and 9 bytes",
    );
    // Settings that promise four thousand million entries.
    check(b"\x80\x03\0\x04\0\0\0\x04\xff\xff\xff\xff", "type 4");
    check(b"\x80\x03\0\x02\0\0\0\x06\0\0\0\x01\x12\x34", "compressed");
    // An HTTP request where frames should be is one long data frame of a stream that nobody has opened.
    assert!(matches!(frames_in(b"GET / HTTP/1.1\r\n\r\n", 64), Ok(frames) if frames.is_empty()));
}

#[test]
fn unknown_kinds_are_skipped() {
    let bytes = b"\x80\x03\0\x0a\0\0\0\x03abc\x80\x03\0\x06\0\0\0\x04\0\0\0\x01";
    assert_eq!(frames_in(bytes, 5), Ok(vec![Frame::Ping(1)]));
}

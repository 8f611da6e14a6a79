extern crate std;

use super::{Lines, PART, Piece, newline};
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// Feeds `reads` one after the other, flushes, and shows the pieces as `F:text P:text`.
#[track_caller]
fn check(reads: &[&str], want: &str) {
    let (mut kept, mut len) = ([0; PART], 0);
    let mut lines = Lines {
        kept: &mut kept,
        len: &mut len,
    };
    let mut got = Vec::new();
    let mut show = |piece: Piece<'_>| {
        let text = String::from_utf8([piece.kept, piece.fresh].concat()).unwrap();
        got.push(format!("{}:{text}", if piece.full { 'F' } else { 'P' }));
    };
    for read in reads {
        lines.feed(read.as_bytes(), &mut show);
    }
    lines.flush(&mut show);
    assert_eq!(*lines.len, 0);
    assert_eq!(got.join(" "), want);
}

#[test]
fn lines_are_cut_at_newlines() {
    check(&[], "");
    check(&["one\ntwo\n"], "F:one F:two");
    check(&["\n\n"], "F: F:");
    check(&["on", "e\nt", "wo"], "F:one P:two");
    check(&["one", "\n"], "F:one");
    check(
        &["a line that is longer than a word\nb"],
        "F:a line that is longer than a word P:b",
    );
}

#[test]
fn long_lines_go_out_in_parts() {
    let mut sizes = Vec::new();
    let (mut kept, mut len) = ([0; PART], 0);
    let mut lines = Lines {
        kept: &mut kept,
        len: &mut len,
    };
    let mut size =
        |piece: Piece<'_>| sizes.push((piece.full, piece.kept.len() + piece.fresh.len()));
    lines.feed(&vec![b'x'; PART * 2 + 5], &mut size);
    lines.feed(b"\n", &mut size);
    lines.feed(&vec![b'x'; PART], &mut size);
    lines.feed(b"\n", &mut size);
    lines.feed(&vec![b'x'; PART], &mut size);
    lines.feed(b"y\n", &mut size);
    assert_eq!(
        sizes,
        [
            (false, PART),
            (false, PART),
            (true, 5),
            (true, PART),
            (false, PART),
            (true, 1)
        ]
    );
}

#[test]
fn nothing_is_lost_however_the_reads_fall() {
    let text: Vec<u8> = (0..200_000u32)
        .map(|n| {
            if n % 997 == 0 {
                b'\n'
            } else {
                b'a' + (n % 26) as u8
            }
        })
        .collect();
    for step in [1, 7, 8, 4096, PART - 1, PART, PART + 1, 70_000] {
        let (mut kept, mut len) = ([0; PART], 0);
        let mut lines = Lines {
            kept: &mut kept,
            len: &mut len,
        };
        let mut back = Vec::new();
        let mut join = |piece: Piece<'_>| {
            back.extend_from_slice(piece.kept);
            back.extend_from_slice(piece.fresh);
            if piece.full {
                back.push(b'\n');
            }
        };
        text.chunks(step)
            .for_each(|chunk| lines.feed(chunk, &mut join));
        lines.flush(&mut join);
        assert!(back == text, "reads of {step}");
    }
}

#[test]
fn newlines_are_found_where_they_are() {
    for len in 0..40 {
        for at in 0..len {
            let mut bytes = vec![b'\x8a'; len];
            bytes[at] = b'\n';
            assert_eq!(newline(&bytes), Some(at));
        }
        assert_eq!(newline(&vec![b'\x0b'; len]), None);
    }
}

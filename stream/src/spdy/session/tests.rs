use super::*;
use std::future::Future;
use tokio::io::DuplexStream;

fn pair(
    limits: Limits,
) -> (
    (Session, mpsc::Receiver<Incoming>),
    (Session, mpsc::Receiver<Incoming>),
) {
    let (here, there) = tokio::io::duplex(8 * 1024);
    (
        Session::start(here, Role::Client, limits),
        Session::start(there, Role::Server, limits),
    )
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what)
        .await
        .expect("in time")
}

fn named(name: &str) -> Headers {
    Headers::default().with("streamtype", name)
}

async fn read_all_of(stream: &mut Stream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = soon(stream.reader.read()).await.unwrap() {
        all.extend_from_slice(&bytes);
    }
    all
}

#[tokio::test]
async fn streams_carry_bytes_both_ways() {
    let ((client, _), (server, mut door)) = pair(Limits::default());
    let big = Bytes::from(vec![7; 3_000_000]);
    let sent = big.clone();
    let serving = tokio::spawn(async move {
        while let Some(incoming) = door.recv().await {
            let mut stream = incoming.accept().unwrap();
            tokio::spawn(async move {
                let got = read_all_of(&mut stream).await;
                stream.writer.write(got.into()).await.unwrap();
                stream.writer.finish().await.unwrap();
            });
        }
    });
    let echo = async |name: &str| {
        let mut stream = client.open(named(name)).await.unwrap();
        stream.writer.write(sent.clone()).await.unwrap();
        stream.writer.finish().await.unwrap();
        assert_eq!(read_all_of(&mut stream).await, sent);
    };
    soon(async { tokio::join!(echo("a"), echo("b"), echo("c")) }).await;
    assert!(client.shared.lock().streams.is_empty());
    soon(async {
        while !server.shared.lock().streams.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(client.close()).await;
    assert_eq!(soon(server.over()).await, SessionError::Gone);
    soon(serving).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_nobody_reads_does_not_stop_the_others() {
    let ((client, _), (_server, mut door)) = pair(Limits::default());
    let mut stuck = client.open_with(&mut door, "stuck").await;
    let mut moving = client.open_with(&mut door, "moving").await;
    let flood = tokio::spawn(async move {
        let done = stuck.0.writer.write(vec![0; 10_000_000].into()).await;
        (done, stuck.1)
    });
    for round in 0..100_u8 {
        soon(moving.0.writer.write(vec![round; 9000].into()))
            .await
            .unwrap();
        let mut got = 0;
        while got < 9000 {
            got += soon(moving.1.reader.read()).await.unwrap().unwrap().len();
        }
    }
    assert!(!flood.is_finished());
    drop(client);
    let (done, _) = soon(flood).await.unwrap();
    assert_eq!(done, Err(SessionError::Closed));
}

impl Session {
    /// Both ends of a new stream.
    async fn open_with(&self, door: &mut mpsc::Receiver<Incoming>, name: &str) -> (Stream, Stream) {
        let accept = async { soon(door.recv()).await.unwrap().accept().unwrap() };
        let (ours, theirs) = tokio::join!(self.open(named(name)), accept);
        (ours.unwrap(), theirs)
    }
}

#[tokio::test]
async fn refusals_resets_and_ends() {
    let ((client, _), (server, mut door)) = pair(Limits {
        streams: 2,
        ..Limits::default()
    });
    let refuse = async { drop(soon(door.recv()).await.unwrap()) };
    let (refused, ()) = tokio::join!(client.open(named("no")), refuse);
    assert_eq!(refused.unwrap_err(), SessionError::NotAccepted);
    let (one, mut other) = client.open_with(&mut door, "yes").await;
    drop(one);
    soon(other.writer.broken()).await;
    assert!(
        soon(other.writer.write(Bytes::from_static(b"x")))
            .await
            .is_err()
    );
    assert_eq!(soon(other.reader.read()).await, Ok(None));
    let _kept = (
        client.open_with(&mut door, "a").await,
        client.open_with(&mut door, "b").await,
    );
    // A third one is more than the server takes; nobody is even asked.
    assert_eq!(
        soon(client.open(named("c"))).await.unwrap_err(),
        SessionError::NotAccepted
    );
    soon(server.close()).await;
    assert!(client.open(named("d")).await.is_err());
}

#[tokio::test]
async fn what_is_written_before_the_close_arrives() {
    let ((client, _), (server, mut door)) = pair(Limits::default());
    let (mut ours, mut theirs) = client.open_with(&mut door, "status").await;
    soon(theirs.writer.write(vec![1; 100_000].into()))
        .await
        .unwrap();
    soon(theirs.writer.finish()).await.unwrap();
    let reading = tokio::spawn(async move { read_all_of(&mut ours).await.len() });
    tokio::join!(soon(server.close()), async {
        assert_eq!(soon(reading).await.unwrap(), 100_000);
        drop(client);
    });
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed() {
    let (here, there) = tokio::io::duplex(64 * 1024);
    let (silent, _) = Session::start(here, Role::Server, Limits::default());
    assert_eq!(silent.over().await, SessionError::Silent);
    drop(there);
    let ((client, _), (server, mut door)) = pair(Limits {
        idle: Duration::from_secs(3600),
        ..Limits::default()
    });
    let _stream = client.open_with(&mut door, "idle").await;
    // Both answer, but nothing is said.
    let begun = Instant::now();
    let why = tokio::select! { why = client.over() => why, why = server.over() => why };
    assert_eq!(why, SessionError::Idle);
    assert!(begun.elapsed() >= Duration::from_secs(3600));
}

/// A peer in bytes: what kubectl's library does, or what it should never do.
struct Raw {
    io: DuplexStream,
    encoder: Encoder,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Raw {
    fn new(limits: Limits) -> (Raw, Session, mpsc::Receiver<Incoming>) {
        let (io, there) = tokio::io::duplex(1 << 20);
        let (session, door) = Session::start(there, Role::Server, limits);
        let raw = Raw {
            io,
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            buffer: BytesMut::new(),
        };
        (raw, session, door)
    }

    async fn send(&mut self, frame: Frame) -> std::io::Result<()> {
        let mut out = BytesMut::new();
        self.encoder.encode(&frame, &mut out).unwrap();
        self.io.write_all(&out).await
    }

    async fn open(&mut self, id: u32) {
        let headers = named("x");
        let syn = Frame::Syn {
            id,
            fin: false,
            unidirectional: false,
            headers,
        };
        self.send(syn).await.unwrap();
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            if soon(self.io.read_buf(&mut self.buffer)).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn until(&mut self, want: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.next().await.expect("before the end");
            if want(&frame) {
                return frame;
            }
        }
    }
}

#[tokio::test]
async fn a_peer_without_flow_control_gets_everything() {
    let (mut raw, session, mut door) = Raw::new(Limits::default());
    raw.open(1).await;
    let mut stream = soon(door.recv()).await.unwrap().accept().unwrap();
    let sending = tokio::spawn(async move {
        stream
            .writer
            .write(vec![5; 1_000_000].into())
            .await
            .unwrap();
        stream.writer.finish().await.unwrap();
        stream
    });
    let mut got = 0;
    loop {
        if let Some(Frame::Data { bytes, fin, .. }) = raw.next().await {
            got += bytes.len();
            if fin {
                break;
            }
        }
    }
    assert_eq!(got, 1_000_000);
    let mut stream = soon(sending).await.unwrap();
    // And it sends more than it was allowed: the session waits for the reader, and loses nothing.
    let flood = async {
        for _ in 0..100 {
            let bytes = Bytes::from(vec![6; 30_000]);
            raw.send(Frame::Data {
                id: 1,
                fin: false,
                bytes,
            })
            .await
            .unwrap();
        }
        raw.send(Frame::Data {
            id: 1,
            fin: true,
            bytes: Bytes::new(),
        })
        .await
        .unwrap();
    };
    let ((), all) = soon(async { tokio::join!(flood, read_all_of(&mut stream)) }).await;
    assert_eq!(all.len(), 3_000_000);
    drop(session);
}

#[tokio::test]
async fn a_peer_with_flow_control_is_heeded() {
    let (mut raw, _session, mut door) = Raw::new(Limits::default());
    raw.send(Frame::Settings { window: Some(1000) })
        .await
        .unwrap();
    raw.open(1).await;
    let mut stream = soon(door.recv()).await.unwrap().accept().unwrap();
    let sending = tokio::spawn(async move { stream.writer.write(vec![5; 5000].into()).await });
    for round in 0..5 {
        let mut got = 0;
        while got < 1000 {
            let frame = raw.until(|frame| matches!(frame, Frame::Data { .. })).await;
            if let Frame::Data { bytes, .. } = frame {
                got += bytes.len();
            }
        }
        assert_eq!(got, 1000, "in round {round}");
        raw.send(Frame::Window { id: 1, more: 1000 }).await.unwrap();
    }
    soon(sending).await.unwrap().unwrap();
}

#[tokio::test]
async fn pings_come_back_and_strangers_are_told() {
    let (mut raw, session, _door) = Raw::new(Limits::default());
    raw.send(Frame::Ping(7)).await.unwrap();
    raw.until(|frame| *frame == Frame::Ping(7)).await;
    raw.send(Frame::Data {
        id: 9,
        fin: false,
        bytes: Bytes::from_static(b"?"),
    })
    .await
    .unwrap();
    raw.until(|frame| *frame == Frame::Reset { id: 9, status: 2 })
        .await;
    raw.send(Frame::Window { id: 77, more: 1 }).await.unwrap();
    raw.send(Frame::Reset { id: 78, status: 1 }).await.unwrap();
    raw.open(5).await;
    raw.open(3).await;
    assert_eq!(
        soon(session.over()).await,
        SessionError::Protocol("a stream's number does not rise")
    );
}

#[tokio::test]
async fn who_asks_and_does_not_listen_is_cut_off() {
    let (mut raw, session, _door) = Raw::new(Limits::default());
    let flood = async { while raw.send(Frame::Ping(1)).await.is_ok() {} };
    let why =
        tokio::select! { why = soon(session.over()) => why, () = flood => SessionError::Gone };
    assert!(
        matches!(why, SessionError::Flood | SessionError::Gone),
        "{why}"
    );
    assert_eq!(session.shared.ended(), Some(SessionError::Flood));
}

#[tokio::test]
async fn a_thousand_streams_are_refused_but_for_the_first() {
    let (mut raw, session, mut door) = Raw::new(Limits {
        streams: 3,
        ..Limits::default()
    });
    let opening = async {
        for number in 0..1000 {
            raw.open(2 * number + 1).await;
            // Else the refusals fill the queue for a peer that does not read.
            if number >= 3 {
                raw.until(|frame| matches!(frame, Frame::Reset { status: 3, .. }))
                    .await;
            }
        }
    };
    soon(opening).await;
    let mut waiting = 0;
    while door
        .try_recv()
        .is_ok_and(|incoming| incoming.accept().is_some())
    {
        waiting += 1;
    }
    assert_eq!(waiting, 3);
    assert_eq!(session.shared.ended(), None);
}

#[tokio::test]
async fn garbage_ends_the_session() {
    for garbage in [
        &b"\x80\x02\0\x01\0\0\0\0"[..],
        &[0xff; 64],
        b"\x80\x03\0\x01\0\0\0\x0c\0\0\0\x01\0\0\0\0\0\0zz",
    ] {
        let (mut raw, session, _door) = Raw::new(Limits::default());
        raw.io.write_all(garbage).await.unwrap();
        assert!(matches!(soon(session.over()).await, SessionError::Frame(_)));
    }
}

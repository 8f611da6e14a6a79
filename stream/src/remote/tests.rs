use super::*;

const ALL: Want = Want {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const TTY: Want = Want {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: true,
};
const HOUR: Duration = Duration::from_secs(3600);

fn socket(version: u8, base64: bool) -> Transport {
    Transport::Socket(Codec { version, base64 })
}

async fn pair(transport: Transport, want: Want) -> (Command, Remote) {
    let (here, there) = tokio::io::duplex(4096);
    let (client, server) = tokio::join!(
        Command::start(here, transport, want),
        Remote::serve(there, transport, want, HOUR)
    );
    (client.unwrap(), server.unwrap())
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what)
        .await
        .expect("in time")
}

/// A command that copies its input to both outputs and then ends.
async fn cat(mut remote: Remote, outcome: &Outcome) {
    let (mut stdin, mut stdout) = (remote.stdin.take().unwrap(), remote.stdout.take().unwrap());
    let mut stderr = remote.stderr.take();
    let mut left = 300_000;
    while left > 0
        && let Some(bytes) = stdin.read().await.unwrap()
    {
        left -= bytes.len();
        stdout.write(bytes).await.unwrap();
    }
    stdout.finish().await.unwrap();
    if let Some(stderr) = &mut stderr {
        stderr.write(Bytes::from_static(b"done")).await.unwrap();
        stderr.finish().await.unwrap();
    }
    remote.finish(outcome).await;
}

#[tokio::test]
async fn a_command_by_every_transport() {
    for transport in [
        Transport::Spdy(4),
        socket(5, false),
        socket(4, false),
        socket(4, true),
    ] {
        let (mut command, remote) = pair(transport, ALL).await;
        let serving = tokio::spawn(async move { cat(remote, &Outcome::Exit(7)).await });
        let mut keys = command.stdin.take().unwrap();
        let typing = tokio::spawn(async move {
            keys.write(vec![b'x'; 300_000].into()).await.unwrap();
            keys.finish().await.unwrap();
        });
        let (mut out, mut err) = (
            command.stdout.take().unwrap(),
            command.stderr.take().unwrap(),
        );
        let said =
            soon(async { tokio::join!(out.read_all(300_000), err.read_all(4), command.outcome()) })
                .await;
        assert_eq!(said.0.unwrap(), vec![b'x'; 300_000], "{transport:?}");
        assert_eq!(said.1.unwrap(), b"done");
        assert_eq!(said.2, Ok(Outcome::Exit(7)));
        soon(typing).await.unwrap();
        soon(command.close()).await;
        soon(serving).await.unwrap();
    }
}

#[tokio::test]
async fn a_terminal_changes_its_size() {
    for transport in [Transport::Spdy(4), socket(5, false)] {
        let (mut command, mut remote) = pair(transport, TTY).await;
        assert!(remote.stderr.is_none() && command.stderr.is_none());
        let mut resize = command.resize.take().unwrap();
        let mut sizes = remote.resize.take().unwrap();
        for height in [24, 50] {
            let size = Size { width: 80, height };
            resize.write(size.message()).await.unwrap();
            assert_eq!(soon(sizes.next()).await, Some(size));
        }
        // Two at once, then in pieces, then what is no size.
        resize
            .write(Bytes::from_static(
                b"{\"Width\":1,\"Height\":2}\n{\"Width\":3,",
            ))
            .await
            .unwrap();
        assert_eq!(
            soon(sizes.next()).await,
            Some(Size {
                width: 1,
                height: 2
            })
        );
        resize
            .write(Bytes::from_static(b"\"Height\":4}\n"))
            .await
            .unwrap();
        assert_eq!(
            soon(sizes.next()).await,
            Some(Size {
                width: 3,
                height: 4
            })
        );
        resize
            .write(Bytes::from_static(b"{\"Width\":-1}"))
            .await
            .unwrap();
        assert_eq!(soon(sizes.next()).await, None);
    }
}

#[tokio::test]
async fn signals_and_a_client_that_goes() {
    let (mut command, mut remote) = pair(Transport::Spdy(4), ALL).await;
    let mut signals = command.signals.take().unwrap();
    signals.write(Bytes::from_static(&[15])).await.unwrap();
    let got = soon(remote.signals.as_mut().unwrap().read()).await;
    assert_eq!(got, Ok(Some(Bytes::from_static(&[15]))));
    drop(command);
    soon(remote.gone()).await;
    for transport in [socket(4, false), socket(5, false)] {
        let (command, mut remote) = pair(transport, ALL).await;
        drop(command);
        assert_eq!(soon(remote.gone()).await, StreamError::Gone);
        assert_eq!(soon(remote.stdin.take().unwrap().read()).await, Ok(None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_opens_too_little_is_not_waited_for() {
    let (here, there) = tokio::io::duplex(4096);
    let (session, _) = Session::start(here, Role::Client, Limits::default());
    let opening = session.open(Headers::default().with(STREAM_TYPE, "error"));
    let serving = Remote::serve(there, Transport::Spdy(4), ALL, HOUR);
    let (opened, served) = tokio::join!(opening, serving);
    assert!(opened.is_ok());
    assert_eq!(served.unwrap_err(), StreamError::Late);
}

#[tokio::test]
async fn old_versions_say_it_in_words() {
    for (outcome, want) in [
        (
            Outcome::Exit(3),
            "command terminated with non-zero exit code: 3",
        ),
        (Outcome::Failed("no".to_owned()), "no"),
    ] {
        let (mut command, remote) = pair(socket(1, false), ALL).await;
        let serving = tokio::spawn(async move { remote.finish(&outcome).await });
        assert_eq!(
            soon(command.outcome()).await,
            Ok(Outcome::Failed(want.to_owned()))
        );
        drop(command);
        soon(serving).await.unwrap();
    }
}

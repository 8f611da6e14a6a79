use super::*;
use crate::websocket::Codec;

const HOUR: Duration = Duration::from_secs(3600);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what)
        .await
        .expect("in time")
}

/// Port 7 sends everything back; all others cannot be reached.
async fn echo(mut forward: Forward) {
    while let Some(mut connection) = forward.next().await {
        tokio::spawn(async move {
            if connection.port != 7 {
                connection
                    .error
                    .write(Bytes::from_static(b"nobody listens"))
                    .await
                    .unwrap();
                let _ = connection.error.finish().await;
                return;
            }
            while let Ok(Some(bytes)) = connection.input.read().await {
                connection.output.write(bytes).await.unwrap();
            }
            let _ = connection.output.finish().await;
            let _ = connection.error.finish().await;
        });
    }
}

#[tokio::test]
async fn many_connections_over_one() {
    for transport in [Transport::Spdy(0), Transport::Tunnel] {
        let (here, there) = tokio::io::duplex(8192);
        let serving = tokio::spawn(async move {
            echo(Forward::serve(there, transport, &[], HOUR).await.unwrap()).await
        });
        let forwarder = Forwarder::start(here, transport).await.unwrap();
        let one = async |size: usize| {
            let mut there = forwarder.open(7).await.unwrap();
            let sending = async {
                there.output.write(vec![1; size].into()).await.unwrap();
                there.output.finish().await.unwrap();
            };
            let ((), back) = tokio::join!(sending, there.input.read_all(usize::MAX));
            assert_eq!(back.unwrap().len(), size);
            assert_eq!(there.error.read_all(100).await.unwrap(), b"");
        };
        soon(async { tokio::join!(one(2_000_000), one(1), one(0), one(777_777)) }).await;
        let mut refused = soon(forwarder.open(81)).await.unwrap();
        assert_eq!(
            soon(refused.error.read_all(100)).await.unwrap(),
            b"nobody listens"
        );
        soon(forwarder.close()).await;
        soon(serving).await.unwrap();
    }
}

#[tokio::test]
async fn a_websocket_has_one_connection_a_port() {
    let codec = Codec {
        version: 4,
        base64: false,
    };
    let (here, there) = tokio::io::duplex(8192);
    let serving = tokio::spawn(async move {
        echo(
            Forward::serve(there, Transport::Socket(codec), &[7, 258], HOUR)
                .await
                .unwrap(),
        )
        .await;
    });
    let (handle, mut queues) =
        websocket::start(here, WebRole::Client, codec, &[0, 1, 2, 3], HOUR).await;
    for (channel, port) in [(0, [7, 0]), (1, [7, 0]), (2, [2, 1]), (3, [2, 1])] {
        let first = soon(queues.get_mut(&channel).unwrap().recv())
            .await
            .unwrap();
        assert_eq!(first, &port[..], "{channel}");
    }
    handle
        .sending(0)
        .write(Bytes::from_static(b"hello"))
        .await
        .unwrap();
    assert_eq!(
        soon(queues.get_mut(&0).unwrap().recv()).await.unwrap(),
        "hello"
    );
    assert_eq!(
        soon(queues.get_mut(&3).unwrap().recv()).await.unwrap(),
        "nobody listens"
    );
    soon(handle.close()).await;
    soon(serving).await.unwrap();
    let (_, there) = tokio::io::duplex(64);
    assert!(
        Forward::serve(there, Transport::Socket(codec), &[], HOUR)
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn half_connections_are_given_up() {
    let (here, there) = tokio::io::duplex(8192);
    let mut forward = Forward::serve(there, Transport::Spdy(0), &[], HOUR)
        .await
        .unwrap();
    let (session, _) = Session::start(here, Role::Client, Limits::default());
    let headers = |kind: &str, port: &str| {
        Headers::default()
            .with(STREAM_TYPE, kind)
            .with(PORT, port)
            .with(REQUEST, "1")
    };
    let asking = async {
        for wrong in [
            headers("error", "0"),
            headers("error", "70000"),
            headers("data", "http"),
            headers("x", "80"),
        ] {
            assert!(session.open(wrong).await.is_err());
        }
        let mut half = session.open(headers("error", "80")).await.unwrap();
        // Its other half would have to be for the same port.
        assert!(session.open(headers("data", "81")).await.is_err());
        let begun = Instant::now();
        half.writer.broken().await;
        assert_eq!(begun.elapsed().as_secs(), 30);
    };
    tokio::select! { () = asking => {}, _ = forward.next() => panic!("no connection was asked for") }
}

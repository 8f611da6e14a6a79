//! `rkubelet port-forward`: ports of this host's loopback that lead into a pod, for as long as the command runs.
use super::output::Output;
use super::{Failure, Global, joined, open};
use crate::dial::Inside;
use bytes::BytesMut;
use clap::Args;
use rkube_stream::forward::Forwarder;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections at once.
const CONNECTIONS: usize = 200;

/// Lead ports of this host into a pod.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  rkubelet port-forward web 8080:80      127.0.0.1:8080 leads to port 80 of the pod
  rkubelet port-forward web 80           the same port on both sides
  rkubelet port-forward web :80          any free port; it is printed

It goes on until Ctrl-C, or until the pod is gone. What listens in the pod may listen on its loopback only.")]
pub struct PortForward {
    /// The pod: its name, namespace/name, or the beginning of its uid
    pod: String,
    /// Ports: of this host, a colon, and of the pod
    #[arg(required = true, value_name = "[LOCAL:]PORT")]
    ports: Vec<Pair>,
    /// The address of this host to listen on
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
}

/// A port of this host, 0 for any, and one of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    local: u16,
    remote: u16,
}

impl std::str::FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| {
            let port = text.parse::<u16>().ok().filter(|&port| port > 0);
            port.ok_or_else(|| format!("\"{text}\" is not a port; write 8080:80, 80, or :80"))
        };
        match text.split_once(':') {
            None => port(text).map(|port| Pair {
                local: port,
                remote: port,
            }),
            Some(("", remote)) => Ok(Pair {
                local: 0,
                remote: port(remote)?,
            }),
            Some((local, remote)) => Ok(Pair {
                local: port(local)?,
                remote: port(remote)?,
            }),
        }
    }
}

/// The way into the pod.
enum Way {
    Daemon(Forwarder),
    Direct(Inside),
}

impl PortForward {
    /// Forwards until a signal, or the pod's end.
    ///
    /// # Errors
    /// When the pod does not run, or a port of this host is taken.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        open::require_root()?;
        let paths = global.paths();
        let pod = open::pod(&paths, &self.pod)?;
        let output = Output::detect(false);
        let way = match joined::forwarder(global, &pod.record).await {
            Some(forwarder) => Way::Daemon(forwarder),
            None => Way::Direct(Inside::of(&paths.pod_run(pod.record.uid())).map_err(|_| {
                Failure::failed(format!("pod {} is not running", pod.record.full_name()))
            })?),
        };
        let way = Arc::new(way);
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut serving = JoinSet::new();
        for pair in &self.ports {
            let address = SocketAddr::new(self.address, pair.local);
            let listener = TcpListener::bind(address).await.map_err(|err| {
                Failure::failed(format!(
                    "cannot listen on {address}: {err}; choose another port, as 8081:{}",
                    pair.remote
                ))
            })?;
            let own = listener.local_addr().map_err(|err| Failure::of(&err))?;
            output.say(&format!(
                "forwarding from {own} to port {} of pod {}",
                pair.remote,
                pod.record.full_name()
            ));
            serving.spawn(serve(
                listener,
                pair.remote,
                way.clone(),
                places.clone(),
                output,
            ));
        }
        let io = |err: io::Error| Failure::of(&err);
        let mut interrupted = signal(SignalKind::interrupt()).map_err(io)?;
        let mut ended = signal(SignalKind::terminate()).map_err(io)?;
        let over = async {
            match &*way {
                Way::Daemon(forwarder) => forwarder.over().await.to_string(),
                Way::Direct(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupted.recv() => Ok(0),
            _ = ended.recv() => Ok(0),
            why = over => Err(Failure::failed(format!("pod {}: {why}", pod.record.full_name()))),
        }
    }
}

async fn serve(
    listener: TcpListener,
    port: u16,
    way: Arc<Way>,
    places: Arc<Semaphore>,
    output: Output,
) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(err) => {
                // Out of descriptors: some will be free again.
                output.warn(&format!("cannot take a connection: {err}"));
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let way = way.clone();
        tokio::spawn(async move {
            let _place = place;
            let done = match &*way {
                Way::Daemon(forwarder) => by_daemon(client, forwarder, port).await,
                Way::Direct(inside) => directly(client, inside, port).await,
            };
            if let Err(why) = done {
                output.warn(&why);
            }
        });
    }
}

async fn directly(mut client: TcpStream, inside: &Inside, port: u16) -> Result<(), String> {
    let there = inside.connect(port).await;
    let mut there = there.map_err(|err| format!("cannot connect to port {port}: {err}"))?;
    // One side that breaks off is no news.
    let _ = copy_bidirectional(&mut client, &mut there).await;
    Ok(())
}

async fn by_daemon(client: TcpStream, forwarder: &Forwarder, port: u16) -> Result<(), String> {
    let mut there = forwarder.open(port).await.map_err(|err| err.to_string())?;
    let (mut from, mut to) = client.into_split();
    let out = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(32 * 1024);
            match from.read_buf(&mut buffer).await {
                Ok(1..) if there.output.write(buffer.split().freeze()).await.is_ok() => {}
                Ok(_) | Err(_) => break,
            }
        }
        let _ = there.output.finish().await;
    };
    let back = async {
        while let Ok(Some(bytes)) = there.input.read().await {
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    let mut out = std::pin::pin!(out);
    let both = async {
        // What the pod has ended is over for the client; the other direction may go on for a while.
        tokio::select! {
            () = back => {}
            () = async { (&mut out).await; std::future::pending::<()>().await } => {}
        }
    };
    both.await;
    match there.error.read_all(4096).await {
        Ok(said) if !said.is_empty() => Err(String::from_utf8_lossy(&said).into_owned()),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_ports() {
        let check = |text: &str, want: Option<(u16, u16)>| {
            let got = text
                .parse::<Pair>()
                .ok()
                .map(|pair| (pair.local, pair.remote));
            assert_eq!(got, want, "{text}");
        };
        check("80", Some((80, 80)));
        check("8080:80", Some((8080, 80)));
        check(":80", Some((0, 80)));
        for wrong in [
            "", ":", "0", "80:", "0:80", "80:0", "http", "1:2:3", "65536", "-1",
        ] {
            check(wrong, None);
        }
    }
}

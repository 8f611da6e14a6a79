//! A small world of network namespaces: a neighbour, a host, and pods on the host's bridge.
//!
//! ```text
//! neighbour 198.51.100.2 --- 198.51.100.1 host, rkube0 10.77.0.1 --- pods
//! ```
//! Everything lives in namespaces of this process, so it is gone when the descriptors are.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

use rkube_net::{
    Backend, Bridge, BridgeConfig, HostPort, HostPorts, Transport, create_netns, in_netns,
};

/// How long a packet that arrives may take; one that never does is waited for a tenth of it.
const PATIENCE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(400);

pub(crate) const HOST_IP: &str = "198.51.100.1";
pub(crate) const NEIGHBOUR_IP: &str = "198.51.100.2";

/// Prints why a test does nothing here, and says so.
pub(crate) fn skip(name: &str) -> bool {
    let root = rustix::process::geteuid().is_root() && create_netns().is_ok();
    if !root {
        println!("SKIP {name}: needs root and network namespaces");
    }
    !root
}

pub(crate) fn backends(name: &str) -> Vec<Backend> {
    let found = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let mut backends = Vec::new();
    for (backend, program) in [
        (Backend::Nft, "iptables-nft"),
        (Backend::Legacy, "iptables-legacy"),
    ] {
        if found(program) {
            backends.push(backend);
        } else {
            println!("SKIP {name} ({backend:?}): no {program}");
        }
    }
    backends
}

pub(crate) struct World {
    pub(crate) host: OwnedFd,
    pub(crate) neighbour: OwnedFd,
    pub(crate) bridge: Bridge,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let host = create_netns().unwrap();
        let neighbour = create_netns().unwrap();
        sh(
            &host,
            "ip link set lo up; ip link add wire0 type veth peer name wire1",
        );
        let dir = tempfile::tempdir().unwrap();
        in_netns(host.as_fd(), || {
            let target = format!("/proc/{}/fd/{}", std::process::id(), fd(&neighbour));
            run(&format!("ip link set wire1 netns {target}"));
        })
        .unwrap();
        sh(
            &host,
            &format!("ip addr add {HOST_IP}/24 dev wire0; ip link set wire0 up"),
        );
        sh(
            &neighbour,
            &format!(
                "ip link set lo up; ip addr add {NEIGHBOUR_IP}/24 dev wire1; ip link set wire1 up"
            ),
        );
        let config = BridgeConfig::default();
        let bridge = in_netns(host.as_fd(), || Bridge::ensure(&config))
            .unwrap()
            .unwrap();
        Self {
            host,
            neighbour,
            bridge,
            dir,
        }
    }

    pub(crate) fn pod(&self, ip: &str) -> OwnedFd {
        let pod = create_netns().unwrap();
        let attach = || self.bridge.attach(pod.as_fd(), ip.parse().unwrap(), ip);
        in_netns(self.host.as_fd(), attach).unwrap().unwrap();
        pod
    }

    pub(crate) fn ports(&self, backend: Backend) -> HostPorts {
        let ports = HostPorts::open(self.dir.path(), self.bridge.name(), self.bridge.subnet());
        ports.unwrap().with_backend(backend)
    }

    /// Runs something in the host's namespace.
    pub(crate) fn on_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        in_netns(self.host.as_fd(), work).unwrap()
    }
}

fn fd(fd: &OwnedFd) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(fd)
}

/// Runs a shell command in a namespace and returns what it printed.
pub(crate) fn sh(netns: &OwnedFd, script: &str) -> String {
    in_netns(netns.as_fd(), || run(script)).unwrap()
}

fn run(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn host_port(protocol: Transport, from: u16, pod_ip: &str, to: u16) -> HostPort {
    HostPort {
        protocol,
        host_ip: None,
        host_port: from,
        pod_ip: pod_ip.parse().unwrap(),
        container_port: to,
        pod: format!("default/pod-{pod_ip}"),
        uid: format!("uid-{pod_ip}"),
    }
}

/// A server that answers each client with its own name and the address it sees the client at;
/// it ends with its socket's namespace user, after `PATIENCE` without a client.
pub(crate) fn serve(netns: &OwnedFd, protocol: Transport, port: u16, name: &'static str) {
    let at = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port);
    match protocol {
        Transport::Udp => {
            let socket = in_netns(netns.as_fd(), || UdpSocket::bind(at))
                .unwrap()
                .unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(format!("{name} {}", from.ip()).as_bytes(), from);
                }
            });
        }
        Transport::Tcp | Transport::Sctp => {
            let listener = in_netns(netns.as_fd(), || TcpListener::bind(at))
                .unwrap()
                .unwrap();
            std::thread::spawn(move || {
                while let Ok((mut stream, from)) = listener.accept() {
                    let _ = stream.write_all(format!("{name} {}", from.ip()).as_bytes());
                }
            });
        }
    }
}

/// What a server at that address answers, seen from a namespace: `name client-address`.
pub(crate) fn ask(netns: &OwnedFd, protocol: Transport, ip: &str, port: u16) -> io::Result<String> {
    let to = SocketAddr::new(ip.parse().unwrap(), port);
    in_netns(netns.as_fd(), || match protocol {
        Transport::Udp => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            ask_by(&socket, to)
        }
        Transport::Tcp | Transport::Sctp => {
            let mut stream = TcpStream::connect_timeout(&to, SILENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        }
    })
    .unwrap()
}

/// Asks over UDP from a socket that is there already.
pub(crate) fn ask_by(socket: &UdpSocket, to: SocketAddr) -> io::Result<String> {
    socket.set_read_timeout(Some(SILENCE))?;
    socket.send_to(b"?", to)?;
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

/// All rules of a namespace in a backend, without counters and comments of the tool.
pub(crate) fn rules(netns: &OwnedFd, backend: Backend) -> Vec<String> {
    let program = match backend {
        Backend::Nft => "iptables-nft-save",
        Backend::Legacy => "iptables-legacy-save",
    };
    let text = sh(netns, &format!("{program} -t nat; {program} -t filter"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split(" [").next().unwrap_or_default().to_owned())
        .collect()
}

//! What systemd is told of the daemon: sd_notify(3), one datagram a message. Without systemd nothing happens.
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends lines such as `READY=1` to whoever started this process and wants to know. Fails in silence: that it is not
/// heard changes nothing here.
pub fn notify(lines: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(err) = send(socket.as_bytes(), lines)
    {
        tracing::debug!(%err, "cannot notify systemd");
    }
}

fn send(socket: &[u8], lines: &str) -> io::Result<()> {
    let address = match socket {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(lines.as_bytes(), &address)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_at_paths_and_at_abstract_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("@rkube-sd-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        let sockets = [
            (
                UnixDatagram::bind(&path).unwrap(),
                path.as_os_str().as_bytes(),
            ),
            (
                UnixDatagram::bind_addr(&abstract_name).unwrap(),
                name.as_bytes(),
            ),
        ];
        for (socket, address) in sockets {
            send(address, "READY=1\nSTATUS=3 pods").unwrap();
            let mut message = [0; 64];
            let length = socket.recv(&mut message).unwrap();
            assert_eq!(&message[..length], b"READY=1\nSTATUS=3 pods");
        }
        assert!(send(b"/nonexistent/notify", "READY=1").is_err());
    }
}

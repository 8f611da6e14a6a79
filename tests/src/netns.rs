//! Network namespaces of a test's own, and small clients in them.
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A network namespace, held by a descriptor: it is gone with the value and the last process in it.
#[derive(Debug)]
pub struct NetNs(File);

impl NetNs {
    /// Makes one, with loopback up.
    ///
    /// # Errors
    /// What the kernel says; without root it is EPERM.
    pub fn new() -> io::Result<Self> {
        // A process is born in it, says so, and ends once the namespace is held by its descriptor.
        let mut born = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; read _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let said = born
            .stdout
            .as_mut()
            .map_or(Ok(0), |pipe| pipe.read(&mut [0]))?;
        let file = File::open(format!("/proc/{}/ns/net", born.id()));
        let end = born.wait_with_output()?;
        if said == 0 {
            return Err(io::Error::other(
                String::from_utf8_lossy(&end.stderr).trim().to_owned(),
            ));
        }
        let netns = NetNs(file?);
        netns.ip("link set lo up");
        Ok(netns)
    }

    /// That of a process.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/ns/net")).map(NetNs)
    }

    /// The same one, for somebody else to hold.
    ///
    /// # Panics
    /// When there is no descriptor left.
    #[must_use]
    pub fn again(&self) -> Self {
        NetNs(self.0.try_clone().expect("a descriptor more"))
    }

    /// A path of it that any process may open while this one lives.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// A command that will run in it.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        // Not `ip netns exec`, which mounts a new /sys without cgroups.
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs `ip` in it.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ip(&self, arguments: &str) {
        let out = self
            .command("ip")
            .args(arguments.split_whitespace())
            .output()
            .expect("nsenter runs");
        assert!(
            out.status.success(),
            "ip {arguments}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }

    /// Runs `work` in a thread that has moved into it.
    ///
    /// # Panics
    /// When `work` does.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("the namespace can be entered");
                work()
            });
            match thread.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// How long a connection may take. What is dropped silently costs all of it.
const ANSWER: Duration = Duration::from_secs(2);

/// Fetches `http://address/path` with HTTP/1.0; the body, or why there is none.
///
/// # Errors
/// Whatever the connection died of, or a status other than 200.
pub fn http_get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other(format!("no HTTP: {answer:?}")))?;
    if !head
        .lines()
        .next()
        .is_some_and(|line| line.contains(" 200 "))
    {
        return Err(io::Error::other(format!("not 200: {head}")));
    }
    Ok(body.to_owned())
}

/// Sends a datagram and returns the answer.
///
/// # Errors
/// When none comes.
pub fn udp_ask(address: SocketAddr, question: &str) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(ANSWER))?;
    socket.connect(address)?;
    socket.send(question.as_bytes())?;
    let mut buffer = [0; 1500];
    let count = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

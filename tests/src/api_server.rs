//! Just enough of an API server for kubectl to find a pod and to reach its kubelet: discovery, one pod, and what is
//! done in it, passed on byte by byte as a real one does.
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::daemon::Daemon;
use serde_json::{Value, json};

/// What connections to the kubelet were upgraded to.
type Asked = Arc<Mutex<Vec<String>>>;

/// The server. It takes no more clients when this is dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: String,
    asked: Asked,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// For the pods of a kubelet as they are now.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn of(daemon: &Daemon) -> Self {
        let pods = daemon.get("/pods").status(200).json();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback");
        let address = listener.local_addr().expect("it is bound").to_string();
        let ending = Arc::new(AtomicBool::new(false));
        let asked = Asked::default();
        let (stop, kubelet, seen) = (ending.clone(), daemon.socket().to_owned(), asked.clone());
        let thread = std::thread::spawn(move || {
            let pods = Arc::new(pods);
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (pods, kubelet, seen) = (pods.clone(), kubelet.clone(), seen.clone());
                std::thread::spawn(move || {
                    // A client that goes is none of ours.
                    let _ = serve(client, &pods, &kubelet, &seen);
                });
            }
        });
        ApiServer {
            address,
            asked,
            ending,
            thread: Some(thread),
        }
    }

    /// `http://...`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What each connection to the kubelet was to be upgraded to, in lower case.
    ///
    /// # Panics
    /// When a connection's thread has panicked.
    #[must_use]
    pub fn upgrades(&self) -> Vec<String> {
        self.asked.lock().expect("no thread panics with it").clone()
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // The one that lets it look.
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut client: TcpStream, pods: &Value, kubelet: &Path, seen: &Asked) -> io::Result<()> {
    loop {
        let Some((head, rest)) = head(&mut client)? else {
            return Ok(());
        };
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or("GET"), words.next().unwrap_or("/"));
        println!("API server: {method} {target}");
        if let Some(own) = at_kubelet(target) {
            let line = format!("{method} {own} HTTP/1.1\r\n");
            let headers = head.split_once("\r\n").map_or("", |(_, headers)| headers);
            let lower = headers.to_ascii_lowercase();
            let upgrade = lower.lines().find_map(|line| line.strip_prefix("upgrade:"));
            let mut seen = seen.lock().map_err(|_| io::ErrorKind::Other)?;
            seen.push(upgrade.unwrap_or_default().trim().to_owned());
            drop(seen);
            let mut there = UnixStream::connect(PathBuf::from(kubelet))?;
            there.write_all(format!("{line}{headers}").as_bytes())?;
            there.write_all(&rest)?;
            return join(client, there);
        }
        let path = target.split('?').next().unwrap_or_default();
        let (status, body) = answer(path, pods);
        let body = body.to_string();
        write!(
            client,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
}

/// A request's head with its empty line, and what came behind it.
fn head(client: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), rest)));
        }
        let count = client.read(&mut buffer)?;
        if count == 0 || bytes.len() > 64 * 1024 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
}

/// Where a kubelet has what an API server has at `target`, if it is done there.
fn at_kubelet(target: &str) -> Option<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let words: Vec<&str> = path
        .strip_prefix("/api/v1/namespaces/")?
        .split('/')
        .collect();
    let &[namespace, "pods", pod, what] = &words[..] else {
        return None;
    };
    let container = query
        .split('&')
        .find_map(|word| word.strip_prefix("container="));
    let container = container.unwrap_or("c");
    match what {
        "exec" | "attach" => Some(format!("/{what}/{namespace}/{pod}/{container}?{query}")),
        "portforward" => Some(format!("/portForward/{namespace}/{pod}?{query}")),
        _ => None,
    }
}

fn answer(path: &str, pods: &Value) -> (&'static str, Value) {
    let words: Vec<&str> = path.trim_matches('/').split('/').collect();
    match words[..] {
        ["version"] => (
            "200 OK",
            json!({"major": "1", "minor": "37", "gitVersion": "v1.37.0"}),
        ),
        ["api"] => ("200 OK", json!({"kind": "APIVersions", "versions": ["v1"]})),
        ["apis"] => (
            "200 OK",
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
        ),
        ["api", "v1"] => {
            let pods = json!({"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod",
                "shortNames": ["po"], "verbs": ["get", "list", "watch", "create"]});
            let list =
                json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [pods]});
            ("200 OK", list)
        }
        ["api", "v1", "namespaces", namespace, "pods", name] => {
            let mut all = pods["items"].as_array().into_iter().flatten();
            let found = all.find(|pod| {
                pod["metadata"]["name"] == name && pod["metadata"]["namespace"] == namespace
            });
            match found {
                Some(pod) => {
                    let mut pod = pod.clone();
                    pod["apiVersion"] = json!("v1");
                    pod["kind"] = json!("Pod");
                    ("200 OK", pod)
                }
                None => not_found(),
            }
        }
        _ => not_found(),
    }
}

fn not_found() -> (&'static str, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": "NotFound", "message": "not found", "code": 404});
    ("404 Not Found", status)
}

/// Copies both ways until both have ended.
fn join(client: TcpStream, kubelet: UnixStream) -> io::Result<()> {
    let (mut from, mut to) = (kubelet.try_clone()?, client.try_clone()?);
    let back = std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (client, kubelet);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(())
}

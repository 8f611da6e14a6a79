//! Who did what: a line of JSON a request (`audit.k8s.io/v1`, level Metadata), in files that are rotated.
//!
//! Bodies are never written, so that no secret is. Requests do not wait for the disk: the lines go through a queue, and
//! what does not fit in it is counted and told in the log.
use crate::call::{Call, User};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Lines that wait to be written.
const QUEUE: usize = 4096;

/// How long lines are gathered that are written together, and how many of them.
const GATHER: Duration = Duration::from_millis(5);
const TOGETHER: usize = 1024;
/// How long the end waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the lines go.
#[derive(Debug)]
pub struct Audit {
    lines: SyncSender<Message>,
    lost: AtomicU64,
}

/// What the queue holds.
enum Message {
    /// A line to write.
    Line(Vec<u8>),
    /// Somebody waits until all before it is written.
    Flush(SyncSender<()>),
}

/// How large a file may be, and how many are kept.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// Bytes of one file.
    pub size: u64,
    /// Files besides the one that is written.
    pub kept: u32,
}

/// What one request was.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// Who asked, once that is known.
    pub user: Option<User>,
    /// What for: verb, and the object in the words of audit events.
    pub verb: String,
    /// The object, if it is about one.
    pub object: Option<Value>,
    /// The address of whoever asked.
    pub from: String,
    /// Path and query.
    pub uri: String,
    /// The program that asked.
    pub agent: String,
}

impl Trail {
    /// Notes what a call is about.
    pub fn note(&mut self, call: &Call) {
        call.verb.as_str().clone_into(&mut self.verb);
        let mut object = json!({"resource": call.resource, "apiVersion": call.version});
        for (field, text) in [
            ("namespace", &call.namespace),
            ("name", &call.name),
            ("apiGroup", &call.group),
            ("subresource", &call.subresource),
        ] {
            if !text.is_empty() {
                object[field] = text.as_str().into();
            }
        }
        self.object = Some(object);
    }

    fn line(&self, code: u16, begun: jiff::Timestamp, now: jiff::Timestamp) -> Vec<u8> {
        let nobody = User::default();
        let user = self.user.as_ref().unwrap_or(&nobody);
        let name = if user.name.is_empty() {
            "system:anonymous"
        } else {
            &user.name
        };
        let mut event = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
            "auditID": uuid::Uuid::new_v4().to_string(), "requestURI": self.uri, "verb": self.verb,
            "user": {"username": name, "groups": user.groups}, "sourceIPs": [self.from],
            "userAgent": self.agent, "responseStatus": {"metadata": {}, "code": code},
            "requestReceivedTimestamp": format!("{begun:.6}"), "stageTimestamp": format!("{now:.6}"),
        });
        if let Some(object) = &self.object {
            event["objectRef"] = object.clone();
        }
        let mut line = event.to_string().into_bytes();
        line.push(b'\n');
        line
    }
}

impl Audit {
    /// Writes to this file.
    ///
    /// # Errors
    /// Names the file.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = File::open(path, rotation)?;
        let (lines, queue) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write(file, &queue))?;
        Ok(Audit {
            lines,
            lost: AtomicU64::new(0),
        })
    }

    /// A request has been answered.
    pub fn done(&self, trail: &Trail, code: u16, begun: jiff::Timestamp) {
        let line = trail.line(code, begun, jiff::Timestamp::now());
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Message::Line(line)) {
            let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
            if lost.is_power_of_two() {
                tracing::error!(lost, "audit lines are lost: the disk is too slow for them");
            }
        }
    }

    /// Waits until all lines are written, within bounds. Blocks.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.lines.try_send(Message::Flush(done)).is_err()
            || written.recv_timeout(PATIENCE).is_err()
        {
            tracing::warn!("the last audit lines may be lost: the disk is too slow for them");
        }
    }
}

/// Writes lines as they come, those of one moment together: each by itself would wake this thread for every request.
fn write(mut file: File, queue: &Receiver<Message>) {
    let mut failed = false;
    while let Ok(first) = queue.recv() {
        let mut waiting = Vec::new();
        let mut lines = Vec::new();
        let mut take = |message| match message {
            Message::Line(line) => lines.extend_from_slice(&line),
            Message::Flush(waits) => waiting.push(waits),
        };
        take(first);
        std::thread::sleep(GATHER);
        // Those that came later are the next ones' company.
        queue.try_iter().take(TOGETHER).for_each(take);
        let written = file.write(&lines);
        if let (Err(err), false) = (&written, failed) {
            tracing::error!(%err, "cannot write the audit log");
        }
        failed = written.is_err();
        // Whoever waited may have gone.
        for waits in waiting {
            let _ = waits.try_send(());
        }
    }
}

/// The file that is written, and those before it: `audit.log`, `audit.log.1` ..
struct File {
    path: PathBuf,
    file: fs_err::File,
    size: u64,
    rotation: Rotation,
}

impl File {
    fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = fs_err::OpenOptions::new();
        options.append(true).create(true);
        options.options_mut().mode(0o600);
        let file = options.open(path)?;
        Ok(File {
            path: path.to_owned(),
            size: file.metadata()?.len(),
            file,
            rotation,
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > self.rotation.size {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            PathBuf::from(name)
        };
        for number in (0..self.rotation.kept).rev() {
            let (from, to) = (numbered(number), numbered(number + 1));
            if from.exists() {
                fs_err::rename(from, to)?;
            }
        }
        if self.rotation.kept == 0 {
            fs_err::remove_file(&self.path)?;
        }
        *self = File::open(&self.path, self.rotation)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let rotation = Rotation { size: 10, kept: 2 };
        let mut file = File::open(&path, rotation).unwrap();
        for line in ["one 4567\n", "two 4567\n", "three 67\n", "four 567\n"] {
            file.write(line.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).ok();
        assert_eq!(read("audit.log").as_deref(), Some("four 567\n"));
        assert_eq!(read("audit.log.1").as_deref(), Some("three 67\n"));
        assert_eq!(read("audit.log.2").as_deref(), Some("two 4567\n"));
        assert_eq!(read("audit.log.3"), None);
    }

    #[test]
    fn what_was_done_is_written_when_it_is_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let rotation = Rotation {
            size: 1 << 20,
            kept: 2,
        };
        let audit = Audit::open(&path, rotation).unwrap();
        for code in 200..300 {
            audit.done(&Trail::default(), code, jiff::Timestamp::UNIX_EPOCH);
        }
        audit.flush();
        let written = std::fs::read_to_string(&path).unwrap();
        let codes = written.lines().map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["responseStatus"]["code"].as_u64().unwrap()
        });
        assert!(codes.eq(200..300));
    }

    #[test]
    fn a_line_says_who_did_what() {
        let trail = Trail {
            verb: "create".to_owned(),
            uri: "/api/v1/namespaces/a/secrets".to_owned(),
            ..Trail::default()
        };
        let line = trail.line(
            201,
            jiff::Timestamp::UNIX_EPOCH,
            jiff::Timestamp::UNIX_EPOCH,
        );
        let event: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(event["user"]["username"], "system:anonymous");
        assert_eq!(event["responseStatus"]["code"], 201);
        assert_eq!(event["stageTimestamp"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}

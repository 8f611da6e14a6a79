//! A copy of the whole store in one file, taken while the master runs, and put back while it does not.
//!
//! ```text
//! rkube-master backup FILE  -- the master runs: its socket `backup.sock` beside the store, 0600, streams one moment
//!                           '- it does not: the file is read itself
//! rkube-master restore FILE -- a new file is made of it and takes the place of the old one, which stays as `store.redb.old`
//! ```
//! Secrets are in it as sealed as they are in the store: without the file of keys they cannot be read, so that file belongs to
//! a backup too, best in another place. A cluster on etcd is saved with `etcdctl snapshot`.
use super::embedded::{self, DumpError, Embedded, FILE, OpenError, Summary};
use fs_err::os::unix::fs::OpenOptionsExt;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// The socket's name in the store's directory.
const SOCKET: &str = "backup.sock";
/// How long the other side may take to go on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no backup, or why it was not put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store is not to be opened.
    #[error(transparent)]
    Open(OpenError),
    /// A master has the store, and gives no backup.
    #[error("the rkube-master that runs gives no backup at {}", socket.display())]
    Socket {
        /// Where it was asked.
        socket: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// A file.
    #[error("cannot write the backup, or put it in place")]
    File(#[source] io::Error),
    /// What is in the file.
    #[error("{}", file.display())]
    Content {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        source: DumpError,
    },
}

/// Writes a backup of the store in a directory to a file, whether its master runs or not. Blocks.
///
/// # Errors
/// What stopped it; the file is then as it was.
pub fn backup(directory: &Path, file: &Path) -> Result<Summary, BackupError> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = file.with_file_name(name);
    let done = write(directory, &partial).and_then(|()| {
        // What is not read back is no backup.
        let summary = verify(&partial)?;
        fs_err::rename(&partial, file).map_err(BackupError::File)?;
        sync(file.parent()).map_err(BackupError::File)?;
        Ok(summary)
    });
    if done.is_err() {
        // The error is the first one.
        let _ = fs_err::remove_file(&partial);
    }
    done
}

fn write(directory: &Path, partial: &Path) -> Result<(), BackupError> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let out = options.open(partial).map_err(BackupError::File)?;
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let content = |source| BackupError::Content {
        file: partial.to_owned(),
        source,
    };
    match embedded::existing(directory) {
        Ok(store) => drop(store.dump(&mut out).map_err(content)?),
        Err(OpenError::InUse(_)) => from_socket(&directory.join(SOCKET), &mut out)?,
        Err(error) => return Err(BackupError::Open(error)),
    }
    let out = out
        .into_inner()
        .map_err(|error| BackupError::File(error.into_error()))?;
    out.sync_all().map_err(BackupError::File)
}

fn from_socket(socket: &Path, out: &mut impl Write) -> Result<(), BackupError> {
    let failed = |source| BackupError::Socket {
        socket: socket.to_owned(),
        source,
    };
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut part = vec![0; 1 << 18];
    loop {
        match stream.read(&mut part).map_err(failed)? {
            0 => return Ok(()),
            length => out.write_all(&part[..length]).map_err(BackupError::File)?,
        }
    }
}

/// Reads a backup to its end.
///
/// # Errors
/// What is wrong with it.
pub fn verify(file: &Path) -> Result<Summary, BackupError> {
    let open = fs_err::File::open(file).map_err(BackupError::File)?;
    embedded::verify(BufReader::new(open)).map_err(|source| BackupError::Content {
        file: file.to_owned(),
        source,
    })
}

/// Puts a backup in the place of the store in a directory, which no master may have open. Blocks.
///
/// # Errors
/// What stopped it; the store is then as it was.
pub fn restore(file: &Path, directory: &Path) -> Result<Summary, BackupError> {
    verify(file)?;
    fs_err::create_dir_all(directory).map_err(BackupError::File)?;
    let place = directory.join(FILE);
    // Held until the end, so that no master begins on the old one. One that is damaged is what restores are for.
    let old = match embedded::existing(directory) {
        Err(error @ OpenError::InUse(_)) => return Err(BackupError::Open(error)),
        old => old.ok(),
    };
    let made = directory.join("restoring");
    remove(&made).map_err(BackupError::File)?;
    let open = fs_err::File::open(file).map_err(BackupError::File)?;
    let summary = embedded::load(BufReader::new(open), &made);
    let summary = summary.map_err(|source| BackupError::Content {
        file: file.to_owned(),
        source,
    })?;
    let swap = || -> io::Result<()> {
        if place.exists() {
            fs_err::rename(&place, directory.join(format!("{FILE}.old")))?;
        }
        fs_err::rename(made.join(FILE), &place)?;
        sync(Some(directory))?;
        remove(&made)
    };
    swap().map_err(BackupError::File)?;
    drop(old);
    Ok(summary)
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the names in a directory durable.
fn sync(directory: Option<&Path>) -> io::Result<()> {
    let directory = directory.filter(|path| !path.as_os_str().is_empty());
    fs_err::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Gives backups to whoever may connect to the socket in the store's directory, one at a time, until it is aborted.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(store: Arc<Embedded>, directory: &Path) -> io::Result<JoinHandle<()>> {
    let socket = directory.join(SOCKET);
    match fs_err::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // Its name appears when nobody else can use it any more.
    let hidden = directory.join(format!(".{SOCKET}"));
    let _ = fs_err::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden)?;
    fs_err::set_permissions(&hidden, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    fs_err::rename(&hidden, &socket)?;
    Ok(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => give(&store, stream).await,
                Err(error) => {
                    warn!(err = %error, "no backup was given");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }))
}

async fn give(store: &Arc<Embedded>, stream: tokio::net::UnixStream) {
    let store = store.clone();
    let task = tokio::task::spawn_blocking(move || {
        let stream = stream.into_std().map_err(DumpError::Io)?;
        let ready = stream.set_nonblocking(false);
        ready
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(DumpError::Io)?;
        store.dump(&mut BufWriter::with_capacity(1 << 18, stream))
    });
    match task.await {
        Ok(Ok(summary)) => info!(
            revision = summary.revision,
            keys = summary.keys,
            "a backup was given"
        ),
        Ok(Err(error)) => warn!(err = %error, "no backup was given"),
        Err(error) => warn!(err = %error, "no backup was given"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite::Bed;
    use crate::store::{Range, Store, StoreError};

    fn bed(store: &Arc<Embedded>) -> Bed {
        Bed {
            store: store.clone(),
            prefix: "/registry/".to_owned(),
        }
    }

    async fn all(store: &Embedded) -> Vec<crate::store::Entry> {
        store.list(&Range::default()).await.unwrap().entries
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_running_store_is_saved_and_put_back() {
        let directory = tempfile::tempdir().unwrap();
        let (data, file) = (
            directory.path().join("store"),
            directory.path().join("saved"),
        );
        let store = Arc::new(embedded::open(&data).unwrap());
        let given = serve(store.clone(), &data).unwrap();
        let bed = bed(&store);
        for number in 0..300 {
            bed.set(&number.to_string(), &"x".repeat(number * 10)).await;
        }
        let lease = store.grant(Duration::from_secs(600)).await.unwrap();
        bed.lease("leased", lease).await.unwrap();
        let (kept, revision) = (all(&store).await, store.revision().await.unwrap());
        let take = |data: PathBuf, file: PathBuf| {
            tokio::task::spawn_blocking(move || backup(&data, &file))
        };
        let summary = take(data.clone(), file.clone()).await.unwrap().unwrap();
        assert_eq!((summary.revision, summary.keys), (revision, 301));
        assert_eq!(verify(&file).unwrap(), summary);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs_err::metadata(&file).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        bed.set("0", "written after it").await;
        bed.delete("1").await;
        // Nobody takes a store away from under its master.
        assert!(matches!(
            restore(&file, &data),
            Err(BackupError::Open(OpenError::InUse(_)))
        ));
        given.abort();
        drop(given.await);
        drop(bed);
        drop(store);
        assert_eq!(restore(&file, &data).unwrap(), summary);
        let store = embedded::open(&data).unwrap();
        assert_eq!(all(&store).await, kept);
        // What somebody saw of the lost time is over, and revisions go on behind it.
        let refused = store.watch("/", revision + 2).await;
        assert!(
            matches!(refused, Err(StoreError::Compacted { .. })),
            "{refused:?}"
        );
        assert!(store.revision().await.unwrap() > revision + 1000);
        store.revoke(lease).await.unwrap();
        assert_eq!(all(&store).await.len(), 300);
        store.close();
        // Without a master it is the same.
        assert_eq!(backup(&data, &file).unwrap().keys, 300);
    }

    #[tokio::test]
    async fn a_damaged_backup_is_refused_and_a_damaged_store_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (data, file) = (
            directory.path().join("store"),
            directory.path().join("saved"),
        );
        let store = Arc::new(embedded::open(&data).unwrap());
        bed(&store).set("a", "1").await;
        drop(store);
        backup(&data, &file).unwrap();
        let good = fs_err::read(&file).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 4;
            fs_err::write(&file, &bad).unwrap();
            assert!(
                matches!(restore(&file, &data), Err(BackupError::Content { .. })),
                "byte {place}"
            );
            fs_err::write(&file, &good[..place]).unwrap();
            assert!(
                matches!(restore(&file, &data), Err(BackupError::Content { .. })),
                "{place} bytes"
            );
        }
        fs_err::write(&file, &good).unwrap();
        fs_err::write(data.join(FILE), vec![7; 5000]).unwrap();
        let damaged = embedded::open(&data).map(|_| ()).unwrap_err();
        assert!(
            damaged.to_string().contains("rkube-master restore"),
            "{damaged}"
        );
        restore(&file, &data).unwrap();
        let store = embedded::open(&data).unwrap();
        assert_eq!(all(&store).await.len(), 1);
        let none = backup(&directory.path().join("nothing"), &file);
        assert!(matches!(none, Err(BackupError::Open(_))), "{none:?}");
        assert_eq!(fs_err::read(&file).unwrap(), good);
    }
}

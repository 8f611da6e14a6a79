//! The file: opened, read at one moment, opened again after the disk failed.
use super::format::{self, Bare, CURRENT, Damaged, FORMAT, HELD, LEASES, LOG, META, STATE, State};
use crate::store::{Entry, StoreError};
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// The file's name in the store's directory.
pub const FILE: &str = "store.redb";
/// How much of the file redb keeps in our own memory; the kernel caches the rest.
const CACHE: usize = 8 << 20;

/// A table to read.
pub(super) type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another rkube-master: stop that one first", .0.display())]
    InUse(PathBuf),
    /// It is not what we wrote.
    #[error(
        "{} is damaged ({why}): put a backup in its place with `rkube-master restore`, or move it away to start with nothing",
        file.display()
    )]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is of a later program.
    #[error("{} has format {found}, and this rkube-master knows up to {FORMAT}: use a newer one", file.display())]
    Newer {
        /// Which file.
        file: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The disk did not do it.
    #[error("cannot open the store {}", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why something was not done with an open file.
#[derive(Debug)]
pub(super) enum Fault {
    /// The disk has no room.
    Full(String),
    /// The file was closed by an earlier fault, or is being opened again.
    Away(String),
    /// It is damaged, or we are wrong.
    Broken(String),
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) if is_full(&error) => Fault::Full(error.to_string()),
            redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::Io(_) => {
                Fault::Away(error.to_string())
            }
            other => Fault::Broken(other.to_string()),
        }
    }
}

impl From<Damaged> for Fault {
    fn from(damaged: Damaged) -> Self {
        Fault::Broken(format!(
            "{damaged}: put a backup in its place with `rkube-master restore`"
        ))
    }
}

/// Each operation of redb has an error type of its own; all of them are faults of the file.
macro_rules! faults {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}
faults!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError
);

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full(why) => StoreError::Full(why),
            Fault::Away(why) => StoreError::Unavailable(why),
            Fault::Broken(why) => StoreError::Failed(why),
        }
    }
}

/// Whether the disk, or what we may have of it, is used up.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// How the file is opened, at first and after a fault.
struct Opener(Box<dyn Fn() -> Result<Database, redb::DatabaseError> + Send + Sync>);

impl std::fmt::Debug for Opener {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Opener")
    }
}

/// The file of a store.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    opener: Opener,
    db: RwLock<Option<Database>>,
}

impl File {
    /// Opens it, or makes it; an unfinished change of before is gone after it.
    pub(super) fn open(path: &Path) -> Result<(File, State), OpenError> {
        let length = fs_err::metadata(path).map_or(0, |file| file.len());
        if length == 0 {
            make(path)?;
        }
        let existing = path.to_owned();
        // Never made anew here: a file that went away under a master is no empty store.
        File::with_opener(path, move || {
            Database::builder().set_cache_size(CACHE).open(&existing)
        })
    }

    /// On a storage of the caller's.
    #[cfg(test)]
    pub(super) fn on<T: redb::StorageBackend>(
        storage: impl Fn() -> T + Send + Sync + 'static,
    ) -> Result<(File, State), OpenError> {
        File::with_opener(Path::new("/nowhere/at/all/store.redb"), move || {
            Database::builder()
                .set_cache_size(CACHE)
                .create_with_backend(storage())
        })
    }

    fn with_opener(
        path: &Path,
        opener: impl Fn() -> Result<Database, redb::DatabaseError> + Send + Sync + 'static,
    ) -> Result<(File, State), OpenError> {
        let file = File {
            path: path.to_owned(),
            opener: Opener(Box::new(opener)),
            db: RwLock::new(None),
        };
        let state = file.reopen()?;
        Ok((file, state))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// After a fault: closes it and opens it again, and says what it holds.
    pub(super) fn reopen(&self) -> Result<State, OpenError> {
        let mut held = self.db.write().unwrap_or_else(PoisonError::into_inner);
        drop(held.take());
        let db = opened(&self.path, || (self.opener.0)())?;
        let state = prepare(&db, &self.path)?;
        *held = Some(db);
        Ok(state)
    }

    /// Ends it; whoever still reads gets an error.
    pub(super) fn close(&self) {
        drop(
            self.db
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    /// Does something with the open file.
    pub(super) fn with<T>(
        &self,
        act: impl FnOnce(&Database) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let held = self.db.read().unwrap_or_else(PoisonError::into_inner);
        match held.as_ref() {
            Some(db) => act(db),
            None => Err(Fault::Away(
                "its file is being opened again after a fault".to_owned(),
            )),
        }
    }

    /// The store as it is at this moment.
    pub(super) fn snapshot(&self) -> Result<Snapshot, Fault> {
        let read = self.with(|db| Ok(db.begin_read()?))?;
        let raw = read.open_table(META)?.get(STATE)?;
        let state = raw.map(|raw| State::decode(raw.value())).transpose()?;
        let state = state
            .and_then(|(_, state)| state)
            .ok_or_else(|| Damaged("the store's own state".to_owned()))?;
        Ok(Snapshot { read, state })
    }
}

/// One moment of the store; writes go on beside it.
pub(super) struct Snapshot {
    read: ReadTransaction,
    pub(super) state: State,
}

impl Snapshot {
    pub(super) fn current(&self) -> Result<Table, Fault> {
        self.table(CURRENT)
    }
    pub(super) fn log(&self) -> Result<Table, Fault> {
        self.table(LOG)
    }
    pub(super) fn leases(&self) -> Result<Table, Fault> {
        self.table(LEASES)
    }
    pub(super) fn table(&self, table: Bare) -> Result<Table, Fault> {
        Ok(self.read.open_table(table)?)
    }
}

/// What a key holds in a table of current values.
pub(super) fn entry_at(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &str,
) -> Result<Option<Entry>, Fault> {
    let raw = table.get(key.as_bytes())?;
    Ok(raw
        .map(|raw| format::decode_entry(key.as_bytes(), raw.value()))
        .transpose()?)
}

/// Makes a file with an empty store. It gets its name when it is whole: half of one could not be told from a damaged one.
fn make(path: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io {
        file: path.to_owned(),
        source,
    };
    let partial = path.with_extension("new");
    match fs_err::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    // Nobody else may read it: it holds secrets.
    let mut options = fs_err::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    drop(options.open(&partial).map_err(io)?);
    let db = opened(&partial, || Database::builder().create(&partial))?;
    prepare(&db, &partial)?;
    drop(db);
    fs_err::rename(&partial, path).map_err(io)?;
    // The name is to be as durable as what will stand behind it.
    let directory = path.parent().unwrap_or(path);
    let names = fs_err::File::open(directory).map_err(io)?;
    names.sync_all().map_err(io)
}

/// A damaged file can make redb panic: that is an answer too.
fn opened(
    path: &Path,
    open: impl FnOnce() -> Result<Database, redb::DatabaseError>,
) -> Result<Database, OpenError> {
    let file = path.to_owned();
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(redb::DatabaseError::DatabaseAlreadyOpen)) => Err(OpenError::InUse(file)),
        Ok(Err(redb::DatabaseError::Storage(redb::StorageError::Io(source))))
            if source.kind() != io::ErrorKind::InvalidData
                && source.kind() != io::ErrorKind::UnexpectedEof =>
        {
            Err(OpenError::Io { file, source })
        }
        Ok(Err(error)) => Err(OpenError::Damaged {
            file,
            why: error.to_string(),
        }),
        Err(_) => Err(OpenError::Damaged {
            file,
            why: "its pages contradict each other".to_owned(),
        }),
    }
}

/// Makes what a new file lacks, and reads the state.
fn prepare(db: &Database, path: &Path) -> Result<State, OpenError> {
    let file = || path.to_owned();
    let made = catch_unwind(AssertUnwindSafe(|| make_tables(db)));
    let made =
        made.unwrap_or_else(|_| Err(Fault::Broken("its pages contradict each other".to_owned())));
    match made {
        Ok((_, Some(state))) => Ok(state),
        Ok((found, None)) => Err(OpenError::Newer {
            file: file(),
            found,
        }),
        Err(Fault::Broken(why)) => Err(OpenError::Damaged { file: file(), why }),
        Err(Fault::Full(why) | Fault::Away(why)) => Err(OpenError::Io {
            file: file(),
            source: io::Error::other(why),
        }),
    }
}

fn make_tables(db: &Database) -> Result<(u32, Option<State>), Fault> {
    let read = db.begin_read()?;
    match read.open_table(META) {
        Ok(meta) => {
            let raw = meta.get(STATE)?;
            let raw = raw.ok_or_else(|| Damaged("the store's own state".to_owned()))?;
            return Ok(State::decode(raw.value())?);
        }
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    drop(read);
    let mut write = db.begin_write()?;
    write.set_quick_repair(true);
    for table in [CURRENT, LOG, LEASES, HELD] {
        write.open_table(table)?;
    }
    write
        .open_table(META)?
        .insert(STATE, State::EMPTY.encode().as_slice())?;
    write.commit()?;
    Ok((FORMAT, Some(State::EMPTY)))
}

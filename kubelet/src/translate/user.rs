//! Who a container runs as: `runAsUser` and friends over the image's USER.
//!
//! Names are looked up in the image's own /etc/passwd and /etc/group, read below the layer with
//! `RESOLVE_IN_ROOT` and a size cap, never through the host's libc (CVE-2022-36109, CVE-2024-40635).
use super::{ContainerContext, TranslateError, security};
use oci_spec::runtime as oci;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::io::Read;
use std::path::{Path, PathBuf};

/// More than this of /etc/passwd is not read.
const DATABASE_LIMIT: u64 = 1 << 20;

/// The user, group and further groups of a container, and the user's home: `/` if the image does not know the user.
///
/// # Errors
/// When a name is unknown, a number is out of range, or root is forbidden and would be the user.
pub fn resolve(ctx: &ContainerContext<'_>) -> Result<(oci::User, String), TranslateError> {
    let security = security::context(ctx);
    let pod = ctx.pod.spec().security_context.clone().unwrap_or_default();
    let image_user = ctx
        .image
        .config()
        .as_ref()
        .and_then(|config| config.user().clone())
        .unwrap_or_default();
    let database = Database { lowers: ctx.lowers };

    let from_image = match security.run_as_user {
        Some(_) => Account::default(),
        None => database.lookup(&image_user).map_err(TranslateError::User)?,
    };
    let uid = match security.run_as_user {
        Some(uid) => id(uid, "securityContext.runAsUser")?,
        None => from_image.uid,
    };
    if security.run_as_non_root.unwrap_or(false) && uid == 0 {
        return Err(TranslateError::User(format!(
            "securityContext.runAsNonRoot forbids root, and image {} runs as root; set runAsUser",
            ctx.container.image.as_deref().unwrap_or_default()
        )));
    }
    let of_uid = database.account_of_uid(uid);
    let gid = match security.run_as_group {
        Some(gid) => id(gid, "securityContext.runAsGroup")?,
        None if security.run_as_user.is_some() => of_uid.as_ref().map_or(0, |account| account.gid),
        None => from_image.gid,
    };
    let mut groups: Vec<u32> = Vec::new();
    if pod.supplemental_groups_policy.as_deref() != Some("Strict")
        && let Some(name) = of_uid.as_ref().map(|account| account.name.as_str())
    {
        groups.extend(database.groups_of(name));
    }
    for group in pod
        .supplemental_groups
        .iter()
        .flatten()
        .chain(pod.fs_group.iter())
    {
        groups.push(id(*group, "securityContext.supplementalGroups")?);
    }
    groups.sort_unstable();
    groups.dedup();
    let home = of_uid
        .map(|account| account.home)
        .filter(|home| home.starts_with('/'));
    let user = oci::UserBuilder::default()
        .uid(uid)
        .gid(gid)
        .additional_gids(groups)
        .build()
        .map_err(TranslateError::Spec)?;
    Ok((user, home.unwrap_or_else(|| "/".to_owned())))
}

fn id(number: i64, field: &str) -> Result<u32, TranslateError> {
    u32::try_from(number)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| {
            TranslateError::User(format!(
                "{field}: {number} is no user or group id (0 to 4294967294)"
            ))
        })
}

/// One line of /etc/passwd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// /etc/passwd and /etc/group of an image.
struct Database<'a> {
    /// The layers, top-most first.
    lowers: &'a [PathBuf],
}

impl Database<'_> {
    /// Resolves `user`, `user:group`, `uid`, `uid:gid` as an image's USER has them.
    fn lookup(&self, user: &str) -> Result<Account, String> {
        let (user, group) = user
            .split_once(':')
            .map_or((user, None), |(user, group)| (user, Some(group)));
        let mut account = match user {
            "" => self.account_of_uid(0).unwrap_or_default(),
            _ => match number(user) {
                Some(uid) => {
                    let uid = uid.map_err(|()| format!("image USER \"{user}\": no valid user id (0 to 4294967294)"))?;
                    self.account_of_uid(uid).unwrap_or(Account { uid, ..Account::default() })
                }
                None => self.accounts().into_iter().find(|account| account.name == user).ok_or_else(|| {
                    format!("image USER \"{user}\" is not in the image's /etc/passwd; set securityContext.runAsUser")
                })?,
            },
        };
        account.gid = match group {
            None | Some("") => account.gid,
            Some(group) => match number(group) {
                Some(gid) => gid.map_err(|()| format!("image USER group \"{group}\": no valid group id"))?,
                None => self.group(group).ok_or_else(|| {
                    format!("image USER group \"{group}\" is not in the image's /etc/group; set securityContext.runAsGroup")
                })?,
            },
        };
        Ok(account)
    }

    fn accounts(&self) -> Vec<Account> {
        let parse = |line: &str| {
            let mut fields = line.split(':');
            Some(Account {
                name: fields.next()?.to_owned(),
                uid: fields.nth(1)?.parse().ok()?,
                gid: fields.next()?.parse().ok()?,
                home: fields.nth(1).unwrap_or_default().to_owned(),
            })
        };
        self.read("etc/passwd").lines().filter_map(parse).collect()
    }

    fn account_of_uid(&self, uid: u32) -> Option<Account> {
        self.accounts()
            .into_iter()
            .find(|account| account.uid == uid)
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.group_lines()
            .find(|(group, ..)| group == name)
            .map(|(_, gid, _)| gid)
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        self.group_lines()
            .filter(|(.., members)| members.iter().any(|name| name == user))
            .map(|(_, gid, _)| gid)
            .collect()
    }

    fn group_lines(&self) -> impl Iterator<Item = (String, u32, Vec<String>)> + use<> {
        let text = self.read("etc/group");
        let parse = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let gid = fields.nth(1)?.parse().ok()?;
            Some((
                name,
                gid,
                fields
                    .next()
                    .unwrap_or_default()
                    .split(',')
                    .map(str::to_owned)
                    .collect(),
            ))
        };
        text.lines()
            .filter_map(parse)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The file of the top-most layer that has it; empty if none does or a whiteout hides it.
    fn read(&self, path: &str) -> String {
        for lower in self.lowers {
            match read_below(lower, path) {
                Found::Text(text) => return text,
                Found::Hidden => break,
                Found::Absent => {}
            }
        }
        String::new()
    }
}

enum Found {
    Text(String),
    Hidden,
    Absent,
}

fn read_below(root: &Path, path: &str) -> Found {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(root) = rustix::fs::open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ) else {
        return Found::Absent;
    };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // O_PATH first: opening a device or a fifo of the image could have effects.
    let Ok(found) = rustix::fs::openat2(
        &root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    ) else {
        return Found::Absent;
    };
    let regular = rustix::fs::fstat(&found)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file());
    if !regular {
        return Found::Hidden;
    }
    let Ok(file) = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) else {
        return Found::Hidden;
    };
    let mut bytes = Vec::new();
    match std::fs::File::from(file)
        .take(DATABASE_LIMIT)
        .read_to_end(&mut bytes)
    {
        Ok(_) => Found::Text(String::from_utf8_lossy(&bytes).into_owned()),
        Err(_) => Found::Hidden,
    }
}

/// `Some` if the text is meant as a number: then it must be one that fits.
fn number(text: &str) -> Option<Result<u32, ()>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fits = digits.len() == text.len();
    Some(
        text.parse()
            .ok()
            .filter(|id| fits && *id != u32::MAX)
            .ok_or(()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        std::fs::write(
            dir.path().join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/false\nbroken\n",
        )
        .unwrap();
        std::fs::write(
            dir.path().join("etc/group"),
            "root:x:0:\nlogs:x:50:web,other\nweb:x:34:\n",
        )
        .unwrap();
        let lowers = vec![dir.path().to_owned()];
        (dir, lowers)
    }

    #[track_caller]
    fn check(user: &str, want: Result<(u32, u32), &str>) {
        let (_dir, lowers) = image();
        let got = Database { lowers: &lowers }.lookup(user);
        match want {
            Ok(ids) => assert_eq!(
                got.map(|account| (account.uid, account.gid)),
                Ok(ids),
                "{user}"
            ),
            Err(part) => assert!(got.clone().unwrap_err().contains(part), "{user}: {got:?}"),
        }
    }

    #[test]
    fn users_are_found_in_the_image() {
        check("", Ok((0, 0)));
        check("web", Ok((33, 34)));
        check("web:logs", Ok((33, 50)));
        check("33", Ok((33, 34)));
        check("1000", Ok((1000, 0)));
        check("1000:1001", Ok((1000, 1001)));
        check("33:", Ok((33, 34)));
        check("nobody", Err("not in the image's /etc/passwd"));
        check("web:nogroup", Err("not in the image's /etc/group"));
        check("4294967296", Err("no valid user id"));
        check("4294967295", Err("no valid user id"));
        check("-1", Err("no valid user id"));
        check("1:-1", Err("no valid group id"));
    }

    #[test]
    fn further_groups_come_from_the_group_file() {
        let (_dir, lowers) = image();
        assert_eq!(Database { lowers: &lowers }.groups_of("web"), [50]);
    }

    #[test]
    fn a_link_out_of_the_image_stays_inside() {
        let (dir, lowers) = image();
        std::fs::remove_file(dir.path().join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("/../../../../etc/group", dir.path().join("etc/passwd"))
            .unwrap();
        let text = Database { lowers: &lowers }.read("etc/passwd");
        assert!(text.starts_with("root:x:0:\nlogs:"), "{text}");
    }
}

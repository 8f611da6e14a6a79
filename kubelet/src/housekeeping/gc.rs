//! What is of no use any more: which images go, which pods that are over, and why.
use crate::config::KubeletConfig;
use jiff::{SignedDuration, Timestamp};

/// An image as the decision sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: String,
    /// A name for people.
    pub title: String,
    /// Bytes of its blobs.
    pub bytes: u64,
    /// When it came.
    pub added: Timestamp,
    /// When a container was last started from it, or it was last pulled.
    pub last_used: Timestamp,
    /// Whether an administrator wants it kept.
    pub pinned: bool,
    /// Whether a pod that is not over has it.
    pub in_use: bool,
}

/// How full the file system is that images lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes in all.
    pub capacity: u64,
    /// Bytes that may still be written.
    pub available: u64,
}

impl Disk {
    /// The used part in percent, rounded down; what only root may use counts as used.
    #[must_use]
    pub fn used_percent(self) -> u64 {
        let used = u128::from(self.capacity.saturating_sub(self.available));
        let percent = used * 100 / u128::from(self.capacity.max(1));
        u64::try_from(percent).unwrap_or(100)
    }
}

/// When images go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagePolicy {
    /// Over this usage in percent ...
    pub high: u8,
    /// ... images go until it is down to this.
    pub low: u8,
    /// One younger than this, or used within it, stays.
    pub min_age: SignedDuration,
    /// One that was not used for so long goes whatever the disk says.
    pub max_age: Option<SignedDuration>,
}

impl ImagePolicy {
    /// As configured.
    #[must_use]
    pub fn of(config: &KubeletConfig) -> Self {
        let span = |duration: crate::config::GoDuration| {
            SignedDuration::try_from(duration.get()).unwrap_or(SignedDuration::MAX)
        };
        let max_age = span(config.image_maximum_gc_age);
        ImagePolicy {
            high: config.image_gc_high_threshold_percent,
            low: config.image_gc_low_threshold_percent,
            min_age: span(config.image_minimum_gc_age),
            max_age: Some(max_age).filter(|age| !age.is_zero()),
        }
    }

    /// How many bytes must become free, and why, when the disk is too full.
    #[must_use]
    pub fn goal(&self, disk: Disk) -> Option<(u64, String)> {
        let used = disk.used_percent();
        if self.high >= 100 || used < u64::from(self.high) {
            return None;
        }
        let keep = u128::from(disk.capacity) * u128::from(100 - self.low.min(100)) / 100;
        let keep = u64::try_from(keep).unwrap_or(u64::MAX);
        let bytes = keep.saturating_sub(disk.available);
        let why = format!(
            "the disk is {used}% full, over imageGCHighThresholdPercent {}",
            self.high
        );
        (bytes > 0).then_some((bytes, why))
    }
}

/// The images that may go, those that were not used for the longest time first.
#[must_use]
pub fn removable(images: &[Image], policy: &ImagePolicy, now: Timestamp) -> Vec<Image> {
    let young = |at: Timestamp| now.duration_since(at) < policy.min_age;
    let mut free: Vec<Image> = images
        .iter()
        .filter(|image| !image.pinned && !image.in_use)
        .filter(|image| !young(image.added) && !young(image.last_used))
        .cloned()
        .collect();
    free.sort_by(|a, b| (a.last_used, a.added, &a.id).cmp(&(b.last_used, b.added, &b.id)));
    free
}

/// Of those that may go, the ones that are too old, each with the reason.
#[must_use]
pub fn outdated(removable: &[Image], policy: &ImagePolicy, now: Timestamp) -> Vec<(Image, String)> {
    let Some(max_age) = policy.max_age else {
        return Vec::new();
    };
    let old = removable
        .iter()
        .filter(|image| now.duration_since(image.last_used) > max_age);
    old.map(|image| {
        let hours = now.duration_since(image.last_used).as_hours();
        let why = format!("not used for {hours} h, longer than imageMaximumGCAge");
        (image.clone(), why)
    })
    .collect()
}

/// A pod that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadPod {
    /// Its uid.
    pub uid: String,
    /// When it ended.
    pub ended: Timestamp,
    /// Whether a source still wants it: its record says that it has run, and is not to run again.
    pub wanted: bool,
}

/// How many pods that are over are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadPolicy {
    /// For how long at least.
    pub min_ttl: SignedDuration,
    /// How many at most, the newest.
    pub kept: usize,
}

impl DeadPolicy {
    /// As configured.
    #[must_use]
    pub fn of(config: &KubeletConfig) -> Self {
        let ttl = config.rkube.minimum_container_ttl_duration.get();
        DeadPolicy {
            min_ttl: SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX),
            kept: usize::try_from(config.rkube.maximum_dead_pods).unwrap_or(usize::MAX),
        }
    }
    /// When the disk is full: all that is older than it must be kept.
    #[must_use]
    pub fn when_full(self) -> Self {
        DeadPolicy { kept: 0, ..self }
    }
}

/// The uids of pods whose records and logs go, the oldest first.
#[must_use]
pub fn forgettable(dead: &[DeadPod], policy: &DeadPolicy, now: Timestamp) -> Vec<String> {
    let mut dead: Vec<&DeadPod> = dead.iter().filter(|pod| !pod.wanted).collect();
    dead.sort_by_key(|pod| (pod.ended, pod.uid.clone()));
    let surplus = dead.len().saturating_sub(policy.kept);
    dead.into_iter()
        .take(surplus)
        .filter(|pod| now.duration_since(pod.ended) >= policy.min_ttl)
        .map(|pod| pod.uid.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
    }

    fn policy(max_age_minutes: Option<i64>) -> ImagePolicy {
        ImagePolicy {
            high: 85,
            low: 80,
            min_age: SignedDuration::from_mins(2),
            max_age: max_age_minutes.map(SignedDuration::from_mins),
        }
    }

    fn image(id: &str, added: i64, last_used: i64) -> Image {
        Image {
            id: id.to_owned(),
            title: id.to_owned(),
            bytes: 1,
            added: at(added),
            last_used: at(last_used),
            pinned: false,
            in_use: false,
        }
    }

    #[track_caller]
    fn check_order(images: &[Image], want: &[&str]) {
        let got = removable(images, &policy(None), at(100));
        let got: Vec<_> = got.iter().map(|image| image.id.as_str()).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn the_longest_unused_go_first() {
        check_order(&[], &[]);
        check_order(&[image("a", 0, 50), image("b", 0, 40)], &["b", "a"]);
        check_order(&[image("new", 5, 40), image("old", 1, 40)], &["old", "new"]);
        check_order(&[image("b", 0, 40), image("a", 0, 40)], &["a", "b"]);
    }

    #[test]
    fn some_images_stay() {
        let pinned = Image {
            pinned: true,
            ..image("pinned", 0, 0)
        };
        let used = Image {
            in_use: true,
            ..image("used", 0, 0)
        };
        let just_added = image("added", 99, 0);
        let just_used = image("touched", 0, 99);
        // A clock that was set back: used in the future is used just now.
        let future = image("future", 0, 200);
        check_order(&[pinned, used, just_added, just_used, future], &[]);
        check_order(&[image("edge", 98, 98)], &["edge"]);
    }

    #[test]
    fn what_is_too_old_goes_whatever_the_disk_says() {
        let images = [
            image("old", 0, 30),
            image("edge", 0, 40),
            image("new", 0, 90),
        ];
        let gone = |age: Option<i64>| {
            let policy = policy(age);
            let gone = outdated(&removable(&images, &policy, at(100)), &policy, at(100));
            gone.into_iter()
                .map(|(image, _)| image.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(gone(Some(60)), ["old"]);
        assert_eq!(gone(Some(5)), ["old", "edge", "new"]);
        assert!(gone(None).is_empty());
    }

    #[track_caller]
    fn check_goal(capacity: u64, available: u64, want: Option<u64>) {
        let disk = Disk {
            capacity,
            available,
        };
        let goal = policy(None).goal(disk).map(|(bytes, _)| bytes);
        assert_eq!(goal, want, "{disk:?}");
    }

    #[test]
    fn a_full_disk_has_a_goal() {
        check_goal(1000, 151, None);
        check_goal(1000, 150, Some(50));
        check_goal(1000, 0, Some(200));
        check_goal(1000, 1000, None);
        check_goal(0, 0, None);
        check_goal(u64::MAX, 0, Some(u64::MAX / 5));
        let off = ImagePolicy {
            high: 100,
            ..policy(None)
        };
        let full = Disk {
            capacity: 10,
            available: 0,
        };
        assert_eq!(off.goal(full), None);
        let (_, why) = policy(None).goal(full).unwrap();
        assert_eq!(
            why,
            "the disk is 100% full, over imageGCHighThresholdPercent 85"
        );
    }

    fn dead(uid: &str, ended: i64, wanted: bool) -> DeadPod {
        DeadPod {
            uid: uid.to_owned(),
            ended: at(ended),
            wanted,
        }
    }

    #[test]
    fn the_oldest_dead_pods_are_forgotten() {
        let policy = DeadPolicy {
            min_ttl: SignedDuration::from_mins(1),
            kept: 1,
        };
        let pods = [
            dead("new", 9, false),
            dead("old", 1, false),
            dead("wanted", 0, true),
            dead("mid", 5, false),
        ];
        assert_eq!(forgettable(&pods, &policy, at(10)), ["old", "mid"]);
        assert_eq!(
            forgettable(&pods, &policy.when_full(), at(10)),
            ["old", "mid", "new"]
        );
        // Not before their time, however many there are.
        let young = [dead("a", 10, false), dead("b", 10, false)];
        assert!(forgettable(&young, &policy, at(10)).is_empty());
        let none = DeadPolicy { kept: 5, ..policy };
        assert!(forgettable(&pods, &none, at(10)).is_empty());
    }
}

//! Eviction signals and their thresholds: when a node is short of something, and for how long it is said to be.
//!
//! ```text
//! thresholds (evictionHard, evictionSoft)  x  observations  -->  those met
//!   met                     -> the condition is on, and for evictionPressureTransitionPeriod after the last sight
//!   met for its grace time  -> something must go: the most pressing one is named
//! ```
use crate::config::KubeletConfig;
use jiff::{SignedDuration, Timestamp};
use rkube_api::quantity::Quantity;
use std::collections::BTreeMap;
use std::fmt;

/// What can run short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Memory of the node that can be had without harm.
    MemoryAvailable,
    /// Bytes free where pods, volumes and logs lie.
    NodefsAvailable,
    /// Files that can still be made there.
    NodefsInodesFree,
    /// Bytes free where images lie.
    ImagefsAvailable,
    /// Files that can still be made there.
    ImagefsInodesFree,
    /// Processes that can still be started.
    PidAvailable,
}

impl Signal {
    const ALL: [(&str, Signal); 8] = [
        ("memory.available", Signal::MemoryAvailable),
        ("nodefs.available", Signal::NodefsAvailable),
        ("nodefs.inodesFree", Signal::NodefsInodesFree),
        ("imagefs.available", Signal::ImagefsAvailable),
        ("imagefs.inodesFree", Signal::ImagefsInodesFree),
        // Writable layers lie beside the pods.
        ("containerfs.available", Signal::NodefsAvailable),
        ("containerfs.inodesFree", Signal::NodefsInodesFree),
        ("pid.available", Signal::PidAvailable),
    ];
    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let names = Signal::ALL.iter();
        names
            .filter(|(_, signal)| *signal == self)
            .map(|(name, _)| *name)
            .next()
            .unwrap_or_default()
    }
    /// The condition of the node that it leads to.
    #[must_use]
    pub fn condition(self) -> Condition {
        match self {
            Signal::MemoryAvailable => Condition::Memory,
            Signal::NodefsAvailable
            | Signal::NodefsInodesFree
            | Signal::ImagefsAvailable
            | Signal::ImagefsInodesFree => Condition::Disk,
            Signal::PidAvailable => Condition::Pid,
        }
    }
    /// The resource, as messages call it.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Signal::MemoryAvailable => "memory",
            Signal::NodefsAvailable | Signal::ImagefsAvailable => "ephemeral-storage",
            Signal::NodefsInodesFree | Signal::ImagefsInodesFree => "inodes",
            Signal::PidAvailable => "pids",
        }
    }
    /// An amount of it for people: bytes with a suffix, a number of anything else.
    #[must_use]
    pub fn amount(self, units: u64) -> String {
        match self {
            Signal::MemoryAvailable | Signal::NodefsAvailable | Signal::ImagefsAvailable => {
                // A percentage of a disk is seldom a round number.
                let whole = if units > 1 << 20 {
                    units >> 10 << 10
                } else {
                    units
                };
                Quantity::from_bytes(i64::try_from(whole).unwrap_or(i64::MAX)).to_string()
            }
            Signal::NodefsInodesFree | Signal::ImagefsInodesFree | Signal::PidAvailable => {
                units.to_string()
            }
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A condition of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// `MemoryPressure`.
    Memory,
    /// `DiskPressure`.
    Disk,
    /// `PIDPressure`.
    Pid,
}

impl Condition {
    /// All of them.
    pub const ALL: [Condition; 3] = [Condition::Memory, Condition::Disk, Condition::Pid];
    /// Kubernetes' word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::Memory => "MemoryPressure",
            Condition::Disk => "DiskPressure",
            Condition::Pid => "PIDPressure",
        }
    }
}

/// How much must be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So much.
    Units(u64),
    /// So many thousandths of a percent of all there is.
    MilliPercent(u64),
}

impl Amount {
    /// In units, of a capacity.
    #[must_use]
    pub fn of(self, capacity: u64) -> u64 {
        match self {
            Amount::Units(units) => units,
            Amount::MilliPercent(part) => {
                let units = u128::from(capacity) * u128::from(part) / 100_000;
                u64::try_from(units).unwrap_or(u64::MAX)
            }
        }
    }
}

/// A line that should not be crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Of what.
    pub signal: Signal,
    /// How much must be left.
    pub amount: Amount,
    /// For how long it may be crossed; none for a hard threshold.
    pub grace: Option<SignedDuration>,
}

/// The thresholds of a configuration: hard ones, then soft ones.
///
/// # Errors
/// Every mistake, each with the field.
pub fn thresholds(config: &KubeletConfig) -> Result<Vec<Threshold>, Vec<String>> {
    let (mut thresholds, mut mistakes) = (Vec::new(), Vec::new());
    for (name, value) in &config.eviction_hard {
        match threshold(name, value, None) {
            Ok(threshold) => thresholds.extend(threshold),
            Err(what) => mistakes.push(format!("evictionHard[{name}]: {what}")),
        }
    }
    for (name, value) in &config.eviction_soft {
        let field = format!("evictionSoft[{name}]");
        let Some(grace) = config.eviction_soft_grace_period.get(name) else {
            mistakes.push(format!(
                "{field}: give the time that it may be crossed in evictionSoftGracePeriod"
            ));
            continue;
        };
        let grace = SignedDuration::try_from(grace.get()).unwrap_or(SignedDuration::MAX);
        match threshold(name, value, Some(grace)) {
            Ok(threshold) => thresholds.extend(threshold),
            Err(what) => mistakes.push(format!("{field}: {what}")),
        }
    }
    for name in config.eviction_soft_grace_period.keys() {
        if !config.eviction_soft.contains_key(name) {
            mistakes.push(format!(
                "evictionSoftGracePeriod[{name}]: evictionSoft has no such signal"
            ));
        }
    }
    if mistakes.is_empty() {
        Ok(thresholds)
    } else {
        Err(mistakes)
    }
}

/// `None` for a threshold that is switched off: `0` or `0%`.
fn threshold(
    name: &str,
    value: &str,
    grace: Option<SignedDuration>,
) -> Result<Option<Threshold>, String> {
    let known = Signal::ALL.iter().find(|(known, _)| *known == name);
    let Some((_, signal)) = known else {
        let names: Vec<_> = Signal::ALL.iter().map(|(name, _)| *name).collect();
        return Err(format!("unknown signal; there are {}", names.join(", ")));
    };
    let amount = match value.strip_suffix('%') {
        Some(percent) => {
            let percent: Quantity = percent.parse().map_err(|_| {
                format!("\"{value}\" is no percentage; write a number from 0 to 100 before the %")
            })?;
            let milli = u64::try_from(percent.milli()).unwrap_or(u64::MAX);
            if milli > 100_000 {
                return Err(format!("\"{value}\" is not between 0% and 100%"));
            }
            Amount::MilliPercent(milli)
        }
        None => {
            let units: Quantity = value.parse().map_err(|err| format!("{err}"))?;
            let units = u64::try_from(units.units());
            Amount::Units(units.map_err(|_| format!("\"{value}\" is below zero"))?)
        }
    };
    let off = matches!(amount, Amount::Units(0) | Amount::MilliPercent(0));
    Ok((!off).then_some(Threshold {
        signal: *signal,
        amount,
        grace,
    }))
}

/// What was measured. One signal may be seen at several places (two file systems); the worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Of what.
    pub signal: Signal,
    /// What is left.
    pub available: u64,
    /// What there is in all.
    pub capacity: u64,
}

/// A threshold that is crossed, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// The threshold.
    pub threshold: Threshold,
    /// What was measured.
    pub observed: Observation,
}

impl Met {
    /// For people, in Kubernetes' words.
    #[must_use]
    pub fn message(&self) -> String {
        let (signal, observed) = (self.threshold.signal, self.observed);
        format!(
            "The node was low on resource: {}. Threshold quantity: {}, available: {}.",
            signal.resource(),
            signal.amount(self.threshold.amount.of(observed.capacity)),
            signal.amount(observed.available),
        )
    }
    /// What is missing.
    #[must_use]
    pub fn missing(&self) -> u64 {
        let wanted = self.threshold.amount.of(self.observed.capacity);
        wanted.saturating_sub(self.observed.available)
    }
}

/// The thresholds that are crossed.
#[must_use]
pub fn met(thresholds: &[Threshold], observations: &[Observation]) -> Vec<Met> {
    let pairs = thresholds.iter().flat_map(|threshold| {
        let of_it = observations
            .iter()
            .filter(move |observed| observed.signal == threshold.signal);
        of_it.map(move |observed| Met {
            threshold: *threshold,
            observed: *observed,
        })
    });
    let mut met: Vec<Met> = pairs
        .filter(|met| met.observed.available < met.threshold.amount.of(met.observed.capacity))
        .collect();
    met.sort_by_key(|met| (met.threshold.signal, met.observed.available));
    met
}

/// What is remembered between two looks.
#[derive(Clone, Debug, Default)]
pub struct Pressure {
    /// Since when soft thresholds are crossed, by their place in the list.
    since: BTreeMap<usize, Timestamp>,
    /// When each condition was last seen.
    seen: BTreeMap<Condition, Timestamp>,
}

/// What follows from a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The conditions that are on.
    pub conditions: Vec<Condition>,
    /// What is to be relieved now, the most pressing first: memory, then disks, then pids; hard before soft.
    pub act: Vec<Met>,
}

impl Pressure {
    /// Takes note of what was measured at a time.
    pub fn look(
        &mut self,
        thresholds: &[Threshold],
        observations: &[Observation],
        transition: SignedDuration,
        now: Timestamp,
    ) -> Outcome {
        let mut act = Vec::new();
        let mut still = BTreeMap::new();
        for (place, threshold) in thresholds.iter().enumerate() {
            let Some(met) = met(&[*threshold], observations).into_iter().next() else {
                continue;
            };
            self.seen.insert(threshold.signal.condition(), now);
            let since = self.since.get(&place).copied().unwrap_or(now);
            still.insert(place, since);
            if threshold
                .grace
                .is_none_or(|grace| now.duration_since(since) >= grace)
            {
                act.push(met);
            }
        }
        self.since = still;
        self.seen
            .retain(|_, last| *last == now || now.duration_since(*last) < transition);
        act.sort_by_key(|met| (met.threshold.signal, met.threshold.grace));
        Outcome {
            conditions: self.seen.keys().copied().collect(),
            act,
        }
    }
}

#[cfg(test)]
mod tests;

//! From OCI resources to the files to write, as data.
//!
//! Every knob is one [`Rows::put`]: what it is called in the OCI object, its controller, and what it
//! looks like on v1 and on v2. Nothing here touches a file.

use std::borrow::Cow;

use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources};

use super::hierarchies::{Version, canonical};

mod io;

/// One value to write into one control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The controller whose directory the file is in.
    pub controller: Cow<'static, str>,
    /// The file's name.
    pub file: Cow<'static, str>,
    /// What to write.
    pub value: String,
    /// What to do when this kernel has no such file.
    pub if_missing: IfMissing,
}

/// What to do about a control file that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMissing {
    /// It was asked for: fail.
    Fail,
    /// Without the file the kernel behaves as asked anyway.
    Skip,
    /// Another file has the same effect.
    Try(Box<Write>),
}

/// Why resources cannot be had on this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The kernel does not offer the controller, or no hierarchy has it.
    #[error(
        "{field} needs the cgroup controller {controller}, which this host does not have; \
         enable it in the kernel or leave {field} out"
    )]
    MissingController {
        /// The field of `linux.resources`.
        field: Cow<'static, str>,
        /// The controller.
        controller: String,
    },
    /// The controller has nothing like it in this version.
    #[error("{field} cannot be set on this host: {why}")]
    Unsupported {
        /// The field of `linux.resources`.
        field: Cow<'static, str>,
        /// What is in the way.
        why: &'static str,
    },
    /// The value makes no sense on any host.
    #[error("{field} is not valid: {why}")]
    Invalid {
        /// The field of `linux.resources`.
        field: Cow<'static, str>,
        /// What is wrong with it.
        why: String,
    },
}

/// The controllers that a cgroup can use, and the version of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controllers(Vec<(String, Version)>);

impl Controllers {
    /// These controllers; names of either version will do.
    pub fn new<'a>(list: impl IntoIterator<Item = (&'a str, Version)>) -> Self {
        Self(
            list.into_iter()
                .map(|(name, version)| (canonical(name).to_owned(), version))
                .collect(),
        )
    }

    /// The version of `controller` here, if it is here at all.
    pub fn version_of(&self, controller: &str) -> Option<Version> {
        let wanted = canonical(controller);
        self.0
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|&(_, version)| version)
    }
}

/// The files to write for `resources`, in order. Devices are [`super::devices`]' business.
///
/// A field that is absent or has its zero value asks for nothing.
pub fn writes(resources: &LinuxResources, on: &Controllers) -> Result<Vec<Write>, PlanError> {
    let mut rows = Rows {
        on,
        out: Vec::new(),
    };
    if let Some(memory) = resources.memory() {
        rows.memory(memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        rows.cpu(cpu)?;
    }
    if let Some(pids) = resources.pids()
        && pids.limit() != 0
    {
        let limit = if pids.limit() < 0 {
            "max".to_owned()
        } else {
            pids.limit().to_string()
        };
        let row = Row::new("pids.max", limit);
        rows.put("pids.limit", "pids", row.clone(), row)?;
    }
    if let Some(block_io) = resources.block_io() {
        rows.block_io(block_io)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        rows.hugetlb(limit)?;
    }
    if let Some(network) = resources.network() {
        rows.network(network)?;
    }
    if let Some(rdma) = resources.rdma() {
        rows.rdma(rdma)?;
    }
    if let Some(unified) = resources.unified() {
        rows.unified(unified)?;
    }
    Ok(rows.out)
}

/// The v2 weight for v1 CPU shares: 2 -> 1, 1024 (the default) -> 100 (the default), 262144 -> 10000.
///
/// The curve is the quadratic in log2(shares) through these three points (in log10(weight)), so that
/// both ends and, unlike on a straight line, both defaults meet.
pub fn weight_from_shares(shares: u64) -> u64 {
    let clamped = u32::try_from(shares.clamp(2, 262_144)).unwrap_or(262_144);
    let log = f64::from(clamped).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // Powers of ten come out a hair above themselves; they must not be rounded up.
    let weight = (10_f64.powf(exponent) - 1e-6).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "1..=10000"
    )]
    let weight = weight as u64;
    weight.clamp(1, 10_000)
}

/// What a knob looks like in one version.
#[derive(Clone, Debug)]
enum Row {
    Write(Cow<'static, str>, String, IfMissing),
    Unsupported(&'static str),
    /// The version has no such knob and behaves as asked without it.
    Nothing,
}

impl Row {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers and literals read better so"
    )]
    fn new(file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        Self::Write(file.into(), value.to_string(), IfMissing::Fail)
    }

    fn or_skip(self) -> Self {
        match self {
            Self::Write(file, value, _) => Self::Write(file, value, IfMissing::Skip),
            Self::Unsupported(_) | Self::Nothing => self,
        }
    }
}

const V1_ONLY: &str = "cgroup v2 has no such setting";
const V2_ONLY: &str = "it needs cgroup v2";

struct Rows<'a> {
    on: &'a Controllers,
    out: Vec<Write>,
}

impl Rows<'_> {
    fn put(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        controller: &'static str,
        v1: Row,
        v2: Row,
    ) -> Result<(), PlanError> {
        let row = match self.on.version_of(controller) {
            Some(Version::V1) => v1,
            Some(Version::V2) => v2,
            None => {
                let controller = controller.to_owned();
                return Err(PlanError::MissingController {
                    field: field.into(),
                    controller,
                });
            }
        };
        match row {
            Row::Write(file, value, if_missing) => {
                self.out.push(Write {
                    controller: controller.into(),
                    file,
                    value,
                    if_missing,
                });
                Ok(())
            }
            Row::Unsupported(why) => Err(PlanError::Unsupported {
                field: field.into(),
                why,
            }),
            Row::Nothing => Ok(()),
        }
    }

    fn memory(&mut self, memory: &LinuxMemory) -> Result<(), PlanError> {
        let limit = memory.limit().unwrap_or(0);
        if limit != 0 {
            let (v1, v2) = ("memory.limit_in_bytes", "memory.max");
            self.put(
                "memory.limit",
                "memory",
                Row::new(v1, limit.max(-1)),
                max_row(v2, limit),
            )?;
        }
        self.swap(limit, memory.swap().unwrap_or(0))?;
        if let Some(low) = memory.reservation().filter(|&low| low != 0) {
            let v1 = Row::new("memory.soft_limit_in_bytes", low.max(-1));
            self.put(
                "memory.reservation",
                "memory",
                v1,
                max_row("memory.low", low),
            )?;
        }
        if let Some(tcp) = memory.kernel_tcp().filter(|&tcp| tcp != 0) {
            let v1 = Row::new("memory.kmem.tcp.limit_in_bytes", tcp.max(-1));
            self.put("memory.kernelTCP", "memory", v1, Row::Unsupported(V1_ONLY))?;
        }
        if let Some(swappiness) = memory.swappiness() {
            if swappiness > 100 {
                return Err(invalid("memory.swappiness", "it must be from 0 to 100"));
            }
            let v1 = Row::new("memory.swappiness", swappiness);
            self.put("memory.swappiness", "memory", v1, Row::Unsupported(V1_ONLY))?;
        }
        if memory.disable_oom_killer() == Some(true) {
            let v1 = Row::new("memory.oom_control", 1);
            self.put(
                "memory.disableOOMKiller",
                "memory",
                v1,
                Row::Unsupported(V1_ONLY),
            )?;
        }
        Ok(())
    }

    /// OCI counts memory and swap together, as v1 does; v2 counts swap alone.
    fn swap(&mut self, limit: i64, swap: i64) -> Result<(), PlanError> {
        const FIELD: &str = "memory.swap";
        const V1_FILE: &str = "memory.memsw.limit_in_bytes";
        if swap == 0 && limit >= 0 {
            return Ok(());
        }
        if swap <= 0 {
            // No limit on memory means none on swap, and then a kernel without the file is fine.
            let v1 = Row::new(V1_FILE, -1).or_skip();
            return self.put(
                FIELD,
                "memory",
                v1,
                Row::new("memory.swap.max", "max").or_skip(),
            );
        }
        if limit <= 0 {
            return Err(invalid(FIELD, "it needs memory.limit"));
        }
        let alone = swap - limit;
        if alone < 0 {
            return Err(invalid(
                FIELD,
                "it is memory and swap together, so at least memory.limit",
            ));
        }
        let (mut v1, mut v2) = (Row::new(V1_FILE, swap), Row::new("memory.swap.max", alone));
        if alone == 0 {
            // "No swap" is all that can be had where swap is not accounted for.
            (v1, v2) = (v1.or_skip(), v2.or_skip());
        }
        self.put(FIELD, "memory", v1, v2)
    }

    fn cpu(&mut self, cpu: &LinuxCpu) -> Result<(), PlanError> {
        if let Some(idle) = cpu.idle() {
            // 0 is the default everywhere, also on kernels that know no other value.
            let row = Row::new("cpu.idle", idle);
            let row = if idle == 0 { row.or_skip() } else { row };
            self.put("cpu.idle", "cpu", row.clone(), row)?;
        }
        if let Some(shares) = cpu
            .shares()
            .filter(|&shares| shares != 0 && cpu.idle() != Some(1))
        {
            let v2 = Row::new("cpu.weight", weight_from_shares(shares));
            self.put("cpu.shares", "cpu", Row::new("cpu.shares", shares), v2)?;
        }
        self.bandwidth(cpu)?;
        for (field, file, value) in [
            (
                "cpu.realtimePeriod",
                "cpu.rt_period_us",
                cpu.realtime_period().map(i128::from),
            ),
            (
                "cpu.realtimeRuntime",
                "cpu.rt_runtime_us",
                cpu.realtime_runtime().map(i128::from),
            ),
        ] {
            if let Some(value) = value.filter(|&value| value != 0) {
                self.put(
                    field,
                    "cpu",
                    Row::new(file, value),
                    Row::Unsupported(V1_ONLY),
                )?;
            }
        }
        for (field, file, value) in [
            ("cpu.cpus", "cpuset.cpus", cpu.cpus()),
            ("cpu.mems", "cpuset.mems", cpu.mems()),
        ] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                let row = Row::new(file, value);
                self.put(field, "cpuset", row.clone(), row)?;
            }
        }
        Ok(())
    }

    fn bandwidth(&mut self, cpu: &LinuxCpu) -> Result<(), PlanError> {
        let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
        let quota_v2 = if quota > 0 {
            quota.to_string()
        } else {
            "max".to_owned()
        };
        match (quota, period) {
            (0, 0) => {}
            (0, period) => {
                let v2 = Row::new("cpu.max", format!("max {period}"));
                self.put(
                    "cpu.period",
                    "cpu",
                    Row::new("cpu.cfs_period_us", period),
                    v2,
                )?;
            }
            (quota, 0) => {
                let v1 = Row::new("cpu.cfs_quota_us", quota.max(-1));
                self.put("cpu.quota", "cpu", v1, Row::new("cpu.max", quota_v2))?;
            }
            (quota, period) => {
                let v1 = Row::new("cpu.cfs_period_us", period);
                self.put("cpu.period", "cpu", v1, Row::Nothing)?;
                let v2 = Row::new("cpu.max", format!("{quota_v2} {period}"));
                self.put(
                    "cpu.quota",
                    "cpu",
                    Row::new("cpu.cfs_quota_us", quota.max(-1)),
                    v2,
                )?;
            }
        }
        if let Some(burst) = cpu.burst() {
            let (v1, v2) = (
                Row::new("cpu.cfs_burst_us", burst),
                Row::new("cpu.max.burst", burst),
            );
            let (v1, v2) = if burst == 0 {
                (v1.or_skip(), v2.or_skip())
            } else {
                (v1, v2)
            };
            self.put("cpu.burst", "cpu", v1, v2)?;
        }
        Ok(())
    }

    fn hugetlb(&mut self, limit: &LinuxHugepageLimit) -> Result<(), PlanError> {
        let size = limit.page_size();
        let digits = size.trim_end_matches(|c: char| c.is_ascii_uppercase());
        let unit = &size[digits.len()..];
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !number || digits.starts_with('0') || !["KB", "MB", "GB"].contains(&unit) {
            return Err(invalid(
                "hugepageLimits.pageSize",
                format!("{size:?} is not like 2MB"),
            ));
        }
        let field = format!("hugepageLimits[{size}]");
        let file = |suffix: &str| format!("hugetlb.{size}.{suffix}");
        let bytes = limit.limit();
        let v1 = Row::new(file("limit_in_bytes"), bytes.max(-1));
        self.put(field.clone(), "hugetlb", v1, max_row(file("max"), bytes))?;
        // The reservation limit (5.7) makes an excess fail at mmap instead of by SIGBUS.
        let v1 = Row::new(file("rsvd.limit_in_bytes"), bytes.max(-1)).or_skip();
        self.put(
            field,
            "hugetlb",
            v1,
            max_row(file("rsvd.max"), bytes).or_skip(),
        )
    }
}

/// A limit whose "none" is a negative number in OCI and the word `max` on v2.
fn max_row(file: impl Into<Cow<'static, str>>, value: i64) -> Row {
    if value < 0 {
        Row::new(file, "max")
    } else {
        Row::new(file, value)
    }
}

fn invalid(field: impl Into<Cow<'static, str>>, why: impl Into<String>) -> PlanError {
    PlanError::Invalid {
        field: field.into(),
        why: why.into(),
    }
}

#[cfg(test)]
mod tests;

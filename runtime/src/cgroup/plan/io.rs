//! The rows for block devices, network classes, RDMA, and v2's raw key-value map.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxBlockIo, LinuxNetwork, LinuxRdma, LinuxThrottleDevice};

use super::{IfMissing, PlanError, Row, Rows, V1_ONLY, V2_ONLY, Version, Write, invalid};

impl Rows<'_> {
    pub(super) fn block_io(&mut self, block_io: &LinuxBlockIo) -> Result<(), PlanError> {
        if let Some(weight) = block_io.weight().filter(|&weight| weight != 0) {
            let scaled = format!("default {}", io_weight(weight));
            let v1 = either("blkio.bfq.weight", weight, "blkio.weight", weight);
            let v2 = either("io.bfq.weight", weight, "io.weight", scaled);
            self.put("blockIO.weight", "io", v1, v2)?;
        }
        if let Some(weight) = block_io.leaf_weight().filter(|&weight| weight != 0) {
            let v1 = Row::new("blkio.leaf_weight", weight);
            self.put("blockIO.leafWeight", "io", v1, Row::Unsupported(V1_ONLY))?;
        }
        for device in block_io.weight_device().iter().flatten() {
            let id = format!("{}:{}", device.major(), device.minor());
            if let Some(weight) = device.weight().filter(|&weight| weight != 0) {
                let plain = format!("{id} {weight}");
                let scaled = format!("{id} {}", io_weight(weight));
                let v1 = either(
                    "blkio.bfq.weight_device",
                    &plain,
                    "blkio.weight_device",
                    plain.clone(),
                );
                let v2 = either("io.bfq.weight", &plain, "io.weight", scaled);
                self.put("blockIO.weightDevice", "io", v1, v2)?;
            }
            if let Some(weight) = device.leaf_weight().filter(|&weight| weight != 0) {
                let v1 = Row::new("blkio.leaf_weight_device", format!("{id} {weight}"));
                self.put("blockIO.weightDevice", "io", v1, Row::Unsupported(V1_ONLY))?;
            }
        }
        self.throttle(block_io)
    }

    fn throttle(&mut self, block_io: &LinuxBlockIo) -> Result<(), PlanError> {
        type Devices = Option<Vec<LinuxThrottleDevice>>;
        let rows: [(&str, &Devices, &str, &str); 4] = [
            (
                "blockIO.throttleReadBpsDevice",
                block_io.throttle_read_bps_device(),
                "blkio.throttle.read_bps_device",
                "rbps",
            ),
            (
                "blockIO.throttleWriteBpsDevice",
                block_io.throttle_write_bps_device(),
                "blkio.throttle.write_bps_device",
                "wbps",
            ),
            (
                "blockIO.throttleReadIOPSDevice",
                block_io.throttle_read_iops_device(),
                "blkio.throttle.read_iops_device",
                "riops",
            ),
            (
                "blockIO.throttleWriteIOPSDevice",
                block_io.throttle_write_iops_device(),
                "blkio.throttle.write_iops_device",
                "wiops",
            ),
        ];
        for (field, devices, v1, key) in rows {
            for device in devices.iter().flatten() {
                let id = format!("{}:{}", device.major(), device.minor());
                // v1 says "no limit" with 0, v2 with a word.
                let rate = device.rate();
                let word = if rate == 0 {
                    "max".to_owned()
                } else {
                    rate.to_string()
                };
                let v1 = Row::new(v1, format!("{id} {rate}"));
                self.put(
                    field,
                    "io",
                    v1,
                    Row::new("io.max", format!("{id} {key}={word}")),
                )?;
            }
        }
        Ok(())
    }

    pub(super) fn network(&mut self, network: &LinuxNetwork) -> Result<(), PlanError> {
        if let Some(class) = network.class_id().filter(|&class| class != 0) {
            let v1 = Row::new("net_cls.classid", class);
            self.put("network.classID", "net_cls", v1, Row::Unsupported(V1_ONLY))?;
        }
        for priority in network.priorities().iter().flatten() {
            let v1 = Row::new(
                "net_prio.ifpriomap",
                format!("{} {}", priority.name(), priority.priority()),
            );
            self.put(
                "network.priorities",
                "net_prio",
                v1,
                Row::Unsupported(V1_ONLY),
            )?;
        }
        Ok(())
    }

    pub(super) fn rdma(&mut self, rdma: &HashMap<String, LinuxRdma>) -> Result<(), PlanError> {
        for (device, limit) in sorted(rdma) {
            let handles = limit
                .hca_handles()
                .map(|count| format!(" hca_handle={count}"));
            let objects = limit
                .hca_objects()
                .map(|count| format!(" hca_object={count}"));
            if handles.is_none() && objects.is_none() {
                continue;
            }
            let value = format!(
                "{device}{}{}",
                handles.unwrap_or_default(),
                objects.unwrap_or_default()
            );
            let row = Row::new("rdma.max", value);
            self.put(format!("rdma[{device}]"), "rdma", row.clone(), row)?;
        }
        Ok(())
    }

    /// v2 files by name. A value of several lines is several writes, as the kernel wants it.
    pub(super) fn unified(&mut self, unified: &HashMap<String, String>) -> Result<(), PlanError> {
        for (file, value) in sorted(unified) {
            let field = format!("unified[{file}]");
            let Some((controller, rest)) = file.split_once('.') else {
                return Err(invalid(field, "a file is named controller.setting"));
            };
            if file.contains('/') || rest.is_empty() || controller.is_empty() {
                return Err(invalid(
                    field,
                    "a file is named controller.setting, without a path",
                ));
            }
            // Membership, freezing and delegation are the runtime's own business.
            if controller == "cgroup" && !rest.starts_with("max.") {
                return Err(invalid(
                    field,
                    "of the cgroup.* files only cgroup.max.* can be set",
                ));
            }
            match self.on.version_of(controller) {
                Some(Version::V2) => {}
                Some(Version::V1) => {
                    return Err(PlanError::Unsupported {
                        field: field.into(),
                        why: V2_ONLY,
                    });
                }
                None => {
                    let controller = controller.to_owned();
                    return Err(PlanError::MissingController {
                        field: field.into(),
                        controller,
                    });
                }
            }
            for line in value.lines() {
                self.out.push(Write {
                    controller: controller.to_owned().into(),
                    file: file.to_owned().into(),
                    value: line.to_owned(),
                    if_missing: IfMissing::Fail,
                });
            }
        }
        Ok(())
    }
}

/// v1's 10..=1000 on v2's 1..=10000.
fn io_weight(weight: u16) -> u64 {
    let above = u64::from(weight.clamp(10, 1000)) - 10;
    1 + above * 9999 / 990
}

/// The first file if this kernel has it (the BFQ scheduler is there), else the second.
#[expect(
    clippy::needless_pass_by_value,
    reason = "numbers and literals read better so"
)]
fn either(
    first: &'static str,
    value: impl ToString,
    second: &'static str,
    other: impl ToString,
) -> Row {
    let fallback = Write {
        controller: "io".into(),
        file: second.into(),
        value: other.to_string(),
        if_missing: IfMissing::Fail,
    };
    Row::Write(
        first.into(),
        value.to_string(),
        IfMissing::Try(Box::new(fallback)),
    )
}

/// The entries in an order that does not change from run to run.
fn sorted<V>(map: &HashMap<String, V>) -> Vec<(&str, &V)> {
    let mut entries: Vec<_> = map
        .iter()
        .map(|(key, value)| (key.as_str(), value))
        .collect();
    entries.sort_by_key(|&(key, _)| key);
    entries
}

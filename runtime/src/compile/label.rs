//! Security labels: which file of procfs takes them.

use oci_spec::runtime::Process;

use super::CompileError;

/// The file below `/proc/PID` and what to write there, if the process asks for a label.
pub(super) fn of(process: &Process) -> Result<Option<(String, String)>, CompileError> {
    let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    if let Some(profile) = given(process.apparmor_profile()) {
        let enabled = fs_err::read_to_string("/sys/module/apparmor/parameters/enabled");
        if !enabled.is_ok_and(|text| text.starts_with('Y')) {
            return Err(CompileError::invalid(
                "process.apparmorProfile",
                "AppArmor is not enabled on this host",
            ));
        }
        return Ok(Some((
            "attr/apparmor/exec".into(),
            format!("exec {profile}"),
        )));
    }
    if let Some(label) = given(process.selinux_label()) {
        if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
            return Err(CompileError::invalid(
                "process.selinuxLabel",
                "SELinux is not enabled on this host",
            ));
        }
        return Ok(Some(("attr/exec".into(), label)));
    }
    Ok(None)
}

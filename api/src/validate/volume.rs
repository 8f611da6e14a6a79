//! Volumes and what is in them.

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, Volume, VolumeProjection,
};

use super::env::{Seen, field_ref, resource_ref};
use super::{Errors, Unique, each};
use crate::names::Form;
use crate::quantity::Quantity;

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "DirectoryOrCreate",
    "Directory",
    "FileOrCreate",
    "File",
    "Socket",
    "CharDevice",
    "BlockDevice",
];

pub(super) fn check(path: &str, volume: &Volume, errors: &mut Errors) {
    errors.form(Form::Label, &format!("{path}.name"), &volume.name);
    errors.exactly_one(path, "volume", &sources(volume));
    directories(path, volume, errors);
    files(path, volume, errors);
    if let Some(claim) = &volume.persistent_volume_claim {
        let path = format!("{path}.persistentVolumeClaim.claimName");
        errors.form(Form::Subdomain, &path, &claim.claim_name);
    }
    if let Some(nfs) = &volume.nfs {
        if nfs.server.is_empty() {
            errors.required(&format!("{path}.nfs.server"));
        }
        errors.absolute(&format!("{path}.nfs.path"), &nfs.path);
    }
    if let Some(disk) = &volume.gce_persistent_disk {
        if disk.pd_name.is_empty() {
            errors.required(&format!("{path}.gcePersistentDisk.pdName"));
        }
        errors.range(
            &format!("{path}.gcePersistentDisk.partition"),
            disk.partition,
            0..=255,
        );
    }
    if let Some(image) = &volume.image {
        let reference = image.reference.as_deref().unwrap_or_default();
        let field = format!("{path}.image.reference");
        if reference.is_empty() {
            errors.required(&field);
        } else if reference.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let problem = format!("invalid value {reference:?}: must not contain spaces");
            errors.add(&field, &problem);
        }
        let policies = ["Always", "IfNotPresent", "Never"];
        let field = format!("{path}.image.pullPolicy");
        errors.one_of(&field, image.pull_policy.as_ref(), &policies);
    }
    if let Some(repo) = &volume.git_repo {
        if repo.repository.is_empty() {
            errors.required(&format!("{path}.gitRepo.repository"));
        }
        let directory = repo.directory.as_deref().unwrap_or_default();
        errors.relative(&format!("{path}.gitRepo.directory"), directory);
    }
}

/// The kinds of volume, those used most first.
fn sources(volume: &Volume) -> [(&'static str, bool); 30] {
    [
        ("emptyDir", volume.empty_dir.is_some()),
        ("hostPath", volume.host_path.is_some()),
        ("configMap", volume.config_map.is_some()),
        ("secret", volume.secret.is_some()),
        ("downwardAPI", volume.downward_api.is_some()),
        ("projected", volume.projected.is_some()),
        (
            "persistentVolumeClaim",
            volume.persistent_volume_claim.is_some(),
        ),
        ("nfs", volume.nfs.is_some()),
        ("csi", volume.csi.is_some()),
        ("ephemeral", volume.ephemeral.is_some()),
        ("image", volume.image.is_some()),
        ("gitRepo", volume.git_repo.is_some()),
        ("gcePersistentDisk", volume.gce_persistent_disk.is_some()),
        (
            "awsElasticBlockStore",
            volume.aws_elastic_block_store.is_some(),
        ),
        ("azureDisk", volume.azure_disk.is_some()),
        ("azureFile", volume.azure_file.is_some()),
        ("cephfs", volume.cephfs.is_some()),
        ("cinder", volume.cinder.is_some()),
        ("fc", volume.fc.is_some()),
        ("flexVolume", volume.flex_volume.is_some()),
        ("flocker", volume.flocker.is_some()),
        ("glusterfs", volume.glusterfs.is_some()),
        ("iscsi", volume.iscsi.is_some()),
        (
            "photonPersistentDisk",
            volume.photon_persistent_disk.is_some(),
        ),
        ("portworxVolume", volume.portworx_volume.is_some()),
        ("quobyte", volume.quobyte.is_some()),
        ("rbd", volume.rbd.is_some()),
        ("scaleIO", volume.scale_io.is_some()),
        ("storageos", volume.storageos.is_some()),
        ("vsphereVolume", volume.vsphere_volume.is_some()),
    ]
}

fn directories(path: &str, volume: &Volume, errors: &mut Errors) {
    if let Some(dir) = &volume.empty_dir {
        let medium = format!("{path}.emptyDir.medium");
        if !dir
            .medium
            .as_deref()
            .is_some_and(|medium| medium.starts_with("HugePages"))
        {
            errors.one_of(&medium, dir.medium.as_ref(), &["", "Memory"]);
        }
        let limit = dir
            .size_limit
            .as_ref()
            .map(|limit| limit.0.parse::<Quantity>());
        let path = format!("{path}.emptyDir.sizeLimit");
        match limit {
            Some(Ok(limit)) if limit.is_negative() => errors.either(
                &path,
                "must not be negative",
                limit.to_string(),
                "must be greater than or equal to 0",
            ),
            Some(Err(err)) => errors.add(&path, &err.to_string()),
            Some(Ok(_)) | None => {}
        }
    }
    if let Some(host) = &volume.host_path {
        errors.absolute(&format!("{path}.hostPath.path"), &host.path);
        errors.one_of(
            &format!("{path}.hostPath.type"),
            host.type_.as_ref(),
            &HOST_PATH_TYPES,
        );
    }
}

fn files(path: &str, volume: &Volume, errors: &mut Errors) {
    if let Some(source) = &volume.config_map {
        let path = format!("{path}.configMap");
        errors.form(Form::Subdomain, &format!("{path}.name"), &source.name);
        mode(&format!("{path}.defaultMode"), source.default_mode, errors);
        keys(&path, source.items.as_ref(), &mut Unique::new(), errors);
    }
    if let Some(source) = &volume.secret {
        let path = format!("{path}.secret");
        let name = source.secret_name.as_deref().unwrap_or_default();
        errors.form(Form::Subdomain, &format!("{path}.secretName"), name);
        mode(&format!("{path}.defaultMode"), source.default_mode, errors);
        keys(&path, source.items.as_ref(), &mut Unique::new(), errors);
    }
    if let Some(source) = &volume.downward_api {
        let path = format!("{path}.downwardAPI");
        mode(&format!("{path}.defaultMode"), source.default_mode, errors);
        downward(&path, source.items.as_ref(), &mut Unique::new(), errors);
    }
    if let Some(source) = &volume.projected {
        projected(&format!("{path}.projected"), source, errors);
    }
}

fn projected(path: &str, source: &ProjectedVolumeSource, errors: &mut Errors) {
    mode(&format!("{path}.defaultMode"), source.default_mode, errors);
    let mut paths = Unique::new();
    for (path, one) in each(format!("{path}.sources"), source.sources.as_ref()) {
        projection(&path, one, &mut paths, errors);
    }
}

fn projection(path: &str, one: &VolumeProjection, paths: &mut Unique<String>, errors: &mut Errors) {
    let kinds = [
        ("configMap", one.config_map.is_some()),
        ("secret", one.secret.is_some()),
        ("downwardAPI", one.downward_api.is_some()),
        ("serviceAccountToken", one.service_account_token.is_some()),
        ("clusterTrustBundle", one.cluster_trust_bundle.is_some()),
        ("podCertificate", one.pod_certificate.is_some()),
    ];
    errors.exactly_one(path, "projection", &kinds);
    if let Some(map) = &one.config_map {
        let path = format!("{path}.configMap");
        errors.form(Form::Subdomain, &format!("{path}.name"), &map.name);
        keys(&path, map.items.as_ref(), paths, errors);
    }
    if let Some(secret) = &one.secret {
        let path = format!("{path}.secret");
        errors.form(Form::Subdomain, &format!("{path}.name"), &secret.name);
        keys(&path, secret.items.as_ref(), paths, errors);
    }
    if let Some(api) = &one.downward_api {
        downward(
            &format!("{path}.downwardAPI"),
            api.items.as_ref(),
            paths,
            errors,
        );
    }
    if let Some(token) = &one.service_account_token {
        let path = format!("{path}.serviceAccountToken");
        file(&format!("{path}.path"), &token.path, paths, errors);
        errors.range(
            &format!("{path}.expirationSeconds"),
            token.expiration_seconds,
            600..=1 << 32,
        );
    }
}

fn keys(
    path: &str,
    items: Option<&Vec<KeyToPath>>,
    paths: &mut Unique<String>,
    errors: &mut Errors,
) {
    for (path, item) in each(format!("{path}.items"), items) {
        errors.form(Form::ConfigKey, &format!("{path}.key"), &item.key);
        file(&format!("{path}.path"), &item.path, paths, errors);
        mode(&format!("{path}.mode"), item.mode, errors);
    }
}

fn downward(
    path: &str,
    items: Option<&Vec<DownwardAPIVolumeFile>>,
    paths: &mut Unique<String>,
    errors: &mut Errors,
) {
    for (path, item) in each(format!("{path}.items"), items) {
        file(&format!("{path}.path"), &item.path, paths, errors);
        mode(&format!("{path}.mode"), item.mode, errors);
        let fields = [
            ("fieldRef", item.field_ref.is_some()),
            ("resourceFieldRef", item.resource_field_ref.is_some()),
        ];
        errors.exactly_one(&path, "field", &fields);
        if let Some(field) = &item.field_ref {
            field_ref(&format!("{path}.fieldRef"), field, Seen::InFile, errors);
        }
        if let Some(resource) = &item.resource_field_ref {
            let path = format!("{path}.resourceFieldRef");
            resource_ref(&path, resource, errors);
            if resource
                .container_name
                .as_deref()
                .unwrap_or_default()
                .is_empty()
            {
                errors.required(&format!("{path}.containerName"));
            }
        }
    }
}

/// The path of a file inside a volume.
fn file(path: &str, value: &str, paths: &mut Unique<String>, errors: &mut Errors) {
    if value.is_empty() {
        return errors.required(path);
    }
    errors.relative(path, value);
    let first = value.split('/').next().unwrap_or_default();
    if first.starts_with("..") && first != ".." {
        errors.invalid(path, value, "must not begin with '..'");
    }
    paths.insert(errors, path, value.to_owned());
}

fn mode(path: &str, value: Option<i32>, errors: &mut Errors) {
    if let Some(value) = value
        && !(0..=0o777).contains(&value)
    {
        let problem =
            format!("invalid value {value} (octal {value:o}): must be between 0 and 0777");
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.either(path, &problem, value, why);
    }
}

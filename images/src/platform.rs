//! Platforms of images: which entry of an index runs on a host.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Operating system, architecture and variant, in the names that OCI uses (Go's).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, `windows`.
    pub os: String,
    /// `amd64`, `arm64`, `arm`, `riscv64`.
    pub architecture: String,
    /// `v7`, `v8`; absent where an architecture has one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// The text is not `os/arch` or `os/arch/variant`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad platform \"{text}\": write os/arch or os/arch/variant, such as linux/arm64/v8")]
pub struct PlatformError {
    text: String,
}

impl Platform {
    /// The platform this program was built for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self {
            os: std::env::consts::OS.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// The same platform in one spelling: `x86_64` is `amd64`, plain `arm64` is `arm64/v8`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let given = self
            .variant
            .as_deref()
            .filter(|variant| !variant.is_empty());
        let given = given.map(str::to_ascii_lowercase);
        let architecture = self.architecture.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), given.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64", Some(variant)) => ("amd64", Some(variant)),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", Some("v8")),
            ("aarch64", Some(variant)) => ("arm64", Some(variant)),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            ("i386" | "i686", _) => ("386", None),
            (other, variant) => (other, variant),
        };
        Self {
            os: self.os.to_ascii_lowercase(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// How well an image made for `offered` suits this platform: 0 is exact, `None` not at all.
    ///
    /// Processors run what was built for older variants of their own architecture.
    pub fn suits(&self, offered: &Platform) -> Option<u32> {
        let (wanted, offered) = (self.normalized(), offered.normalized());
        if wanted.os != offered.os || wanted.architecture != offered.architecture {
            return None;
        }
        let level = |platform: &Platform| match platform.variant.as_deref() {
            None => Some(1),
            Some(variant) => variant
                .strip_prefix('v')
                .and_then(|n| n.parse::<u32>().ok()),
        };
        match (level(&wanted), level(&offered)) {
            (Some(wanted), Some(offered)) => wanted.checked_sub(offered),
            _ => (wanted.variant == offered.variant).then_some(0),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os, arch] => (os, arch, None),
            [os, arch, variant] => (os, arch, Some(variant)),
            _ => {
                return Err(PlatformError {
                    text: text.to_owned(),
                });
            }
        };
        if !parts.iter().all(word) {
            return Err(PlatformError {
                text: text.to_owned(),
            });
        }
        Ok(Self {
            os: (*os).to_owned(),
            architecture: (*architecture).to_owned(),
            variant: variant.map(|variant| (*variant).to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &str, offered: &str, suits: Option<u32>) {
        let (wanted, offered): (Platform, Platform) =
            (wanted.parse().unwrap(), offered.parse().unwrap());
        assert_eq!(wanted.suits(&offered), suits, "{offered} for {wanted}");
    }

    #[test]
    fn variants_suit_newer_processors() {
        check("linux/amd64", "linux/amd64", Some(0));
        check("linux/amd64", "linux/amd64/v1", Some(0));
        check("linux/amd64", "linux/amd64/v3", None);
        check("linux/amd64/v3", "linux/amd64", Some(2));
        check("linux/arm64", "linux/arm64/v8", Some(0));
        check("linux/arm64/v8", "linux/arm64", Some(0));
        check("linux/arm/v7", "linux/arm", Some(0));
        check("linux/arm/v7", "linux/arm/v6", Some(1));
        check("linux/arm/v6", "linux/arm/v7", None);
        check("linux/x86_64", "linux/amd64", Some(0));
        check("linux/amd64", "linux/arm64", None);
        check("linux/amd64", "windows/amd64", None);
        check("linux/mips/softfloat", "linux/mips/softfloat", Some(0));
        check("linux/mips/softfloat", "linux/mips/hard", None);
    }

    #[test]
    fn malformed_platforms_are_refused() {
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/am d64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert_eq!(
            "linux/arm/v7".parse::<Platform>().unwrap().to_string(),
            "linux/arm/v7"
        );
    }
}

//! Address ranges in the notation `10.77.0.0/22`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A range of addresses: a network address (no host bits set) and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is not an address range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CidrError {
    /// Not `address/length`.
    #[error("{text:?} is not an address range: write it like 10.77.0.0/22")]
    Syntax {
        /// What was given.
        text: String,
    },
    /// The address has bits set below the prefix.
    #[error("{text} names an address inside a range: the range itself is {network}")]
    HostBits {
        /// What was given.
        text: String,
        /// The range that was probably meant.
        network: Cidr,
    },
}

impl Cidr {
    /// The range of that prefix length around an address; `None` when the length is too great.
    pub fn of(ip: IpAddr, prefix: u8) -> Option<Self> {
        let network = match ip {
            IpAddr::V4(ip) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V6(ip) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        Some(Self { network, prefix })
    }

    /// The first address, which names the range.
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// The length of the prefix.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Is the address in the range?
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.network.is_ipv4() && Self::of(ip, self.prefix) == Some(*self)
    }

    /// Is any address in both ranges?
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// How many addresses the range has (at most 2^64 - 1 are counted).
    pub fn size(&self) -> u64 {
        let width = if self.network.is_ipv4() { 32 } else { 128 };
        1_u64
            .checked_shl(width - u32::from(self.prefix))
            .unwrap_or(u64::MAX)
    }

    /// The address at an offset from the first.
    pub fn nth(&self, offset: u64) -> Option<IpAddr> {
        let ip = match self.network {
            IpAddr::V4(ip) => {
                let offset = u32::try_from(offset).ok()?;
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits().checked_add(offset)?))
            }
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(
                ip.to_bits().checked_add(u128::from(offset))?,
            )),
        };
        self.contains(ip).then_some(ip)
    }

    /// The offset of an address from the first.
    pub fn offset_of(&self, ip: IpAddr) -> Option<u64> {
        match (self.network, ip) {
            _ if !self.contains(ip) => None,
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                Some((ip.to_bits() - network.to_bits()).into())
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                u64::try_from(ip.to_bits() - network.to_bits()).ok()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// The last address of an IPv4 range that has one to spare for it.
    pub(crate) fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.nth(self.size() - 1) {
            Some(IpAddr::V4(ip)) if self.prefix < 31 => Some(ip),
            _ => None,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let syntax = || CidrError::Syntax {
            text: text.to_owned(),
        };
        let (ip, prefix) = text.split_once('/').ok_or_else(syntax)?;
        let ip: IpAddr = ip.parse().map_err(|_| syntax())?;
        let prefix = prefix.parse().map_err(|_| syntax())?;
        let range = Self::of(ip, prefix).ok_or_else(syntax)?;
        if range.network == ip {
            Ok(range)
        } else {
            Err(CidrError::HostBits {
                text: text.to_owned(),
                network: range,
            })
        }
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(range: Cidr) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[track_caller]
    fn refused(text: &str, want: &str) {
        assert_eq!(text.parse::<Cidr>().unwrap_err().to_string(), want);
    }

    #[test]
    fn ranges_are_read_and_written() {
        assert_eq!(range("10.77.0.0/22").to_string(), "10.77.0.0/22");
        assert_eq!(range("0.0.0.0/0").size(), 1 << 32);
        assert_eq!(range("fd00::/64").size(), u64::MAX);
        refused(
            "10.77.0.1/22",
            "10.77.0.1/22 names an address inside a range: the range itself is 10.77.0.0/22",
        );
        for bad in [
            "10.77.0.0",
            "10.77.0.0/33",
            "10.77/16",
            "/22",
            "fd00::/129",
            "10.0.0.0/-1",
        ] {
            refused(
                bad,
                &format!("{bad:?} is not an address range: write it like 10.77.0.0/22"),
            );
        }
    }

    #[test]
    fn addresses_and_offsets() {
        let net = range("10.77.0.0/30");
        assert_eq!(net.nth(1), Some("10.77.0.1".parse().unwrap()));
        assert_eq!(net.nth(4), None);
        assert_eq!(net.offset_of("10.77.0.3".parse().unwrap()), Some(3));
        assert_eq!(net.offset_of("10.77.0.4".parse().unwrap()), None);
        assert_eq!(net.broadcast(), Some(Ipv4Addr::new(10, 77, 0, 3)));
        assert_eq!(range("10.77.0.0/31").broadcast(), None);
        assert_eq!(range("255.255.255.252/30").nth(4), None);
        assert!(!net.contains("fd00::1".parse().unwrap()));
    }

    #[test]
    fn overlap_is_symmetric() {
        let table = [
            ("10.0.0.0/8", "10.77.0.0/22", true),
            ("10.77.0.0/22", "10.77.3.0/24", true),
            ("10.77.0.0/22", "10.77.4.0/24", false),
            ("10.77.0.0/22", "fd00::/8", false),
            ("fd00::/8", "fd00:1::/64", true),
        ];
        for (a, b, want) in table {
            assert_eq!(range(a).overlaps(&range(b)), want, "{a} {b}");
            assert_eq!(range(b).overlaps(&range(a)), want, "{b} {a}");
        }
    }
}

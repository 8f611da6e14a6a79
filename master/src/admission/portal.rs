//! The net that services get their addresses from; in 2014's words, the portal net.
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 net of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    first: u32,
    bits: u8,
}

/// Why a text is no net for services.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no net for services: write it as 10.0.0.0/16, from /12 to /28")]
pub struct NetError(String);

impl Net {
    /// What Kubernetes' own server takes when nothing is said.
    pub const DEFAULT: Net = Net {
        first: 0x0a00_0000,
        bits: 24,
    };

    /// The address of the API server's own service: the first.
    #[must_use]
    pub fn kubernetes(self) -> Ipv4Addr {
        Ipv4Addr::from(self.first + 1)
    }
    /// How many addresses can be given away: all but those of the net itself and of its broadcast.
    #[must_use]
    pub fn size(self) -> u32 {
        (1 << (32 - self.bits)) - 2
    }
    /// The address with this number, counted from 0; one past the end begins again.
    #[must_use]
    pub fn nth(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.first + 1 + number % self.size())
    }
    /// Whether it can be given away.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first + 1..=self.first + self.size()).contains(&u32::from(address))
    }
}

impl FromStr for Net {
    type Err = NetError;
    fn from_str(text: &str) -> Result<Self, NetError> {
        let wrong = || NetError(text.to_owned());
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        if !(12..=28).contains(&bits) {
            return Err(wrong());
        }
        let first = u32::from(address) & (u32::MAX << (32 - bits));
        Ok(Net { first, bits })
    }
}

impl fmt::Display for Net {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", Ipv4Addr::from(self.first), self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nets() {
        let net: Net = "10.100.7.9/16".parse().unwrap();
        assert_eq!(net.to_string(), "10.100.0.0/16");
        assert_eq!(net.kubernetes(), Ipv4Addr::new(10, 100, 0, 1));
        assert_eq!(net.size(), 65534);
        assert_eq!(net.nth(65533), Ipv4Addr::new(10, 100, 255, 254));
        assert_eq!(net.nth(65534), net.kubernetes());
        assert!(!net.contains(Ipv4Addr::new(10, 100, 255, 255)));
        assert!(!net.contains(Ipv4Addr::new(10, 100, 0, 0)));
        assert!(!net.contains(Ipv4Addr::new(10, 101, 0, 1)));
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/30",
            "10.0/16",
            "::/64",
            "a/b",
        ] {
            assert!(bad.parse::<Net>().is_err(), "{bad:?}");
        }
    }
}

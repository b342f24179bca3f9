//! What an operator lets the guarded client reach all the same: a provider or an endpoint inside his own network.

use std::net::IpAddr;

use ipnet::IpNet;

/// Hosts by name, and ranges of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    names: Vec<String>,
    ranges: Vec<IpNet>,
}

impl AllowList {
    /// Reads `localhost, 10.1.2.3, 10.8.0.0/16, fd00::/8`: names, addresses and ranges, by commas. A name lets through
    /// whatever it leads to, and nothing below it.
    ///
    /// # Errors
    /// Names the first part that is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut list = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if let Ok(range) = part.parse::<IpNet>() {
                list.ranges.push(range.trunc());
            } else if let Ok(ip) = part.parse::<IpAddr>() {
                list.ranges.push(ip.into());
            } else if is_name(part) {
                list.names.push(part.to_ascii_lowercase());
            } else {
                return Err(format!(
                    "{part:?} is no host, address or range, such as localhost, 10.1.2.3 or 10.8.0.0/16"
                ));
            }
        }
        Ok(list)
    }

    /// Whether a host is allowed by its name.
    pub(super) fn has_name(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Whether an address is allowed; one of IPv4 in the clothes of IPv6 counts as what it is.
    pub(super) fn has_address(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.ranges.iter().any(|range| range.contains(&ip))
    }
}

/// Letters, digits, '-', '_' and '.'; what looks like an address and is none is not meant as a name.
fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.chars().all(fits)
        && text.rsplit('.').next().is_some_and(|last| last.contains(|c: char| c.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_ranges_are_told_apart() {
        let list = AllowList::parse(" localhost,10.1.2.3, 10.8.7.6/16 ,fd00::/8,, Media.example.test").unwrap();
        for host in ["localhost", "LOCALHOST", "localhost.", "media.example.test"] {
            assert!(list.has_name(host), "{host}");
        }
        for host in ["", "x.localhost", "example.test", "10.1.2.3"] {
            assert!(!list.has_name(host), "{host}");
        }
        for (ip, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.1.2.4", false),
            ("10.8.255.255", true),
            ("10.9.0.0", false),
            ("fd12::1", true),
            ("::1", false),
        ] {
            assert_eq!(list.has_address(ip.parse().unwrap()), allowed, "{ip}");
        }
        assert_eq!(AllowList::parse("").unwrap(), AllowList::default());
    }

    #[test]
    fn what_could_only_be_a_mistake_is_refused() {
        for text in ["10.1.2", "10.1.2.3.4", "10.0.0.0/33", "http://localhost", "localhost:80", "a b", "*", "300.1.1.1"]
        {
            assert!(AllowList::parse(text).unwrap_err().contains(text), "{text}");
        }
    }
}

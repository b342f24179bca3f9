//! Which addresses nobody outside may make us connect to. Pure: an address in, a verdict out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What is not the public internet, by IANA's registries of special-purpose addresses (RFC 6890 and its successors), and
/// one address that a cloud answers its secrets from.
const V4: &[(&str, &str)] = &[
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by carriers"), // also Alibaba's metadata, 100.100.100.200
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "Azure's own"), // public by number, reached from inside its machines only
    ("169.254.0.0/16", "link-local"),    // with the metadata of most clouds, 169.254.169.254
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"), // also Oracle's metadata, 192.0.0.192
    ("192.0.2.0/24", "for documentation"),
    ("192.88.99.0/24", "a relay of 6to4"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"), // with the broadcast address
];

/// Of IPv6 only the unicast addresses that are routed, 2000::/3, are public at all; of these not the following.
const V6: &[(&str, &str)] = &[
    ("2001::/23", "reserved"), // with Teredo, 2001::/32, which carries an IPv4 address inside
    ("2001:db8::/32", "for documentation"),
    ("3fff::/20", "for documentation"),
];

/// Why an address is forbidden, in a word or two; nothing for a public one.
pub(super) fn forbidden(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => listed(V4, ip.into()),
        IpAddr::V6(ip) => match embedded(ip) {
            Some(inside) => listed(V4, inside.into()),
            None if ip.is_loopback() => Some("loopback"),
            None if ip.is_unspecified() => Some("unspecified"),
            None if ip.is_multicast() => Some("multicast"),
            None if ip.is_unique_local() => Some("private"), // with AWS's metadata, fd00:ec2::254
            None if ip.is_unicast_link_local() => Some("link-local"),
            None if ip.segments()[0] & 0xe000 != 0x2000 => Some("reserved"),
            None => listed(V6, ip.into()),
        },
    }
}

/// The IPv4 address that an IPv6 one leads to: mapped (`::ffff:…`), translated by NAT64's well-known prefix (`64:ff9b::…`,
/// RFC 6052), or tunnelled by 6to4 (`2002:…`, RFC 3056).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

fn listed(ranges: &[(&str, &'static str)], ip: IpAddr) -> Option<&'static str> {
    let holds = |range: &str| range.parse::<IpNet>().is_ok_and(|range| range.contains(&ip));
    ranges.iter().find(|(range, _)| holds(range)).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_can_be_read() {
        for (range, _) in V4.iter().chain(V6) {
            range.parse::<IpNet>().unwrap_or_else(|error| panic!("{range}: {error}"));
        }
    }

    #[test]
    fn i15_only_public_addresses_pass() {
        for (ip, verdict) in [
            // Allowed, one beside each range at the least.
            ("1.1.1.1", None),
            ("9.255.255.255", None),
            ("11.0.0.0", None),
            ("100.63.255.255", None),
            ("100.128.0.0", None),
            ("126.255.255.255", None),
            ("128.0.0.0", None),
            ("168.63.129.17", None),
            ("169.253.255.255", None),
            ("169.255.0.0", None),
            ("172.15.255.255", None),
            ("172.32.0.0", None),
            ("192.0.1.0", None),
            ("192.167.255.255", None),
            ("192.169.0.0", None),
            ("198.17.255.255", None),
            ("198.20.0.0", None),
            ("223.255.255.255", None),
            ("2606:4700:4700::1111", None),
            ("2a03:2880:f003::1", None),
            // Forbidden, first and last of each.
            ("0.0.0.0", Some("unspecified")),
            ("0.255.255.255", Some("unspecified")),
            ("10.0.0.0", Some("private")),
            ("10.255.255.255", Some("private")),
            ("100.64.0.0", Some("shared by carriers")),
            ("100.100.100.200", Some("shared by carriers")),
            ("100.127.255.255", Some("shared by carriers")),
            ("127.0.0.1", Some("loopback")),
            ("127.255.255.255", Some("loopback")),
            ("168.63.129.16", Some("Azure's own")),
            ("169.254.169.254", Some("link-local")),
            ("172.16.0.0", Some("private")),
            ("172.31.255.255", Some("private")),
            ("192.0.0.192", Some("reserved")),
            ("192.0.2.1", Some("for documentation")),
            ("192.88.99.1", Some("a relay of 6to4")),
            ("192.168.0.1", Some("private")),
            ("198.18.0.0", Some("for benchmarks")),
            ("198.19.255.255", Some("for benchmarks")),
            ("198.51.100.1", Some("for documentation")),
            ("203.0.113.1", Some("for documentation")),
            ("224.0.0.1", Some("multicast")),
            ("239.255.255.255", Some("multicast")),
            ("240.0.0.1", Some("reserved")),
            ("255.255.255.255", Some("reserved")),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::7f00:1", Some("reserved")),
            ("100::1", Some("reserved")),
            ("64:ff9b:1::1", Some("reserved")),
            ("2001::1", Some("reserved")),
            ("2001:db8::1", Some("for documentation")),
            ("3fff::1", Some("for documentation")),
            ("5f00::1", Some("reserved")),
            ("fc00::1", Some("private")),
            ("fd00:ec2::254", Some("private")),
            ("fe80::1", Some("link-local")),
            ("fec0::1", Some("reserved")),
            ("ff02::1", Some("multicast")),
            // An IPv4 address inside counts as what it is.
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:169.254.169.254", Some("link-local")),
            ("::ffff:1.1.1.1", None),
            ("64:ff9b::10.0.0.1", Some("private")),
            ("64:ff9b::1.1.1.1", None),
            ("2002:7f00:1::", Some("loopback")),
            ("2002:c0a8:101::1", Some("private")),
            ("2002:101:101::1", None),
        ] {
            assert_eq!(forbidden(ip.parse().unwrap()), verdict, "{ip}");
        }
    }
}

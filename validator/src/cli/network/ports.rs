//! Ports of this machine for a network's nodes.

use super::error::NetworkFailure;
use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

/// Where to look for free ports: above those of well-known services.
const LOWEST: u16 = 10_000;
/// Where the system begins to give ports to outgoing connections, if it does not say.
const OUTGOING: u16 = 32_768;

/// Two ports for each node, one after the other from a port on.
pub(super) fn from(base: u16, nodes: usize) -> Result<Vec<u16>, NetworkFailure> {
    let ports: Vec<u16> = (base..=u16::MAX).take(2 * nodes).collect();
    if ports.len() < 2 * nodes {
        return Err(NetworkFailure::Ports { base, nodes });
    }
    Ok(ports)
}

/// Ports that no process listens on.
///
/// They are below those that the system gives to outgoing connections. While a node is down, the others try to
/// connect to its port again and again. If the system could give such an attempt the same port for its own end, the
/// attempt would connect to itself, and the node could not start again.
pub(super) fn free(count: usize) -> io::Result<Vec<u16>> {
    let range = range();
    let width = u64::from(range.end - range.start);
    let start = RandomState::new().hash_one(std::process::id()) % width;
    let candidates = (0..width).filter_map(|step| {
        let offset = u16::try_from((start + step) % width).ok()?;
        Some(range.start + offset)
    });
    let mut ports = Vec::with_capacity(count);
    for port in candidates {
        if ports.len() == count {
            break;
        }
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.push(port);
        }
    }
    // Whatever the system has is better than nothing. Ports are held until all are known, so that none comes twice.
    let mut held = Vec::new();
    while ports.len() < count {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if !ports.contains(&port) {
            ports.push(port);
        }
        held.push(listener);
    }
    Ok(ports)
}

/// The ports to look at.
fn range() -> Range<u16> {
    let stated = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = (stated.ok())
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(OUTGOING);
    // A system may give out nearly all ports; then there is no better choice.
    if first > LOWEST {
        LOWEST..first
    } else {
        LOWEST..OUTGOING
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn free_ports_are_distinct_and_free() {
        let ports = free(50).unwrap();
        let distinct: BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), 50);
        let range = range();
        assert!(ports.iter().all(|port| range.contains(port)));
    }

    #[test]
    fn a_port_in_use_is_left_out() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = taken.local_addr().unwrap().port();
        assert!(!free(100).unwrap().contains(&taken));
    }
}

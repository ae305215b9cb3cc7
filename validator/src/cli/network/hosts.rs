//! Where the nodes of a network are: a file of hosts, or ports of this machine.

use super::{error::NetworkFailure, ports};
use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

/// The port of JSON-RPC where the file of hosts names none.
const RPC_PORT: u16 = 8545;
/// Letters of a name, at most.
const NAME_MAX: usize = 64;

/// A node that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// Its name, and that of its folder.
    pub(super) name: String,
    /// Where the others reach it.
    pub(super) address: SocketAddr,
    /// Where it listens for them.
    pub(super) listen: SocketAddr,
    /// Where it serves JSON-RPC.
    pub(super) rpc: SocketAddr,
}

/// Nodes on this machine: validators, then followers.
pub(super) fn local(
    validators: usize,
    followers: usize,
    base_port: Option<u16>,
) -> Result<Vec<Host>, NetworkFailure> {
    let names = (0..validators).map(|index| format!("validator-{index}"));
    let names = names.chain((0..followers).map(|index| format!("follower-{index}")));
    let count = validators + followers;
    let ports = match base_port {
        Some(base) => ports::from(base, count)?,
        None => ports::free(2 * count).map_err(NetworkFailure::NoPort)?,
    };
    let hosts = names.zip(ports.chunks_exact(2)).map(|(name, ports)| {
        let [address, rpc] = [0, 1].map(|index| {
            let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
            SocketAddr::new(loopback, ports[index])
        });
        Host {
            name,
            address,
            listen: address,
            rpc,
        }
    });
    Ok(hosts.collect())
}

/// Nodes on the hosts that a file names, one a line.
pub(super) fn read(path: &Path, count: usize) -> Result<Vec<Host>, NetworkFailure> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| NetworkFailure::Read {
        path: name.clone(),
        source,
    })?;
    parse(&text, &name, count)
}

fn parse(text: &str, path: &str, count: usize) -> Result<Vec<Host>, NetworkFailure> {
    let mut hosts: Vec<Host> = Vec::new();
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
        if line.is_empty() {
            continue;
        }
        let failed = |problem: String| NetworkFailure::Host {
            path: path.to_owned(),
            line: index + 1,
            problem,
        };
        let host = parse_line(line).map_err(failed)?;
        if !names.insert(host.name.clone()) {
            return Err(failed(format!("the name `{}` appears twice", host.name)));
        }
        // Two nodes of one host would otherwise find out at their start.
        for address in [host.address, host.rpc] {
            let is_shared = address.ip().is_unspecified() || address.ip().is_loopback();
            if !addresses.insert(address) && !is_shared {
                return Err(failed(format!("the address {address} appears twice")));
            }
        }
        hosts.push(host);
    }
    if hosts.len() != count {
        return Err(NetworkFailure::HostCount {
            path: path.to_owned(),
            found: hosts.len(),
            wanted: count,
        });
    }
    Ok(hosts)
}

fn parse_line(line: &str) -> Result<Host, String> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    check_name(name)?;
    let address = words.next().ok_or("the address is missing")?;
    let mut host = remote(name, parse_address(address)?)?;
    if let Some(rpc) = words.next() {
        host.rpc = parse_address(rpc)?;
    }
    if let Some(word) = words.next() {
        return Err(format!("`{word}` is one word too many"));
    }
    Ok(host)
}

fn check_name(name: &str) -> Result<(), String> {
    if is_name(name) {
        return Ok(());
    }
    Err(format!(
        "`{name}` is no name: use at most {NAME_MAX} letters, digits, `-`, `_` and `.`, beginning with a letter or \
         digit"
    ))
}

/// One more node: at an address, or on this machine.
pub(super) fn one(name: &str, address: Option<SocketAddr>) -> Result<Host, NetworkFailure> {
    let wrong = |problem| NetworkFailure::Node { problem };
    check_name(name).map_err(wrong)?;
    if let Some(address) = address {
        return remote(name, address).map_err(wrong);
    }
    let mut host = local(1, 0, None)?.swap_remove(0);
    name.clone_into(&mut host.name);
    Ok(host)
}

/// A node that others reach at an address.
fn remote(name: &str, address: SocketAddr) -> Result<Host, String> {
    if address.ip().is_unspecified() || address.port() == 0 {
        return Err(format!(
            "{address} is an address that no other node can reach"
        ));
    }
    // Nobody but the host itself, unless it is said otherwise: JSON-RPC has no authentication.
    let rpc = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), RPC_PORT);
    // A host may know its public address by no interface of its own.
    let everywhere: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let is_local = address.ip().is_loopback();
    Ok(Host {
        name: name.to_owned(),
        address,
        listen: if is_local {
            address
        } else {
            SocketAddr::new(everywhere, address.port())
        },
        rpc,
    })
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "`{text}` is no address: it must be an IP address with a port, such as 10.0.0.1:30303 (host names \
             are not resolved)"
        )
    })
}

/// Whether a word can be the name of a node and of its folder.
fn is_name(word: &str) -> bool {
    let is_fit = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    word.len() <= NAME_MAX
        && word.starts_with(|first: char| first.is_ascii_alphanumeric())
        && word.chars().all(is_fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_hosts_is_read() {
        let text = "# ours\nalpha 10.0.0.1:30303 10.0.0.1:8545\n\nbeta 10.0.0.2:30303 # the second\n\
                    gamma [2001:db8::3]:30303\ndelta 127.0.0.1:30304 127.0.0.1:8546\n";
        let hosts = parse(text, "hosts", 4).unwrap();
        let shown: Vec<_> = (hosts.iter())
            .map(|host| {
                format!(
                    "{} {} {} {}",
                    host.name, host.address, host.listen, host.rpc
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "alpha 10.0.0.1:30303 0.0.0.0:30303 10.0.0.1:8545",
                "beta 10.0.0.2:30303 0.0.0.0:30303 127.0.0.1:8545",
                "gamma [2001:db8::3]:30303 [::]:30303 127.0.0.1:8545",
                "delta 127.0.0.1:30304 127.0.0.1:30304 127.0.0.1:8546",
            ]
        );
    }

    #[test]
    fn wrong_lines_are_named() {
        let wrong = [
            ("a/b 10.0.0.1:1", "line 1: `a/b` is no name"),
            ("..\n", "line 1: `..` is no name"),
            ("a", "line 1: the address is missing"),
            ("\na example.org:1", "line 2: `example.org:1` is no address"),
            ("a 0.0.0.0:1", "no other node can reach"),
            ("a 10.0.0.1:0", "no other node can reach"),
            ("a 10.0.0.1:1 10.0.0.1:2 3", "`3` is one word too many"),
            (
                "a 10.0.0.1:1\na 10.0.0.2:1",
                "line 2: the name `a` appears twice",
            ),
            (
                "a 10.0.0.1:1\nb 10.0.0.1:1",
                "line 2: the address 10.0.0.1:1 appears twice",
            ),
            (
                "a 10.0.0.1:1\nb 10.0.0.2:1\nc 10.0.0.3:1",
                "names 3 hosts, but the network has 2 nodes",
            ),
        ];
        for (text, problem) in wrong {
            let error = parse(text, "hosts", 2).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn nodes_of_this_machine_have_ports_of_their_own() {
        for base_port in [None, Some(20_000)] {
            let hosts = local(4, 2, base_port).unwrap();
            assert_eq!(hosts.len(), 6);
            assert_eq!(
                (hosts[3].name.as_str(), hosts[4].name.as_str()),
                ("validator-3", "follower-0")
            );
            let ports: BTreeSet<u16> = (hosts.iter())
                .flat_map(|host| [host.address.port(), host.rpc.port()])
                .collect();
            assert_eq!(ports.len(), 12);
        }
        assert!(matches!(
            local(4, 0, Some(65_530)),
            Err(NetworkFailure::Ports { .. })
        ));
        assert_eq!(local(1, 0, Some(65_534)).unwrap()[0].rpc.port(), 65_535);
    }
}

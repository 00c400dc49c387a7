//! The machines that this agent knows: paired ones, kept in a file, and found ones. Pure.
//!
//! A machine is its key. Its name is what it calls itself, made unique among the paired ones here,
//! so that a name always means one machine. Found machines are only what the network claims.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use roam_api::agent::MachineInfo;
use roam_api::error::Failure;
use roam_api::session::MachineKey;
use roam_link::discovery::Found;
use roam_link::identity::parse_key;
use serde::{Deserialize, Serialize};

use super::permissions::Permissions;
use crate::names;

/// How many addresses are remembered of a machine.
const MAX_ADDRESSES: usize = 8;

/// A paired machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its key, as 64 hexadecimal digits.
    key: String,
    /// What it is called here.
    pub name: String,
    /// Where it was heard, newest first.
    addresses: Vec<SocketAddr>,
    /// What it may do here.
    pub permissions: Permissions,
    /// When it was last heard.
    last_seen_unix: u64,
}

/// Whom a person means by a machine's name or address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    /// This machine.
    Here,
    /// A paired machine.
    Peer(MachineKey),
    /// A found one.
    Found(Found),
    /// An address, still to be looked up.
    Address(String),
}

/// All machines known here.
#[derive(Debug)]
pub struct Machines {
    own_name: String,
    peers: BTreeMap<MachineKey, Peer>,
    found: BTreeMap<MachineKey, Found>,
    online: BTreeSet<MachineKey>,
}

impl Machines {
    /// With the paired machines that were remembered. An entry without a proper key is left out.
    #[must_use]
    pub fn new(own_name: &str, remembered: Vec<Peer>) -> Self {
        let peers = remembered.into_iter().filter_map(|peer| Some((parse_key(&peer.key)?, peer))).collect();
        Self { own_name: own_name.to_owned(), peers, found: BTreeMap::new(), online: BTreeSet::new() }
    }

    /// What must be written down.
    #[must_use]
    pub fn remembered(&self) -> Vec<Peer> {
        self.peers.values().cloned().collect()
    }

    /// The paired machines.
    #[must_use]
    pub fn paired(&self) -> Vec<MachineKey> {
        self.peers.keys().copied().collect()
    }

    /// A paired machine.
    #[must_use]
    pub fn peer(&self, key: &MachineKey) -> Option<&Peer> {
        self.peers.get(key)
    }

    /// What a machine is called here; its key's first digits if it is unknown.
    #[must_use]
    pub fn name(&self, key: &MachineKey) -> String {
        let found = || self.found.get(key).map(|found| found.name.clone());
        self.peers.get(key).map(|peer| peer.name.clone()).or_else(found).unwrap_or_else(|| key.short())
    }

    /// Pairs with a machine; returns what it is called here.
    pub fn pair(&mut self, key: MachineKey, name: &str, address: SocketAddr, now_unix: u64) -> String {
        let own = self.own_name.clone();
        let others: Vec<&str> =
            self.peers.iter().filter(|(k, _)| **k != key).map(|(_, p)| p.name.as_str()).collect();
        let name = names::free(name, |wish| wish == own || others.contains(&wish));
        let peer = self.peers.entry(key).or_insert_with(|| Peer {
            key: key.hex(),
            name: String::new(),
            addresses: vec![],
            permissions: Permissions::default(),
            last_seen_unix: now_unix,
        });
        peer.name.clone_from(&name);
        self.heard(key, address, now_unix);
        name
    }

    /// Forgets a paired machine. True if it was one.
    pub fn unpair(&mut self, key: &MachineKey) -> bool {
        self.online.remove(key);
        self.peers.remove(key).is_some()
    }

    /// A paired machine was heard at an address.
    pub fn heard(&mut self, key: MachineKey, address: SocketAddr, now_unix: u64) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.addresses.retain(|known| *known != address);
            peer.addresses.insert(0, address);
            peer.addresses.truncate(MAX_ADDRESSES);
            peer.last_seen_unix = now_unix;
        }
    }

    /// Whether there is a connection to a paired machine now.
    pub fn set_online(&mut self, key: MachineKey, online: bool, now_unix: u64) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.last_seen_unix = now_unix;
            if online {
                self.online.insert(key);
            } else {
                self.online.remove(&key);
            }
        }
    }

    /// The network says that a machine is there.
    pub fn found(&mut self, found: Found) {
        self.found.insert(found.key, found);
    }

    /// The network says that it is not there any more.
    pub fn lost(&mut self, key: &MachineKey) {
        self.found.remove(key);
    }

    /// Where a machine may be, the most likely first.
    #[must_use]
    pub fn addresses(&self, key: &MachineKey) -> Vec<SocketAddr> {
        let found = self.found.get(key).map(|found| found.addresses.as_slice()).unwrap_or_default();
        let known = self.peers.get(key).map(|peer| peer.addresses.as_slice()).unwrap_or_default();
        let mut all: Vec<SocketAddr> = vec![];
        for address in found.iter().chain(known) {
            if !all.contains(address) {
                all.push(*address);
            }
        }
        all
    }

    /// Whom a person means.
    ///
    /// # Errors
    /// Wrong use, if there is none or more than one.
    pub fn resolve(&self, text: &str) -> Result<Meant, Failure> {
        if text == "." || text == self.own_name {
            return Ok(Meant::Here);
        }
        if let Some((key, _)) = self.peers.iter().find(|(_, peer)| peer.name == text) {
            return Ok(Meant::Peer(*key));
        }
        let found: Vec<&Found> = self.found.values().filter(|found| found.name == text).collect();
        match found.as_slice() {
            [one] if self.peers.contains_key(&one.key) => return Ok(Meant::Peer(one.key)),
            [one] => return Ok(Meant::Found((*one).clone())),
            [] => {}
            _ => {
                return Err(Failure::wrong_use(format!("Several machines call themselves {text}."))
                    .next("Say the address of the one you mean, as HOST:PORT."));
            }
        }
        if text.contains([':', '.']) {
            return Ok(Meant::Address(text.to_owned()));
        }
        Err(Failure::wrong_use(format!("There is no machine called {text}."))
            .next("`roam machines` shows those that are known; any other can be given as HOST:PORT."))
    }

    /// The paired machine that a person means.
    ///
    /// # Errors
    /// Wrong use if it is none; refused if it is not paired.
    pub fn resolve_peer(&self, text: &str) -> Result<MachineKey, Failure> {
        match self.resolve(text)? {
            Meant::Peer(key) => Ok(key),
            Meant::Here => Err(Failure::wrong_use(format!("{text} is this machine itself."))),
            Meant::Found(_) | Meant::Address(_) => {
                Err(Failure::refused(format!("{text} is not paired with this machine."))
                    .next(format!("Pair them first: roam pair {text}.")))
            }
        }
    }

    /// Changes what a paired machine may do here: all of it, or nothing.
    ///
    /// # Errors
    /// If one of the changes is none.
    pub fn allow(&mut self, key: &MachineKey, changes: &[(String, String)]) -> Result<(), Failure> {
        let Some(peer) = self.peers.get_mut(key) else {
            return Err(Failure::wrong_use("The machine is not paired any more."));
        };
        let mut permissions = peer.permissions.clone();
        for (name, value) in changes {
            permissions.set(name, value)?;
        }
        peer.permissions = permissions;
        Ok(())
    }

    /// As lists and the app show them: paired ones first.
    #[must_use]
    pub fn list(&self) -> Vec<MachineInfo> {
        let text = |key: &MachineKey| self.addresses(key).iter().map(ToString::to_string).collect();
        let paired = self.peers.iter().map(|(key, peer)| MachineInfo {
            key: Some(*key),
            name: peer.name.clone(),
            paired: true,
            online: self.online.contains(key),
            addresses: text(key),
            permissions: peer.permissions.list(),
            last_seen_unix: peer.last_seen_unix,
        });
        let strangers = self.found.values().filter(|found| !self.peers.contains_key(&found.key));
        let found = strangers.map(|found| MachineInfo {
            key: Some(found.key),
            name: found.name.clone(),
            paired: false,
            online: true,
            addresses: text(&found.key),
            permissions: vec![],
            last_seen_unix: 0,
        });
        paired.chain(found).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MachineKey = MachineKey([1; 32]);
    const B: MachineKey = MachineKey([2; 32]);
    const C: MachineKey = MachineKey([3; 32]);

    fn at(port: u16) -> SocketAddr {
        SocketAddr::new([127, 0, 0, 1].into(), port)
    }

    fn found(key: MachineKey, name: &str, port: u16) -> Found {
        Found { key, name: name.into(), addresses: vec![at(port)] }
    }

    #[test]
    fn a_name_means_one_machine() {
        let mut machines = Machines::new("desk", vec![]);
        assert_eq!(machines.pair(A, "laptop", at(1), 0), "laptop");
        assert_eq!(machines.pair(B, "laptop", at(2), 0), "laptop-2");
        assert_eq!(machines.pair(C, "desk", at(3), 0), "desk-2");
        assert_eq!(machines.pair(A, "laptop", at(1), 0), "laptop");
        assert_eq!(machines.resolve("laptop-2"), Ok(Meant::Peer(B)));
        assert_eq!(machines.resolve("."), Ok(Meant::Here));
        assert_eq!(machines.resolve("desk"), Ok(Meant::Here));
        assert_eq!(machines.resolve("10.0.0.1:7"), Ok(Meant::Address("10.0.0.1:7".into())));
        assert!(machines.resolve("tablet").is_err());
    }

    #[test]
    fn found_machines_are_strangers_until_paired() {
        let mut machines = Machines::new("desk", vec![]);
        machines.found(found(A, "laptop", 1));
        assert_eq!(machines.resolve("laptop"), Ok(Meant::Found(found(A, "laptop", 1))));
        assert!(machines.resolve_peer("laptop").is_err());
        machines.found(found(B, "laptop", 2));
        assert!(machines.resolve("laptop").is_err());
        machines.pair(B, "laptop", at(2), 0);
        assert_eq!(machines.resolve_peer("laptop"), Ok(B));
        assert_eq!(machines.list().len(), 2);
        assert!(machines.unpair(&B));
        assert!(!machines.unpair(&B));
        machines.lost(&A);
        assert_eq!(machines.list().len(), 1);
    }

    #[test]
    fn addresses_are_remembered_newest_first_and_bounded() {
        let mut machines = Machines::new("desk", vec![]);
        machines.pair(A, "laptop", at(1), 0);
        for port in 2..20 {
            machines.heard(A, at(port), 9);
        }
        machines.heard(A, at(18), 9);
        machines.found(found(A, "laptop", 100));
        let addresses = machines.addresses(&A);
        assert_eq!(addresses[..3], [at(100), at(18), at(19)]);
        assert_eq!(addresses.len(), MAX_ADDRESSES + 1);
        let again = Machines::new("desk", machines.remembered());
        assert_eq!(again.addresses(&A)[0], at(18));
        assert_eq!(again.list()[0].last_seen_unix, 9);
    }

    #[test]
    fn permissions_change_all_or_not() {
        let mut machines = Machines::new("desk", vec![]);
        machines.pair(A, "laptop", at(1), 0);
        let change = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        let before = machines.list();
        assert!(machines.allow(&A, &[change("send", "ask"), change("fly", "yes")]).is_err());
        assert_eq!(machines.list(), before);
        machines.allow(&A, &[change("send", "ask")]).unwrap();
        assert!(machines.list()[0].permissions.contains(&change("send", "ask")));
        assert!(machines.allow(&B, &[]).is_err());
    }
}

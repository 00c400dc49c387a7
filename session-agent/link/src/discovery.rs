//! Finding machines in the same network by mDNS, and being found: `_roam._udp`.
//!
//! What is announced is the machine's name, key and port, and nothing about its user or sessions.
//! Announcements prove nothing: a key counts only once the link has shown it. A machine that was
//! killed says no goodbye and stays announced for a while, so being found is not being reachable.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use mdns_sd::{Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use roam_api::session::MachineKey;

use crate::identity::parse_key;

/// The service type.
pub const SERVICE: &str = "_roam._udp.local.";
/// The longest machine name that is believed, in bytes.
const MAX_NAME: usize = 64;
/// The most addresses that are taken from one announcement.
const MAX_ADDRESSES: usize = 16;
/// The most machines that are kept in mind.
const MAX_MACHINES: usize = 1024;

/// What the network says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A machine is announced, or its addresses changed.
    Found(Found),
    /// A machine said goodbye, or was not heard for long.
    Lost(MachineKey),
}

/// An announced machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The key it claims.
    pub key: MachineKey,
    /// Its name.
    pub name: String,
    /// Where it says to be, the most useful first.
    pub addresses: Vec<SocketAddr>,
}

/// Announces this machine and listens for others, until dropped.
pub struct Discovery {
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    own: MachineKey,
    fullname: String,
    /// Which key each announced instance claims: a goodbye names the instance only.
    instances: HashMap<String, MachineKey>,
}

impl Discovery {
    /// Starts.
    ///
    /// # Errors
    /// If there is no socket for multicast; the agent then works without being found.
    pub fn start(name: &str, own: MachineKey, port: u16) -> Result<Self, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        let key = own.hex();
        let properties = [("key", key.as_str()), ("name", name), ("v", "1")];
        // Not the host's own name, which belongs to the system's mDNS responder. The key makes both
        // names unique, so that two machines called alike can be told apart.
        let host = format!("roam-{}.local.", &key[..16]);
        let instance = format!("{name} {}", own.short());
        let service =
            ServiceInfo::new(SERVICE, &instance, &host, "", port, &properties[..])?.enable_addr_auto();
        let fullname = service.get_fullname().to_owned();
        daemon.register(service)?;
        let events = daemon.browse(SERVICE)?;
        Ok(Self { daemon, events, own, fullname, instances: HashMap::new() })
    }

    /// The next event; `None` if mDNS has failed for good.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.events.recv_async().await.ok()? {
                ServiceEvent::ServiceResolved(service) => {
                    let Some(found) = parse(&service) else { continue };
                    if found.key == self.own || self.instances.len() >= MAX_MACHINES {
                        continue;
                    }
                    self.instances.insert(service.get_fullname().to_owned(), found.key);
                    return Some(Event::Found(found));
                }
                ServiceEvent::ServiceRemoved(_, fullname) => {
                    if let Some(key) = self.instances.remove(&fullname) {
                        return Some(Event::Lost(key));
                    }
                }
                _ => {}
            }
        }
    }

    /// Says goodbye, so that others need not wait until the announcement is too old.
    pub async fn stop(&self) {
        let goodbye = async {
            if let Ok(done) = self.daemon.unregister(&self.fullname) {
                let _ = done.recv_async().await;
            }
            if let Ok(done) = self.daemon.shutdown() {
                let _ = done.recv_async().await;
            }
        };
        let _ = tokio::time::timeout(std::time::Duration::from_millis(500), goodbye).await;
    }
}

fn parse(service: &ResolvedService) -> Option<Found> {
    let key = parse_key(service.get_property_val_str("key")?)?;
    let name = service.get_property_val_str("name")?;
    let sane = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(sane) {
        return None;
    }
    let ips = service.get_addresses().iter().map(mdns_sd::ScopedIp::to_ip_addr);
    let mut addresses: Vec<SocketAddr> =
        ips.filter(|ip| is_usable(*ip)).map(|ip| SocketAddr::new(ip, service.get_port())).collect();
    addresses.sort_by_key(|address| (address.ip().is_loopback(), address.is_ipv6(), *address));
    addresses.truncate(MAX_ADDRESSES);
    Some(Found { key, name: name.to_owned(), addresses })
}

/// An IPv6 link-local address means nothing without its interface, and other ways exist.
fn is_usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn two_machines_find_each_other_on_loopback() {
        let a = Discovery::start("desk", MachineKey([11; 32]), 1111).unwrap();
        let mut b = Discovery::start("laptop", MachineKey([12; 32]), 2222).unwrap();
        // Other machines may be announced around here, too.
        let found = async {
            loop {
                match b.next().await {
                    Some(Event::Found(found)) if found.key == MachineKey([11; 32]) => return found,
                    Some(_) => {}
                    None => panic!("mDNS stopped"),
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), found).await.unwrap();
        assert_eq!(found.name, "desk");
        assert!(found.addresses.iter().all(|address| address.port() == 1111), "{found:?}");
        a.stop().await;
        let lost = async { while b.next().await != Some(Event::Lost(MachineKey([11; 32]))) {} };
        tokio::time::timeout(Duration::from_secs(20), lost).await.unwrap();
        b.stop().await;
    }

    #[test]
    fn useless_addresses_are_left_out() {
        for (ip, want) in [
            ("10.0.0.1", true),
            ("127.0.0.1", true),
            ("0.0.0.0", false),
            ("fe80::1", false),
            ("fd00::1", true),
        ] {
            assert_eq!(is_usable(ip.parse().unwrap()), want, "{ip}");
        }
    }
}

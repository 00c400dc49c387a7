//! The lab's network: one bridge in a network namespace of its own, a cable to every machine.
//! No device ever appears on the host, so labs can't get in each other's way.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::setsid;

use super::enter::output;
use super::proc::Proc;
use super::state::{self, Machine};

/// Starts the process that holds the bridge.
pub fn start_switch() -> Result<Proc> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["internal", "switch"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("stdout was piped")?).read_line(&mut line)?;
    let Ok(pid) = line.trim().parse() else { bail!("no network namespace; is this root?") };
    child.wait()?;
    let switch = Proc::of(pid)?;
    ip(switch, "link set lo up")?;
    ip(switch, "link add br0 type bridge mcast_snooping 0 forward_delay 0")?;
    ip(switch, "address add 10.77.0.254/24 dev br0")?;
    ip(switch, "link set br0 up")?;
    Ok(switch)
}

/// `roam-lab internal switch`: prints the pid of the process that holds the namespace.
pub fn switch() -> Result<()> {
    setsid()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    // Nothing to do but to be: `sleep` needs no memory of ours.
    let holder = Command::new("sleep").arg("infinity").stdout(Stdio::null()).spawn()?;
    println!("{}", holder.id());
    Ok(())
}

/// Puts a cable between the switch and a machine and gives the machine its addresses.
pub fn plug_in(switch: Proc, machine: &Machine) -> Result<()> {
    let port = port(machine);
    // A cable of an earlier machine of this name may still be going, and be gone at any moment.
    drop(ip(switch, &format!("link delete {port}")));
    ip(switch, &format!("link add {port} type veth peer name eth0 netns {}", machine.init.pid))?;
    ip(switch, &format!("link set {port} master br0 up"))?;
    if machine.hardware.is_some() {
        // The guest has the addresses; this end only passes packets on.
        return ip(machine.init, "link set eth0 master br0 up");
    }
    addresses(machine.number).iter().try_for_each(|command| ip(machine.init, command))
}

/// What `ip` is told in a machine.
#[must_use]
pub fn addresses(number: u8) -> [String; 5] {
    [
        "link set lo up".to_owned(),
        format!("address add {}/24 brd + dev eth0", state::address(number)),
        format!("address add fd77::{number:x}/64 dev eth0 nodad"),
        "link set eth0 up".to_owned(),
        // Whatever lies outside, mDNS included, is reached by the one cable.
        "route add default via 10.77.0.254".to_owned(),
    ]
}

/// Limits the machine's speed in both directions, or sets it free with `none`.
pub fn set_rate(switch: Proc, machine: &Machine, rate: Option<&str>) -> Result<()> {
    for (namespace, device) in [(switch, port(machine)), (machine.init, "eth0".to_owned())] {
        match rate {
            Some(rate) => {
                // Room for 5 ms at full speed, at least a few full segments.
                let burst = (bits_per_second(rate)? / 8 / 200).max(128 * 1024);
                tc(
                    namespace,
                    &format!("qdisc replace dev {device} root tbf rate {rate} burst {burst} latency 50ms"),
                )?;
            }
            // Deleting what isn't there is an error that means the same.
            None => drop(tc(namespace, &format!("qdisc delete dev {device} root"))),
        }
    }
    Ok(())
}

/// A rate as `tc` writes it, `100mbit` or `1.5gbit`, in bits per second.
pub fn bits_per_second(rate: &str) -> Result<u64> {
    let split = rate.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(rate.len());
    let factor = match &rate[split..] {
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => bail!("{rate:?} is no rate; write it like 100mbit or 1gbit"),
    };
    match rate[..split].parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok((number * factor) as u64),
        _ => bail!("{rate:?} is no rate; write it like 100mbit or 1gbit"),
    }
}

/// Makes the machine's packets vanish, or come through again. The port of the bridge forwards
/// nothing while the cable stays plugged in: neither side is told.
pub fn set_cut(switch: Proc, machine: &Machine, cut: bool) -> Result<()> {
    let state = if cut { 0 } else { 3 };
    in_network(switch, "bridge", &format!("link set dev {} state {state}", port(machine)))
}

fn port(machine: &Machine) -> String {
    format!("p-{}", machine.name)
}

/// `ip` in the network namespace of a process.
fn ip(namespace: Proc, command: &str) -> Result<()> {
    in_network(namespace, "ip", command)
}

fn tc(namespace: Proc, command: &str) -> Result<()> {
    in_network(namespace, "tc", command)
}

fn in_network(namespace: Proc, tool: &str, command: &str) -> Result<()> {
    let mut nsenter = Command::new("nsenter");
    nsenter.arg("--target").arg(namespace.pid.to_string()).args(["--net", "--", tool]);
    nsenter.args(command.split(' '));
    output(&mut nsenter).map(drop)
}

#[cfg(test)]
mod tests {
    use super::bits_per_second;

    #[test]
    fn rates_are_read_and_nonsense_is_refused() {
        assert_eq!(bits_per_second("1gbit").expect("rate"), 1_000_000_000);
        assert_eq!(bits_per_second("1.5mbit").expect("rate"), 1_500_000);
        for bad in ["", "fast", "10", "-1gbit", "0mbit", "1gbit; reboot", "nanmbit"] {
            assert!(bits_per_second(bad).is_err(), "{bad}");
        }
    }
}

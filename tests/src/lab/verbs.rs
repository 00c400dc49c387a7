//! The verbs of roam-lab: in which order things are made, and that all of it goes again.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::proc::Proc;
use super::state::{Folder, Lab, Locked, Machine, check_name, machine};
use super::vm::Hardware;
use super::{machine as build, net, roam, screen};

/// What `up` is asked for.
#[derive(Debug, Clone)]
pub struct Up {
    /// The machines.
    pub names: Vec<String>,
    /// Without agents.
    pub bare: bool,
    /// Virtual machines, of these kinds in turn; none for machines of namespaces.
    pub hardware: Vec<Hardware>,
    /// Folder of Roam's binaries.
    pub binaries: PathBuf,
}

/// Brings up what is missing of these machines; may be said again, for instance after a kill.
pub fn up(folder: &Folder, ask: &Up) -> Result<()> {
    ask.names.iter().try_for_each(|name| check_name(name))?;
    let mut locked = folder.lock()?;
    build::prepare_home(&folder.home())?;
    if locked.lab.switch.is_none() {
        // Cables that ended in a switch that is gone can't be plugged into another.
        let orphans: Vec<String> = locked.lab.machines.keys().cloned().collect();
        orphans.iter().try_for_each(|name| take_down(&mut locked, name))?;
        locked.lab.switch = Some(net::start_switch()?);
        locked.save()?;
    }
    for name in &ask.names {
        if !locked.lab.machines.contains_key(name) {
            bring_up(&mut locked, name, ask)?;
        }
        let machine = machine(&locked.lab, name)?;
        screen::start(folder, machine).with_context(|| name.clone())?;
        if !ask.bare {
            if !roam::is_built(machine) {
                bail!("Roam is not built in {}; run `make build`, or add --bare", ask.binaries.display());
            }
            roam::start_agent(folder, machine).with_context(|| name.clone())?;
        }
    }
    if !ask.bare {
        let machines: Vec<&Machine> = locked.lab.machines.values().collect();
        for (i, one) in machines.iter().enumerate() {
            for other in &machines[i + 1..] {
                roam::pair(one, other).with_context(|| format!("{} and {}", one.name, other.name))?;
            }
        }
    }
    Ok(())
}

fn bring_up(locked: &mut Locked, name: &str, ask: &Up) -> Result<()> {
    let folder = locked.folder.clone();
    let mut binaries = vec![ask.binaries.clone()];
    let own = std::env::current_exe()?.parent().context("a program has a folder")?.to_owned();
    if !binaries.contains(&own) {
        binaries.push(own);
    }
    let switch = locked.lab.switch.context("the switch was started before")?;
    let init = Proc::of(std::process::id().try_into()?)?;
    let number = locked.free_number()?;
    let hardware = match ask.hardware.len() {
        0 => None,
        kinds => Some(ask.hardware[usize::from(number - 1) % kinds].clone()),
    };
    let name_owned = name.to_owned();
    let mut machine = Machine { name: name_owned, number, init, hardware, binaries, rate: None, cut: false };
    let mut hosts: Vec<_> = locked.lab.machines.values().map(|m| (m.name.clone(), m.address())).collect();
    hosts.push((name.to_owned(), machine.address()));
    machine.init = build::start(&folder, &build::plan(&folder, &machine, hosts)?)?;
    locked.lab.machines.insert(name.to_owned(), machine.clone());
    // Written down at once: what stands must be known to `down` even if the rest fails.
    locked.save()?;
    let plugged = net::plug_in(switch, &machine).with_context(|| format!("{name} can't be plugged in"));
    if plugged.is_err() {
        // The next `up` begins it anew.
        take_down(locked, name)?;
    }
    plugged
}

/// Takes one machine down, or all of the lab; what is down already is fine.
pub fn down(folder: &Folder, name: Option<&str>) -> Result<()> {
    if !folder.path().exists() {
        return Ok(());
    }
    let mut locked = folder.lock()?;
    match name {
        Some(name) => {
            machine(&locked.lab, name)?;
            take_down(&mut locked, name)
        }
        None => {
            let names: Vec<String> = locked.lab.machines.keys().cloned().collect();
            names.iter().try_for_each(|name| take_down(&mut locked, name))?;
            if let Some(switch) = locked.lab.switch.take() {
                switch.end()?;
            }
            // Only what a lab makes: the folder may have been given by a person.
            for made in ["home", "machines"] {
                let made = folder.path().join(made);
                if made.exists() {
                    fs::remove_dir_all(&made)
                        .with_context(|| format!("{} can't be removed", made.display()))?;
                }
            }
            for made in ["lab.json", "lab.json.new", "lock"] {
                drop(fs::remove_file(folder.path().join(made)));
            }
            drop(fs::remove_dir(folder.path()));
            Ok(())
        }
    }
}

/// Ends process 1, and the kernel all that the machine was: processes, namespaces, mounts.
fn take_down(locked: &mut Locked, name: &str) -> Result<()> {
    if let Some(machine) = locked.lab.machines.get(name) {
        machine.init.end()?;
    }
    locked.lab.machines.remove(name);
    locked.save()?;
    let own = locked.folder.of(name);
    if own.exists() {
        fs::remove_dir_all(&own).with_context(|| format!("{} can't be removed", own.display()))?;
    }
    Ok(())
}

/// Sets the speed of a machine's cable.
pub fn link(folder: &Folder, name: &str, rate: Option<String>) -> Result<()> {
    if let Some(rate) = &rate {
        net::bits_per_second(rate)?;
    }
    change(folder, name, |switch, machine| {
        net::set_rate(switch, machine, rate.as_deref())?;
        machine.rate = rate;
        Ok(())
    })
}

/// Makes a machine's packets vanish, or come through again.
pub fn cut(folder: &Folder, name: &str, cut: bool) -> Result<()> {
    change(folder, name, |switch, machine| {
        net::set_cut(switch, machine, cut)?;
        machine.cut = cut;
        Ok(())
    })
}

fn change(folder: &Folder, name: &str, with: impl FnOnce(Proc, &mut Machine) -> Result<()>) -> Result<()> {
    machine(&folder.read()?, name)?;
    let mut locked = folder.lock()?;
    let switch = locked.lab.switch.context("the lab's switch is gone; `roam-lab up` starts anew")?;
    let machine = locked.lab.machines.get_mut(name).context("the machine has just gone")?;
    with(switch, machine)?;
    locked.save()
}

/// What stands, for people.
pub fn status(folder: &Folder) -> Result<String> {
    let lab: Lab = folder.read()?;
    if lab.machines.is_empty() {
        return Ok(format!("The lab in {} is down.\n", folder.path().display()));
    }
    let mut text = format!("The lab in {} is up.\n", folder.path().display());
    for machine in lab.machines.values() {
        let agent = if roam::processes(machine, roam::Part::Agent, None)?.is_empty() {
            "no agent"
        } else {
            "agent runs"
        };
        let keepers = roam::processes(machine, roam::Part::Keeper, None)?.len();
        text.push_str(&format!(
            "{:12} {:11} uid {}  display {}  process 1 is {}  {}{}  {agent}, {keepers} sessions{}\n",
            machine.name,
            machine.address(),
            machine.uid(),
            machine.display(),
            machine.init.pid,
            machine.rate.as_deref().unwrap_or("full speed"),
            if machine.cut { ", CUT" } else { "" },
            machine.hardware.as_ref().map(|hardware| format!("  {hardware}")).unwrap_or_default(),
        ));
    }
    Ok(text)
}

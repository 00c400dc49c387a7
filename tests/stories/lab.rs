//! The lab itself, proved with plain programs before Roam is trusted to it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;
use roam_tests::harness::wait::{self, Limit};
use roam_tests::lab::proc::Proc;
use roam_tests::lab::screen::SIZE;

/// Tells the story.
pub fn tell() -> Report {
    let mut report = Report::new(&["lab"]);
    let mut note = |case: &str, result: Result<()>| {
        report.add(case, "lab", result.map_err(|error| format!("{error:#}")));
    };
    match LabGuard::up(&["desk", "laptop"], true) {
        Err(error) => note("up", Err(error)),
        Ok(lab) => {
            note("up", Ok(()));
            note("user", user(&lab));
            note("differ", differ(&lab));
            note("exec", exec(&lab));
            note("home", home(&lab));
            note("pods", pods(&lab));
            note("multicast", multicast(&lab));
            note("cut", cut(&lab));
            note("rate", rate(&lab));
            note("picture", picture(&lab));
            note("two-labs", two_labs(&lab));
            note("down-one", down_one(&lab));
            note("down", down(lab));
        }
    }
    report
}

/// Programs run as a user who has no capabilities and can't get any.
fn user(lab: &LabGuard) -> Result<()> {
    let status = lab.run("desk", &["cat", "/proc/self/status"], 20)?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        ensure!(status.contains(&format!("{set}:\t0000000000000000")), "{set} is not empty");
    }
    ensure!(lab.run("desk", &["id", "-un"], 20)?.trim() == "ada", "the user has no name");
    ensure!(lab.run("desk", &["id", "-G"], 20)? == "2111\n", "the user is in other groups");
    Ok(())
}

/// Machines differ in all that real ones differ in.
fn differ(lab: &LabGuard) -> Result<()> {
    for file in ["/etc/machine-id", "/etc/hostname", "/proc/sys/kernel/hostname"] {
        let (one, other) = (lab.run("desk", &["cat", file], 20)?, lab.run("laptop", &["cat", file], 20)?);
        ensure!(one != other, "{file} is the same on both");
    }
    for namespace in ["pid", "mnt", "ipc", "uts", "time", "net"] {
        let link = format!("/proc/self/ns/{namespace}");
        let (one, other) =
            (lab.run("desk", &["readlink", &link], 20)?, lab.run("laptop", &["readlink", &link], 20)?);
        let own = fs::read_link(&link)?;
        ensure!(one != other && one.trim() != own.to_string_lossy(), "the {namespace} namespace is shared");
    }
    let uptime = |name: &str| -> Result<f64> {
        let text = lab.run(name, &["cat", "/proc/uptime"], 20)?;
        Ok(text.split(' ').next().context("empty")?.parse()?)
    };
    ensure!(uptime("laptop")? - uptime("desk")? > 86_400.0, "the clocks are not days apart");
    ensure!(lab.run("desk", &["id", "-u"], 20)? != lab.run("laptop", &["id", "-u"], 20)?, "one uid for both");
    lab.run("desk", &["sh", "-c", "echo mine > /tmp/here; echo mine > /var/tmp/here"], 20)?;
    for folder in ["/tmp", "/var/tmp"] {
        ensure!(lab.run("laptop", &["ls", folder], 20)?.trim().is_empty(), "{folder} is shared");
        ensure!(!Path::new(folder).join("here").exists(), "{folder} is the host's");
    }
    Ok(())
}

/// argv, streams and the exit code pass through `exec` as they are.
fn exec(lab: &LabGuard) -> Result<()> {
    let words = ["--x", "", "a b", "$HOME", "*", "q'q", "A=B"];
    let mut argv = vec!["exec", "desk", "--", "printf", "<%s>"];
    argv.extend(words);
    let said = wait::success(&mut lab.lab(&argv), Limit::seconds(20))?;
    let wanted: String = words.iter().map(|word| format!("<{word}>")).collect();
    ensure!(said == wanted, "argv came as {said}");
    let mut command = lab.lab(&["exec", "laptop", "--", "sh", "-c", "cat; echo complaint >&2; exit 41"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("piped")?.write_all(b"through")?;
    let status = wait::for_end(&mut child, "exec", Limit::seconds(20))?;
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().context("piped")?.read_to_string(&mut out)?;
    child.stderr.take().context("piped")?.read_to_string(&mut err)?;
    ensure!(status.code() == Some(41), "the exit code came as {status}");
    ensure!(out == "through" && err == "complaint\n", "streams came as {out:?} and {err:?}");
    ensure!(!lab.lab(&["exec", "nowhere", "--", "true"]).stderr(Stdio::null()).status()?.success());
    Ok(())
}

/// HOME is one folder, and on each machine the user's own.
fn home(lab: &LabGuard) -> Result<()> {
    lab.run("desk", &["sh", "-c", "umask 077; echo from desk > secret; mkdir dir"], 20)?;
    lab.run("laptop", &["sh", "-c", "echo from laptop >> secret; chmod 640 secret; touch dir/new"], 20)?;
    ensure!(lab.run("desk", &["cat", "secret"], 20)? == "from desk\nfrom laptop\n", "not the same file");
    for (name, uid) in [("desk", "2111"), ("laptop", "2222")] {
        let owners = lab.run(name, &["stat", "-c", "%u:%g", "secret", "dir/new", "."], 20)?;
        ensure!(owners.lines().all(|line| line == format!("{uid}:{uid}")), "owners on {name}: {owners}");
    }
    lab.run("desk", &["touch", ".local/state/roam/x"], 20)?;
    ensure!(lab.run("laptop", &["ls", ".local/state/roam"], 20)?.is_empty(), "Roam's own state is shared");
    Ok(())
}

/// The user can make what a pod is made of.
fn pods(lab: &LabGuard) -> Result<()> {
    let inside = "mount -t tmpfs t /mnt && mount -t sysfs s /sys && mount -t devpts -o newinstance,ptmxmode=0666 d /dev/pts \
        && mount -t mqueue m /dev/mqueue && ls /proc | grep -c '^[0-9]'";
    let argv = ["unshare", "-Urpmniu", "--fork", "--mount-proc", "sh", "-ec", inside];
    let count: u32 = lab.run("desk", &argv, 20)?.trim().parse()?;
    ensure!(count < 8, "/proc shows {count} processes of outside");
    lab.run("laptop", &["sh", "-c", ": <> /dev/fuse && : <> /dev/ptmx"], 20)?;
    Ok(())
}

/// What one machine says to the group of mDNS, the other hears.
fn multicast(lab: &LabGuard) -> Result<()> {
    let program = std::env::current_exe()?;
    let program = program.to_str().context("a path in UTF-8")?;
    for (speaker, hearer, address) in [("desk", "laptop", "10.77.0.1"), ("laptop", "desk", "10.77.0.2")] {
        let mut hear = lab.on(hearer, &[program, "step", "hear"])?.stdout(Stdio::piped()).spawn()?;
        let mut heard = BufReader::new(hear.stdout.take().context("piped")?);
        let mut line = String::new();
        heard.read_line(&mut line)?;
        ensure!(line == "listening\n", "{hearer} can't join the group");
        lab.run(speaker, &[program, "step", "say", "hello"], 20)?;
        line.clear();
        heard.read_line(&mut line)?;
        ensure!(line == format!("hello from {address}\n"), "{hearer} heard {line:?}");
        wait::for_end(&mut hear, "the hearer", Limit::seconds(20))?;
    }
    Ok(())
}

/// A cut machine's packets vanish: no error comes back, and mended they come through.
fn cut(lab: &LabGuard) -> Result<()> {
    let address = "10.77.0.2:7777";
    let program = std::env::current_exe()?;
    let program = program.to_str().context("a path in UTF-8")?;
    let mut server =
        lab.on("laptop", &[program, "step", "serve", address, "2"])?.stdout(Stdio::piped()).spawn()?;
    BufReader::new(server.stdout.take().context("piped")?).read_line(&mut String::new())?;
    let try_it = |seconds: &str| lab.run("desk", &["timeout", seconds, program, "step", "call", address], 30);
    ensure!(try_it("10")? == "word\n", "laptop can't be reached before the cut");
    wait::success(&mut lab.lab(&["cut", "laptop"]), Limit::seconds(20))?;
    // 124: nothing came back, not even a refusal.
    match try_it("2") {
        Ok(_) => bail!("packets came through the cut"),
        Err(error) => ensure!(format!("{error:#}").contains("124"), "the cut was noticed: {error:#}"),
    }
    ensure!(wait::success(&mut lab.lab(&["status"]), Limit::seconds(20))?.contains("CUT"));
    wait::success(&mut lab.lab(&["mend", "laptop"]), Limit::seconds(20))?;
    ensure!(try_it("20")? == "word\n", "laptop can't be reached after mending");
    wait::for_end(&mut server, "the server", Limit::seconds(20))?;
    Ok(())
}

/// The speed can be set, and nonsense is refused.
fn rate(lab: &LabGuard) -> Result<()> {
    wait::success(&mut lab.lab(&["link", "desk", "--rate", "20mbit"]), Limit::seconds(20))?;
    let shown = lab.run("desk", &["/usr/sbin/tc", "qdisc", "show", "dev", "eth0"], 20)?;
    ensure!(shown.contains("tbf") && shown.contains("20Mbit"), "not limited: {shown}");
    ensure!(wait::success(&mut lab.lab(&["link", "desk", "--rate", "fast"]), Limit::seconds(20)).is_err());
    wait::success(&mut lab.lab(&["link", "desk", "--rate", "none"]), Limit::seconds(20))?;
    ensure!(
        !lab.run("desk", &["/usr/sbin/tc", "qdisc", "show", "dev", "eth0"], 20)?.contains("tbf"),
        "still limited"
    );
    Ok(())
}

/// A window of a plain X program is on the picture.
fn picture(lab: &LabGuard) -> Result<()> {
    let file = lab.folder().path().join("shot.png");
    let take = || -> Result<Vec<u8>> {
        let name = file.to_str().context("a path in UTF-8")?;
        wait::success(&mut lab.lab(&["shot", "desk", name]), Limit::seconds(20))?;
        let mut reader = png::Decoder::new(BufReader::new(fs::File::open(&file)?)).read_info()?;
        let mut bytes = vec![0; reader.output_buffer_size().context("a size")?];
        let info = reader.next_frame(&mut bytes)?;
        ensure!((info.width, info.height) == (SIZE.0.into(), SIZE.1.into()), "a wrong size");
        Ok(bytes)
    };
    let before = take()?;
    lab.run("desk", &["xsetroot", "-solid", "#336699"], 20)?;
    let after = take()?;
    ensure!(
        before != after && after.chunks(3).any(|p| p == [0x33, 0x66, 0x99]),
        "the screen's colour is not on it"
    );
    fs::remove_file(file)?;
    Ok(())
}

/// Another lab with machines of the same names does not get in the way.
fn two_labs(lab: &LabGuard) -> Result<()> {
    let other = LabGuard::up(&["desk"], true)?;
    ensure!(other.folder().path() != lab.folder().path(), "the same folder");
    ensure!(
        other.run("desk", &["cat", "/etc/machine-id"], 20)?
            != lab.run("desk", &["cat", "/etc/machine-id"], 20)?
    );
    other.down()?;
    lab.run("desk", &["true"], 20)?;
    Ok(())
}

/// One machine goes and comes again; the other does not notice.
fn down_one(lab: &LabGuard) -> Result<()> {
    let before = lab.machine("desk")?;
    wait::success(&mut lab.lab(&["down", "desk"]), Limit::seconds(30))?;
    ensure!(!before.init.alive(), "process 1 lives on");
    ensure!(lab.machine("desk").is_err(), "desk is still known");
    lab.run("laptop", &["true"], 20)?;
    wait::success(&mut lab.lab(&["up", "desk", "--bare"]), Limit::seconds(60))?;
    ensure!(lab.machine("desk")?.address() == before.address(), "another address");
    ensure!(lab.machine("desk")?.init != before.init);
    Ok(())
}

/// Nothing is left: processes, namespaces, mounts, folders.
fn down(lab: LabGuard) -> Result<()> {
    let path = lab.folder().path().to_owned();
    let mut namespaces = Vec::new();
    let mut inits = Vec::new();
    for name in ["desk", "laptop"] {
        let machine = lab.machine(name)?;
        for namespace in ["pid", "mnt", "ipc", "uts", "net", "time"] {
            namespaces.push(fs::read_link(machine.init.path(&format!("ns/{namespace}")))?);
        }
        // A program that would rather stay.
        lab.run(name, &["setsid", "--fork", "sh", "-c", "trap '' TERM HUP; sleep 1000 >/dev/null 2>&1"], 20)?;
        inits.push(machine.init);
    }
    let switch = lab.folder().read()?.switch.context("a switch")?;
    namespaces.push(fs::read_link(switch.path("ns/net"))?);
    inits.push(switch);
    lab.down()?;
    ensure!(!inits.iter().any(Proc::alive), "a process is left");
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        // A zombie that its parent has not collected yet is no process any more.
        let pid = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        if pid.is_none_or(|pid| Proc::of(pid).is_err()) {
            continue;
        }
        for namespace in ["pid", "mnt", "ipc", "uts", "net", "time"] {
            if let Ok(link) = fs::read_link(folder.join("ns").join(namespace)) {
                ensure!(!namespaces.contains(&link), "{} is still in {}", folder.display(), link.display());
            }
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!mounts.contains(path.to_str().context("a path in UTF-8")?), "a mount is left");
    ensure!(!path.exists(), "{} is left", path.display());
    Ok(())
}

//! What a target refuses: `roam send` ends with 3 and the reason, and nothing has changed: the session runs on where
//! it was, and nothing of it is left at the target.

use anyhow::{Context, Result, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::wait::{self, Limit};
use roam_tests::lab::enter;

use crate::kinds::{self, roam};

/// The seconds that a command may take.
const STEP: u64 = 60;

/// What is wrong on laptop: a name, how it comes to be (as root there), what the refusal names, how it goes.
const WRONG: [(&str, &str, &str, &str); 4] = [
    (
        "file-differs",
        "cp --preserve=all /usr/bin/sleep /root/sleep && printf x >> /usr/bin/sleep",
        "/usr/bin/sleep",
        "cp --preserve=all /root/sleep /usr/bin/sleep",
    ),
    ("no-file", "mv /usr/bin/sleep /root/sleep", "/usr/bin/sleep", "mv /root/sleep /usr/bin/sleep"),
    (
        "cpu-lacks",
        "sed 's/ sse4_2//' /proc/cpuinfo >/root/fake && mount --bind /root/fake /proc/cpuinfo",
        "sse4_2",
        "umount /proc/cpuinfo",
    ),
    (
        "no-memory",
        "sed 's/^MemAvailable:.*/MemAvailable: 100 kB/' /proc/meminfo >/root/fake && mount --bind /root/fake /proc/meminfo",
        "memory",
        "umount /proc/meminfo",
    ),
];

/// Permissions that laptop gives desk, what the refusal names, and what takes them back.
const FORBIDDEN: [(&str, &str, &str, &str); 2] = [
    ("not-allowed", "send=never", "send", "send=always"),
    ("too-large", "memory=1K", "memory", "memory=any"),
];

/// Every case by its name.
pub fn cases(lab: &LabGuard) -> Vec<(&'static str, Result<()>)> {
    let mut results = Vec::new();
    for (name, breaks, named, mends) in WRONG {
        let result = as_root(lab, "laptop", breaks).and_then(|()| {
            let refused = refused(lab, name, &["/usr/bin/sleep", "1000"], named);
            as_root(lab, "laptop", mends).and(refused)
        });
        results.push((name, result));
    }
    for (name, forbids, named, allows) in FORBIDDEN {
        let allow = |what| lab.run("laptop", &["roam", "allow", "desk", what], STEP).map(drop);
        let result = allow(forbids).and_then(|()| {
            let refused = refused(lab, name, &["/usr/bin/sleep", "1000"], named);
            allow(allows).and(refused)
        });
        results.push((name, result));
    }
    for (name, there, named) in FOLDERS {
        results.push((name, no_folder(lab, name, there, named)));
    }
    for (name, opened, here, there, says) in WRITTEN {
        results.push((name, written(lab, name, opened, (here, there), says)));
    }
    results.push(("half-read", half_read(lab)));
    results.push(("changed-asleep", changed_asleep(lab)));
    let lock_taken = with_lock_taken(lab, "lock-taken", |file| {
        let script = format!("exec 9>{file}; flock 9; echo has it; exec sleep 1000");
        refused(lab, "lock-taken", &["sh", "-c", &script], file)
    });
    results.push(("lock-taken", lock_taken));
    for (name, program) in UNDONE {
        results.push((name, with_lock_taken(lab, name, |file| undone(lab, name, program, file))));
    }
    results
}

/// What laptop has where a program of desk stands: a name, how that comes to be (as root there), what the refusal says.
const FOLDERS: [(&str, &str, &str); 2] = [
    (
        "no-current-folder",
        "true",
        "its current directory: the folder /srv/no-current-folder can't be entered",
    ),
    (
        "closed-folder",
        "install -d -m 700",
        "its current directory: the folder /srv/closed-folder can't be entered",
    ),
];

/// A program that stands in a folder that is its own machine's only: elsewhere it would write and delete in another.
fn no_folder(lab: &LabGuard, name: &str, there: &str, named: &str) -> Result<()> {
    as_root(lab, "desk", &format!("install -d -m 777 /srv/{name}"))?;
    as_root(lab, "laptop", &format!("{there} /srv/{name}"))?;
    let script = format!("cd /srv/{name} && exec sleep 1000");
    refused_at_once(lab, name, &["sh", "-c", &script], named)
}

/// Files of one name on both machines into which a program writes: a name, how it opens that, what it contains at desk and
/// at laptop, what the refusal says.
const WRITTEN: [(&str, &str, &str, &str, &str); 4] = [
    ("older-copy", "<>", "the newer", "the older", "descriptor 9: /srv/older-copy, into which it writes"),
    ("shorter-copy", ">>", "the longer", "the", "descriptor 9: /srv/shorter-copy, into which it writes"),
    ("no-copy", ">>", "some", "", "descriptor 9: /srv/no-copy does not exist"),
    ("no-read-file", "<", "some", "", "descriptor 9: /srv/no-read-file does not exist"),
];

/// A program with an open file that is another one at the target, or is not there: nothing is written there.
fn written(lab: &LabGuard, name: &str, opened: &str, (here, there): (&str, &str), says: &str) -> Result<()> {
    let file = format!("/srv/{name}");
    as_root(lab, "desk", &format!("printf '{here}' >{file} && chmod 666 {file}"))?;
    if !there.is_empty() {
        as_root(lab, "laptop", &format!("printf '{there}' >{file} && chmod 666 {file}"))?;
    }
    let script = format!("exec 9{opened}{file}; exec sleep 1000");
    if there.is_empty() {
        // What has just changed is looked at last.
        let old = format!("until test -z \"$(find {file} -newerct '3 seconds ago')\"; do sleep 0.1; done");
        as_root(lab, "desk", &old)?;
        refused_at_once(lab, name, &["sh", "-c", &script], says)?;
        return as_root(lab, "laptop", &format!("! test -e {file}"));
    }
    refused(lab, name, &["sh", "-c", &script], says)?;
    as_root(lab, "laptop", &format!("test \"$(cat {file})\" = '{there}'"))
}

/// A folder that is half read, and whose names are others at the target: some would come twice or never.
fn half_read(lab: &LabGuard) -> Result<()> {
    let folder = "/srv/half-read";
    for (machine, first) in [("desk", "0000"), ("laptop", "3000")] {
        // More than the C library reads at once.
        let names =
            format!("{folder}/name-with-a-length-{first} $(seq -f {folder}/name-with-a-length-%04g 1 2500)");
        as_root(
            lab,
            machine,
            &format!("install -d -m 777 {folder}; for n in {names}; do : >$n; done; rm {folder}/*7"),
        )?;
    }
    as_root(lab, "laptop", &format!("rm {folder}/*5"))?;
    let reads = format!("opendir(my $d, '{folder}') or die; readdir $d; sleep 1000");
    refused(
        lab,
        "half-read",
        &["perl", "-e", &reads],
        &format!("the folder {folder} is half read, and its files come"),
    )
}

/// Files into which a sleeping session writes are its own: it wakes with them as they are by then, but not without them.
fn changed_asleep(lab: &LabGuard) -> Result<()> {
    let (file, log) = ("/srv/changed-asleep", "/srv/log-asleep");
    as_root(lab, "desk", &format!("printf begun >{file}; printf abc >{log}; chmod 666 {file} {log}"))?;
    let script = format!(
        "exec 9<>{file} 8>>{log}; printf BE >&9; until test -e /tmp/go; do sleep 0.1; done; \
                          printf G >&9; printf c >&8; touch /tmp/done; exec sleep 1000"
    );
    let name = "changed-asleep";
    roam(lab, &["run", "--no-screen", "--name", name, "--", "sh", "-c", &script])?;
    let begun = format!("until test \"$(cat {file})\" = BEgun; do sleep 0.05; done");
    as_root(lab, "desk", &begun)?;
    roam(lab, &["park", name])?;
    as_root(lab, "desk", &format!("printf b >{log}; rm {file}"))?;
    let mut resume = lab.on("desk", &["roam", "resume", name])?;
    let ended = wait::output(&mut resume, Limit::seconds(STEP))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.code() == Some(3), "not refused ({}): {}", ended.status, said.trim());
    ensure!(said.contains(&format!("descriptor 9: {file} does not exist")), "{}", said.trim());
    as_root(lab, "desk", &format!("printf other >{file}; chmod 666 {file}"))?;
    roam(lab, &["resume", name])?;
    roam(
        lab,
        &["exec", name, "--", "sh", "-c", "touch /tmp/go; until test -e /tmp/done; do sleep 0.05; done"],
    )?;
    as_root(lab, "desk", &format!("test \"$(cat {file} {log})\" = otGerbc"))?;
    roam(lab, &["stop", name]).map(drop)
}

/// Programs of which a capture must take something to see it: they have it all again when the move is undone after that.
const UNDONE: [(&str, &str); 2] =
    [("tcp-waiting-undone", "tcp-waiting-data"), ("unix-waiting-undone", "unix-waiting-data")];

/// A self-checking program below one that holds a lock, so that the target refuses when all has been captured.
fn undone(lab: &LabGuard, name: &str, program: &str, file: &str) -> Result<()> {
    let (host, inside) = lab.folder_in_home(name)?;
    let program = kinds::folder()?.join(program);
    let argv = ["flock", file, program.to_str().context("a path in UTF-8")?];
    kinds::session(lab, name, &argv, &host, &inside, |lab, session| {
        for _again in 0..2 {
            let mut send = lab.on("desk", &["roam", "send", session, "laptop"])?;
            let ended = wait::output(&mut send, Limit::seconds(STEP))?;
            let said = String::from_utf8_lossy(&ended.stderr);
            ensure!(ended.status.code() == Some(3), "not refused ({}): {}", ended.status, said.trim());
            ensure!(said.contains(file), "the refusal does not name {file}: {}", said.trim());
        }
        Ok(())
    })
}

/// Another program at the target has the lock that the session holds on its own machine's file of that name.
fn with_lock_taken(lab: &LabGuard, name: &str, what: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let file = &*format!("/srv/{name}");
    for machine in ["desk", "laptop"] {
        as_root(lab, machine, &format!("install -m 666 /dev/null {file}"))?;
    }
    let mut other = lab.on("laptop", &["flock", file, "-c", "echo locked; exec sleep 1000"])?;
    let mut other = other.stdout(std::process::Stdio::piped()).spawn()?;
    let mut lines = wait::Lines::of(other.stdout.take().context("stdout was piped")?);
    lines.next("it is locked there", Limit::seconds(20))?;
    let result = what(file);
    other.kill()?;
    other.wait()?;
    result
}

fn as_root(lab: &LabGuard, machine: &str, script: &str) -> Result<()> {
    let machine = lab.machine(machine)?;
    wait::success(enter::as_root(&machine, "sh").args(["-c", script]), Limit::seconds(20)).map(drop)
}

fn refused(lab: &LabGuard, name: &str, argv: &[&str], named: &str) -> Result<()> {
    refused_with(lab, name, argv, |send| {
        let said = send()?;
        ensure!(said.contains(named), "the refusal does not name {named}: {}", said.trim());
        Ok(())
    })
}

/// The same for what is found before anything is stopped; the program is `sleep` by then.
fn refused_at_once(lab: &LabGuard, name: &str, argv: &[&str], named: &str) -> Result<()> {
    refused_with(lab, name, argv, |send| {
        let find = "while true; do for p in /proc/[0-9]*; do
                    test \"$(cat $p/comm)\" = sleep && grep -qz '^1000$' $p/cmdline && exec echo ${p#/proc/}; done; done";
        let pid = roam(lab, &["exec", name, "--", "sh", "-c", find])?;
        let before = kinds::stops(lab, name, pid.trim())?;
        let said = send()?;
        ensure!(said.contains(named), "the refusal does not name {named}: {}", said.trim());
        ensure!(said.contains(&format!("sleep (process {})", pid.trim())), "whose is it? {}", said.trim());
        let after = kinds::stops(lab, name, pid.trim())?;
        ensure!(
            before == after,
            "it was stopped before it was refused: switched {before}, then {after} times"
        );
        Ok(())
    })
}

/// Runs a program on desk and looks at what is said when it is sent; it goes on and nothing has changed.
fn refused_with(
    lab: &LabGuard,
    name: &str,
    argv: &[&str],
    look: impl FnOnce(&dyn Fn() -> Result<String>) -> Result<()>,
) -> Result<()> {
    let mut run = vec!["run", "--no-screen", "--name", name, "--"];
    run.extend(argv);
    roam(lab, &run)?;
    let send = || -> Result<String> {
        let ended =
            wait::output(&mut lab.on("desk", &["roam", "send", name, "laptop"])?, Limit::seconds(STEP))?;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        ensure!(ended.status.code() == Some(3), "not refused ({}): {}", ended.status, said.trim());
        Ok(said)
    };
    let attempt = || -> Result<()> {
        look(&send)?;
        let list: serde_json::Value = serde_json::from_str(&roam(lab, &["list", "--json"])?)?;
        let sessions = list["sessions"].as_array().context("a list of sessions")?;
        let found = sessions.iter().find(|one| one["name"] == name).context("it is in no list")?;
        ensure!(found["host"] == "desk" && found["state"] == "running", "it is {found}");
        let said = roam(lab, &["exec", name, "--", "echo", "alive"])?;
        ensure!(said == "alive\n", "the refused session says {said:?}");
        Ok(())
    };
    let outcome = attempt();
    roam(lab, &["stop", name])?;
    outcome
}

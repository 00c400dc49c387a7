//! Every self-checking program of `tests/programs`: alone, in a session, parked and resumed, moved,
//! moved three times. Alone comes first: it proves the test before the engine.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;
use roam_tests::harness::wait::{self, Limit};

/// What is done with a program between `ready` and the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lane {
    /// Nothing, and without Roam.
    Alone,
    /// It runs in a session, and nothing else happens: proves the pod.
    Session,
    /// It is put to sleep in a file and woken.
    Parked,
    /// It goes to the other machine.
    Moved,
    /// It goes there, back, and there again.
    Moved3,
}

impl Lane {
    fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Session => "session",
            Self::Parked => "parked",
            Self::Moved => "moved",
            Self::Moved3 => "moved3",
        }
    }
}

/// So begin the names of programs that hold what can't be carried: they must be refused with the words that they say
/// themselves, and go on as if nothing had been.
const MUST_BE_REFUSED: &str = "refused-";

/// The folder of the built programs, which is beside our own.
pub fn folder() -> Result<PathBuf> {
    let folder = std::env::current_exe()?.with_file_name("programs");
    ensure!(folder.is_dir(), "the programs are not built in {}; run `make build`", folder.display());
    Ok(folder)
}

/// The names of all programs that are a kind.
pub fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder()?)? {
        let name = entry?.file_name().into_string().ok().context("a name in UTF-8")?;
        // The road's is not one behaviour but all.
        if name != "road" {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Runs the programs (all, or those named) in the lanes, two at a time.
pub fn tell(lanes: &[Lane], only: &[String]) -> Report {
    let columns: Vec<&str> = lanes.iter().map(|lane| lane.name()).collect();
    let report = Mutex::new(Report::new(&columns));
    if let Err(error) = run(lanes, only, &report) {
        add(&report, "the lab", "up", Err(error));
    }
    report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn run(lanes: &[Lane], only: &[String], report: &Mutex<Report>) -> Result<()> {
    let cases: Vec<(String, Lane)> = chosen(only)?
        .into_iter()
        .flat_map(|name| lanes.iter().map(move |&lane| (name.clone(), lane)))
        .collect();
    let bare = lanes == [Lane::Alone];
    let moves = lanes.iter().any(|lane| matches!(lane, Lane::Moved | Lane::Moved3));
    let lab = LabGuard::up(if moves { &["desk", "laptop"] } else { &["desk"] }, bare)?;
    let lacks_cpus = lanes.contains(&Lane::Moved) && cases.iter().any(|(name, _)| name == SCHEDULE);
    all(&lab, cases, |name, lane, result| add(report, name, lane.name(), result));
    if lacks_cpus {
        add(report, "from one CPU", Lane::Moved.name(), from_one_cpu(&lab));
    }
    lab.down()
}

const SCHEDULE: &str = "thread-schedule";

/// Where a machine has no other CPU for sessions, their threads have not chosen that one.
fn from_one_cpu(lab: &LabGuard) -> Result<()> {
    // The agent, and whatever it starts from now on.
    let last = "agent=$(pgrep -xo roam) && taskset -acp $(($(nproc) - 1)) $agent";
    lab.run("desk", &["sh", "-c", last], lab.step())?;
    let program = folder()?.join(SCHEDULE).to_str().context("a path in UTF-8")?.to_owned();
    let (host, inside) = lab.folder_in_home("from-one-cpu")?;
    session(lab, "from-one-cpu", &[&program], &host, &inside, |lab, session| send(lab, session, "laptop"))
}

/// All programs, or those of them that are named.
pub fn chosen(only: &[String]) -> Result<Vec<String>> {
    let all = names()?;
    let only: Vec<&String> = only.iter().filter(|name| !name.is_empty()).collect();
    for name in &only {
        ensure!(all.contains(*name), "no program is called {name}");
    }
    Ok(all.into_iter().filter(|name| only.is_empty() || only.contains(&name)).collect())
}

/// Runs cases, two at a time, and tells of each.
pub fn all(lab: &LabGuard, cases: Vec<(String, Lane)>, told: impl Fn(&str, Lane, Result<()>) + Sync) {
    let queue = Mutex::new(VecDeque::from(cases));
    let jobs = std::env::var("ROAM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(2);
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front();
                    let Some((name, lane)) = next else { break };
                    let result = case(lab, &name, lane);
                    match &result {
                        Ok(()) => eprintln!("ok     {name}, {}", lane.name()),
                        Err(error) => eprintln!("FAILED {name}, {}: {error:#}", lane.name()),
                    }
                    told(&name, lane, result);
                }
            });
        }
    });
}

/// Notes how a case came out.
pub fn add(report: &Mutex<Report>, case: &str, lane: &str, result: Result<()>) {
    let result = result.map_err(|error| format!("{error:#}"));
    report.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(case, lane, result);
}

fn case(lab: &LabGuard, name: &str, lane: Lane) -> Result<()> {
    let program = folder()?.join(name).to_str().context("a path in UTF-8")?.to_owned();
    let (host, inside) = lab.folder_in_home(&format!("{name}-{}", lane.name()))?;
    match lane {
        Lane::Alone => alone(lab, &program, &host, &inside),
        _ => session(lab, &format!("{name}-{}", lane.name()), &[&program], &host, &inside, |lab, session| {
            match lane {
                Lane::Alone | Lane::Session => Ok(()),
                Lane::Parked if is_refused(name) => refused(lab, session, &["park", session], &host),
                Lane::Moved | Lane::Moved3 if is_refused(name) => {
                    refused(lab, session, &["send", session, "laptop"], &host)
                }
                Lane::Parked => {
                    roam(lab, &["park", session])?;
                    roam(lab, &["resume", session]).map(drop)
                }
                Lane::Moved => send(lab, session, "laptop"),
                Lane::Moved3 => {
                    ["laptop", "desk", "laptop"].iter().try_for_each(|machine| send(lab, session, machine))
                }
            }
        }),
    }
}

fn alone(lab: &LabGuard, program: &str, host: &Path, inside: &Path) -> Result<()> {
    let mut command = lab.on("desk", &[program])?;
    let mut child = command.env("ROAM_TEST_DIR", inside).stdout(Stdio::null()).spawn()?;
    let outcome = wait::for_path(&host.join("ready"), Limit::seconds(lab.step()))
        .and_then(|()| lab.run("desk", &["kill", "-USR2", &pid(host)?], lab.step()))
        .and_then(|_| wait::for_end(&mut child, "it checks", Limit::seconds(lab.step())));
    if outcome.is_err() {
        child.kill()?;
        child.wait()?;
    }
    outcome?;
    verdict(host)
}

/// Runs a self-checking program as a session of desk, does something with it, and lets it check.
pub fn session(
    lab: &LabGuard,
    name: &str,
    argv: &[&str],
    host: &Path,
    inside: &Path,
    between: impl FnOnce(&LabGuard, &str) -> Result<()>,
) -> Result<()> {
    let variable = format!("ROAM_TEST_DIR={}", inside.display());
    let mut run = vec!["run", "--no-screen", "--name", name, "--env", &variable, "--"];
    run.extend(argv);
    roam(lab, &run)?;
    let told = || -> Result<()> {
        wait::for_path(&host.join("ready"), Limit::seconds(lab.step()))?;
        between(lab, name)?;
        let tell = format!("kill -USR2 {}", pid(host)?);
        let mut exec = lab.on("desk", &["roam", "exec", name, "--", "sh", "-c", &tell])?;
        let output = wait::output(&mut exec, Limit::seconds(lab.step()))?;
        // 137: the program was told, checked, and took the session and this command with it.
        if !matches!(output.status.code(), Some(0 | 137)) {
            bail!("it can't be told to check: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        roam(lab, &["wait", name]).context("it checks")?;
        verdict(host)
    };
    let outcome = told();
    if outcome.is_err() {
        // Why, in its own words; and nothing of it may disturb the next.
        if let Ok(log) = roam(lab, &["log", name]) {
            fs::write(host.join("log"), &log)?;
            let said: Vec<&str> = log.lines().filter(|line| *line != "ready").collect();
            let _gone = roam(lab, &["stop", name]);
            return outcome.with_context(|| said.join("; "));
        }
        let _gone = roam(lab, &["stop", name]);
    }
    outcome
}

/// Moves a session of desk to a machine and makes sure that it is there.
pub fn send(lab: &LabGuard, session: &str, machine: &str) -> Result<()> {
    roam(lab, &["send", session, machine])?;
    let list: serde_json::Value = serde_json::from_str(&roam(lab, &["list", "--json"])?)?;
    let sessions = list["sessions"].as_array().context("a list of sessions")?;
    let found = sessions.iter().find(|entry| entry["name"] == session).context("it is in no list")?;
    ensure!(found["host"] == machine, "it was sent to {machine} and is on {}", found["host"]);
    Ok(())
}

/// Whether a program holds what can't be carried.
pub fn is_refused(name: &str) -> bool {
    name.starts_with(MUST_BE_REFUSED)
}

/// `roam` on desk must refuse this, by exit code, with the reason and the descriptor that the program named and something
/// that helps, and before it stops anything unless the program says that it can't be known earlier.
fn refused(lab: &LabGuard, session: &str, arguments: &[&str], host: &Path) -> Result<()> {
    let before = stops(lab, session, &pid(host)?)?;
    let mut command = lab.on("desk", &["roam"])?;
    let output = wait::output(command.args(arguments).arg("--json"), Limit::seconds(lab.step()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(3), "not refused ({}): {}", output.status, said.trim());
    ensure!(said.contains("(process "), "the refusal names no process: {}", said.trim());
    let words = fs::read_to_string(host.join("refused")).context("it does not say what must be refused")?;
    ensure!(said.contains(&words), "the refusal does not say \"{words}\": {}", said.trim());
    let told = String::from_utf8_lossy(&output.stdout);
    let failure: serde_json::Value = serde_json::from_str(told.lines().last().context("no words in JSON")?)?;
    let refusals = failure["refusals"].as_array().context("a list of refusals")?;
    let text = |refusal: &serde_json::Value, key: &str| refusal[key].as_str().unwrap_or_default().to_owned();
    let says = |refusal: &&serde_json::Value| {
        let [process, what, reason] = ["process", "what", "reason"].map(|key| text(refusal, key));
        format!("{process} (process {}): {what}: {reason}", refusal["pid"]).contains(&words)
    };
    let refusal = refusals.iter().find(says).with_context(|| format!("not among the refusals: {failure}"))?;
    ensure!(
        refusal["pid"].as_u64() > Some(0) && !text(refusal, "process").is_empty(),
        "whose is it? {refusal}"
    );
    let remedy = text(refusal, "remedy");
    ensure!(remedy.ends_with('.') && remedy.contains(' '), "no sentence says what helps: {refusal}");
    if let Ok(descriptor) = fs::read_to_string(host.join("refused-what")) {
        let what = text(refusal, "what");
        let names = what == descriptor || what.contains(&format!("{descriptor} "));
        ensure!(names, "the refusal does not name {descriptor}: {refusal}");
    }
    let after = stops(lab, session, &pid(host)?)?;
    let late = host.join("refused-late").exists();
    ensure!(
        late || before == after,
        "it was stopped before it was refused: switched {before}, then {after} times"
    );
    Ok(())
}

/// How often a program of a session that waits has been switched to. One that is frozen wakes up for that.
pub fn stops(lab: &LabGuard, session: &str, pid: &str) -> Result<u64> {
    let script = format!(
        "until ! grep -q 'State:.R' /proc/{pid}/status; do sleep 0.01; done; grep ctxt_switches /proc/{pid}/status"
    );
    let text = roam(lab, &["exec", session, "--", "sh", "-c", &script])?;
    let numbers = text.lines().filter_map(|line| line.split_once(':')?.1.trim().parse::<u64>().ok());
    Ok(numbers.sum())
}

/// `roam` on desk.
pub fn roam(lab: &LabGuard, arguments: &[&str]) -> Result<String> {
    let mut argv = vec!["roam"];
    argv.extend(arguments);
    lab.run("desk", &argv, lab.step())
}

fn pid(host: &Path) -> Result<String> {
    Ok(fs::read_to_string(host.join("ready"))?.trim().to_owned())
}

fn verdict(host: &Path) -> Result<()> {
    match fs::read_to_string(host.join("result")) {
        Ok(text) if text == "PASS\n" => Ok(()),
        Ok(text) => bail!("{}", text.trim_start_matches("FAIL: ").trim()),
        Err(_) => bail!("it ended without a word"),
    }
}

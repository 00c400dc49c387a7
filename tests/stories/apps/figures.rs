//! What the apps are like, as the run saw them: the table of tests/README.md.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use roam_tests::harness::guard::LabGuard;
use serde_json::Value;

use crate::kinds::roam;

const BEGIN: &str = "<!-- written by `make apps` -->\n";
const END: &str = "<!-- until here -->\n";

/// Counts a session's processes (less roam-init and itself), threads and mappings. A shell's own means only:
/// another process would be counted.
const COUNT: &str = r#"p=0; t=0; m=0
for d in /proc/[0-9]*; do
    n=${d#/proc/}
    if [ "$n" != 1 ] && [ "$n" != $$ ]; then
        p=$((p + 1))
        for task in $d/task/*; do t=$((t + 1)); done
        while read -r line; do m=$((m + 1)); done <$d/maps
    fi
done
echo $p $t $m"#;

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    name: String,
    /// Bytes.
    memory: u64,
    processes: u64,
    threads: u64,
    mappings: u64,
    /// Of each move, in milliseconds.
    pub downtimes: Vec<f64>,
}

impl Figures {
    /// What the session is like now.
    pub fn of(lab: &LabGuard, name: &str) -> Result<Self> {
        let list: Value = serde_json::from_str(&roam(lab, &["list", "--json"])?)?;
        let sessions = list["sessions"].as_array().context("a list of sessions")?;
        let session = sessions.iter().find(|session| session["name"] == name).context("it is in no list")?;
        let memory = session["memory_bytes"].as_u64().context("a session's memory")?;
        let counted = roam(lab, &["exec", name, "--", "sh", "-c", COUNT])?;
        let counted: Vec<u64> =
            counted.split_whitespace().map(str::parse).collect::<Result<_, _>>().context("three numbers")?;
        let [processes, threads, mappings] = counted[..] else { anyhow::bail!("counted {counted:?}") };
        Ok(Self { name: name.to_owned(), memory, processes, threads, mappings, downtimes: Vec::new() })
    }
}

/// The table, in Markdown.
fn table(all: &[Figures]) -> String {
    let mut text = String::from(
        "| app | memory | processes | threads | mappings | stood still in each move |\n|---|---|---|---|---|---|\n",
    );
    for app in all {
        let downtimes: Vec<String> = app.downtimes.iter().map(|ms| format!("{ms:.0}")).collect();
        let _ = writeln!(
            text,
            "| {} | {} MiB | {} | {} | {} | {} ms |",
            app.name,
            app.memory >> 20,
            app.processes,
            app.threads,
            app.mappings,
            downtimes.join(", "),
        );
    }
    text
}

/// Puts the table into tests/README.md, between its marks.
pub fn write(all: &[Figures]) -> Result<()> {
    let path = readme()?;
    let text = fs::read_to_string(&path)?;
    let (head, rest) = text.split_once(BEGIN).context("tests/README.md has no mark for the table")?;
    let (_, tail) = rest.split_once(END).context("the table's end has no mark")?;
    Ok(fs::write(&path, format!("{head}{BEGIN}{}{END}{tail}", table(all)))?)
}

/// tests/README.md of the tree that this program was built in.
fn readme() -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    ensure!(path.is_file(), "{} is gone", path.display());
    Ok(path)
}

//! `roam pair`, `roam unpair`, `roam allow`: which machines belong together, and what they may do.

use std::io::{IsTerminal, Write};

use roam_api::agent::{Answer, Request};
use roam_api::error::Failure;

use super::simple::{ask, unexpected};
use crate::paths::Paths;

pub async fn pair(paths: &Paths, machine: String, code: Option<String>) -> Result<(), Failure> {
    let mut request = Request::Pair { machine: machine.clone(), code };
    loop {
        match ask(paths, request).await? {
            Answer::Paired { machine } => {
                eprintln!(
                    "Paired with {machine}. Sessions and their windows may now go both ways; `roam allow {machine} …` changes that."
                );
                return Ok(());
            }
            Answer::CodeShownThere { machine: shown_by } => {
                if !std::io::stdin().is_terminal() {
                    eprintln!("{shown_by} shows a code now. Finish with: roam pair {machine} --code CODE");
                    return Ok(());
                }
                let code = prompt(&shown_by)?;
                request = Request::Pair { machine: machine.clone(), code: Some(code) };
            }
            other => return Err(unexpected(&other)),
        }
    }
}

fn prompt(shown_by: &str) -> Result<String, Failure> {
    eprint!("{shown_by} shows a code now. Type it here: ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|error| Failure::wrong_use(format!("No code could be read: {error}.")))?;
    let code = line.trim();
    if code.is_empty() {
        return Err(Failure::wrong_use("No code was typed.").next("Nothing was changed."));
    }
    Ok(code.to_owned())
}

pub async fn unpair(paths: &Paths, machine: String) -> Result<(), Failure> {
    ask(paths, Request::Unpair { machine }).await.map(|_| ())
}

pub async fn allow(paths: &Paths, machine: String, permissions: &[String]) -> Result<(), Failure> {
    let changes = permissions
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Failure::wrong_use(format!("“{text}” is no permission."))
                .next("Write NAME=VALUE, such as send=ask.")),
        })
        .collect::<Result<_, _>>()?;
    ask(paths, Request::Allow { machine, changes }).await.map(|_| ())
}

//! `roam run`: the caller's program, folder and environment, as a session.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use roam_api::agent::{Answer, Request};
use roam_api::error::Failure;
use roam_api::session::SessionSpec;

use super::simple::ask;
use crate::paths::Paths;

/// Arguments of `roam run`.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The session's name; without it: the program's.
    #[arg(long)]
    name: Option<String>,
    /// A program without windows: no X server in its pod.
    #[arg(long)]
    no_screen: bool,
    /// Let others reach a port of the session at this machine.
    #[arg(long, value_name = "PORT[:HOSTPORT]", value_parser = publish)]
    publish: Vec<(u16, u16)>,
    /// Set a variable of its environment.
    #[arg(long, value_name = "K=V", value_parser = variable)]
    env: Vec<(String, String)>,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn publish(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(0) | Err(_) => Err(format!("“{text}” is no port: say a number from 1 to 65535")),
        Ok(port) => Ok(port),
    };
    match text.split_once(':') {
        Some((pod, host)) => Ok((port(pod)?, port(host)?)),
        None => port(text).map(|port| (port, port)),
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("say NAME=VALUE".into()),
    }
}

pub async fn run(paths: &Paths, arguments: Run) -> Result<(), Failure> {
    let cwd = std::env::current_dir().map_err(|error| {
        Failure::refused(format!("The current folder can't be told ({error})."))
            .next("Change to another folder.")
    })?;
    let spec = SessionSpec {
        name: arguments.name.unwrap_or_default(),
        argv: arguments.command.into_iter().map(OsStringExt::into_vec).collect(),
        env: roam_api::environment::cleaned(std::env::vars_os(), arguments.env),
        cwd: cwd.into_os_string().into_vec(),
        umask: umask(),
        screen: !arguments.no_screen,
        publish: arguments.publish,
    };
    match ask(paths, Request::Run(spec)).await? {
        Answer::Started { name } => say!("{name}"),
        other => return Err(super::simple::unexpected(&other)),
    }
    Ok(())
}

/// The caller's mask. It can only be read by setting it; there is one thread yet.
fn umask() -> u32 {
    use nix::sys::stat::{Mode, umask};
    let mask = umask(Mode::empty());
    umask(mask);
    mask.bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_variables_parse_or_are_refused() {
        assert_eq!(publish("80"), Ok((80, 80)));
        assert_eq!(publish("80:8080"), Ok((80, 8080)));
        for bad in ["", "0", "80:", ":80", "70000", "a:b", "1:2:3"] {
            assert!(publish(bad).is_err(), "{bad}");
        }
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(variable("=x").is_err());
        assert!(variable("x").is_err());
    }
}

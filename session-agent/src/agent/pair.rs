//! The asking side of pairing, unpairing, and permissions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roam_api::agent::Answer;
use roam_api::error::Failure;
use roam_api::peer::{Reply, Request};
use roam_api::session::MachineKey;
use roam_link::endpoint::{DEFAULT_PORT, Link};
use roam_link::frames;
use roam_link::pairing::Asking;
use roam_link::raw_key::Expect;

use super::machines::Meant;
use super::{Agent, network};

/// A machine that shows a code for this one.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// As the person wrote it.
    text: String,
    link: Link,
    /// What it calls itself.
    name: String,
}

/// `roam pair`: without a code begins, with one finishes.
///
/// # Errors
/// Unreachable; or refused, with the other side's reason.
pub async fn pair(agent: &Arc<Agent>, machine: String, code: Option<String>) -> Result<Answer, Failure> {
    match code {
        None => begin(agent, machine).await,
        Some(code) => finish(agent, &machine, &code).await,
    }
}

async fn begin(agent: &Arc<Agent>, machine: String) -> Result<Answer, Failure> {
    let meant = agent.core().machines.resolve(&machine)?;
    let (addresses, expect) = match meant {
        Meant::Here => return Err(Failure::wrong_use("This is the machine itself.")),
        // Pairing again with a paired machine is allowed: it may have forgotten this one.
        Meant::Peer(key) => (agent.core().machines.addresses(&key), Expect::Only(key)),
        Meant::Found(found) => (found.addresses, Expect::Only(found.key)),
        Meant::Address(text) => (look_up(&text).await?, Expect::Anyone),
    };
    let known = match expect {
        Expect::Only(key) => agent.network.link(&key),
        Expect::Anyone => None,
    };
    let link = match known {
        Some(link) => link,
        None => connect(agent, &machine, &addresses, expect).await?,
    };
    let name = match ask(&link, &machine, &Request::PairBegin { name: agent.name.clone() }).await? {
        Reply::Name { name } => name,
        _ => return Err(does_not_fit(&machine)),
    };
    crate::names::check(&name, "machine")?;
    let attempt = Attempt { text: machine, link, name: name.clone() };
    agent.core().attempt = Some(attempt);
    Ok(Answer::CodeShownThere { machine: name })
}

async fn connect(
    agent: &Arc<Agent>,
    machine: &str,
    addresses: &[SocketAddr],
    expect: Expect,
) -> Result<Link, Failure> {
    let link = agent.network.endpoint.connect(addresses, expect).await.map_err(|error| {
        Failure::unreachable(format!("{machine} can't be reached: {error}."))
            .next("Check that Roam runs there, and that UDP gets through the firewall.")
    })?;
    tokio::spawn(network::serve_link(agent.clone(), link.clone()));
    Ok(link)
}

async fn finish(agent: &Arc<Agent>, machine: &str, code: &str) -> Result<Answer, Failure> {
    let code: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Failure::wrong_use("A pairing code has six digits.")
            .next("Look at the other machine: `roam machines` there shows the code, too."));
    }
    let attempt = agent.core().attempt.clone();
    let attempt =
        attempt.filter(|attempt| attempt.text == machine || attempt.name == machine).ok_or_else(|| {
            Failure::refused(format!("{machine} was not asked to show a code."))
                .next(format!("Run this first: roam pair {machine}."))
        })?;
    let key = attempt.link.key;
    let link = if attempt.link.is_alive() {
        attempt.link
    } else {
        let address = [attempt.link.remote()];
        connect(agent, machine, &address, Expect::Only(key)).await?
    };
    let (asking, message) = Asking::start(agent.key(), key, &code);
    let message = pair_message(&link, machine, &Request::PairProve { message }).await?;
    let malformed = |_| does_not_fit(machine);
    let (proved, proof) = asking.proof(&message).map_err(malformed)?;
    let theirs = pair_message(&link, machine, &Request::PairConfirm { proof }).await?;
    if !proved.is_right(&theirs) {
        return Err(Failure::refused(format!("{machine} does not know the code that it should have shown."))
            .next("Something may sit between the two machines. Try again in a network that you trust."));
    }
    agent.core().attempt = None;
    let name = agent.pair_machine(&link, &attempt.name);
    Ok(Answer::Paired { machine: name })
}

async fn pair_message(link: &Link, machine: &str, request: &Request) -> Result<Vec<u8>, Failure> {
    match ask(link, machine, request).await? {
        Reply::PairMessage { message } => Ok(message),
        _ => Err(does_not_fit(machine)),
    }
}

fn does_not_fit(machine: &str) -> Failure {
    Failure::refused(format!("{machine} gave an answer that does not fit."))
        .next("Update the older of the two machines.")
}

/// Asks over a connection that need not belong to a paired machine.
async fn ask(link: &Link, machine: &str, request: &Request) -> Result<Reply, Failure> {
    let conversation = async {
        let (mut say, mut hear) = link.open().await.map_err(frames::FrameError::from)?;
        frames::write(&mut say, request).await?;
        frames::expect(&mut hear).await
    };
    let stopped = || Failure::unreachable(format!("{machine} stopped answering.")).next("Try again.");
    match tokio::time::timeout(Duration::from_secs(10), conversation).await {
        Ok(Ok(Reply::Failed(failure))) => Err(failure),
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(_)) | Err(_) => Err(stopped()),
    }
}

async fn look_up(text: &str) -> Result<Vec<SocketAddr>, Failure> {
    let with_port = match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => text.to_owned(),
        _ => format!("{text}:{DEFAULT_PORT}"),
    };
    match tokio::net::lookup_host(&with_port).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(Failure::unreachable(format!("The address {text} can't be found: {error}."))
            .next("Write it as HOST:PORT.")),
    }
}

/// `roam unpair`: forgets a machine, and asks it to forget this one.
///
/// # Errors
/// If it is not paired.
pub async fn unpair(agent: &Arc<Agent>, machine: &str) -> Result<Answer, Failure> {
    let key: MachineKey = agent.core().machines.resolve_peer(machine)?;
    if agent.network.link(&key).is_some() {
        let _ = network::ask(agent, key, &Request::Unpair, Duration::from_secs(3)).await;
    }
    agent.forget_machine(&key);
    Ok(Answer::Ok)
}

/// `roam allow`.
///
/// # Errors
/// If the machine is not paired or a permission is none; nothing changes then.
pub fn allow(agent: &Agent, machine: &str, changes: &[(String, String)]) -> Result<Answer, Failure> {
    agent.change(|core| {
        let key = core.machines.resolve_peer(machine)?;
        core.machines.allow(&key, changes)
    })?;
    agent.remember_machines();
    Ok(Answer::Ok)
}

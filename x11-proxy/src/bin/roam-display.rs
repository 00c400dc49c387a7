//! Captures the windows of a pod for one viewer, and carries the viewer's input to them.
//!
//! Its standard input is a socket to the keeper, which sends one [`Charge`] with the viewer's stream and
//! the X server's. It ends with that socket: the keeper's successor would not know of this display.

use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use roam_api::charge::{Charge, Told};
use roam_api::codec::{HEADER_LEN, decode_body, encode_frame, parse_header};

/// Captures a session's windows for one viewer. Started by roam-keeper, with a socket as standard input.
#[derive(Parser)]
#[command(version)]
struct Arguments {}

fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roam-display: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let keeper = roam_sys::inherited::inherited(0).context("Standard input is closed.")?;
    let mut keeper = UnixStream::from(keeper);
    let (charge, [stream, x]) = charge(&mut keeper).context("This is started by roam-keeper.")?;
    let mut tell = keeper.try_clone()?;
    std::thread::spawn(move || {
        // The keeper says nothing more: anything but silence is its end.
        let _ = keeper.read(&mut [0]);
        std::process::exit(0);
    });
    roam_x11_proxy::compositor::run(roam_x11_proxy::compositor::Options {
        stream,
        x,
        cookie: charge.cookie,
        view_only: charge.view_only,
        titles: Box::new(move |titles| {
            let frame = encode_frame(&Told::Titles(titles.to_vec()))?;
            // A keeper that does not listen is about to end, and this display with it.
            let _ = std::io::Write::write_all(&mut tell, &frame);
            Ok(())
        }),
    })
}

/// Receives the keeper's one message.
fn charge(keeper: &mut UnixStream) -> Result<(Charge, [OwnedFd; 2])> {
    let (mut head, mut descriptors) = ([0; HEADER_LEN], Vec::new());
    let got = roam_sys::fdpass::receive(keeper.as_fd(), &mut head, &mut descriptors)?;
    keeper.read_exact(&mut head[got..])?;
    let mut body = vec![0; parse_header(head)?.len];
    keeper.read_exact(&mut body)?;
    let charge = decode_body(&body)?;
    ensure!(descriptors.len() == 2, "The keeper sent {} descriptors, not two.", descriptors.len());
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().context("two were counted");
    Ok((charge, [next()?, next()?]))
}

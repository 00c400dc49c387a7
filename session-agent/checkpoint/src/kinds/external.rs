//! Descriptors that lead to the keeper, such as the pipes behind standard output.
//!
//! Nothing of them is captured but their name: the keeper at the target makes its side anew.

use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use crate::error::Error;
use crate::pod::ExternalName;

/// The name that both keepers know it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State(pub ExternalName);

impl OpenFileKind for State {
    /// Never by its looks: the gathering asks the keeper.
    fn matches(_look: &Look) -> bool {
        false
    }

    fn check(_look: &Look, _known: &Known<'_>) -> Result<(), Stop> {
        Ok(())
    }

    fn capture(_look: &Look, _at: &mut Capture<'_>) -> Result<Self, Stop> {
        Err(Stop::cannot("it belongs to the keeper", "Tell the makers of Roam."))
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        at.external(&self.0, at.slot(id))
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Named, Session};
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn it_is_known_by_name_and_made_by_the_keeper() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let name = ExternalName("stdout".into());
        let named = Named([(name, write.try_clone().unwrap())].into());
        let mut session = Session::with_externals(&[&[write.as_fd(), write.as_fd()]], named);
        assert_eq!(session.image().files.len(), 1);
        session.round_trip();
        session.write(1, b"hello");
        let mut text = [0; 5];
        roam_sys::descriptor::read(read.as_fd(), &mut text).unwrap();
        assert_eq!(&text, b"hello");
    }
}

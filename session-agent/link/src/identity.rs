//! A machine's identity: one Ed25519 key, made at the first start and kept in a file.
//!
//! The file holds the 32 bytes of the seed, belongs to the user, and nobody else may read it. A
//! file that others could read, or of another size, is refused rather than used or replaced: a
//! new key would make this machine a stranger to everyone it is paired with.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use roam_api::session::MachineKey;

use crate::raw_key::RawKey;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file can't be read or made.
    #[error("the identity file {0} can't be used: {1}")]
    Io(PathBuf, io::Error),
    /// The file is not 32 bytes long.
    #[error(
        "the identity file {0} is damaged ({1} bytes instead of 32). Put it back from a backup, or remove it and pair again with every machine"
    )]
    Damaged(PathBuf, usize),
    /// Others can read it.
    #[error("the identity file {0} can be read by others. Check who did, then run: chmod 600 {0}")]
    Open(PathBuf),
}

/// Reads the identity, making it if there is none.
///
/// # Errors
/// [`IdentityError`]; an existing file is never overwritten.
pub fn load_or_create(path: &Path) -> Result<RawKey, IdentityError> {
    let io = |error| IdentityError::Io(path.to_owned(), error);
    match read(path) {
        Err(IdentityError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io)?;
    }
    // Written whole under another name, then linked: two first starts end with one key.
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    let seed: [u8; 32] = rand::random();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&fresh).map_err(io)?;
    let written = file.write_all(&seed).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&fresh, path));
    let _ = fs::remove_file(&fresh);
    match linked {
        Ok(()) => Ok(RawKey::from_seed(&seed)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(io(error)),
    }
}

fn read(path: &Path) -> Result<RawKey, IdentityError> {
    let io = |error| IdentityError::Io(path.to_owned(), error);
    let file = fs::File::open(path).map_err(io)?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&file.metadata().map_err(io)?.permissions()) & 0o077 != 0 {
        return Err(IdentityError::Open(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(64).read_to_end(&mut bytes).map_err(io)?;
    match <[u8; 32]>::try_from(bytes.as_slice()) {
        Ok(seed) => Ok(RawKey::from_seed(&seed)),
        Err(_) => Err(IdentityError::Damaged(path.to_owned(), bytes.len())),
    }
}

/// A key written as 64 hexadecimal digits.
#[must_use]
pub fn parse_key(text: &str) -> Option<MachineKey> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut key = [0; 32];
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(MachineKey(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_second_start_finds_the_first_ones_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/identity.key");
        let first = load_or_create(&path).unwrap().public();
        assert_eq!(load_or_create(&path).unwrap().public(), first);
        assert_eq!(parse_key(&first.hex()), Some(first));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_or_open_file_is_refused_and_kept() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        fs::write(&path, b"short").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(load_or_create(&path), Err(IdentityError::Damaged(_, 5))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load_or_create(&path), Err(IdentityError::Open(_))));
        assert_eq!(fs::read(&path).unwrap(), b"short");
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,80}") {
            let _ = parse_key(&text);
        }
    }
}

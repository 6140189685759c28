//! Files of a node that are not its data: keys that only their owner can read, and the genesis.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::Path,
};

use nabla_pay::AccountKey;
use nabla_types::{cbor, chain::Genesis, signature::NodeKey};

use crate::Error;

/// Write a file that is whole or absent: a temporary file, flushed, renamed, and its folder flushed.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        let temporary = path.with_extension("tmp");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| Error::io("write", path, source))
}

fn read_or_create_secret(path: &Path) -> Result<[u8; 32], Error> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let mut secret = [0; 32];
            let reason = |error: hex::FromHexError| Error::BadFile {
                path: path.to_owned(),
                expected: "a secret key (64 hex digits)",
                reason: error.to_string(),
            };
            hex::decode_to_slice(text.trim(), &mut secret).map_err(reason)?;
            Ok(secret)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secret = random_bytes()?;
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(|source| Error::io("create folder", folder, source))?;
            }
            write_new(path, format!("{}\n", hex::encode(secret)).as_bytes())?;
            Ok(secret)
        }
        Err(source) => Err(Error::io("read", path, source)),
    }
}

/// 32 bytes from the operating system's generator.
pub(crate) fn random_bytes() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Error::NoRandomness)?;
    Ok(bytes)
}

/// The node key in a file, made if there is none.
///
/// # Errors
/// [`Error::BadFile`], [`Error::Io`].
pub fn node_key(path: &Path) -> Result<NodeKey, Error> {
    read_or_create_secret(path).map(|seed| NodeKey::from_seed(&seed))
}

/// The account key in a file, made if there is none.
///
/// # Errors
/// [`Error::BadFile`], [`Error::Io`].
pub fn account_key(path: &Path) -> Result<AccountKey, Error> {
    let secret = read_or_create_secret(path)?;
    AccountKey::from_secret(&secret).map_err(|error| Error::BadFile {
        path: path.to_owned(),
        expected: "an account's secret key",
        reason: error.to_string(),
    })
}

/// Read a genesis file.
///
/// # Errors
/// [`Error::BadFile`], [`Error::Io`].
pub fn read_genesis(path: &Path) -> Result<Genesis, Error> {
    let bytes = fs::read(path).map_err(|source| Error::io("read", path, source))?;
    cbor::decode("genesis", &bytes, Genesis::BYTES_MAX).map_err(|error| Error::BadFile {
        path: path.to_owned(),
        expected: "a genesis",
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_the_same_and_private() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("node.key");
        let first = node_key(&path).expect("a new key");
        assert_eq!(node_key(&path).expect("the same key").id(), first.id());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path).expect("the file").permissions().mode();
            assert_eq!(mode & 0o077, 0, "only the owner may read a key");
        }
        fs::write(&path, "no key").expect("overwrite");
        assert!(matches!(node_key(&path), Err(Error::BadFile { .. })));
    }
}

//! Credentials at rest: sealed under a key that is not in the database.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

/// The form of what [`SealKey::seal`] writes, its first byte.
const VERSION: u8 = 1;

/// The master key.
pub struct SealKey(LessSafeKey);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(hidden)")
    }
}

/// Why something could not be sealed, unsealed, or why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Not 32 bytes.
    #[error("a master key is 32 bytes, as base64 or hex; `openssl rand -base64 32` makes one")]
    Form,
    /// Sealed under another key, or damaged.
    #[error("{0} cannot be unsealed: it was sealed under another master key, or is damaged")]
    Unsealable(String),
    /// There is no key's file, and another key would open nothing of what is sealed.
    #[error(
        "the master key is missing: what is sealed in the database needs the one that was made with it, in {} or in \
         RECADO_MASTER_KEY",
        .0.display()
    )]
    Missing(PathBuf),
    /// The key's file cannot be read or made.
    #[error("the master key's file {path} cannot be used: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// How much longer a text is when it is sealed: its form, its nonce and its tag.
pub const OVERHEAD: usize = 1 + NONCE_LEN + 16;

impl SealKey {
    /// A key as it is configured: 32 bytes as base64 or hex.
    ///
    /// # Errors
    /// [`SealError::Form`].
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let text = text.trim();
        let bytes = hex::decode(text).ok().filter(|bytes| bytes.len() == 32).or_else(|| STANDARD.decode(text).ok());
        Self::of(&bytes.ok_or(SealError::Form)?)
    }

    fn of(bytes: &[u8]) -> Result<Self, SealError> {
        UnboundKey::new(&CHACHA20_POLY1305, bytes).map(|key| Self(LessSafeKey::new(key))).map_err(|_| SealError::Form)
    }

    /// A key that dies with the process: for a database in memory.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn ephemeral() -> Result<Self, SealError> {
        Self::of(&random_key()?)
    }

    /// The key beside an SQLite file; made where nothing is sealed yet (`first`), readable by its owner only.
    ///
    /// # Errors
    /// When the file is missing, cannot be made or read, or holds no key.
    pub fn beside(database: &Path, first: bool) -> Result<Self, SealError> {
        let path = PathBuf::from(format!("{}.key", database.display()));
        let failed = |cause| SealError::File { path: path.clone(), cause };
        if !first && !path.try_exists().map_err(failed)? {
            return Err(SealError::Missing(path));
        }
        match create_private(&path) {
            Ok(mut file) => {
                let text = STANDARD.encode(random_key()?);
                file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
                Self::parse(&text)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Self::parse(&std::fs::read_to_string(&path).map_err(failed)?)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Seals bytes to what they belong to: moved to another sender's row, they do not open.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn seal(&self, plain: &[u8], belongs_to: &str) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::Random)?;
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(belongs_to.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| SealError::Random)?;
        Ok([&[VERSION], &nonce[..], &sealed].concat())
    }

    /// Opens what [`SealKey::seal`] made.
    ///
    /// # Errors
    /// [`SealError::Unsealable`].
    pub fn unseal(&self, sealed: &[u8], belongs_to: &str) -> Result<Vec<u8>, SealError> {
        let unsealable = || SealError::Unsealable(belongs_to.to_owned());
        let (&version, rest) = sealed.split_first().ok_or_else(unsealable)?;
        if version != VERSION || rest.len() < NONCE_LEN {
            return Err(unsealable());
        }
        let (nonce, body) = rest.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unsealable())?;
        let mut body = body.to_vec();
        let plain =
            self.0.open_in_place(nonce, Aad::from(belongs_to.as_bytes()), &mut body).map_err(|_| unsealable())?;
        Ok(plain.to_vec())
    }
}

fn random_key() -> Result<[u8; 32], SealError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SealError::Random)?;
    Ok(bytes)
}

fn create_private(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_its_key_in_its_place() {
        let key = SealKey::ephemeral().unwrap();
        let sealed = key.seal(b"secret", "sender a").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(key.unseal(&sealed, "sender a").unwrap(), b"secret");
        assert!(key.unseal(&sealed, "sender b").is_err());
        assert!(SealKey::ephemeral().unwrap().unseal(&sealed, "sender a").is_err());
        for damaged in [&sealed[..5], &[], &sealed[1..]] {
            assert!(key.unseal(damaged, "sender a").is_err());
        }
    }

    #[test]
    fn a_key_beside_the_database_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("recado.db");
        assert!(matches!(SealKey::beside(&database, false), Err(SealError::Missing(_))));
        let sealed = SealKey::beside(&database, true).unwrap().seal(b"x", "y").unwrap();
        assert_eq!(SealKey::beside(&database, false).unwrap().unseal(&sealed, "y").unwrap(), b"x");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(folder.path().join("recado.db.key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_configured_key_is_32_bytes_in_hex_or_base64() {
        assert!(SealKey::parse(&"ab".repeat(32)).is_ok());
        assert!(SealKey::parse(&STANDARD.encode([7; 32])).is_ok());
        for wrong in ["", "short", &"ab".repeat(31), &STANDARD.encode([7; 31])] {
            assert!(SealKey::parse(wrong).is_err(), "{wrong}");
        }
    }
}

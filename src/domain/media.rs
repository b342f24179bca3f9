//! Files that people sent: how far they have come.

use super::content::MediaSource;
use super::ids::MediaId;
use super::{MessageId, Millis, SenderId};

/// A file that a person sent, as the store knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaFile {
    /// Ours.
    pub id: MediaId,
    /// The sender that it was sent to.
    pub sender: SenderId,
    /// The incoming message that it came with.
    pub message_id: MessageId,
    /// Where the provider keeps it. May hold a token: never logged.
    pub source: MediaSource,
    /// MIME type, parameters included; empty when it is not known yet.
    pub mime_type: String,
    /// Name as given: untrusted.
    pub file_name: String,
    /// When its event was recorded.
    pub create_at_ms: Millis,
    /// Tries begun.
    pub tries: i32,
    /// How far it has come.
    pub state: MediaState,
}

/// How far a file has come; [`MediaState::number`] is the contract's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaState {
    /// Not fetched yet.
    Pending {
        /// The next try; nothing while one is under way.
        next_try_at_ms: Option<Millis>,
    },
    /// In the media store.
    Ready(Fetched),
    /// Given up.
    Failed {
        /// Why.
        trouble: Trouble,
        /// The same for people.
        detail: String,
    },
}

/// The numbers that the store keeps for [`MediaState`].
impl MediaState {
    /// [`MediaState::Pending`]
    pub const PENDING: i16 = 1;
    /// [`MediaState::Ready`]
    pub const READY: i16 = 2;
    /// [`MediaState::Failed`]
    pub const FAILED: i16 = 3;
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes.
    pub size_bytes: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

/// Why a file could not be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It has more bytes than `media.bytes_max`.
    TooLarge,
    /// Its address is not one of the public internet, nor allowed.
    ForbiddenAddress,
    /// The provider has no way to fetch it.
    NotSupported,
    /// Its sender was deleted.
    SenderDeleted,
    /// Whoever keeps it says no: gone, or not for us.
    Gone,
    /// Nobody answered, or not to the end.
    Unreachable,
    /// What came is not what the provider said.
    WrongDigest,
    /// The media store did not take it.
    Storage,
    /// It was kept as long as `retention.media` says.
    Removed,
    /// What the person sent was erased.
    Erased,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Trouble; 10] = [
        Trouble::TooLarge,
        Trouble::ForbiddenAddress,
        Trouble::NotSupported,
        Trouble::SenderDeleted,
        Trouble::Gone,
        Trouble::Unreachable,
        Trouble::WrongDigest,
        Trouble::Storage,
        Trouble::Removed,
        Trouble::Erased,
    ];

    /// The word that is stored, and told as `cause` of MEDIA_FAILED.
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::TooLarge => "TOO_LARGE",
            Trouble::ForbiddenAddress => "FORBIDDEN_ADDRESS",
            Trouble::NotSupported => "NOT_SUPPORTED",
            Trouble::SenderDeleted => "SENDER_DELETED",
            Trouble::Gone => "GONE",
            Trouble::Unreachable => "UNREACHABLE",
            Trouble::WrongDigest => "WRONG_DIGEST",
            Trouble::Storage => "STORAGE",
            Trouble::Removed => "REMOVED",
            Trouble::Erased => "ERASED",
        }
    }

    /// From the stored word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|trouble| trouble.as_str() == word)
    }
}

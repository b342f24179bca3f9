//! A file that a provider is to keep, so that messages can name it by the provider's id.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::domain::content::MediaKind;

/// The bytes of a file as they come. An error ends it, and with it the request that passes it on: the provider gets half a
/// request, and keeps nothing.
pub type FileBytes = BoxStream<'static, io::Result<Bytes>>;

/// What is said of a file before its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadInfo {
    /// What it will be sent as.
    pub kind: MediaKind,
    /// MIME type, with its parameters if it was given any.
    pub mime_type: String,
    /// May be empty.
    pub file_name: String,
    /// Its size, when it is known beforehand. Then exactly so many bytes come, or an error.
    pub size_bytes: Option<u64>,
}

/// A file on its way.
pub struct Upload {
    /// What it is.
    pub info: UploadInfo,
    /// The file itself.
    pub bytes: FileBytes,
    /// How long passing it on may take, the provider's answer included.
    pub limit: Duration,
}

/// A file that a provider keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The provider's id of it.
    pub media_id: String,
    /// How long it is kept; nothing where the provider does not say.
    pub kept_for: Option<Duration>,
}

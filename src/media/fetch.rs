//! One try at one file: found, fetched, hashed and kept on the way.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use ring::digest;

use super::{Parts, Put, Setback, Shelf};
use crate::domain::ErrorReason;
use crate::domain::media::{Fetched, MediaFile, Trouble};
use crate::guarded::{GuardError, Opened};
use crate::provider::{AskError, MediaAddress};

/// How much longer than its fetching a whole try may take: the question to the provider, and the media store's last word.
const BEYOND: Duration = Duration::from_secs(60);
/// Type of a file of which nobody said what it is. It is not guessed from its bytes: a few of them fit anything.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// A file that is in the media store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Its type, as it is served.
    pub mime_type: String,
    /// What it is.
    pub fetched: Fetched,
}

/// Fetches a file into the media store.
///
/// # Errors
/// Why it is not there; then nothing of it is.
pub(super) async fn fetch(parts: &Parts, file: &MediaFile) -> Result<Arrived, Setback> {
    let limit = parts.config.caps.total + BEYOND;
    let fetched = tokio::time::timeout(limit, try_once(parts, file)).await;
    fetched.unwrap_or_else(|_| Err(Setback::new(Trouble::Unreachable, "it took too long")))
}

async fn try_once(parts: &Parts, file: &MediaFile) -> Result<Arrived, Setback> {
    let account = match parts.senders.find(&file.sender).await {
        Ok(Some(account)) => account,
        Ok(None) => return Err(Setback::new(Trouble::SenderDeleted, "its sender was deleted")),
        Err(error) => return Err(Setback::new(Trouble::Storage, error.to_string())),
    };
    // Asked anew for each try: providers' addresses may live for minutes only (pitfall I13).
    let address = account.provider.locate_media(&file.source).await?;
    bring(
        parts.guarded.get(address.url.clone(), &address.headers, parts.config.caps).await?,
        &address,
        file,
        &parts.shelf,
    )
    .await
}

/// From its address into the media store.
async fn bring(
    mut answer: Opened,
    address: &MediaAddress,
    file: &MediaFile,
    shelf: &Shelf,
) -> Result<Arrived, Setback> {
    if answer.status() != StatusCode::OK {
        return Err(refused(&answer));
    }
    let mime_type = mime_type(file, address, &answer);
    let mut put = shelf.put(file.id, file.tries);
    match copy(&mut answer, &mut put).await {
        Ok(fetched) if address.sha256.is_none_or(|told| told == fetched.sha256) => {
            put.finish().await.map_err(not_kept)?;
            Ok(Arrived { mime_type, fetched })
        }
        Ok(_) => {
            put.abort().await;
            Err(Setback::new(Trouble::WrongDigest, "its SHA-256 is not the one that the provider told"))
        }
        Err(setback) => {
            put.abort().await;
            Err(setback)
        }
    }
}

async fn copy(answer: &mut Opened, put: &mut Put) -> Result<Fetched, Setback> {
    let mut sha256 = digest::Context::new(&digest::SHA256);
    let mut size_bytes = 0;
    while let Some(bytes) = answer.chunk().await? {
        sha256.update(&bytes);
        size_bytes += bytes.len() as u64;
        put.write(bytes).await.map_err(not_kept)?;
    }
    let mut fetched = Fetched { size_bytes, sha256: [0; 32] };
    fetched.sha256.copy_from_slice(sha256.finish().as_ref());
    Ok(fetched)
}

fn not_kept(error: std::io::Error) -> Setback {
    Setback::new(Trouble::Storage, format!("the media store did not take it: {error}"))
}

/// The webhook's word, else the provider's answer's, else that of whoever serves it.
fn mime_type(file: &MediaFile, address: &MediaAddress, answer: &Opened) -> String {
    let served = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let known = [file.mime_type.as_str(), address.mime_type.as_str(), served];
    let first = known.into_iter().map(str::trim).find(|mime_type| !mime_type.is_empty());
    first.unwrap_or(UNKNOWN_TYPE).to_owned()
}

/// What an HTTP status means: a no of whoever keeps the file, or no answer at all.
fn refused(answer: &Opened) -> Setback {
    let status = answer.status();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let trouble = match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => Trouble::Unreachable,
        status if status.is_client_error() => Trouble::Gone,
        _ => Trouble::Unreachable,
    };
    let detail = format!("HTTP {}", status.as_u16());
    Setback { trouble, detail, retry_after: retry_after.map(Duration::from_secs) }
}

impl From<GuardError> for Setback {
    fn from(error: GuardError) -> Self {
        let trouble = match &error {
            GuardError::Forbidden(_) => Trouble::ForbiddenAddress,
            GuardError::TooLarge { .. } => Trouble::TooLarge,
            GuardError::Unreachable(_) => Trouble::Unreachable,
        };
        Setback::new(trouble, error.to_string())
    }
}

impl From<AskError> for Setback {
    fn from(error: AskError) -> Self {
        let trouble = match &error {
            AskError::NotSupported => Trouble::NotSupported,
            // An operator can change that, and the file may still be there then.
            AskError::Refused(error) if error.retryable || error.reason == ErrorReason::SenderUnauthorized => {
                Trouble::Unreachable
            }
            AskError::Refused(_) => Trouble::Gone,
            AskError::Unreachable(_) => Trouble::Unreachable,
        };
        Setback::new(trouble, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::content::MediaSource;
    use crate::domain::media::MediaState;
    use crate::domain::{MediaId, MessageId, SenderId};
    use crate::fake::{self, FakeProvider};
    use crate::guarded::{AllowList, Caps, Guarded};
    use crate::provider::Secret;

    const CAPS: Caps = Caps { bytes: 5_000, total: Duration::from_secs(20), idle: Duration::from_secs(20) };

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap()
    }

    fn of_type(mime_type: &str) -> MediaFile {
        MediaFile {
            id: MediaId::generate(),
            sender: SenderId::trusted("acme".into()),
            message_id: MessageId::generate(),
            source: MediaSource::MediaId("1".into()),
            mime_type: mime_type.into(),
            file_name: String::new(),
            create_at_ms: 0,
            tries: 1,
            state: MediaState::Pending { next_try_at_ms: None },
        }
    }

    /// Brings what lies at the fake's path, as `address` says.
    async fn brought(
        fake: &FakeProvider,
        shelf: &Shelf,
        file: &MediaFile,
        path: &str,
        address: impl FnOnce(MediaAddress) -> MediaAddress,
    ) -> Result<Arrived, Setback> {
        let guarded = Guarded::new(AllowList::parse("127.0.0.1").unwrap()).unwrap();
        let address = address(MediaAddress::plain(&fake.file_url(path)).unwrap());
        bring(guarded.get(address.url.clone(), &address.headers, CAPS).await?, &address, file, shelf).await
    }

    async fn scene() -> (FakeProvider, Shelf, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let fake = FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        (fake, Shelf::open(folder.path().to_str().unwrap()).unwrap(), folder)
    }

    #[tokio::test]
    async fn the_provider_s_digest_must_be_the_file_s() {
        let (fake, shelf, _folder) = scene().await;
        let right = sha256(&fake::file(1_000));
        let file = of_type("image/png");
        for (told, trouble) in [(None, None), (Some(right), None), (Some([7; 32]), Some(Trouble::WrongDigest))] {
            let outcome =
                brought(&fake, &shelf, &file, "1000", |address| MediaAddress { sha256: told, ..address }).await;
            match (outcome, trouble) {
                (Ok(Arrived { fetched, .. }), None) => {
                    assert_eq!(fetched, Fetched { size_bytes: 1_000, sha256: right });
                    assert!(shelf.get(file.id, file.tries).await.is_ok());
                    shelf.keep_only(file.id, 0).await.unwrap();
                }
                (Err(setback), trouble) => {
                    assert_eq!(Some(setback.trouble), trouble);
                    assert!(shelf.get(file.id, file.tries).await.is_err(), "nothing of it is kept");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn what_opens_a_file_is_sent_along() {
        let (fake, shelf, _folder) = scene().await;
        let file = of_type("");
        let refused = brought(&fake, &shelf, &file, "guarded/1", |address| address).await.unwrap_err();
        assert_eq!((refused.trouble, refused.detail.as_str()), (Trouble::Gone, "HTTP 401"));
        let key = || vec![("authorization", Secret::from("Bearer key-0f0e".to_owned()))];
        let arrived = brought(&fake, &shelf, &file, "guarded/1", |address| MediaAddress { headers: key(), ..address });
        assert_eq!(arrived.await.unwrap().fetched.size_bytes, 1);
    }

    #[tokio::test]
    async fn the_webhook_s_word_for_the_type_goes_before_the_provider_s_and_the_server_s() {
        let (fake, shelf, _folder) = scene().await;
        for (webhook, told, path, served_as) in [
            ("audio/ogg; codecs=opus", "audio/ogg", "1", "audio/ogg; codecs=opus"),
            ("", "audio/ogg", "1", "audio/ogg"),
            ("", "", "1", "image/jpeg"),
            ("", "", "slow/1", "video/mp4"),
            ("", "", "late/1?missing=0", "image/jpeg"),
        ] {
            let told = told.to_owned();
            let address = |address| MediaAddress { mime_type: told, ..address };
            let arrived = brought(&fake, &shelf, &of_type(webhook), path, address).await.unwrap();
            assert_eq!(arrived.mime_type, served_as);
        }
        assert_eq!(UNKNOWN_TYPE, brought(&fake, &shelf, &of_type(""), "untyped/1", |a| a).await.unwrap().mime_type);
    }
}

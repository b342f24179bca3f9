//! UploadMedia: a file on its way from a caller to the sender's provider, passed on as it comes.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use ring::digest;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{SOON, Services, answer, convert};
use crate::access::Caller;
use crate::domain::content::MediaKind;
use crate::domain::{Millis, SenderId, now_ms};
use crate::error::{Error, Reason, Violations};
use crate::proto;
use crate::proto::upload_media_request::Item;
use crate::provider::capabilities::too_large;
use crate::provider::{SendError, Upload, Uploaded};

/// When to hand a file over again that the provider did not take and said no time for.
const RETRY: Duration = Duration::from_secs(5);

/// How long files may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A file as a whole, the provider's answer included.
    pub total: Duration,
    /// The caller's silence.
    pub idle: Duration,
}

/// Reads a file and hands it to the provider of the sender that its description names.
pub(super) async fn take(
    services: &Services,
    caller: &Caller,
    requests: Streaming<proto::UploadMediaRequest>,
) -> Result<proto::UploadMediaResponse, Status> {
    let deadline = Instant::now() + services.upload_limits.total;
    let idle = services.upload_limits.idle;
    let mut requests = Requests { requests, idle, deadline, stop: services.stop.clone() };
    let given = match requests.next().await? {
        Some(Item::Info(info)) => info,
        Some(Item::Chunk(_)) | None => {
            let description = "the first request describes the file: sender, kind, mime_type";
            return Err(Error::invalid("info", Reason::Required, description).into());
        }
    };
    let mut violations = Violations::default();
    let read = convert::upload(given, &mut violations);
    let Some((sender, info)) = read.filter(|_| violations.is_empty()) else {
        return Err(violations.into_error().into());
    };
    let account = services.senders.find(&sender).await.map_err(Error::from)?.filter(|_| caller.sees(&sender));
    let account = account.ok_or_else(|| Error::NotFound { resource: "sender", name: sender.to_string() })?;
    let (provider, capabilities) = (account.sender.provider, account.provider.capabilities());
    if !capabilities.media_upload {
        return Err(Error::NotAtProvider { provider, lacks: "keeps no files for later sends; give their urls" }.into());
    }
    let most = capabilities.check_upload(&info, provider, &mut violations).unwrap_or_default();
    violations.into_result()?;

    let measure = Measure { most, announced: info.size_bytes, kind: info.kind, provider };
    let (passing, outcome) = Passing::new(requests, measure);
    let limit = deadline.saturating_duration_since(Instant::now());
    let upload = Upload { info, bytes: passing.into_bytes().boxed(), limit };
    let handed_over = account.provider.upload_media(upload).await;
    // Where the file itself ended badly, what the provider made of half a request says nothing.
    match (outcome.taken(), handed_over) {
        (Some(Err(status)), _) => Err(status),
        (Some(Ok(whole)), Ok(uploaded)) => Ok(response(&sender, &whole, uploaded, now_ms())),
        (None, Ok(_)) => Err(unavailable(provider, "it answered before it had the whole file", None).into()),
        (_, Err(error)) => Err(not_kept(error, provider, &sender).into()),
    }
}

/// What a caller sends, in time.
struct Requests {
    requests: Streaming<proto::UploadMediaRequest>,
    idle: Duration,
    deadline: Instant,
    stop: CancellationToken,
}

impl Requests {
    async fn next(&mut self) -> Result<Option<Item>, Status> {
        let until = self.deadline.min(Instant::now() + self.idle);
        let next = tokio::select! {
            next = tokio::time::timeout_at(until, self.requests.message()) => next,
            () = self.stop.cancelled() => return Err(Error::GoingAway { retry_after: SOON }.into()),
        };
        match next {
            // In tonic's words, which the layer around the services puts into ours.
            Ok(request) => match request? {
                Some(proto::UploadMediaRequest { item: Some(item) }) => Ok(Some(item)),
                Some(_) => Err(Error::invalid("item", Reason::Required, "one of info, chunk is needed").into()),
                None => Ok(None),
            },
            Err(_) => Err(Error::TooSlow { idle: self.idle, whole: Instant::now() >= self.deadline }.into()),
        }
    }
}

/// What a file is held against.
struct Measure {
    most: u64,
    announced: Option<u64>,
    kind: MediaKind,
    provider: &'static str,
}

impl Measure {
    /// So many bytes so far: whether more may come.
    fn fits(&self, size: u64) -> Result<(), Error> {
        if size > self.most {
            let words = too_large(size, self.most, self.kind, self.provider);
            return Err(Error::invalid("chunk", Reason::TooLong, format!("at least {words}")));
        }
        match self.announced {
            Some(announced) if size > announced => Err(another_size(format!("more than {announced}"))),
            _ => Ok(()),
        }
    }

    /// So many bytes, and no more come.
    fn is_whole(&self, size: u64) -> Result<(), Error> {
        match self.announced {
            _ if size == 0 => Err(Error::invalid("chunk", Reason::Required, "the file has no bytes")),
            Some(announced) if size != announced => Err(another_size(size)),
            _ => Ok(()),
        }
    }
}

fn another_size(came: impl std::fmt::Display) -> Error {
    Error::invalid("info.size_bytes", Reason::Invalid, format!("{came} bytes came; leave it out where it is not known"))
}

/// A file that was passed on.
#[derive(Debug, PartialEq, Eq)]
struct Whole {
    size_bytes: u64,
    sha256: [u8; 32],
}

/// How the file ended; nothing while it goes on.
#[derive(Debug, Clone, Default)]
struct Outcome(Arc<Mutex<Option<Result<Whole, Status>>>>);

impl Outcome {
    fn set(&self, outcome: Result<Whole, Status>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    fn taken(&self) -> Option<Result<Whole, Status>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A file as it is passed on, up to the first thing that is wrong. One part is held at a time: the next is read when the
/// provider has taken it.
struct Passing {
    requests: Requests,
    measure: Measure,
    size: u64,
    sha256: digest::Context,
    outcome: Outcome,
}

impl Passing {
    fn new(requests: Requests, measure: Measure) -> (Self, Outcome) {
        let outcome = Outcome::default();
        let sha256 = digest::Context::new(&digest::SHA256);
        (Self { requests, measure, size: 0, sha256, outcome: outcome.clone() }, outcome)
    }

    fn into_bytes(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(self, |mut passing| async {
            let part = passing.next().await?;
            Some((part, passing))
        })
    }

    /// The next bytes; nothing when they were all. An error breaks the provider's request off.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        match self.part().await {
            Ok(Some(part)) => {
                self.sha256.update(&part);
                Some(Ok(part))
            }
            Ok(None) => {
                let mut sha256 = [0; 32];
                sha256.copy_from_slice(self.sha256.clone().finish().as_ref());
                self.outcome.set(Ok(Whole { size_bytes: self.size, sha256 }));
                None
            }
            Err(status) => {
                let words = status.message().to_owned();
                self.outcome.set(Err(status));
                Some(Err(io::Error::other(words)))
            }
        }
    }

    async fn part(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            match self.requests.next().await? {
                Some(Item::Chunk(part)) if part.is_empty() => {}
                Some(Item::Chunk(part)) => {
                    self.size += part.len() as u64;
                    self.measure.fits(self.size)?;
                    return Ok(Some(part.into()));
                }
                Some(Item::Info(_)) => {
                    let description = "the file was described already; bytes follow";
                    return Err(Error::invalid("info", Reason::Invalid, description).into());
                }
                None => {
                    self.measure.is_whole(self.size)?;
                    return Ok(None);
                }
            }
        }
    }
}

fn response(sender: &SenderId, whole: &Whole, uploaded: Uploaded, now: Millis) -> proto::UploadMediaResponse {
    let Uploaded { media_id, kept_for } = uploaded;
    let expire_at_ms = kept_for.map(|kept_for| now + kept_for.as_millis() as Millis);
    let media = proto::UploadedMedia {
        media_id,
        sender: sender.to_string(),
        size_bytes: i64::try_from(whole.size_bytes).unwrap_or(i64::MAX),
        sha256: hex::encode(whole.sha256),
        expire_time: expire_at_ms.map(answer::timestamp),
    };
    proto::UploadMediaResponse { media: Some(media) }
}

/// Why the provider does not keep the file, in the contract's words. Nothing is in doubt: nobody is told of a file.
fn not_kept(error: SendError, provider: &str, sender: &SenderId) -> Error {
    match error {
        SendError::Refused(error) => Error::Precondition {
            reason: error.reason.as_str(),
            message: format!("provider {provider} refused the file: {}", error.provider_message),
            metadata: vec![("sender", sender.to_string()), ("provider_code", error.provider_code)],
        },
        SendError::NotTaken { error, retry_after, .. } => {
            unavailable(provider, &format!("{} {}", error.provider_code, error.provider_message), retry_after)
        }
        SendError::InDoubt { detail } => unavailable(provider, &detail, None),
    }
}

fn unavailable(provider: &str, why: &str, retry_after: Option<Duration>) -> Error {
    Error::ProviderUnavailable {
        message: format!("provider {provider} did not take the file: {}", why.trim()),
        retry_after: retry_after.unwrap_or(RETRY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_held_against_its_description_and_the_limit() {
        let measure = |announced| Measure { most: 10, announced, kind: MediaKind::Image, provider: "acme" };
        let field = |result: Result<(), Error>| match result {
            Ok(()) => String::new(),
            Err(Error::Invalid(violations)) => format!("{} {}", violations[0].field, violations[0].reason.as_str()),
            Err(other) => panic!("{other}"),
        };
        for (announced, size, more_may_come, ends_here) in [
            (None, 0, "", "chunk REQUIRED"),
            (None, 1, "", ""),
            (None, 10, "", ""),
            (None, 11, "chunk TOO_LONG", ""),
            (Some(5), 4, "", "info.size_bytes INVALID"),
            (Some(5), 5, "", ""),
            (Some(5), 6, "info.size_bytes INVALID", "info.size_bytes INVALID"),
            (Some(5), 0, "", "chunk REQUIRED"),
        ] {
            assert_eq!(field(measure(announced).fits(size)), more_may_come, "{announced:?} {size}");
            assert_eq!(field(measure(announced).is_whole(size)), ends_here, "{announced:?} {size}");
        }
        let error = measure(None).fits(11).unwrap_err().to_string();
        assert!(error.contains("at most 10 of kind IMAGE"), "{error}");
    }
}

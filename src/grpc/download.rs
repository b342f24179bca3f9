//! DownloadMedia: a file that a person sent, its description first and then its bytes.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use tonic::Status;

use super::{SOON, Services};
use crate::access::Caller;
use crate::domain::media::{Fetched, MediaFile, MediaState};
use crate::domain::{MediaId, now_ms};
use crate::error::{Error, Violations};
use crate::proto;
use crate::proto::download_media_response::Item;

/// Bytes of one answer, at most.
const CHUNK: usize = 64 << 10;
/// The latest that somebody is asked to come back for a file: it may be there earlier than its next try, where another replica's clock is ahead.
const LATEST: Duration = Duration::from_secs(60);

/// What a client reads.
pub type Download = Pin<Box<dyn Stream<Item = Result<proto::DownloadMediaResponse, Status>> + Send>>;

/// Opens a file for a caller who may know of it.
pub(super) async fn open(services: &Services, caller: &Caller, id: &str) -> Result<Download, Error> {
    let mut violations = Violations::default();
    let parsed = violations.check("media_id", id.parse::<MediaId>());
    violations.into_result()?;
    let found = match parsed {
        Some(id) => services.store.media(id).await?,
        None => None,
    };
    let file = found
        .filter(|file| caller.sees(&file.sender))
        .ok_or_else(|| Error::NotFound { resource: "media", name: id.to_owned() })?;
    let fetched = ready(&file)?;
    let (size, bytes) = services.shelf.get(file.id, file.tries).await.map_err(|error| missing(&file, error))?;
    if size != fetched.size_bytes {
        return Err(missing(&file, anyhow::anyhow!("it has {size} bytes and not {}", fetched.size_bytes)));
    }
    let first = proto::DownloadMediaResponse { item: Some(Item::Info(info(&file, &fetched))) };
    let stop = services.stop.clone().cancelled_owned();
    let rest = chunks(bytes).take_until(stop);
    let whole = stream::once(async { Ok(first) }).chain(rest);
    Ok(Box::pin(to_the_end(whole, fetched.size_bytes)))
}

/// What was fetched; an error while it is not there.
fn ready(file: &MediaFile) -> Result<Fetched, Error> {
    match &file.state {
        MediaState::Ready(fetched) => Ok(fetched.clone()),
        MediaState::Pending { next_try_at_ms } => {
            let wait = next_try_at_ms.map_or(0, |at| at.saturating_sub(now_ms()).max(0)).unsigned_abs();
            let retry_after = Duration::from_millis(wait).clamp(SOON, LATEST);
            let detail = match file.tries {
                0 => "no try was made yet".to_owned(),
                tries => format!("{tries} tries so far"),
            };
            Err(Error::MediaNotReady { detail, retry_after })
        }
        MediaState::Failed { trouble, detail } => Err(Error::Precondition {
            reason: "MEDIA_FAILED",
            message: format!("the file could not be fetched: {detail}"),
            metadata: vec![("cause", trouble.as_str().to_owned())],
        }),
    }
}

/// Ready, and not there: somebody else's hand, or replicas that do not share their media store.
fn missing(file: &MediaFile, cause: impl Into<anyhow::Error>) -> Error {
    let id = file.id;
    Error::Internal(cause.into().context(format!("file {id} is not in the media store as it was kept; is it shared?")))
}

fn info(file: &MediaFile, fetched: &Fetched) -> proto::MediaInfo {
    proto::MediaInfo {
        media_id: file.id.to_string(),
        mime_type: file.mime_type.clone(),
        file_name: file.file_name.clone(),
        size_bytes: i64::try_from(fetched.size_bytes).unwrap_or(i64::MAX),
        sha256: hex::encode(fetched.sha256),
    }
}

/// Parts of whatever size, cut to what one answer takes.
fn chunks(
    bytes: BoxStream<'static, object_store::Result<Bytes>>,
) -> impl Stream<Item = Result<proto::DownloadMediaResponse, Error>> + Send {
    bytes.flat_map(|part| {
        let cut: Vec<Result<proto::DownloadMediaResponse, Error>> = match part {
            Ok(part) => {
                (0..part.len()).step_by(CHUNK).map(|at| Ok(chunk(part.slice(at..part.len().min(at + CHUNK))))).collect()
            }
            Err(error) => vec![Err(Error::internal(error))],
        };
        stream::iter(cut)
    })
}

fn chunk(bytes: Bytes) -> proto::DownloadMediaResponse {
    proto::DownloadMediaResponse { item: Some(Item::Chunk(bytes.into())) }
}

/// Says why there is no more where bytes are missing: a client must not take a part for the whole.
fn to_the_end(
    answers: impl Stream<Item = Result<proto::DownloadMediaResponse, Error>> + Send,
    size_bytes: u64,
) -> impl Stream<Item = Result<proto::DownloadMediaResponse, Status>> + Send {
    let state = (Box::pin(answers), Some(size_bytes));
    stream::unfold(state, |(mut answers, left)| async move {
        let left = left?;
        match answers.next().await {
            Some(Ok(answer)) => {
                let sent = match &answer.item {
                    Some(Item::Chunk(bytes)) => bytes.len() as u64,
                    _ => 0,
                };
                Some((Ok(answer), (answers, Some(left.saturating_sub(sent)))))
            }
            Some(Err(error)) => Some((Err(error.into()), (answers, None))),
            None if left > 0 => Some((Err(Error::GoingAway { retry_after: SOON }.into()), (answers, None))),
            None => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn answers(parts: &[usize]) -> impl Stream<Item = Result<proto::DownloadMediaResponse, Error>> + Send + use<> {
        let parts: Vec<_> = parts.iter().map(|size| Ok(Bytes::from(vec![7; *size]))).collect();
        let info = proto::DownloadMediaResponse { item: Some(Item::Info(Default::default())) };
        stream::once(async { Ok(info) }).chain(chunks(stream::iter(parts).boxed()))
    }

    /// The sizes of the chunks, and the code of the end.
    async fn read(answers: impl Stream<Item = Result<proto::DownloadMediaResponse, Status>>) -> (Vec<usize>, Code) {
        let (mut sizes, mut code) = (Vec::new(), Code::Ok);
        for answer in answers.collect::<Vec<_>>().await {
            match answer.map(|answer| answer.item) {
                Ok(Some(Item::Chunk(bytes))) => sizes.push(bytes.len()),
                Ok(_) => {}
                Err(status) => code = status.code(),
            }
        }
        (sizes, code)
    }

    #[tokio::test]
    async fn parts_are_cut_to_what_an_answer_takes() {
        for (parts, sizes) in [
            (vec![], vec![]),
            (vec![1], vec![1]),
            (vec![CHUNK, 1], vec![CHUNK, 1]),
            (vec![2 * CHUNK + 1, 0, 5], vec![CHUNK, CHUNK, 1, 5]),
        ] {
            let size_bytes = parts.iter().sum::<usize>() as u64;
            assert_eq!(read(to_the_end(answers(&parts), size_bytes)).await, (sizes, Code::Ok), "{parts:?}");
        }
    }

    #[tokio::test]
    async fn a_part_of_a_file_never_ends_like_the_whole() {
        assert_eq!(read(to_the_end(answers(&[3, 3]), 7)).await, (vec![3, 3], Code::Unavailable));
        // As a stop does it.
        let stopped = answers(&[3, 4]).take(2);
        assert_eq!(read(to_the_end(stopped, 7)).await, (vec![3], Code::Unavailable));
        let broken = answers(&[3]).chain(stream::once(async { Err(Error::internal(std::io::Error::other("disk"))) }));
        assert_eq!(read(to_the_end(broken, 7)).await, (vec![3], Code::Internal));
    }
}

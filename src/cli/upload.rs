//! A file of this machine, on its way to the sender's provider.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use futures::{Stream, stream};
use recado::proto::messaging_service_client::MessagingServiceClient;
use recado::proto::upload_media_request::Item;
use recado::proto::{UploadInfo, UploadMediaRequest, UploadedMedia};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::client::{Link, refused};

/// Bytes of one request.
const CHUNK: usize = 256 << 10;

/// Types by the ends of names: those that Meta keeps.
const TYPES: &[(&str, &str)] = &[
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("webp", "image/webp"),
    ("mp4", "video/mp4"),
    ("3gp", "video/3gpp"),
    ("aac", "audio/aac"),
    ("amr", "audio/amr"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("ogg", "audio/ogg; codecs=opus"),
    ("opus", "audio/ogg; codecs=opus"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
];

/// The name that a person would see, and the type that the name's end stands for.
///
/// # Errors
/// When the end of the name stands for none.
pub fn described(path: &Path, mime_type: Option<&str>) -> anyhow::Result<(String, String)> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let end = path.extension().map(|end| end.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let known = TYPES.iter().find(|(known, _)| *known == end).map(|(_, mime_type)| *mime_type);
    let mime_type = mime_type.or(known).ok_or_else(|| anyhow!("what is {name}? Say it with --mime-type"))?;
    Ok((name, mime_type.to_owned()))
}

/// Uploads the file, as `info` describes it.
///
/// # Errors
/// When it cannot be read, or is refused.
pub async fn upload(
    client: &mut MessagingServiceClient<Link>,
    path: &Path,
    info: UploadInfo,
) -> anyhow::Result<UploadedMedia> {
    let failed = || format!("{} cannot be read", path.display());
    let file = File::open(path).await.with_context(failed)?;
    let size = file.metadata().await.with_context(failed)?.len();
    let info = UploadInfo { size_bytes: Some(i64::try_from(size)?), ..info };
    if size == 0 {
        bail!("{} has no bytes", path.display());
    }
    let answer = client.upload_media(requests(file, info, path.to_owned())).await.map_err(refused)?;
    answer.into_inner().media.context("the gateway answered no file")
}

/// The description, then the file. Where it cannot be read on, the stream ends early, which the gateway finds out by the size.
fn requests(file: File, info: UploadInfo, path: PathBuf) -> impl Stream<Item = UploadMediaRequest> + Send {
    let first = stream::iter([UploadMediaRequest { item: Some(Item::Info(info)) }]);
    let rest = stream::unfold((file, path), |(mut file, path)| async move {
        let mut bytes = Vec::with_capacity(CHUNK);
        match (&mut file).take(CHUNK as u64).read_to_end(&mut bytes).await {
            Ok(0) => None,
            Ok(_) => Some((UploadMediaRequest { item: Some(Item::Chunk(bytes)) }, (file, path))),
            Err(error) => {
                eprintln!("{} cannot be read to its end: {error}", path.display());
                None
            }
        }
    });
    futures::StreamExt::chain(first, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_described_by_its_name() {
        let of = |path: &str, mime_type| described(Path::new(path), mime_type).ok();
        let pair = |name: &str, mime_type: &str| Some((name.to_owned(), mime_type.to_owned()));
        assert_eq!(of("/tmp/Boleto nº 1.PDF", None), pair("Boleto nº 1.PDF", "application/pdf"));
        assert_eq!(of("a.bin", Some("image/png")), pair("a.bin", "image/png"));
        assert_eq!(of("a.pdf", Some("text/plain")), pair("a.pdf", "text/plain"));
        assert_eq!((of("a.bin", None), of("a", None)), (None, None));
    }
}

//! `recado download`: a file that a person sent.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use recado::proto::download_media_response::Item;
use recado::proto::{DownloadMediaRequest, DownloadMediaResponse, MediaInfo};
use ring::digest;
use tonic::{Status, Streaming};
use tonic_types::StatusExt as _;

use super::client::{Server, refused};
use super::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file's id: media_id of the incoming message
    #[arg(value_name = "MEDIA_ID")]
    media_id: String,
    /// Where to write it; - is standard output. The name that the person's device gave is never used
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Wait for a file that is still being fetched
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: Server,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut client = args.server.messaging().await?;
    let answers = loop {
        let request = DownloadMediaRequest { media_id: args.media_id.clone() };
        match client.download_media(request).await {
            Ok(answers) => break answers.into_inner(),
            Err(status) => match not_ready(&status).filter(|_| args.wait) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(refused(status)),
            },
        }
    };
    if args.output.as_os_str() == "-" {
        copy(answers, &mut std::io::stdout().lock()).await?;
        return Ok(());
    }
    let info = save(answers, &args.output).await?;
    output::line(&format!("{} {} bytes sha256 {}", output::safe(&info.mime_type), info.size_bytes, info.sha256))
}

/// How long to wait for a file that is still being fetched.
fn not_ready(status: &Status) -> Option<Duration> {
    let details = status.get_error_details();
    details.error_info().filter(|info| info.reason == "MEDIA_NOT_READY")?;
    details.retry_info()?.retry_delay
}

/// Under another name until it is whole.
async fn save(answers: Streaming<DownloadMediaResponse>, path: &Path) -> anyhow::Result<MediaInfo> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let failed = || format!("{} cannot be written", part.display());
    let mut file = std::fs::File::create(&part).with_context(failed)?;
    let copied = copy(answers, &mut file).await;
    let saved = copied.and_then(|info| {
        std::fs::rename(&part, path).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(info)
    });
    if saved.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    saved
}

/// Copies the bytes, and checks that they are all of the file's and no others.
async fn copy(mut answers: Streaming<DownloadMediaResponse>, to: &mut impl Write) -> anyhow::Result<MediaInfo> {
    let Some(Item::Info(info)) = answers.message().await.map_err(refused)?.and_then(|answer| answer.item) else {
        bail!("the gateway sent no description of the file");
    };
    let mut sha256 = digest::Context::new(&digest::SHA256);
    while let Some(answer) = answers.message().await.map_err(refused)? {
        if let Some(Item::Chunk(bytes)) = answer.item {
            sha256.update(&bytes);
            to.write_all(&bytes)?;
        }
    }
    to.flush()?;
    if hex::encode(sha256.finish()) != info.sha256 {
        bail!("what came is not the file: its SHA-256 is not {}", info.sha256);
    }
    Ok(info)
}

//! Where files are kept: a folder, or a bucket that several machines share.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::io::AsyncWriteExt as _;
use url::Url;

use crate::domain::MediaId;

/// Bytes that are collected before a part is written: S3 wants no smaller ones, but for the last.
const PART: usize = 5 << 20;

/// The media store; cheap to clone.
#[derive(Debug, Clone)]
pub struct Shelf {
    objects: Arc<dyn ObjectStore>,
}

impl Shelf {
    /// Opens what `media.store` names: `s3://BUCKET/PREFIX`, whose endpoint, region and credentials come from the
    /// environment's `AWS_…`, or a folder, which is made.
    ///
    /// # Errors
    /// When it is neither, or cannot be opened.
    pub fn open(place: &str) -> anyhow::Result<Self> {
        match Url::parse(place) {
            Ok(url) if url.scheme() == "s3" => Self::bucket(&url),
            Ok(url) if place.contains("://") => {
                bail!("media.store has the scheme {:?}; it is a folder or s3://BUCKET/PREFIX", url.scheme())
            }
            _ => Self::folder(&PathBuf::from(place)),
        }
    }

    fn bucket(url: &Url) -> anyhow::Result<Self> {
        let bucket = url.host_str().context("media.store names no bucket; write s3://BUCKET/PREFIX")?;
        let objects = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .build()
            .with_context(|| format!("media.store {url} cannot be used"))?;
        let prefix = Path::from_url_path(url.path()).with_context(|| format!("media.store {url}: no such prefix"))?;
        Ok(Self { objects: Arc::new(PrefixStore::new(objects, prefix)) })
    }

    fn folder(folder: &FilePath) -> anyhow::Result<Self> {
        let failed = || format!("media.store: the folder {} cannot be used", folder.display());
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        // What people sent is nobody else's business on this machine.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).with_context(failed)?;
        // Ready means durable: a file is on the disk before its row says so.
        let objects = LocalFileSystem::new_with_prefix(folder).with_context(failed)?.with_fsync(true);
        Ok(Self { objects: Arc::new(objects) })
    }

    /// Begins to keep what a try brings. Nothing of it is seen before [`Put::finish`].
    pub fn put(&self, id: MediaId, attempt: i32) -> Put {
        Put { writer: BufWriter::with_capacity(self.objects.clone(), key(id, attempt), PART).with_max_concurrency(1) }
    }

    /// Reads what a try brought: its size, and its bytes in order.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub async fn get(
        &self,
        id: MediaId,
        attempt: i32,
    ) -> object_store::Result<(u64, BoxStream<'static, object_store::Result<Bytes>>)> {
        let found = self.objects.get(&key(id, attempt)).await?;
        Ok((found.meta.size, found.into_stream()))
    }

    /// Removes all that was kept of a file; what is not there is no error.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn remove(&self, id: MediaId) -> object_store::Result<()> {
        let mut all = self.objects.list(Some(&folder(id)));
        while let Some(found) = all.try_next().await? {
            self.objects.delete(&found.location).await?;
        }
        Ok(())
    }

    /// Removes what other tries brought: one whose outcome was lost in a crash leaves its file behind.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn keep_only(&self, id: MediaId, attempt: i32) -> object_store::Result<()> {
        let kept = key(id, attempt);
        let others = self.objects.list(Some(&folder(id))).try_filter(|found| {
            let other = found.location != kept;
            async move { other }
        });
        let mut others = others.boxed();
        while let Some(other) = others.try_next().await? {
            self.objects.delete(&other.location).await?;
        }
        Ok(())
    }
}

/// Of our own id alone: no name that anybody gave comes into it. Each try has a key of its own, so that two that do not know
/// of each other never write the same one. The last digits of an id are random and spread files over 256 folders.
fn key(id: MediaId, attempt: i32) -> Path {
    folder(id).join(attempt.to_string().as_str())
}

fn folder(id: MediaId) -> Path {
    let id = id.0.simple().to_string();
    let spread = id.get(30..).unwrap_or_default().to_owned();
    Path::from_iter([spread, id])
}

/// A file on its way into the store.
#[derive(Debug)]
pub struct Put {
    writer: BufWriter,
}

impl Put {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When the store does not.
    pub async fn write(&mut self, bytes: Bytes) -> std::io::Result<()> {
        Ok(self.writer.put(bytes).await?)
    }

    /// Makes it whole and durable.
    ///
    /// # Errors
    /// When the store does not.
    pub async fn finish(mut self) -> std::io::Result<()> {
        self.writer.shutdown().await
    }

    /// Drops what was written.
    pub async fn abort(mut self) {
        if let Err(error) = self.writer.abort().await {
            tracing::debug!(%error, "a part of a file could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(shelf: &Shelf, id: MediaId, attempt: i32) -> object_store::Result<Vec<u8>> {
        let (size, parts) = shelf.get(id, attempt).await?;
        let bytes: Vec<Bytes> = parts.try_collect().await?;
        assert_eq!(bytes.iter().map(|part| part.len() as u64).sum::<u64>(), size);
        Ok(bytes.concat())
    }

    #[tokio::test]
    async fn small_and_large_files_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(folder.path().join("a/b").to_str().unwrap()).unwrap();
        for size in [0, 1, PART - 1, PART, 2 * PART + 1] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let id = MediaId::generate();
            let mut put = shelf.put(id, 1);
            for part in bytes.chunks(64 << 10) {
                put.write(Bytes::copy_from_slice(part)).await.unwrap();
            }
            assert!(shelf.get(id, 1).await.is_err(), "nothing of {size} bytes is seen before the end");
            put.finish().await.unwrap();
            assert!(read(&shelf, id, 1).await.unwrap() == bytes, "{size} bytes");
        }
    }

    #[tokio::test]
    async fn only_the_try_that_counts_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(folder.path().to_str().unwrap()).unwrap();
        let (id, other) = (MediaId::generate(), MediaId::generate());
        for (id, attempt) in [(id, 1), (id, 2), (id, 11), (other, 1)] {
            let mut put = shelf.put(id, attempt);
            put.write(Bytes::from(attempt.to_string())).await.unwrap();
            put.finish().await.unwrap();
        }
        let mut aborted = shelf.put(id, 3);
        aborted.write(Bytes::from_static(b"3")).await.unwrap();
        aborted.abort().await;
        shelf.keep_only(id, 11).await.unwrap();
        assert_eq!(read(&shelf, id, 11).await.unwrap(), b"11");
        assert_eq!(read(&shelf, other, 1).await.unwrap(), b"1");
        for gone in [1, 2, 3] {
            assert!(shelf.get(id, gone).await.is_err(), "{gone}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for (place, words) in [("gs://x", "\"gs\""), ("s3://", "no bucket"), ("/dev/null/x", "/dev/null/x")] {
            let error = format!("{:#}", Shelf::open(place).unwrap_err());
            assert!(error.contains(words), "{place}: {error}");
        }
    }
}

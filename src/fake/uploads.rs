//! Files that senders hand over to be kept: the form they come in, what is refused, and a ledger with their very bytes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use serde::Serialize;

/// A file that was handed over and is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The provider's id of it.
    pub media_id: String,
    /// Which provider.
    pub provider: &'static str,
    /// MIME type, of the file's own part.
    pub mime_type: String,
    /// As the form has it.
    pub file_name: String,
    /// Whether its size was told beforehand.
    pub announced: bool,
    /// The file; in JSON, how many bytes it has.
    #[serde(serialize_with = "length")]
    pub bytes: Bytes,
}

fn length<S: serde::Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(bytes.len() as u64)
}

/// All that is kept.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    kept: Mutex<Vec<Kept>>,
    counts: Mutex<Counts>,
}

/// How many uploads there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Begun.
    pub begun: u64,
    /// Broken off before their end.
    pub broken: u64,
}

impl Uploads {
    pub fn keep(&self, kept: Kept) {
        self.lock().push(kept);
    }

    pub fn find(&self, provider: &str, media_id: &str) -> Option<Kept> {
        self.lock().iter().find(|kept| kept.provider == provider && kept.media_id == media_id).cloned()
    }

    pub fn all(&self) -> Vec<Kept> {
        self.lock().clone()
    }

    pub fn forget(&self) {
        self.lock().clear();
        *self.count() = Counts::default();
    }

    pub fn begun(&self) {
        self.count().begun += 1;
    }

    pub fn broke_off(&self) {
        self.count().broken += 1;
    }

    pub fn counts(&self) -> Counts {
        *self.count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One part of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub name: String,
    pub file_name: Option<String>,
    pub mime_type: String,
    pub bytes: Bytes,
}

/// The parts of a `multipart/form-data` (RFC 7578) that is there as a whole; nothing when it is none.
pub(super) fn parts(content_type: &str, body: &Bytes) -> Option<Vec<Part>> {
    let boundary = content_type.strip_prefix("multipart/form-data")?.split("boundary=").nth(1)?.trim_matches('"');
    let delimiter = format!("\r\n--{boundary}");
    // The first delimiter has no line before it.
    let first = format!("--{boundary}");
    let mut at = body.starts_with(first.as_bytes()).then_some(first.len())?;
    let mut parts = Vec::new();
    while !body[at..].starts_with(b"--") {
        at += body[at..].starts_with(b"\r\n").then_some(2)?;
        let end = at + find(&body[at..], delimiter.as_bytes())?;
        parts.push(part(body.slice(at..end))?);
        at = end + delimiter.len();
    }
    Some(parts)
}

fn part(whole: Bytes) -> Option<Part> {
    let head = find(&whole, b"\r\n\r\n")?;
    let lines = std::str::from_utf8(&whole[..head]).ok()?;
    let header = |name: &str| {
        let mut pairs = lines.split("\r\n").filter_map(|line| line.split_once(':'));
        pairs.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let disposition = header("content-disposition")?;
    let said = |name: &str| {
        let rest = disposition.split(&format!("; {name}=\"")).nth(1)?;
        rest.split('"').next().map(str::to_owned)
    };
    Some(Part {
        name: said("name")?,
        file_name: said("filename"),
        mime_type: header("content-type").unwrap_or_default(),
        bytes: whole.slice(head + 4..),
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_part_by_part_and_half_of_one_is_none() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\nimage/png\r\n--b\r\n\
                    content-disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\
                    \r\n--not the end\r\n--b--\r\n";
        let of_form = "multipart/form-data; boundary=b";
        let read = parts(of_form, &body.into()).unwrap();
        let names: Vec<_> = read.iter().map(|part| (part.name.as_str(), part.file_name.as_deref())).collect();
        assert_eq!(names, [("type", None), ("file", Some("a.png"))]);
        assert_eq!((&read[0].bytes[..], &read[1].bytes[..]), (&b"image/png"[..], &b"\r\n--not the end"[..]));
        assert_eq!(read[1].mime_type, "image/png");
        for length in 0..body.len() - 4 {
            assert_eq!(parts(of_form, &Bytes::copy_from_slice(&body.as_bytes()[..length])), None, "{length}");
        }
        assert_eq!(parts("application/json", &body.into()), None);
    }
}

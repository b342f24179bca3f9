//! Files to keep: `POST …/media`, a form of several parts whose last is the file, passed on as it comes.

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::{Map, Value};

use super::door::Door;
use super::errors::Said;
use super::wire;
use crate::domain::ErrorReason;
use crate::provider::http::{Body, HttpAnswer};
use crate::provider::lenient::text;
use crate::provider::whatsapp::QUOTABLE;
use crate::provider::{SendError, Upload, UploadInfo, Uploaded};

impl Door {
    /// Hands over a file to keep, by posting it to `path`.
    pub async fn upload(&self, path: &str, upload: Upload) -> Result<Uploaded, SendError> {
        let url = self.url(path).map_err(SendError::Refused)?;
        let Upload { info, bytes, limit } = upload;
        let boundary = format!("recado-{}", uuid::Uuid::new_v4().simple());
        let [head, tail] = around(&info, &boundary);
        let length = info.size_bytes.map(|size| size + (head.len() + tail.len()) as u64);
        let once = |part: String| stream::once(async { Ok(Bytes::from(part)) });
        let bytes = once(head).chain(bytes).chain(once(tail)).boxed();
        let mime_type = format!("multipart/form-data; boundary={boundary}");
        let body = Body::Stream { mime_type, length, bytes, limit };
        let private: Vec<&str> =
            Some(info.file_name.as_str()).filter(|name| name.len() >= QUOTABLE).into_iter().collect();
        let called = self.call(Method::POST, url, body, &private).await;
        let outcome = match called.result {
            Ok(answer) => judge(&answer, self.otherwise),
            Err(error) => Err(error.into()),
        };
        outcome.map_err(|error| about_a_file(error).without(&self.redacted(&private)))
    }
}

/// What stands before the file and behind it. Meta goes by the type that the file's own part has, and wants the same said
/// beside it.
fn around(info: &UploadInfo, boundary: &str) -> [String; 2] {
    let mime_type = &info.mime_type;
    let mut head = String::new();
    for (name, value) in [("messaging_product", "whatsapp"), ("type", mime_type)] {
        head.push_str(&format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
    }
    let name = file_name(info);
    head.push_str(&format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: {mime_type}\r\n\r\n"
    ));
    [head, format!("\r\n--{boundary}--\r\n")]
}

/// As browsers write it; without one, made of the type: a part without a name would be no file.
fn file_name(info: &UploadInfo) -> String {
    match info.file_name.as_str() {
        "" => {
            let subtype = info.mime_type.split(['/', ';']).nth(1).unwrap_or_default();
            let plain: String = subtype.trim().chars().filter(char::is_ascii_alphanumeric).collect();
            format!("file.{plain}")
        }
        name => name.replace('\r', "%0D").replace('\n', "%0A").replace('"', "%22"),
    }
}

fn judge(answer: &HttpAnswer, otherwise: fn(&HttpAnswer) -> SendError) -> Result<Uploaded, SendError> {
    let body = serde_json::from_slice::<Map<String, Value>>(&answer.body).unwrap_or_default();
    if let Some(said) = Said::of_answer(&body) {
        return Err(said.outcome(answer, 1));
    }
    if !answer.status.is_success() {
        return Err(otherwise(answer));
    }
    match text(&body, "id") {
        Some(media_id) => Ok(Uploaded { media_id, kept_for: Some(wire::MEDIA_KEPT) }),
        None => Err(SendError::in_doubt(format!("HTTP {} without a file's id", answer.status.as_u16()))),
    }
}

/// All that can be wrong with such a request is the file: code 100 (`Param file must be a file with one of the following
/// types`, github.com/fbsamples/whatsapp-api-examples/issues/10), 131009, and 413.
fn about_a_file(error: SendError) -> SendError {
    match error {
        SendError::Refused(mut error) => {
            if matches!(error.reason, ErrorReason::InvalidRequest | ErrorReason::ContentTooLong) {
                error.reason = ErrorReason::InvalidMedia;
            }
            SendError::Refused(error)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::content::MediaKind;

    fn info(mime_type: &str, file_name: &str) -> UploadInfo {
        let (mime_type, file_name) = (mime_type.into(), file_name.into());
        UploadInfo { kind: MediaKind::Document, mime_type, file_name, size_bytes: None }
    }

    #[test]
    fn the_form_has_three_parts_and_the_file_is_the_last() {
        let [head, tail] = around(&info("application/pdf", "boleto.pdf"), "x");
        assert_eq!(
            head,
            "--x\r\nContent-Disposition: form-data; name=\"messaging_product\"\r\n\r\nwhatsapp\r\n\
             --x\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\napplication/pdf\r\n\
             --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"boleto.pdf\"\r\n\
             Content-Type: application/pdf\r\n\r\n"
        );
        assert_eq!(tail, "\r\n--x--\r\n");
    }

    #[test]
    fn names_cannot_leave_their_place() {
        for (mime_type, given, name) in [
            ("application/pdf", "boleto nº 1.pdf", "boleto nº 1.pdf"),
            ("application/pdf", "a\"\r\nX: y", "a%22%0D%0AX: y"),
            ("image/jpeg", "", "file.jpeg"),
            ("audio/ogg; codecs=opus", "", "file.ogg"),
            ("application/vnd.ms-excel", "", "file.vndmsexcel"),
        ] {
            assert_eq!(file_name(&info(mime_type, given)), name);
        }
    }
}

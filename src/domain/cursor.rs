//! A place in the event log, opaque to callers.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::Reason;

/// The form that this version writes. A reader of a later form tells the two apart by this byte.
const VERSION: u8 = 1;

/// A place in the log: everything up to `position` was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Which log: drawn at random when a database is made, so a cursor of another one is told apart.
    pub epoch: i64,
    /// The last event read; 0 is before the first.
    pub position: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 17];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[9..].copy_from_slice(&self.position.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = (Reason, String);

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let garbage =
            || (Reason::Invalid, "not a cursor of this gateway; pass one exactly as it was received".to_owned());
        if text.is_empty() {
            return Err((Reason::Required, "a cursor is needed".into()));
        }
        let bytes: [u8; 17] = URL_SAFE_NO_PAD.decode(text).ok().and_then(|b| b.try_into().ok()).ok_or_else(garbage)?;
        let number = |range: std::ops::Range<usize>| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[range]);
            i64::from_be_bytes(eight)
        };
        let cursor = Self { epoch: number(1..9), position: number(9..17) };
        if bytes[0] != VERSION || cursor.position < 0 {
            return Err(garbage());
        }
        Ok(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_garbage_does_not() {
        let cursor = Cursor { epoch: -7, position: 42 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        let mut flipped = cursor.to_string();
        flipped.replace_range(0..1, "Z");
        for garbage in ["", "x", "42", "////", flipped.as_str(), "AQ"] {
            assert!(garbage.parse::<Cursor>().is_err(), "{garbage}");
        }
    }
}

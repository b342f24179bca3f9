//! What a refusal says, taken apart.

use std::collections::HashMap;
use std::fmt::Debug;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A refusal in the contract's words.
#[derive(Debug)]
pub struct Refusal {
    pub code: Code,
    pub reason: String,
    pub metadata: HashMap<String, String>,
    /// Each violation as `path REASON`, sorted.
    pub fields: Vec<String>,
    pub says_when_to_come_back: bool,
    pub message: String,
}

impl Refusal {
    /// Code and reason, for comparing.
    pub fn is(&self) -> (Code, &str) {
        (self.code, &self.reason)
    }
}

/// Takes a status apart; every error of the gateway has an ErrorInfo of the domain `recado`.
pub fn refusal(status: &Status) -> Refusal {
    let details = status.get_error_details();
    let Some(info) = details.error_info() else { panic!("an error without an ErrorInfo: {status:?}") };
    assert_eq!(info.domain, "recado", "{status:?}");
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    for violation in &violations {
        assert!(!violation.description.is_empty(), "{violation:?} does not say what would be right");
    }
    let mut fields: Vec<_> = violations.iter().map(|v| format!("{} {}", v.field, v.reason)).collect();
    fields.sort();
    Refusal {
        code: status.code(),
        reason: info.reason.clone(),
        metadata: info.metadata.clone(),
        fields,
        says_when_to_come_back: details.retry_info().is_some_and(|retry| retry.retry_delay.is_some()),
        message: status.message().to_owned(),
    }
}

/// The refusal of an answer that must be one.
pub fn refused<T: Debug>(answer: Result<T, Status>) -> Refusal {
    match answer {
        Ok(answer) => panic!("{answer:?} instead of a refusal"),
        Err(status) => refusal(&status),
    }
}

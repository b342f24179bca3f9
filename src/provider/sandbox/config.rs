//! Settings of the built-in provider: there are none.

use serde::{Deserialize, Serialize};

use crate::error::Violations;
use crate::provider::{Secrets, Settings};

/// No settings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Config {}

impl Settings for Config {
    type Proto = crate::proto::SandboxConfig;

    fn from_proto(_: Self::Proto) -> Self {
        Self {}
    }

    fn to_proto(&self, _: Secrets) -> Self::Proto {
        Self::Proto {}
    }

    fn stored_secrets(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn check(&self, _: &mut Violations) {}
}

//! Cloud Humans from end to end, with the fake provider over HTTP on the other side.

use anyhow::{Context as _, Result};
use recado::fake::{Account, FakeProvider, Script};
use recado::proto;

use crate::gateway::TestGateway;
use crate::tools::play;

mod faults;
mod incoming;
mod look_ups;
mod sending;
mod statuses;

const SECRET: &str = "cw_test_secret_0123456789";

impl TestGateway {
    /// A Cloud Humans sender that speaks to any address.
    pub async fn cloudhumans_sender(&mut self, id: &str, base_url: &str) -> Result<proto::Sender> {
        let config = proto::CloudHumansConfig {
            base_url: base_url.into(),
            api_access_token: "test-token-0123456789".into(),
            account_id: "42".into(),
            inbox_id: "58".into(),
            webhook_secret: SECRET.into(),
            ..Default::default()
        };
        let config = Some(proto::sender::Config::Cloudhumans(config));
        let sender = Some(proto::Sender { sender: id.into(), config, ..Default::default() });
        let request = proto::CreateSenderRequest { sender };
        self.admin.create_sender(request).await?.into_inner().sender.context("CreateSender answered no sender")
    }

    /// Where its webhooks go.
    fn cloudhumans_webhook(&self, sender: &str) -> String {
        format!("{}/webhooks/cloudhumans/{sender}", self.http)
    }

    /// A sender at a fake that posts signed webhooks to it, and plays the script.
    async fn cloudhumans(&mut self, fake: &FakeProvider, script: Script) -> Result<()> {
        self.cloudhumans_sender("acme", &fake.base_url("cloudhumans")).await?;
        play(fake, self.posting(script));
        Ok(())
    }

    /// The script, with webhooks that come here.
    fn posting(&self, script: Script) -> Script {
        let account = Account { webhook_url: Some(self.cloudhumans_webhook("acme")), secret: Some(SECRET.into()) };
        Script { accounts: [("cloudhumans".to_owned(), account)].into(), ..script }
    }

    /// Sends a template, and wants an OK.
    async fn accepted_template(&mut self, request: proto::SendTemplateRequest) -> Result<proto::SendTemplateResponse> {
        Ok(self.messaging.send_template(request).await?.into_inner())
    }
}

/// A template to somebody.
fn template(to: &str, parameters: &[(&str, &str)]) -> proto::SendTemplateRequest {
    proto::SendTemplateRequest {
        sender: "acme".into(),
        to: to.into(),
        template: "boleto_disponivel".into(),
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Default::default()
    }
}

/// A webhook with the token in its address, for what the fake does not post.
fn with_token(url: &str) -> String {
    format!("{url}?token={SECRET}")
}

//! A sender's callback fields: taken, checked, sealed, and never answered.

use anyhow::{Context as _, Result};
use recado::proto;
use sea_orm::{ConnectionTrait as _, Statement};

use super::{OTHER_SECRET, SECRET, set_secret};
use crate::gateway::TestGateway;
use crate::on_both_databases;
use crate::refusal::refused;

async fn update(gateway: &TestGateway, sender: proto::Sender, paths: &[&str]) -> Result<proto::Sender, tonic::Status> {
    let update_mask = Some(prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() });
    let request = proto::UpdateSenderRequest { sender: Some(sender), update_mask };
    Ok(gateway.admin.clone().update_sender(request).await?.into_inner().sender.unwrap())
}

on_both_databases! {
    async fn the_callback_fields_are_set_changed_and_cleared(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let url = "https://hooks.example.com/in?x=1";
        let sender = proto::Sender {
            sender: "acme".into(),
            incoming_callback_url: url.into(),
            callback_secret: format!(" {SECRET}\n"),
            config: Some(proto::sender::Config::Sandbox(proto::SandboxConfig {})),
            ..Default::default()
        };
        let made = gateway.admin.create_sender(proto::CreateSenderRequest { sender: Some(sender) }).await?;
        let made = made.into_inner().sender.context("no sender")?;
        assert_eq!((made.incoming_callback_url.as_str(), made.callback_secret.as_str()), (url, ""));
        assert_eq!(made.stored_secrets, ["callback_secret"]);

        let empty = || proto::Sender { sender: "acme".into(), ..Default::default() };
        // A mask that names all takes the address, and keeps the secret that is not given.
        let all = update(&gateway, empty(), &["*"]).await?;
        assert_eq!((all.incoming_callback_url.as_str(), all.stored_secrets.len()), ("", 1));
        let given = proto::Sender { incoming_callback_url: url.into(), ..empty() };
        assert_eq!(update(&gateway, given, &[]).await?.incoming_callback_url, url, "no mask: what has a value");
        let named = proto::Sender { display_name: "Acme".into(), incoming_callback_url: String::new(), ..empty() };
        assert_eq!(update(&gateway, named, &["display_name"]).await?.incoming_callback_url, url);
        assert_eq!(update(&gateway, empty(), &["incoming_callback_url"]).await?.incoming_callback_url, "");
        assert!(update(&gateway, empty(), &["callback_secret"]).await?.stored_secrets.is_empty(), "cleared by its path");

        for bad in ["whsec_x", "short", "whsec_AQID", &format!("whsec_{}", "A".repeat(200))] {
            let given = proto::Sender { callback_secret: bad.into(), ..empty() };
            let refusal = refused(update(&gateway, given, &["callback_secret"]).await);
            assert_eq!(refusal.fields, ["sender.callback_secret INVALID"], "{bad}");
            assert!(!refusal.message.contains(bad), "a secret is not repeated");
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn secrets_of_callbacks_are_sealed_and_never_answered(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        set_secret(&mut gateway, "sandbox", SECRET).await?;
        let answer = set_secret(&mut gateway, "sandbox", OTHER_SECRET).await?;
        let listed = gateway.admin.list_senders(proto::ListSendersRequest::default()).await?.into_inner();
        let events = gateway.all_events().await?;
        let rows = gateway.rows().await?;
        let text = "SELECT callback_secrets FROM senders WHERE id = 'sandbox'";
        let row = rows.query_one_raw(Statement::from_string(rows.get_database_backend(), text)).await?;
        let sealed: Vec<u8> = row.context("no sender")?.try_get("", "callback_secrets")?;
        let seen = format!("{answer:?} {listed:?} {events:?} {}", String::from_utf8_lossy(&sealed));
        for secret in [SECRET, OTHER_SECRET] {
            assert!(!seen.contains(secret.trim_start_matches("whsec_")), "{seen}");
        }
        assert_eq!(answer.stored_secrets, ["callback_secret"]);
        gateway.stop().await?;
        Ok(())
    }
}

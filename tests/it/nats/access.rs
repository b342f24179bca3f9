//! Who may connect: users, tokens, credentials, TLS.

use anyhow::Result;

use super::server::{NatsServer, STREAM};
use super::{caught_up, publishing, subscription};
use crate::database::Engine;
use crate::gateway::{Setup, TestGateway, until};

/// Starts a gateway, and waits until what it recorded is in the stream.
async fn publishes(setup: Setup) -> Result<()> {
    let mut gateway = TestGateway::start_with(Engine::Sqlite, setup).await?;
    gateway.fill(20, "").await?;
    caught_up(&gateway).await?;
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_and_a_token_are_let_in() -> Result<()> {
    let server = NatsServer::start_with("authorization { user: recado, password: \"p w\" }").await?;
    publishes(publishing(&server).with("nats.user", "recado").with("nats.password", "p w")).await?;
    let server = NatsServer::start_with("authorization { token: \"t0ken\" }").await?;
    publishes(publishing(&server).with("nats.token", "t0ken")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_stops_nothing_but_the_publishing() -> Result<()> {
    let server = NatsServer::start_with("authorization { user: recado, password: right }").await?;
    let setup = publishing(&server).with("nats.user", "recado").with("nats.password", "wrong");
    let mut gateway = TestGateway::start_with(Engine::Sqlite, setup).await?;
    gateway.fill(20, "").await?;
    until("the lag is told", || async { Ok(subscription(&gateway).await?.lag_events == 21) }).await?;
    let database = gateway.stop().await?;
    // With the right one, nothing is missing.
    let setup = publishing(&server).with("nats.user", "recado").with("nats.password", "right");
    let gateway = TestGateway::start_on(database, setup).await?;
    caught_up(&gateway).await?;
    let options = async_nats::ConnectOptions::with_user_and_password("recado".into(), "right".into());
    let jetstream = async_nats::jetstream::new(options.connect(server.url()).await?);
    let stream = jetstream.get_stream(STREAM).await?;
    assert_eq!(stream.cached_info().state.messages, 21);
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_to_a_server_of_a_private_authority() -> Result<()> {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let folder = tempfile::tempdir()?;
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, certified.cert.pem())?;
    std::fs::write(&key, certified.signing_key.serialize_pem())?;
    let server = NatsServer::start_with(&format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}")).await?;
    let url = format!("tls://localhost:{}", server.addr.port());
    let setup = Setup::default().with("nats.url", &url);
    // Nobody whom the system trusts has signed it.
    let mut gateway = TestGateway::start_with(Engine::Sqlite, setup).await?;
    gateway.fill(20, "").await?;
    until("the lag is told", || async { Ok(subscription(&gateway).await?.lag_events == 21) }).await?;
    gateway.stop().await?;
    publishes(Setup::default().with("nats.url", &url).with("nats.ca", &certificate.display().to_string())).await
}

/// A token as NATS has them, signed by a key.
fn jwt(issuer: &nkeys::KeyPair, subject: &nkeys::KeyPair, nats: &serde_json::Value) -> Result<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    let header = serde_json::json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let claims = serde_json::json!({
        "jti": "a-test", "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "a-test",
        "sub": subject.public_key(), "nats": nats,
    });
    let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    let signature = BASE64.encode(issuer.sign(text.as_bytes())?);
    Ok(format!("{text}.{signature}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_a_file_are_signed_with() -> Result<()> {
    use nkeys::KeyPair;
    let [operator, user] = [KeyPair::new_operator(), KeyPair::new_user()];
    // JetStream wants an account of its own beside the gateway's.
    let [account, system] = [(); 2].map(|()| KeyPair::new_account());
    let limits = serde_json::json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_operator = jwt(&operator, &operator, &serde_json::json!({ "type": "operator", "version": 2 }))?;
    let of_account = serde_json::json!({ "type": "account", "version": 2, "limits": limits });
    let of_system = jwt(&operator, &system, &serde_json::json!({ "type": "account", "version": 2 }))?;
    let of_account = jwt(&operator, &account, &of_account)?;
    let of_user = serde_json::json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    let of_user = jwt(&account, &user, &of_user)?;
    let server = NatsServer::start_with(&format!(
        "operator: {of_operator}\nsystem_account: {sys}\nresolver: MEMORY\n\
         resolver_preload: {{ {}: {of_account}, {sys}: {of_system} }}",
        account.public_key(),
        sys = system.public_key(),
    ))
    .await?;
    let credentials = server.folder().join("user.creds");
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed()?
    );
    std::fs::write(&credentials, text)?;
    publishes(publishing(&server).with("nats.credentials", &credentials.display().to_string())).await
}

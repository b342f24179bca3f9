//! Webhooks that no provider would post.

use anyhow::{Context as _, Result};
use recado::fake::FakeProvider;
use recado::proto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::gateway::{Setup, TestGateway};
use crate::on_both_databases;

/// Sends bytes as they are and reads until the server hangs up; answers the status of the first answer, if any.
pub async fn raw(addr: &str, bytes: &[u8]) -> Result<Option<u16>> {
    let mut stream = TcpStream::connect(addr).await?;
    // A server that has refused by now may have closed the other way.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()))
}

/// A request with this method and body; the path goes out as it is.
pub async fn request(base: &str, method: &str, path: &str, body: &[u8]) -> Result<Option<u16>> {
    let addr = base.strip_prefix("http://").context("http only")?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    raw(addr, &[head.as_bytes(), body].concat()).await
}

/// Posts to an address; answers the status.
pub async fn post(url: &str, body: &[u8]) -> Result<u16> {
    let url: url::Url = url.parse()?;
    let path = &url[url::Position::BeforePath..];
    request(&url[..url::Position::BeforePath], "POST", path, body).await?.context("no answer")
}

const GOOD: &str = "/webhooks/devino/acme?token=test-token-0123456789";

on_both_databases! {
    async fn garbage_at_the_webhooks_harms_nothing(engine) {
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        let mut gateway = TestGateway::start_with(engine, Setup::default().with("webhook.body_limit", "10000")).await?;
        gateway.devino_sender("acme", &fake).await?;
        let before = gateway.all_events().await?;
        let deep = "[".repeat(9_000);
        let over = vec![b' '; 10_001];
        let table: &[(&str, &str, &[u8], u16)] = &[
            // Whoever knows the token is stored, whatever it is; nothing of it becomes an event.
            ("POST", GOOD, b"", 200),
            ("POST", GOOD, b"\xff\xfe\x00garbage", 200),
            ("POST", GOOD, b"{\"status\":", 200),
            ("POST", GOOD, b"[1, null, \"x\", {}, [], {\"status\":{}}]", 200),
            ("POST", GOOD, deep.as_bytes(), 200),
            ("POST", GOOD, &over, 413),
            ("POST", "/webhooks/devino/acme/test-token-0123456789", b"[]", 200),
            ("POST", "/webhooks/devino/acme", b"[]", 401),
            ("POST", "/webhooks/devino/acme?token=", b"[]", 401),
            ("POST", "/webhooks/devino/acme?token=test-token-012345678", b"[]", 401),
            ("POST", "/webhooks/devino/acme?token=%ff%00", b"[]", 401),
            ("POST", "/webhooks/devino/acme/wrong", b"[]", 401),
            ("POST", "/webhooks/sandbox/sandbox", b"[]", 401),
            ("POST", "/webhooks/devino/nobody?token=test-token-0123456789", b"[]", 404),
            ("POST", "/webhooks/sandbox/acme?token=test-token-0123456789", b"[]", 404),
            ("POST", "/webhooks/nobody/acme?token=test-token-0123456789", b"[]", 404),
            ("POST", "/webhooks/devino/..%2f..%2fetc%2fpasswd", b"[]", 404),
            ("POST", "/webhooks/devino/%00", b"[]", 404),
            ("POST", "/webhooks/devino/ACME?token=test-token-0123456789", b"[]", 404),
            ("POST", "/webhooks/../../etc/passwd", b"[]", 404),
            ("POST", "/webhooks/devino/acme/../../../x", b"[]", 404),
            ("POST", "/webhooks", b"[]", 404),
            ("POST", "/", b"[]", 404),
            ("GET", GOOD, b"", 405),
            ("PUT", GOOD, b"[]", 405),
            ("DELETE", GOOD, b"", 405),
            ("PATCH", GOOD, b"[]", 405),
            ("NONSENSE", GOOD, b"", 405),
            ("POST", "/healthz", b"", 405),
            ("GET", "/healthz", b"", 200),
            ("GET", "/readyz", b"", 200),
            ("GET", "/metrics", b"", 200),
        ];
        for (method, path, body, expected) in table {
            let status = request(&gateway.http, method, path, body).await?;
            assert_eq!(status, Some(*expected), "{method} {path}");
        }
        let bad_path = request(&gateway.http, "POST", "/webhooks/devino/%ff", b"[]").await?;
        assert!(bad_path.is_some_and(|status| (400..500).contains(&status)), "{bad_path:?}");
        let addr = gateway.http.strip_prefix("http://").unwrap().to_owned();
        let long_header = format!("POST {GOOD} HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(2_000_000));
        let long_path = format!("POST /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(100_000));
        for bytes in [b"\x00\x01\x02\r\n\r\n".as_slice(), b"GET\r\n\r\n", b"\xff\xff\xff\xff\r\n\r\n", long_header.as_bytes(), long_path.as_bytes()] {
            let status = raw(&addr, bytes).await?;
            assert!(status.is_none_or(|status| (400..500).contains(&status)), "{status:?}");
        }
        // A sign of life, behind all of it in the journal.
        let incoming = br#"{"incomingMessageId":1,"from":"351910000001","to":"AcmeCare","text":"still there"}"#;
        assert_eq!(post(&format!("{}{GOOD}", gateway.http), incoming).await?, 200);
        let mut stream = gateway.stream(crate::gateway::after(&before.last().unwrap().cursor)).await?;
        let first = stream.next_event().await?;
        assert!(matches!(first.payload, Some(proto::event::Payload::IncomingMessage(_))), "{first:?}");
        let before = gateway.all_events().await?;
        crate::bad_input::unharmed(&mut gateway, &before).await?;
        gateway.stop().await?;
        fake.stop().await;
        Ok(())
    }

    /// PostgreSQL's text holds no NUL: one in a provider's id must not stop what comes behind it.
    async fn a_webhook_that_cannot_be_stored_stops_no_other(engine) {
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        let mut gateway = TestGateway::start(engine).await?;
        gateway.devino_sender("acme", &fake).await?;
        let url = format!("{}{GOOD}", gateway.http);
        let mut stream = gateway.stream(proto::StreamEventsRequest::default()).await?;
        let poison = [
            r#"{"incomingMessageId":"a\u0000b","from":"351910000001","to":"AcmeCare","text":"olá"}"#,
            r#"{"incomingMessageId":"c","from":"35191\u0000","to":"AcmeCare","text":"olá"}"#,
            r#"{"messageId":"a\u0000b","status":"DELIVERED"}"#,
            r#"{"messageId":"d","status":"\u0000"}"#,
        ];
        // More than one read of the journal takes.
        for i in 0..100 {
            assert_eq!(post(&url, poison[i % poison.len()].as_bytes()).await?, 200);
        }
        let good = br#"{"incomingMessageId":"good","from":"351910000001","to":"AcmeCare","text":"behind it"}"#;
        assert_eq!(post(&url, good).await?, 200);
        loop {
            if let Some(proto::event::Payload::IncomingMessage(incoming)) = stream.next_event().await?.payload
                && incoming.provider_message_id == "good"
            {
                break;
            }
        }
        gateway.stop().await?;
        fake.stop().await;
        Ok(())
    }
}

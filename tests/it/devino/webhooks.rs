//! The door for webhooks: who may come in, and what 200 means.

use anyhow::Result;
use recado::proto::MessageStatus;
use recado::proto::event::Payload;

use crate::gateway::{TestGateway, after, text};
use crate::on_both_databases;
use crate::tools::{TOKEN, count, execute, fake, number, post, silent, until};

const WRITTEN: &str = r#"{"incomingMessageId":3591,"from":"351910000001","to":"AcmeCare","text":"É já? 🚚"}"#;

/// How many incoming messages are in the log.
async fn incoming(gateway: &mut TestGateway) -> Result<usize> {
    let events = gateway.all_events().await?;
    Ok(events.iter().filter(|event| matches!(event.payload, Some(Payload::IncomingMessage(_)))).count())
}

on_both_databases! {
    async fn i9_without_the_right_token_nothing_is_kept(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        let sender = gateway.devino_sender("acme", &fake).await?;
        assert_eq!(sender.webhook_url, format!("{}/webhooks/devino/acme", gateway.http), "and shows no token");
        let rows = gateway.rows().await?;
        let at = |query: &str| format!("{}/webhooks/devino/acme{query}", gateway.http);
        let flipped = TOKEN.replace("test", "tesu");
        for query in ["", "?", "?token=", "?token", "?other=1", "/", &format!("?token={flipped}"),
            &format!("?token={}", &TOKEN[1..]), &format!("?token={TOKEN}x"), &format!("?token={}", TOKEN.to_uppercase()),
            &format!("?Token={TOKEN}"), &format!("/{flipped}")]
        {
            let status = post(&at(query), WRITTEN).await?;
            assert_eq!(status, if query == "/" { 404 } else { 401 }, "{query}");
        }
        assert_eq!(count(&rows, "journal").await?, 0);
        assert_eq!(post(&at(&format!("?token={TOKEN}")), WRITTEN).await?, 200);
        assert_eq!(post(&at(&format!("/{TOKEN}")), WRITTEN).await?, 200);
        assert_eq!(count(&rows, "journal").await?, 2);
        until("they were taken in", async || Ok((count(&rows, "journal WHERE pending IS NOT NULL").await? == 0).then_some(()))).await?;
        assert_eq!(incoming(&mut gateway).await?, 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_webhook_for_nobody_is_not_found(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        for path in ["devino/nobody", "sandbox/acme", "devino/sandbox", "meta/acme", "devino/A%20B", "devino/%00"] {
            let url = format!("{}/webhooks/{path}?token={TOKEN}", gateway.http);
            assert_eq!(post(&url, WRITTEN).await?, 404, "{path}");
        }
        gateway.admin.delete_sender(recado::proto::DeleteSenderRequest { sender: "acme".into() }).await?;
        assert_eq!(post(&gateway.devino_webhook("acme"), WRITTEN).await?, 404, "deleted");
        assert_eq!(count(&gateway.rows().await?, "journal").await?, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn i7_what_is_not_stored_is_not_answered_with_200(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let webhook = gateway.devino_webhook("acme");
        let rows = gateway.rows().await?;
        let mut stream = gateway.stream(Default::default()).await?;
        execute(&rows, "ALTER TABLE journal RENAME TO journal_away").await?;
        for _ in 0..3 {
            assert_eq!(post(&webhook, WRITTEN).await?, 503);
        }
        // Sends share their commits with webhooks, and are none the worse for it.
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        assert_eq!(post(&webhook, WRITTEN).await?, 503);
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        execute(&rows, "ALTER TABLE journal_away RENAME TO journal").await?;
        assert_eq!(count(&rows, "journal").await?, 0);
        assert_eq!(post(&webhook, WRITTEN).await?, 200);
        while !matches!(stream.next_event().await?.payload, Some(Payload::IncomingMessage(_))) {}
        assert_eq!((count(&rows, "journal").await?, incoming(&mut gateway).await?), (1, 1));
        gateway.stop().await?;
        Ok(())
    }

    async fn what_no_parser_understands_is_kept_and_answered_with_200(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let webhook = gateway.devino_webhook("acme");
        let rows = gateway.rows().await?;
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let bodies: [&[u8]; 8] =
            [b"", b"{", b"\xff\xfe\x00", b"null", b"[]", b"[[[]]]", b"{\"status\":{}}", deep.as_bytes()];
        for body in bodies {
            assert_eq!(post(&webhook, body.to_vec()).await?, 200, "{body:?}");
        }
        assert_eq!(post(&webhook, WRITTEN).await?, 200);
        until("all were taken in", async || Ok((count(&rows, "journal WHERE pending IS NULL").await? == 9).then_some(()))).await?;
        assert_eq!(count(&rows, "journal WHERE unreadable = 1").await?, 7, "all but the empty list and the last");
        assert_eq!(incoming(&mut gateway).await?, 1);
        assert_eq!(announce(&gateway.http, 4 << 20).await?, "HTTP/1.1 413 Payload Too Large");
        gateway.stop().await?;
        Ok(())
    }
}

/// Announces a body of that length and writes none of it: the refusal comes before it, and a client that is writing may
/// find the connection closed instead of hearing why.
async fn announce(http: &str, length: usize) -> Result<String> {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let mut socket = tokio::net::TcpStream::connect(http.trim_start_matches("http://")).await?;
    let head = format!(
        "POST /webhooks/devino/acme?token=test-token-0123456789 HTTP/1.1\r\nhost: gateway\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

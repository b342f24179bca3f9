//! The main job: ten thousand messages through a provider over HTTP and back, seen by one stream, in order.

use recado::proto::MessageStatus;

use crate::gateway::{TestGateway, text};
use crate::on_both_databases;
use crate::tools::{Seen, fake, number};

const MESSAGES: usize = 10_000;

on_both_databases! {
    async fn ten_thousand_messages_are_sent_once_and_seen_at_every_step(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(Default::default()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let reading = tokio::spawn(async move { Seen::until_all(&mut stream, MESSAGES, MessageStatus::Read).await });
        let mut sent = Vec::with_capacity(MESSAGES);
        for thousand in 0..MESSAGES / 1_000 {
            let numbers = thousand * 1_000..(thousand + 1) * 1_000;
            let answers = gateway.send_all(numbers.map(|n| text("acme", &number(n), "Your parcel leaves today."))).await?;
            sent.extend(answers.into_iter().map(|answer| answer.message_id));
        }
        let seen = reading.await??;
        for id in &sent {
            assert_eq!(seen.words(id), ["ACCEPTED", "SENT", "DELIVERED", "READ"], "{id}");
            assert!(seen.by_message[id].iter().all(|status| !status.late && !status.duplicate), "{id}");
        }
        assert_eq!(seen.by_message.len(), MESSAGES);
        let ledger = fake.ledger();
        println!("{ledger:?}");
        assert_eq!((ledger.taken, ledger.distinct), (MESSAGES as u64, MESSAGES as u64));
        assert_eq!(ledger.twice, Vec::<String>::new());
        let mut handed: Vec<String> = fake.rows().into_iter().map(|row| row.message_id).collect();
        handed.sort_unstable();
        sent.sort_unstable();
        assert!(handed == sent, "the provider was handed what callers sent, and nothing else");
        gateway.stop().await?;
        Ok(())
    }
}

//! A conversation with each provider, end to end: the real binary, the real fake-provider binary, gRPC from outside. It
//! prints what happens as a story: `./dev story`, or `./dev story devino` for one.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod cast;
mod processes;
mod scene;

macro_rules! stories {
    ($($provider:ident)+) => {
        $(
            #[tokio::test]
            async fn $provider() -> anyhow::Result<()> {
                crate::scene::play(crate::cast::$provider()).await
            }
        )+
    };
}

stories! { devino devino_direct digivox cloudhumans meta twilio dialog360 infobip }

//! What every adapter promises, run against each of them. A new adapter is a fixture and one word in the last line.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod cases;
mod fixtures;
#[path = "../it/provider.rs"]
#[allow(dead_code, reason = "the other suite uses the rest")]
mod provider;
mod table;

macro_rules! contract {
    ($($adapter:ident)+) => { $(contract!(@cases $adapter:
        forged_webhook_is_refused
        unauthorized_is_refused
        throttling_is_not_taken
        refused_connection_is_not_taken
        dropped_answer_is_in_doubt
        answers_align_with_messages
        message_id_goes_out_and_comes_back
        optional_fields_may_be_absent
        unknown_words_are_kept_raw
        garbage_never_panics
        parsing_is_pure
        secrets_stay_secret
        nothing_leaves_the_host
        capabilities_are_kept
        check_agrees_with_capabilities
        templates_agree_with_capabilities
        uploads_agree_with_capabilities
    );)+

        /// The capability table of the docs; `UPDATE_DOCS=1` writes it.
        #[tokio::test]
        async fn the_table_in_the_docs_is_current() {
            let adapters = [$({
                let fixture = crate::fixtures::$adapter().await;
                (fixture.name, fixture.adapter.capabilities().clone())
            }),+];
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
            let right = table::render(&adapters);
            if std::env::var_os("UPDATE_DOCS").is_some() {
                std::fs::write(&path, &right).unwrap();
            }
            let there = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(there == right, "docs/providers.md is out of date: UPDATE_DOCS=1 cargo test --test contract the_table");
        }
    };
    (@cases $adapter:ident: $($case:ident)+) => {
        mod $adapter {
            $(
                #[tokio::test]
                async fn $case() {
                    let fixture = crate::fixtures::$adapter().await;
                    match fixture.not_applicable(stringify!($case)) {
                        Some(why) => println!("not applicable to {}: {why}", stringify!($adapter)),
                        None => crate::cases::$case(fixture).await,
                    }
                }
            )+

            /// A case that is renamed must not leave its excuse behind.
            #[tokio::test]
            async fn what_is_not_applicable_are_cases() {
                let cases = [$(stringify!($case)),+];
                for (case, why) in crate::fixtures::$adapter().await.not_applicable {
                    assert!(cases.contains(case) && !why.is_empty(), "{case}");
                }
            }
        }
    };
}

contract! { sandbox devino devino_direct digivox cloudhumans meta twilio dialog360 infobip }

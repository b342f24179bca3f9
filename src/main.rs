//! The binary: `recado serve` and the commands beside it.

mod cli;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    cli::main().await
}

//! The binary: `recado serve` and the commands beside it.

mod cli;

/// About a quarter less CPU time for an accepted message than with glibc's, which spends it on the many small values of a row
/// that one thread makes and another throws away (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    cli::main().await
}

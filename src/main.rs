//! The binary: `recado serve` and the commands beside it.

mod cli;

/// About a quarter less CPU time for an accepted message than with glibc's, which spends it on the many small values of a row
/// that one thread makes and another throws away (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    // They keep in memory what HTTP/2 reserves for each connection and never touches: 5,000 streams over as many connections
    // took 256 to 297 MB with them, and 232 to 237 MB without. Where the kernel refuses, it is as it was.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    cli::main().await
}

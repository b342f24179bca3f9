//! A cable between two programs: it carries connections to the next backend that takes them, until somebody pulls it.

use std::io::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They are carried.
    Whole,
    /// They go nowhere, and nobody is told.
    Silent,
    /// Connections end, and new ones as well.
    Cut,
}

/// A cable; dropped, it takes no more connections.
#[derive(Debug)]
pub struct Cable {
    pub addr: SocketAddr,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

impl Cable {
    /// One that carries each connection to the next backend.
    pub async fn start(backends: Vec<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let backends: Arc<[SocketAddr]> = backends.into();
        let turn = AtomicUsize::new(0);
        let (state, seen) = watch::channel(State::Whole);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, backends.clone(), turn.fetch_add(1, Ordering::Relaxed), seen.clone()));
            }
        });
        Ok(Self { addr, state, task })
    }

    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries bytes both ways until a side ends. With no backend there, the connection just closes.
async fn carry(client: TcpStream, backends: Arc<[SocketAddr]>, turn: usize, mut state: watch::Receiver<State>) {
    if *state.borrow_and_update() == State::Cut {
        return;
    }
    for place in 0..backends.len() {
        if let Ok(backend) = TcpStream::connect(backends[(turn + place) % backends.len()]).await {
            let _ = (client.set_nodelay(true), backend.set_nodelay(true));
            let (client, backend) = (client.into_split(), backend.into_split());
            tokio::select! {
                // Either end of a connection that ends, ends both: nobody here half-closes.
                _ = pump(client.0, backend.1, state.clone()) => {}
                _ = pump(backend.0, client.1, state.clone()) => {}
                _ = state.wait_for(|state| *state == State::Cut) => {}
            }
            return;
        }
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) -> Result<()> {
    let mut buffer = vec![0; 16_384];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        if state.wait_for(|state| *state != State::Silent).await.is_err() {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
    }
}

//! What stands before replicas: each connection goes to the next one that takes it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A balancer; dropped, it takes no more connections.
#[derive(Debug)]
pub struct Balancer {
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Balancer {
    pub async fn start(backends: Vec<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let backends = Arc::new(backends);
        let turn = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, backends.clone(), turn.fetch_add(1, Ordering::Relaxed)));
            }
        });
        Ok(Self { addr, task })
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries bytes both ways until a side ends. With no replica there, the connection just closes.
async fn carry(mut client: TcpStream, backends: Arc<Vec<SocketAddr>>, turn: usize) {
    for place in 0..backends.len() {
        if let Ok(mut backend) = TcpStream::connect(backends[(turn + place) % backends.len()]).await {
            let _ = copy_bidirectional(&mut client, &mut backend).await;
            return;
        }
    }
}

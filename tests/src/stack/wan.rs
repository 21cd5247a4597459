//! The internet between relays and the cloud, as a part that can fail: forwards
//! TCP connections and UDP datagrams from one port of this machine to another
//! until it is cut. Then it is silent, as a dead line is: nothing is refused,
//! nothing arrives. TCP connections that saw the cut are closed once it ends.

use anyhow::{Context, Result};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::{
    io,
    net::{TcpListener, TcpStream, UdpSocket},
    sync::watch,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// Largest datagram.
const DATAGRAM: usize = 65_535;
/// Most senders of datagrams, and most connections, at once.
const MOST: usize = 256;

/// IPv4 and UDP headers of a datagram.
const HEADERS: u64 = 28;

/// What a line carried as datagrams, headers included.
#[derive(Debug, Default)]
pub struct Carried {
    bytes: AtomicU64,
    datagrams: AtomicU64,
}

impl Carried {
    fn note(&self, length: usize) {
        self.bytes.fetch_add(length as u64 + HEADERS, Ordering::Relaxed);
        self.datagrams.fetch_add(1, Ordering::Relaxed);
    }
}

/// A line that can be cut. Dropping it ends all that goes through it.
#[derive(Debug)]
pub struct Wan {
    open: watch::Sender<bool>,
    carried: Arc<Carried>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Wan {
    /// Forwards from `port` to `target`, both on this machine.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(port: u16, target: u16) -> Result<Self> {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let there = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
        let (open, line) = watch::channel(true);
        let taken = || format!("port {port} (the line to the cloud) is taken by another program");
        let tcp = TcpListener::bind(here).await.with_context(taken)?;
        let udp = Arc::new(UdpSocket::bind(here).await.with_context(taken)?);
        let carried = Arc::new(Carried::default());
        let tasks = [
            AbortOnDropHandle::new(tokio::spawn(connections(tcp, there, line.clone()))),
            AbortOnDropHandle::new(tokio::spawn(datagrams(udp, there, line, Arc::clone(&carried)))),
        ];
        Ok(Self { open, carried, _tasks: tasks })
    }

    /// Bytes and datagrams that it carried so far, both ways.
    #[must_use]
    pub fn carried(&self) -> (u64, u64) {
        let Carried { bytes, datagrams } = &*self.carried;
        (bytes.load(Ordering::Relaxed), datagrams.load(Ordering::Relaxed))
    }

    /// Cuts the line, or mends it.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn connections(listener: TcpListener, target: SocketAddr, line: watch::Receiver<bool>) {
    let live = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    while let Ok((from, _)) = listener.accept().await {
        while tasks.try_join_next().is_some() {}
        if live.load(Ordering::Relaxed) >= MOST {
            tracing::warn!("the line carries {MOST} connections; another one was refused");
            continue;
        }
        let (live, mut line) = (Arc::clone(&live), line.clone());
        tasks.spawn(async move {
            live.fetch_add(1, Ordering::Relaxed);
            // An end of either side is an end of the connection, and nothing else.
            let _ = connection(from, target, &mut line).await;
            live.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn connection(
    mut from: TcpStream,
    target: SocketAddr,
    line: &mut watch::Receiver<bool>,
) -> io::Result<()> {
    if *line.borrow_and_update() {
        let mut to = TcpStream::connect(target).await?;
        tokio::select! {
            outcome = io::copy_bidirectional(&mut from, &mut to) => return outcome.map(|_| ()),
            _ = line.wait_for(|open| !open) => {}
        }
        // Held in silence, so that neither side sees an end.
        let _ = line.wait_for(|open| *open).await;
        return Ok(());
    }
    let _ = line.wait_for(|open| *open).await;
    Ok(())
}

async fn datagrams(
    front: Arc<UdpSocket>,
    target: SocketAddr,
    line: watch::Receiver<bool>,
    carried: Arc<Carried>,
) {
    let mut ways: HashMap<SocketAddr, (Arc<UdpSocket>, AbortOnDropHandle<()>)> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // An error tells of an earlier datagram that nobody took.
        let Ok((length, from)) = front.recv_from(&mut buffer).await else { continue };
        if !*line.borrow() {
            continue;
        }
        if !ways.contains_key(&from) {
            if ways.len() >= MOST {
                tracing::warn!("the line knows {MOST} senders; it forgets all of them");
                ways.clear();
            }
            let Ok(way) = way_to(target).await else { continue };
            let ends = (Arc::clone(&front), Arc::clone(&way));
            let back = answers(ends, from, line.clone(), Arc::clone(&carried));
            ways.insert(from, (way, AbortOnDropHandle::new(tokio::spawn(back))));
        }
        if let Some((way, _)) = ways.get(&from) {
            carried.note(length);
            let _ = way.send(&buffer[..length]).await;
        }
    }
}

async fn way_to(target: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let way = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    way.connect(target).await?;
    Ok(Arc::new(way))
}

async fn answers(
    (front, way): (Arc<UdpSocket>, Arc<UdpSocket>),
    to: SocketAddr,
    line: watch::Receiver<bool>,
    carried: Arc<Carried>,
) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let Ok(length) = way.recv(&mut buffer).await else { continue };
        if *line.borrow() {
            carried.note(length);
            let _ = front.send_to(&buffer[..length], to).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{stack::ports::free_port, wait};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_cut_line_is_silent_and_a_mended_one_carries_again() {
        // A port of ours for both: one that the kernel gives for datagrams may be
        // another program's for connections.
        let target = free_port().unwrap();
        let echo = UdpSocket::bind((Ipv4Addr::LOCALHOST, target)).await.unwrap();
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, target)).await.unwrap();
        let port = free_port().unwrap();
        let wan = Wan::start(port, target).await.unwrap();
        let here = (Ipv4Addr::LOCALHOST, port);

        let mut held = TcpStream::connect(here).await.unwrap();
        let (mut served, _) = tcp.accept().await.unwrap();
        served.write_all(b"up").await.unwrap();
        let mut two = [0; 2];
        held.read_exact(&mut two).await.unwrap();

        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        client.connect(here).await.unwrap();
        wan.set_open(false);
        client.send(b"lost").await.unwrap();
        wan.set_open(true);
        // Sent again until it arrives: the first one may still meet the cut.
        let mut buffer = [0; 16];
        let (length, _) = wait::until("a datagram to arrive", wait::secs(10), || async {
            client.send(b"kept").await?;
            let mut piece = [0; 16];
            let got = tokio::time::timeout(wait::secs(1), echo.recv_from(&mut piece)).await;
            let (length, from) = got??;
            Ok((&piece[..length] == b"kept").then_some((length, from)))
        })
        .await
        .unwrap();
        assert_eq!(length, 4);
        // The connection that saw the cut has ended.
        assert_eq!(held.read(&mut buffer).await.unwrap_or(0), 0);
    }
}

//! How the relay's libp2p nodes find what they dial by name: as the machine does.
//!
//! A relay may run before its machine has an address, and a router may be replaced
//! beside it: each dial reads what `/etc/resolv.conf` says at that moment
//! ([`ByName`]), and nothing is set up again for it, neither the node nor what it
//! listens on. A machine may have no such file, or one that names no server: a
//! container, a router's image. Addresses are dialled without it, and names are asked
//! of the machine itself then, as resolv.conf(5) has it.

#[cfg(test)]
pub(crate) mod tests;

use hickory_resolver::{
    config::{NameServerConfig, ResolverConfig, ResolverOpts},
    system_conf,
};
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent},
        upgrade,
    },
    dns,
    identity::Keypair,
    noise, quic, tcp, yamux,
};
use std::{
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

/// Bytes that are read of the file.
const MOST: u64 = 64 * 1024;

/// The file in which a machine names its DNS servers.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    path: PathBuf,
    /// Where a test's servers answer; the file has no place for it.
    #[cfg(test)]
    port: Option<u16>,
}

impl Names {
    /// This machine's.
    #[must_use]
    pub(crate) fn of_machine() -> Self {
        Self::at(Path::new("/etc/resolv.conf"))
    }

    pub(crate) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            #[cfg(test)]
            port: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn at_port(path: &Path, port: u16) -> Self {
        Self { port: Some(port), ..Self::at(path) }
    }

    /// What the file says, or why it says nothing.
    fn read(&self) -> Result<Vec<u8>, io::ErrorKind> {
        let mut text = Vec::new();
        let file = File::open(&self.path).and_then(|file| file.take(MOST).read_to_end(&mut text));
        file.map(|_| text).map_err(|error| error.kind())
    }

    fn parse(&self, read: &Result<Vec<u8>, io::ErrorKind>) -> (ResolverConfig, ResolverOpts) {
        let parsed = read.as_ref().map_err(ToString::to_string).and_then(|text| understood(text));
        let (config, options) = match parsed {
            Ok((config, options)) if !config.name_servers().is_empty() => (config, options),
            other => {
                let why = other.err().unwrap_or_else(|| "it names no server".to_owned());
                tracing::warn!(file = %self.path.display(), why, "This machine names no DNS server; names are asked of the machine itself.");
                let own = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![own]);
                (config, ResolverOpts::default())
            }
        };
        #[cfg(test)]
        let config = tests::on_port(config, self.port);
        (config, options)
    }
}

/// Reads the file's text. One unreadable label of a `search` or `domain` line is no
/// reason to do without the servers.
fn understood(text: &[u8]) -> Result<(ResolverConfig, ResolverOpts), String> {
    system_conf::parse_resolv_conf(text)
        .or_else(|_| system_conf::parse_resolv_conf(without_search(text)))
        .map_err(|e| format!("it is not understood: {e}"))
}

fn without_search(text: &[u8]) -> Vec<u8> {
    let searches = |line: &&[u8]| {
        let word = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
        matches!(word, Some(b"search" | b"domain"))
    };
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !searches(line));
    lines.collect::<Vec<_>>().join(&b'\n')
}

type Authenticated = (PeerId, StreamMuxerBox);

/// TCP with Noise and Yamux, and QUIC where it is wanted; both dial by name.
///
/// # Errors
/// [`noise::Error`] when the key cannot be used.
pub(crate) fn transport(
    keypair: &Keypair,
    quic: Option<quic::Config>,
    names: Names,
) -> Result<Boxed<Authenticated>, noise::Error> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(upgrade::Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let inner = match quic {
        Some(quic) => {
            let quic = quic::tokio::Transport::new(quic)
                .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
            tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed()
        }
        None => tcp.boxed(),
    };
    Ok(ByName::new(inner, names).boxed())
}

/// Dials by what the machine's file of names says at that moment.
struct ByName {
    names: Names,
    read: Result<Vec<u8>, io::ErrorKind>,
    inner: Shared,
    resolving: dns::tokio::Transport<Shared>,
}

impl ByName {
    fn new(inner: Boxed<Authenticated>, names: Names) -> Self {
        let inner = Shared(Arc::new(Mutex::new(inner)));
        let read = names.read();
        let (config, options) = names.parse(&read);
        let resolving = dns::tokio::Transport::custom(inner.clone(), config, options);
        Self { names, read, inner, resolving }
    }

    /// Takes up what the file says now. Dials that are on their way go on as they are.
    fn look(&mut self) {
        let read = self.names.read();
        if read == self.read {
            return;
        }
        tracing::info!(file = %self.names.path.display(), "This machine names other DNS servers than before.");
        let (config, options) = self.names.parse(&read);
        self.resolving = dns::tokio::Transport::custom(self.inner.clone(), config, options);
        self.read = read;
    }
}

impl Transport for ByName {
    type Output = Authenticated;
    type Error = <dns::tokio::Transport<Shared> as Transport>::Error;
    type ListenerUpgrade = <dns::tokio::Transport<Shared> as Transport>::ListenerUpgrade;
    type Dial = <dns::tokio::Transport<Shared> as Transport>::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.resolving.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.resolving.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        how: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        self.look();
        self.resolving.dial(address, how)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.resolving).poll(cx)
    }
}

/// What lies below one resolver after the other: its listeners stay.
#[derive(Clone)]
struct Shared(Arc<Mutex<Boxed<Authenticated>>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Boxed<Authenticated>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Shared {
    type Output = Authenticated;
    type Error = <Boxed<Authenticated> as Transport>::Error;
    type ListenerUpgrade = <Boxed<Authenticated> as Transport>::ListenerUpgrade;
    type Dial = <Boxed<Authenticated> as Transport>::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.lock().listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.lock().remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        how: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        self.lock().dial(address, how)
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut *self.lock()).poll(cx)
    }
}

//! From an accepted socket to a session: TLS, certificate, CONNECT, and the
//! events around a session's life.

use super::{
    Admission, BrokerEvent,
    dialog::{Dialog, Wishes, read_connect, refuse_connect},
    handle::{Link, Table},
    session::{End, Session},
    wire::{Fault, may_be_connect, packet_len},
};
use crate::{
    identity::ca::{Proof, proof_of},
    tls::{
        Listener,
        gate::{GateMetrics, Slot},
    },
};
use bytes::BytesMut;
use futures::FutureExt;
use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use unifyit_protocol::ids::DeviceId;

/// Bytes of the largest CONNECT: room for a will that nobody reads.
const MAX_CONNECT: usize = 16 * 1024;
/// Longest wait for the end of the session that a newcomer takes over.
const TAKEOVER: Duration = Duration::from_secs(10);
/// Longest wait for sessions to end at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// What every connection's task needs.
pub(super) struct Front {
    pub(super) table: Arc<Table>,
    pub(super) acceptor: TlsAcceptor,
    pub(super) admission: Arc<dyn Admission>,
    pub(super) events: mpsc::Sender<BrokerEvent>,
    pub(super) refusals: GateMetrics,
}

/// Serves until cancelled, then ends all sessions.
pub(super) async fn serve(front: Front, listener: Listener, cancel: CancellationToken) {
    let front = Arc::new(front);
    let tasks = TaskTracker::new();
    loop {
        let (stream, ip, slot) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cancel.cancelled() => break,
        };
        tasks.spawn(connection(Arc::clone(&front), stream, ip, slot));
    }
    drop(listener);
    front.table.close_all();
    tasks.close();
    if timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!(left = tasks.len(), "sessions did not end in time");
    }
}

async fn connection(front: Arc<Front>, stream: TcpStream, ip: IpAddr, slot: Slot) {
    // The handshake's state is large and short-lived; boxed, it leaves nothing
    // behind in the task of a session that may last for weeks.
    let opened = tokio::select! {
        opened = Box::pin(open(&front, stream, ip)) => opened,
        () = slot.evicted() => return,
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(reason) => {
            front.refusals.refused(reason);
            tracing::debug!(%ip, reason, "a connection was refused");
            return;
        }
    };
    drop(slot);
    run_session(front, opened, ip).await;
}

/// A client that has proven which device it is.
struct Opened {
    stream: TlsStream<TcpStream>,
    device: DeviceId,
    proof: Proof,
    wishes: Wishes,
    rest: BytesMut,
}

async fn open(front: &Front, stream: TcpStream, ip: IpAddr) -> Result<Opened, &'static str> {
    let limits = &front.table.limits;
    let handshake = timeout(Duration::from_secs(limits.handshake_s), front.acceptor.accept(stream));
    let mut stream = match handshake.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) => return Err("handshake"),
        Err(_) => return Err("handshake_timeout"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let Some((device, proof)) = certificate.and_then(|c| proof_of(c)) else {
        return Err("no_device");
    };
    let connect = timeout(Duration::from_secs(limits.connect_s), first_packet(&mut stream)).await;
    let (packet, rest) = match connect {
        Ok(Ok(read)) => read,
        Ok(Err(reason)) => return Err(reason),
        Err(_) => return Err("connect_timeout"),
    };
    match read_connect(packet) {
        Ok(wishes) if front.admission.admit(device, &proof) => {
            let conduct = &front.table.conduct;
            if conduct.rests(device) {
                refuse(&mut stream, Some(&wishes), Fault::Quota("what it sent")).await;
                return Err("resting");
            }
            if !front.admission.may_use(device, wishes.computer, ip) {
                if let Some(times) = conduct.due(device, "computer") {
                    tracing::info!(%device, %ip, times, "refused: another computer uses this identity");
                }
                refuse(&mut stream, Some(&wishes), Fault::Quota("computers of one identity")).await;
                return Err("another_computer");
            }
            let guest = front.admission.is_guest(device, wishes.computer);
            if guest && !front.table.may_interrupt(device, Instant::now()) {
                if let Some(times) = conduct.due(device, "guest") {
                    tracing::info!(%device, %ip, times, "refused: it heard that it gets its own identity, and the first computer is served");
                }
                refuse(&mut stream, Some(&wishes), Fault::Quota("computers of one identity")).await;
                return Err("another_computer");
            }
            Ok(Opened { stream, device, proof, wishes, rest })
        }
        Ok(wishes) => {
            if front.table.conduct.due(device, "admission").is_some() {
                front.admission.refused(device, &proof, ip);
            }
            refuse(&mut stream, Some(&wishes), Fault::NotAuthorized).await;
            Err("not_admitted")
        }
        Err(fault) => {
            tracing::debug!(%device, %fault, "CONNECT was refused");
            refuse(&mut stream, None, fault).await;
            Err("connect")
        }
    }
}

async fn first_packet(
    stream: &mut TlsStream<TcpStream>,
) -> Result<(BytesMut, BytesMut), &'static str> {
    let mut bytes = BytesMut::with_capacity(512);
    loop {
        if !may_be_connect(&bytes) {
            return Err("not_mqtt");
        }
        if let Some(size) = packet_len(&bytes, MAX_CONNECT).map_err(|_| "not_mqtt")? {
            let packet = bytes.split_to(size);
            return Ok((packet, BytesMut::from(bytes.as_ref())));
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return Err("closed"),
            Ok(_) => {}
        }
    }
}

async fn refuse(stream: &mut TlsStream<TcpStream>, wishes: Option<&Wishes>, fault: Fault) {
    let mut out = BytesMut::new();
    refuse_connect(wishes.map(|w| w.version), fault, &mut out);
    let last = async {
        stream.write_all_buf(&mut out).await?;
        stream.shutdown().await
    };
    let _ = timeout(Duration::from_secs(2), last).await;
}

async fn run_session(front: Arc<Front>, opened: Opened, ip: IpAddr) {
    let Opened { mut stream, device, proof, wishes, rest } = opened;
    let Some((link, before)) = front.table.enter(device) else {
        front.refusals.refused("sessions_full");
        if let Some(times) = front.table.conduct.due(device, "sessions") {
            tracing::warn!(%device, times, "refused: as many devices are connected as broker.max_sessions allows");
        }
        refuse(&mut stream, Some(&wishes), Fault::Quota("sessions")).await;
        return;
    };
    let session = link.session;
    // What was true before it entered may have ended since, and whoever ended it
    // found no session to close.
    if !front.admission.admit(device, &proof) {
        front.refusals.refused("not_admitted");
        front.table.leave(&link);
        refuse(&mut stream, Some(&wishes), Fault::NotAuthorized).await;
        return;
    }
    let took_over = before.is_some();
    if let Some(before) = before
        && timeout(TAKEOVER, before.ended.cancelled()).await.is_err()
    {
        // The session before hangs in a full ingest. Its end is still to be
        // told, so that this one cannot start; the device will try again.
        front.refusals.refused("takeover_timeout");
        let front = Arc::clone(&front);
        before.ended.cancelled().await;
        front.table.leave(&link);
        return;
    }
    let connected = BrokerEvent::Connected { device, session, address: ip, took_over };
    if front.events.send(connected).await.is_err() {
        front.table.leave(&link);
        return;
    }
    front.table.metrics.connects.inc();
    tracing::debug!(%device, session, %ip, version = ?wishes.version, "connected");
    let end = converse(&front, Arc::clone(&link), stream, &wishes, rest).await;
    front.table.metrics.disconnects.with_label_values(&[end.label]).inc();
    tracing::debug!(%device, session, reason = %end.reason, "disconnected");
    let reason = end.reason.into_owned();
    let _ = front.events.send(BrokerEvent::Disconnected { device, session, reason }).await;
    front.table.leave(&link);
}

async fn converse(
    front: &Front,
    link: Arc<Link>,
    stream: TlsStream<TcpStream>,
    wishes: &Wishes,
    rest: BytesMut,
) -> End {
    let mut out = BytesMut::new();
    let dialog = Dialog::accept(link.device, wishes, front.table.limits.max_packet, &mut out);
    let events = front.events.clone();
    let session = Session::new(stream, Arc::clone(&front.table), link, dialog, events, rest, out);
    match AssertUnwindSafe(session.run()).catch_unwind().await {
        Ok(end) => end,
        Err(_) => {
            front.table.metrics.panics.inc();
            tracing::error!("a session crashed; its connection alone is ended");
            End::crashed()
        }
    }
}

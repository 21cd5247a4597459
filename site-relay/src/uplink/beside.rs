//! A second connection beside a line that is silent: the first of the two that
//! answers is used.
//!
//! The line itself is asked first, on a stream of its own that the cloud's node
//! answers without its database: a cloud that is merely busy keeps its relays, and
//! none of them dials. Then the second node dials, from a port of its own, for what
//! went silent may be a router's memory of the first one's.

use super::{
    dial,
    line::Pulse,
    node::{Cloud, Node, protocol},
};
use libp2p::PeerId;
use libp2p_stream::{Control, OpenStreamError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A protocol that no cloud speaks: to say so is an answer.
const UNSPOKEN: &str = "/unifyit/there/1";
/// How long the second connection is tried before the silent one is given up.
pub(super) const GIVE_UP: Duration = Duration::from_secs(12);
/// How long a tier of addresses may take: first and longest.
const DIAL: (Duration, Duration) = (Duration::from_millis(1200), Duration::from_secs(5));
/// Pause between attempts that fail at once.
const PAUSE: Duration = Duration::from_millis(250);

/// What became of a silent line.
pub(super) enum Found {
    /// It answers.
    Answered,
    /// Another connection answered first.
    Other(Box<Node>, &'static str),
    /// Neither did.
    Nothing,
}

/// Finds out whether a line is dead. `open` makes a node that can dial beside it.
pub(super) async fn look(
    pulse: &Pulse,
    mut control: Control,
    cloud: &Cloud,
    open: impl Fn() -> Option<Node>,
) -> Found {
    let asked = async {
        if !asks(&mut control, cloud.peer).await {
            // An end of the connection shows elsewhere.
            std::future::pending::<()>().await;
        }
    };
    let other = async {
        sleep(pulse.patience().mul_f64(rand::random_range(1.0..1.3))).await;
        match open() {
            Some(mut node) => {
                tracing::info!("the line to the cloud is silent: dialling beside it");
                let transport = reach(&mut node, cloud).await;
                (node, transport)
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = pulse.answered() => Found::Answered,
        () = asked => Found::Answered,
        (node, transport) = other => Found::Other(Box::new(node), transport),
        () = sleep(GIVE_UP) => Found::Nothing,
    }
}

/// Whether the cloud's node answers on this connection. Pings would disturb those
/// that go their own round on a stream each.
async fn asks(control: &mut Control, cloud: PeerId) -> bool {
    match control.open_stream(cloud, protocol(UNSPOKEN)).await {
        Ok(_) => true,
        Err(error) => matches!(error, OpenStreamError::UnsupportedProtocol(_)),
    }
}

/// Dials tier by tier until one answers; its transport.
async fn reach(node: &mut Node, cloud: &Cloud) -> &'static str {
    let mut limit = DIAL.0;
    loop {
        for (transport, addresses) in cloud.named_tiers() {
            let dialled = timeout(limit, dial(&mut node.swarm, cloud.peer, addresses));
            if let Ok(Ok(())) = dialled.await {
                return transport;
            }
        }
        sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
        limit = (limit * 2).min(DIAL.1);
    }
}

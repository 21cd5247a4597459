//! What a machine's file of names means, and that nodes follow it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use futures::StreamExt as _;
use libp2p::{
    Swarm, SwarmBuilder, ping,
    swarm::{
        SwarmEvent,
        dial_opts::{DialOpts as Dial, PeerCondition},
    },
};
use std::time::Duration;
use tokio::{net::UdpSocket, time::timeout};

const PATIENCE: Duration = Duration::from_secs(20);

type Node = Swarm<ping::Behaviour>;

/// The file's servers, where a test's answer.
pub(super) fn on_port(config: ResolverConfig, port: Option<u16>) -> ResolverConfig {
    let Some(port) = port else { return config };
    let mut servers = config.name_servers().to_vec();
    for connection in servers.iter_mut().flat_map(|server| &mut server.connections) {
        connection.port = port;
    }
    ResolverConfig::from_parts(None, config.search().to_vec(), servers)
}

/// Two DNS servers on one port: the machine itself, 127.0.0.1, which knows no name,
/// and 127.0.0.2, for which every name is 127.0.0.1. Their port.
pub(crate) async fn dns_servers() -> u16 {
    loop {
        let knows = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        let port = knows.local_addr().unwrap().port();
        if let Ok(ignorant) = UdpSocket::bind(("127.0.0.1", port)).await {
            tokio::spawn(answer(knows, true));
            tokio::spawn(answer(ignorant, false));
            return port;
        }
    }
}

async fn answer(socket: UdpSocket, knows: bool) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question).await {
        // The header, then a name of labels up to an empty one, its type and its class.
        let labels = question[12..length].iter().position(|byte| *byte == 0).unwrap();
        let end = 12 + labels + 5;
        let is_a = question[end - 4..end] == [0, 1, 0, 1];
        let code = if knows { 0x80 } else { 0x83 };
        let mut out = question[..2].to_vec();
        out.extend([0x81, code, 0, 1, 0, u8::from(knows && is_a), 0, 0, 0, 0]);
        out.extend(&question[12..end]);
        if knows && is_a {
            out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&out, from).await.unwrap();
    }
}

fn servers(names: &Names) -> Vec<IpAddr> {
    names.parse(&names.read()).0.name_servers().iter().map(|server| server.ip).collect()
}

fn node(names: Names) -> Node {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|keypair| transport(keypair, None, names).unwrap())
        .unwrap()
        .with_behaviour(|_| ping::Behaviour::default())
        .unwrap()
        .build()
}

#[tokio::test]
async fn a_machine_without_settings_of_names_builds_its_nodes_and_asks_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    let names = Names::at(&path);
    let own = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    assert_eq!(servers(&names), own, "missing");
    for text in ["", "# nothing\n", "options timeout:1\n", "\0\u{1}\n"] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(servers(&names), own, "{text:?}");
        let _node = node(names.clone());
    }
    std::fs::write(&path, "nameserver 192.0.2.7\n").unwrap();
    assert_eq!(servers(&names), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
}

#[test]
fn a_search_label_that_nobody_can_read_costs_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    let long = "a".repeat(64);
    for word in ["search", "domain", "  search"] {
        let text = format!("{word} {long}.example\nnameserver 192.0.2.7\noptions ndots:3\n");
        std::fs::write(&path, text).unwrap();
        let names = Names::at(&path);
        assert_eq!(servers(&names), ["192.0.2.7".parse::<IpAddr>().unwrap()], "{word}");
    }
    std::fs::write(&path, "search lan\nnameserver 192.0.2.7\n").unwrap();
    let names = Names::at(&path);
    assert_eq!(names.parse(&names.read()).0.search().len(), 1, "what can be read is heeded");
}

/// Whether a node reaches another at an address.
async fn reaches(one: &mut Node, other: &mut Node, at: &str) -> bool {
    let to = Dial::peer_id(*other.local_peer_id()).condition(PeerCondition::Always);
    one.dial(to.addresses(vec![at.parse().unwrap()]).build()).unwrap();
    let outcome = async {
        loop {
            tokio::select! {
                event = one.select_next_some() => match event {
                    SwarmEvent::OutgoingConnectionError { .. } => return false,
                    SwarmEvent::ConnectionEstablished { endpoint, .. } if endpoint.is_dialer() => {
                        return true;
                    }
                    _ => {}
                },
                _ = other.select_next_some() => {}
            }
        }
    };
    timeout(PATIENCE, outcome).await.unwrap()
}

async fn listens(node: &mut Node) -> String {
    node.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = async {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = node.select_next_some().await {
                return address.to_string();
            }
        }
    };
    timeout(PATIENCE, address).await.unwrap()
}

#[tokio::test]
async fn a_node_dials_by_the_servers_of_the_moment_and_listens_where_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    let mut one = node(Names::at_port(&path, dns_servers().await));
    let mut other = node(Names::at(&path));
    let (at_one, at_other) = (listens(&mut one).await, listens(&mut other).await);
    let named = at_other.replace("/ip4/127.0.0.1/", "/dns/other.test/");
    assert!(!reaches(&mut one, &mut other, &named).await, "nobody knows the name yet");
    std::fs::write(&path, "nameserver 127.0.0.2\n").unwrap();
    assert!(reaches(&mut one, &mut other, &named).await, "the machine knows whom to ask");
    std::fs::write(&path, "nameserver 127.0.0.1\n").unwrap();
    assert!(!reaches(&mut one, &mut other, &named).await, "another router");
    assert!(reaches(&mut other, &mut one, &at_one).await);
}

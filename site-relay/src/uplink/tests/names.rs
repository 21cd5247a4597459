//! A relay that is there before its machine knows a DNS server.

use super::*;
use crate::resolver::tests::dns_servers;
use libp2p::multiaddr::Protocol;

async fn is_found_by_name(listen: &str) {
    let mut cloud = cloud(listen).await;
    let named = |part| match part {
        Protocol::Ip4(_) => Protocol::Dns4("cloud.test".into()),
        other => other,
    };
    let address: Multiaddr = cloud.address.iter().map(named).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    std::fs::write(&path, "").unwrap();
    let names = Names::at_port(&path, dns_servers().await);
    let mut run = start_at(Rig::new(), &cloud, &address, names);
    let failed = run.state.wait_for(|state| !state.reason.is_empty());
    let failed = timeout(PATIENCE, failed).await.unwrap().unwrap().clone();
    assert!(!failed.up, "{failed:?}");
    // The network is there.
    std::fs::write(&path, "nameserver 127.0.0.2\n").unwrap();
    let (_lanes, _, _) = Lanes::accept(&mut cloud, Resume::default()).await;
    run.cancel.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_is_found_over_quic_once_the_machine_knows_a_dns_server() {
    is_found_by_name("/ip4/127.0.0.1/udp/0/quic-v1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_is_found_over_tcp_once_the_machine_knows_a_dns_server() {
    is_found_by_name("/ip4/127.0.0.1/tcp/0").await;
}

//! Somebody without an account, from one address.

use super::{Figures, Length, Others, memory};
use crate::{
    api::Api,
    stack::Stack,
    wait::{self, secs},
};
use anyhow::{Context, Result, ensure};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Where the stranger comes from.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn connect(to: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((STRANGER, 0).into())?;
    Ok(socket.connect(to).await?)
}

/// Asks many things over one connection, reading what is answered; whether the
/// connection lasts is the cloud's affair.
async fn ask(to: SocketAddr, requests: impl Iterator<Item = String>) -> Result<()> {
    let mut tcp = connect(to).await?;
    let mut answer = vec![0; 64 * 1024];
    for request in requests {
        if tcp.write_all(request.as_bytes()).await.is_err() {
            break;
        }
        let Ok(Ok(1..)) = timeout(Duration::from_secs(5), tcp.read(&mut answer)).await else {
            break;
        };
    }
    Ok(())
}

/// Floods the cloud, and says what it did to the others.
///
/// # Errors
/// When one of the others was refused or broken off, or the stranger took what is not
/// bounded.
pub async fn flood(stack: &mut Stack, length: Length) -> Result<Figures> {
    let to: SocketAddr = stack.cloud.url().trim_start_matches("http://").parse()?;
    for _ in 0..20 {
        let wrong = Api::new(&stack.cloud.url())?.login(&stack.saved.email, "a wrong one").await;
        ensure!(wrong.is_err(), "a wrong password signed in");
    }
    let others = Others::at_work(stack, length.quiet).await?;
    let before = memory(stack);

    // Words and keys that are made up.
    let mut asking = tokio::task::JoinSet::new();
    let words = length.times * 5 / 2;
    for worker in 0..8 {
        asking.spawn(ask(
            to,
            (0..words).map(move |n| {
                format!("M{worker}x{n}{} /x{n} HTTP/1.1\r\nHost: x\r\n\r\n", "Y".repeat(2000))
            }),
        ));
        asking.spawn(ask(to, (0..words).map(move |n| {
            format!(
                "GET /api/v1/sites HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer uak_{worker:0>21}{n:0>22}\r\n\r\n"
            )
        })));
    }
    while let Some(done) = asking.join_next().await {
        // Refused connections are what is wanted.
        let _ = done?;
    }
    // Connections that say little, or ask much and read nothing.
    let mut held = Vec::new();
    for n in 0..700 {
        let Ok(mut tcp) = connect(to).await else { break };
        let said = match n % 7 {
            0 => "GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(40),
            _ => "G".to_owned(),
        };
        let _ = tcp.write_all(said.as_bytes()).await;
        held.push(tcp);
    }
    let figures = reqwest::Client::builder().no_proxy().build()?;
    let page = format!("{}/metrics", stack.cloud.admin_url());
    // The system takes connections before the cloud does.
    let refused = wait::until("an address to be refused more places", secs(15), || async {
        let page = figures.get(&page).send().await?.text().await?;
        ensure!(!page.contains("YYYY"), "a made-up word became a figure");
        let refused = page
            .lines()
            .find_map(|line| line.strip_prefix("unifyit_http_connections_refused_total "))
            .context("the figure of refused connections")?;
        let refused = refused.parse::<u64>()?;
        Ok((refused > 0).then_some(refused))
    })
    .await?;
    let during = memory(stack);
    let (quiet, meanwhile) = others.went_on(stack).await?;
    let extent =
        format!("{} requests, {} connections held, {refused} refused", words * 16, held.len());
    drop(held);
    Ok(Figures::new(quiet, meanwhile, [before, during]).of(extent))
}

//! Fixed values of the types that stand within messages.

use crate::{
    cache::{AheadFile, AheadState, CacheDay, CachePlan, CachePolicy, CacheReport},
    command::{Action, Command, Interpreter, Script, Targets, Terminal},
    compare::{KnownCommand, KnownDevice, KnownToken, SiteHolds, SiteKnown},
    config::{DeviceConfig, PackageCache, SiteConfig},
    feature::FeatureReport,
    grant::{Grant, Scope, SiteCertificate},
    ids::DeviceId,
    inventory::{InventoryReport, Section},
    lane::Lane,
    link::{RelayStatus, SharedIdentity, SharingComputer},
    live::{TunnelClosed, TunnelData},
    outcome::{CommandEvent, OutputChunk, Status, Stream},
    report::Gap,
    signing::Signer25519,
    telemetry::{Aggregate, Rollup, RollupBlock, Sample, Series, SeriesTable},
    token::{InstallToken, TokenKind},
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// An id by its number.
pub(in crate::tests) fn id<T: From<Uuid>>(n: u128) -> T {
    Uuid::from_u128(n << 64 | 0x4000_8000_0000_0000_0000 | n).into()
}

pub(in crate::tests) fn device() -> DeviceId {
    id(1)
}

pub(in crate::tests) fn authority() -> Signer25519 {
    Signer25519::from_seed(&[1; 32])
}

pub(in crate::tests) fn relay() -> Signer25519 {
    Signer25519::from_seed(&[2; 32])
}

pub(in crate::tests) fn grant() -> Grant {
    Grant {
        id: id(7),
        organization: id(2),
        relay_key: relay().public(),
        site: id(3),
        scopes: vec![Scope::Execute, Scope::Terminal],
        not_before_ms: 1000,
        expires_ms: 9000,
    }
}

pub(in crate::tests) fn site_certificate() -> SiteCertificate {
    SiteCertificate { organization: id(2), site: id(3), ca_fingerprint: [4; 32], issued_ms: 1000 }
}

pub(in crate::tests) fn token() -> InstallToken {
    InstallToken {
        id: id(8),
        organization: id(2),
        site: id(3),
        authority: authority().public(),
        kind: TokenKind::Agent {
            relay_https: vec!["10.0.0.2:8443".into()],
            ca_fingerprint: [4; 32],
        },
        expires_ms: 9000,
        uses: 5,
    }
}

pub(in crate::tests) fn relay_token() -> InstallToken {
    let kind = TokenKind::Relay {
        cloud_addresses: vec!["/dns4/cloud.example.org/tcp/4001".into()],
        cloud_peer: "12D3KooWexample".into(),
    };
    InstallToken { kind, ..token() }
}

fn of(action: Action, targets: Targets) -> Command {
    Command {
        id: id(9),
        organization: id(2),
        targets,
        action,
        not_before_ms: 1000,
        expires_ms: 9000,
        counter: 42,
        issued_ms: 950,
    }
}

pub(in crate::tests) fn command() -> Command {
    let script = Script {
        interpreter: Interpreter::Bash,
        body: "echo hi".into(),
        args: vec!["-v".into()],
        env: vec![("A".into(), "b".into())],
        timeout_s: 60,
        output_limit: 1024,
        user: Some("nobody".into()),
        folder: None,
    };
    of(Action::Script(script), Targets::Devices(vec![device()]))
}

pub(in crate::tests) fn cancel() -> Command {
    of(Action::Cancel { command: id(9) }, Targets::Site(id(3)))
}

pub(in crate::tests) fn terminal() -> Command {
    let terminal = Terminal { tunnel: id(10), cols: 80, rows: 24, user: None };
    of(Action::Terminal(terminal), Targets::Devices(vec![device()]))
}

pub(in crate::tests) fn event() -> CommandEvent {
    CommandEvent {
        command: id(9),
        status: Status::Failed,
        at_ms: 5000,
        exit_code: Some(3),
        reason: Some("It ended with 3.".into()),
        output_len: 18,
        output_cut: 2,
    }
}

pub(in crate::tests) fn chunk() -> OutputChunk {
    OutputChunk { command: id(9), offset: 6, stream: Stream::Stderr, data: b"line\xff\n".to_vec() }
}

pub(in crate::tests) fn table() -> SeriesTable {
    let series = |name: &str, label: &str, unit: &str, scale| Series {
        name: name.into(),
        label: label.into(),
        unit: unit.into(),
        scale,
    };
    SeriesTable {
        series: vec![series("cpu.busy", "", "percent", 1), series("disk.used", "/", "bytes", 0)],
    }
}

pub(in crate::tests) fn rollups(rows: u64) -> Vec<Rollup> {
    (0..rows)
        .map(|n| {
            let busy = 20 + (n as i64 * 7) % 11;
            let used = 4096 * (1000 + n as i64 / 3);
            Rollup {
                minute: 29_000_000 + n,
                count: 6,
                values: vec![
                    Some(Aggregate { min: busy - 5, max: busy + 9, avg: busy, last: busy + 1 }),
                    (n % 5 > 0).then_some(Aggregate {
                        min: used,
                        max: used,
                        avg: used,
                        last: used,
                    }),
                ],
            }
        })
        .collect()
}

pub(in crate::tests) fn newest() -> crate::telemetry::newest::Newest {
    use crate::telemetry::newest::{Load, Teller};
    let load = Load { at_s: 1_799_999_997, cpu: Some(123), memory: Some(456), disk: None };
    Teller::default().tell(1_800_000_000, &[(device(), load)]).unwrap()
}

pub(in crate::tests) fn metrics_block() -> RollupBlock {
    RollupBlock::encode(table().hash(), &rollups(3)).unwrap()
}

pub(in crate::tests) fn gap() -> Gap {
    Gap {
        lane: Lane::Metrics,
        count: 12,
        from_ms: 1000,
        to_ms: 2000,
        reason: "The disk was full.".into(),
    }
}

pub(in crate::tests) fn feature() -> FeatureReport {
    FeatureReport { feature: "sample".into(), at_ms: 5000, body: vec![1, 2, 3] }
}

pub(in crate::tests) fn inventory() -> InventoryReport {
    let entry = BTreeMap::from([("version".to_owned(), "5.2-2".to_owned())]);
    InventoryReport {
        section: Section::Packages,
        at_ms: 5000,
        whole: false,
        set: BTreeMap::from([("dpkg/bash".to_owned(), entry)]),
        gone: vec!["dpkg/dash".into()],
        cut: 0,
    }
}

pub(in crate::tests) fn device_config() -> DeviceConfig {
    DeviceConfig {
        revision: 2,
        collect_every_s: 10,
        inventory_every_s: 900,
        ..DeviceConfig::default()
    }
}

/// As a relay with a package cache tells its devices.
pub(in crate::tests) fn cached_config() -> DeviceConfig {
    let package_cache = PackageCache {
        addresses: vec!["relay.example:3142".into()],
        hosts: vec!["*.debian.org".into()],
    };
    DeviceConfig { package_cache, ..device_config() }
}

pub(in crate::tests) fn site_config() -> SiteConfig {
    SiteConfig {
        revision: 3,
        organization_name: "Example".into(),
        site_name: "Office".into(),
        device: device_config(),
        revoked_tokens: vec![id(8)],
        ..SiteConfig::default()
    }
}

pub(in crate::tests) fn relay_status() -> RelayStatus {
    RelayStatus { at_ms: 5000, version: "0.1.0".into(), uptime_s: 60, ..RelayStatus::default() }
}

pub(in crate::tests) fn cache_report() -> CacheReport {
    CacheReport {
        at_ms: 5000,
        days: vec![CacheDay {
            day: "2026-11-21".into(),
            repository: "deb.debian.org".into(),
            served: 4096,
            fetched: 1024,
            hits: 3,
            misses: 1,
        }],
        ahead: vec![AheadFile {
            sha256: [7; 32],
            state: AheadState::Refused,
            reason: "Not allowed.".into(),
        }],
        policy: Some(CachePolicy {
            hosts: vec!["deb.debian.org".into()],
            remaps: vec!["npm=https://registry.npmjs.org".into()],
            plan: Some(CachePlan { from_min: 1260, until_min: 300, bytes_per_s: 4_000_000 }),
            overruled: vec!["The relay's own file sets npm.".into()],
        }),
    }
}

pub(super) fn holds() -> SiteHolds {
    SiteHolds {
        at_ms: 5000,
        settings: site_config(),
        devices: vec![device()],
        online: vec![1],
        revoked: vec![id(11)],
        tokens: vec![KnownToken { token: id(8), used: 2, revoked: true }],
        commands: vec![id(9)],
        inventory: vec![0, 0, 0, 7],
        ahead: true,
        shared: Some(vec![id(11)]),
        asks: true,
        cut: false,
    }
}

pub(super) fn known() -> SiteKnown {
    SiteKnown {
        devices: vec![KnownDevice {
            device: device(),
            hostname: "pc-7".into(),
            version: "0.1.0".into(),
            enrolled_ms: 5000,
        }],
        tokens: vec![KnownToken { token: id(8), used: 2, revoked: false }],
        had: vec![KnownCommand { command: id(9), device: device(), started: true }],
        answered: true,
    }
}

pub(super) fn clock_ask() -> crate::clock::ClockAsk {
    crate::clock::ClockAsk { asked_ms: 7000, now_ms: 1_800_000_000_000 }
}

pub(super) fn device_clock() -> crate::link::DeviceClock {
    let at_ms = 1_800_000_000_000;
    crate::link::DeviceClock { device: device(), ahead_ms: -900_000, at_ms }
}

pub(super) fn shared_identity() -> SharedIdentity {
    let computer = SharingComputer {
        instance: id(5),
        hostname: "pc-7".into(),
        address: "10.0.0.7".into(),
        last_ms: 7000,
    };
    SharedIdentity { device: device(), at_ms: 7000, computers: vec![computer] }
}

pub(super) fn sample() -> Sample {
    Sample { at_ms: 5000, table: table().hash(), values: vec![Some(213), None] }
}

pub(in crate::tests) fn tunnel_data() -> TunnelData {
    TunnelData { tunnel: id(10), seq: 5, data: b"ls\r".to_vec() }
}

pub(in crate::tests) fn closed() -> TunnelClosed {
    TunnelClosed { tunnel: id(10), reason: "The shell ended.".into() }
}

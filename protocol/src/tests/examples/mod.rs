//! One example of each message of each wire, with fixed values: they are the
//! golden bytes, and the seeds from which hostile bytes are made.

mod values;

use values::*;
pub(super) use values::{authority, cached_config, command, grant, relay, rollups, token};

use crate::{
    blob::{BlobAnswer, BlobRequest},
    codec,
    compare::TellAgain,
    enroll::{
        AgentEnrolment, EnrollAgent, EnrollAgentAnswer, EnrollRelay, EnrollRelayAnswer,
        RelayEnrolment, RenewAgent,
    },
    envelope::{Decoded, Envelope},
    feature::SiteReport,
    lan::{
        Deliver, DownControl, Handed, Hello, NewIdentity, Renew, ReportAck, TellInventory,
        UpControl, Welcome,
    },
    lane::{Ack, Data, Lane, Resume},
    link::*,
    live::{Holds, LiveDown, LiveUp, TunnelCredit, TunnelResize},
    report::{Report, ReportBatch, Sequenced},
    signing::Signable,
    telemetry::{RollupBlock, block},
    token::{TokenRefusal, TokenText},
    topics,
    tunnel::{Accepted, TunnelFrame, TunnelOpen},
};
use serde::{Serialize, de::DeserializeOwned};

type Reads = Box<dyn Fn(&[u8]) -> bool>;

/// A message, by name, and whether bytes are read as it.
pub(super) struct Example {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) reads: Reads,
}

/// Examples of a `messages!` enum; its variants are named once each.
macro_rules! messages {
    ($kind:ident: $($variant:ident($body:expr)),+ $(,)?) => {{
        // Fails to compile when a message has no example.
        let _ = |message: &$kind| match message { $($kind::$variant(_) => ()),+ };
        vec![$({
            let message = $kind::$variant($body);
            Example {
                name: concat!(stringify!($kind), "::", stringify!($variant)),
                bytes: message.encode().unwrap(),
                reads: Box::new(move |bytes| {
                    matches!($kind::decode(bytes), Ok(Decoded::Known(m)) if m == message)
                }),
            }
        }),+]
    }};
}

fn plain<T>(name: &'static str, value: T) -> Example
where
    T: Serialize + DeserializeOwned + PartialEq + 'static,
{
    Example {
        name,
        bytes: codec::encode(&value).unwrap(),
        reads: Box::new(move |bytes| codec::decode::<T>(bytes).is_ok_and(|v| v == value)),
    }
}

fn signed<T: Signable + PartialEq + 'static>(name: &'static str, value: T) -> Example {
    plain(name, authority().sign(&value, None).unwrap())
}

fn text(name: &'static str, text: String) -> Example {
    let kept = text.clone();
    Example {
        name,
        bytes: text.into_bytes(),
        reads: Box::new(move |bytes| bytes == kept.as_bytes()),
    }
}

/// All wires by name.
pub(super) fn wires() -> Vec<(&'static str, Vec<Example>)> {
    vec![
        ("envelope", vec![envelope()]),
        ("topics", topic_names()),
        ("lan", lan()),
        ("report", reports()),
        ("live", live()),
        ("link", link()),
        ("up_record", up_records()),
        ("down_record", down_records()),
        ("tunnel", tunnel()),
        ("blob", blobs()),
        ("enrolment", enrolment()),
        ("signed", signatures()),
        ("telemetry", telemetry()),
    ]
}

fn envelope() -> Example {
    plain("Envelope", Envelope { v: 1, kind: 9, z: false, body: vec![0xf6] })
}

fn topic_names() -> Vec<Example> {
    use topics::{Down, Up};
    vec![
        text("up/hello", Up::Hello.topic(device())),
        text("up/report", Up::Report.topic(device())),
        text("up/live", Up::Live.topic(device())),
        text("down/control", Down::Control.topic(device())),
        text("down/command", Down::Command.topic(device())),
        text("down/live", Down::Live.topic(device())),
        text("down/#", topics::down_filter(device())),
    ]
}

fn lan() -> Vec<Example> {
    let ack = ReportAck { lane: Lane::State, epoch: 4, through: 17 };
    let hello = Hello {
        agent_version: "0.1.0".into(),
        epoch: 4,
        hostname: "pc-7".into(),
        now_ms: 5000,
        running: vec![id(9)],
        heeds_handed: true,
        instance: id(5),
    };
    let welcome = Welcome { positions: vec![ack], config: device_config(), now_ms: 5000 };
    let mut all = messages!(UpControl: Hello(hello), Clock(clock_ask()));
    all.extend(messages!(DownControl:
        Welcome(welcome),
        Ack(ack),
        Config(device_config()),
        Renew(Renew { expires_ms: 9000 }),
        Handed(Handed { started: vec![id(9)], sent: vec![id(10)], unheard: vec![id(9)] }),
        NewIdentity(NewIdentity {}),
        TellInventory(TellInventory {}),
        Clock(crate::clock::ClockAnswer { asked_ms: Some(7000), now_ms: 1_800_000_000_000 }),
    ));
    all.push(plain("DeviceConfig with a package cache", cached_config()));
    all.extend(messages!(Deliver: Command(authority().sign(&command(), None).unwrap())));
    all
}

fn reports() -> Vec<Example> {
    let mut all = messages!(Report:
        Series(table()),
        Sample(sample()),
        Inventory(inventory()),
        Command(event()),
        Output(chunk()),
        Gap(gap()),
        Feature(feature()),
    );
    let reports = vec![Sequenced { seq: 18, body: Report::Sample(sample()).encode().unwrap() }];
    all.push(plain(
        "ReportBatch",
        ReportBatch { epoch: 4, lane: Lane::Metrics, prev: 17, shift_ms: Some(-7200), reports },
    ));
    all
}

fn live() -> Vec<Example> {
    let credit = TunnelCredit { tunnel: id(10), bytes: 4096 };
    let resize = TunnelResize { tunnel: id(10), cols: 132, rows: 50 };
    let holds = Holds { commands: vec![id(9)] };
    let mut all = messages!(LiveUp:
        Data(tunnel_data()), Closed(closed()), Output(chunk()), Credit(credit), Holds(holds),
    );
    all.extend(messages!(LiveDown:
        Data(tunnel_data()), Close(closed()), Resize(resize), Credit(credit),
    ));
    all
}

fn link() -> Vec<Example> {
    let hello = LinkHello {
        version: "0.1.0".into(),
        epoch: 6,
        now_ms: 5000,
        lan_https: vec!["10.0.0.2:8443".into()],
        ca_fingerprint: vec![4; 32],
        sister_addresses: Vec::new(),
        applied_ms: Vec::new(),
        takes_newest: false,
        lanes: None,
    };
    let sister = Sister { peer: "12D3KooW".into(), addresses: vec!["10.1.0.2:4002".into()] };
    let ack = Ack { lane: Lane::Output, epoch: 6, through: 3 };
    let data = |skipped| Data {
        lane: Lane::Urgent,
        epoch: 6,
        prev: 3,
        skipped,
        records: vec![serde_bytes::ByteBuf::from(vec![1, 2]), serde_bytes::ByteBuf::from(vec![3])],
    };
    let mut all = messages!(Frame:
        Hello(hello),
        Resume(Resume { positions: vec![ack] }),
        Data(data(0)),
        Ack(ack),
        Ephemeral(vec![
            Ephemeral::Output(device(), chunk()),
            Ephemeral::Sample(device(), sample()),
        ]),
        Watch(Watch { devices: vec![device()] }),
        Goodbye(Goodbye { reason: "The relay restarts.".into() }),
        Sisters(Sisters { relays: vec![sister] }),
        ClockAsk(clock_ask()),
        ClockAnswer(crate::clock::ClockAnswer { asked_ms: None, now_ms: 1_800_000_000_000 }),
        Newest(newest()),
    );
    all.push(plain("Data with a hole", data(2)));
    all.extend(Lane::ALL.map(|lane| plain("Lane", lane)));
    all
}

fn up_records() -> Vec<Example> {
    let device = device();
    let enrolled = Enrolled {
        device,
        hostname: "pc-7".into(),
        version: "0.1.0".into(),
        token: id(8),
        at_ms: 5000,
    };
    let presence = Presence {
        device,
        online: true,
        at_ms: 5000,
        agent_version: "0.1.0".into(),
        address: "10.0.0.7".into(),
    };
    let audit = SiteAudit {
        at_ms: 5000,
        action: "token.refused".into(),
        actor: "pin".into(),
        detail: "The token had expired.".into(),
    };
    messages!(UpRecord:
        Enrolled(enrolled),
        Presence(vec![presence]),
        Inventory(DeviceInventory { device, report: inventory() }),
        Series(DeviceSeries { device, table: table() }),
        Metrics(vec![DeviceMetrics { device, block: metrics_block() }]),
        Progress(vec![Progress { device, event: event() }]),
        Output(DeviceOutput { device, chunks: vec![chunk()] }),
        Relay(relay_status()),
        Gap(DeviceGap { device: None, gap: gap() }),
        Audit(audit),
        Cache(cache_report()),
        Shared(shared_identity()),
        Clocks(vec![device_clock()]),
        Holds(Box::new(holds())),
        Feature(SiteReport { device: Some(device), report: feature() }),
    )
}

fn down_records() -> Vec<Example> {
    let deliver = DeliverCommand {
        command: id(9),
        devices: vec![device()],
        expires_ms: 9000,
        signed: authority().sign(&cancel(), None).unwrap(),
        handed: vec![device()],
        unheard: vec![device()],
    };
    messages!(DownRecord:
        Command(deliver),
        Config(site_config()),
        RevokeDevice(device()),
        RevokeToken(id(8)),
        Known(known()),
        TellAgain(TellAgain { inventory: vec![device()], series: vec![id(11)], tables: vec![7] }),
        AllowReenrolment(AllowReenrolment { device: device(), until_ms: 9000 }),
        SeparateIdentity(SeparateIdentity { device: device(), instance: id(5) }),
        ForgetComputer(ForgetComputer { device: device(), instance: id(5) }),
    )
}

fn tunnel() -> Vec<Example> {
    let command = authority().sign(&terminal(), None).unwrap();
    messages!(TunnelFrame:
        Open(TunnelOpen { device: device(), command }),
        Accepted(Accepted {}),
        Data(tunnel_data()),
        Resize(TunnelResize { tunnel: id(10), cols: 80, rows: 24 }),
        Credit(TunnelCredit { tunnel: id(10), bytes: 1 }),
        Closed(closed()),
    )
}

fn blobs() -> Vec<Example> {
    vec![
        plain(
            "BlobRequest",
            BlobRequest { hash: [7; 32], offset: 16, length: 4096, sha256: false, open: false },
        ),
        plain(
            "BlobRequest by SHA-256",
            BlobRequest { hash: [7; 32], offset: 0, length: 0, sha256: true, open: false },
        ),
        plain("BlobAnswer::Found", BlobAnswer::Found { size: 9000, following: 4096 }),
        plain("BlobAnswer::Missing", BlobAnswer::Missing),
    ]
}

fn enrolment() -> Vec<Example> {
    let site_certificate = authority().sign(&site_certificate(), None).unwrap();
    let relay_side = RelayEnrolment {
        relay: id(11),
        organization: id(2),
        site: id(3),
        authority: authority().public(),
        grant: authority().sign(&grant(), None).unwrap(),
        site_certificate: site_certificate.clone(),
    };
    let agent_side = AgentEnrolment {
        device: device(),
        organization: id(2),
        site: id(3),
        certificate: vec![0x30, 1],
        ca: vec![0x30, 2],
        site_certificate,
        mqtt: vec!["10.0.0.2:8883".into()],
        config: device_config(),
    };
    let ask = EnrollRelay {
        token: "UIT1.AAAA".into(),
        hostname: "box".into(),
        version: "0.1.0".into(),
        ca_fingerprint: [4; 32],
        lan_https: vec!["10.0.0.2:8443".into()],
        ui_pin_hash: String::new(),
    };
    let ask_agent = EnrollAgent {
        token: "UIT1.AAAA".into(),
        csr: vec![0x30, 3],
        hostname: "pc-7".into(),
        version: "0.1.0".into(),
        machine: "abc".into(),
    };
    vec![
        plain("EnrollRelay", ask),
        plain("EnrollRelayAnswer::Accepted", EnrollRelayAnswer::Accepted(Box::new(relay_side))),
        plain("EnrollRelayAnswer::Refused", EnrollRelayAnswer::Refused(TokenRefusal::Expired)),
        plain("EnrollRelayAnswer::Failed", EnrollRelayAnswer::Failed("No.".into())),
        plain("EnrollAgent", ask_agent),
        plain("EnrollAgentAnswer::Accepted", EnrollAgentAnswer::Accepted(Box::new(agent_side))),
        plain("EnrollAgentAnswer::Refused", EnrollAgentAnswer::Refused(TokenRefusal::UsedUp)),
        plain("EnrollAgentAnswer::Failed", EnrollAgentAnswer::Failed("No.".into())),
        plain("RenewAgent", RenewAgent { csr: vec![0x30, 4] }),
    ]
}

fn signatures() -> Vec<Example> {
    let granted = authority().sign(&grant(), None).unwrap();
    let token_text = |token| TokenText::new(authority().sign(&token, None).unwrap()).to_string();
    vec![
        signed("Grant", grant()),
        signed("SiteCertificate", site_certificate()),
        signed("Command::Script", command()),
        signed("Command::Cancel", cancel()),
        signed("Command::Terminal", terminal()),
        plain("Command by a relay", relay().sign(&command(), Some(granted)).unwrap()),
        text("agent token", token_text(token())),
        text("relay token", token_text(relay_token())),
    ]
}

fn telemetry() -> Vec<Example> {
    let block = metrics_block();
    let short = rollups(60);
    vec![
        Example {
            name: "RollupBlock",
            bytes: block.columns.clone(),
            reads: Box::new(|bytes| {
                let block = RollupBlock { table: 0, columns: bytes.to_vec() };
                block.decode().is_ok_and(|r| r == rollups(3))
            }),
        },
        Example {
            name: "Block",
            bytes: block::encode(&short).unwrap(),
            reads: Box::new(move |bytes| block::decode(bytes).is_ok_and(|r| r == short)),
        },
        plain("SeriesTable hash", table().hash()),
    ]
}

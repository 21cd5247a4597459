//! Prints what a measurement costs: on the WAN, beside the encodings that peers
//! use for the very same samples, and at rest.
//!
//! `cargo run -p unifyit-protocol --release --example wire_bytes [devices]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "an example")]

mod machine;
mod peers;

use machine::{EVERY_S, Machine};
use std::time::Instant;
use unifyit_protocol::{
    ids::DeviceId,
    lane::{Data, Lane},
    link::{DeviceMetrics, Frame, UpRecord},
    telemetry::{
        Rollup, RollupBlock, RollupBuilder, Sample, block,
        newest::{LoadColumns, Teller},
    },
};

const DAY_S: u64 = 24 * 3600;
const START_MS: u64 = 1_790_000_000_000 / 86_400_000 * 86_400_000;

struct Device {
    id: DeviceId,
    samples: Vec<Sample>,
    rollups: Vec<Rollup>,
}

fn main() {
    let count = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(20);
    let table = Machine::table();
    let columns = table.series.len();
    let devices: Vec<_> = (0..count).map(|n| device(n, table.hash())).collect();
    let raw = (count * (DAY_S / EVERY_S)) as usize * columns;
    println!("{count} devices, {columns} metrics every {EVERY_S} s for a day: {raw} samples\n");
    wan(&devices, table.hash(), raw);
    newest(&devices, &LoadColumns::of(&table));
    peers::print(&table, &devices.iter().map(|d| d.samples.as_slice()).collect::<Vec<_>>(), raw);
    rest(&devices, columns);
}

fn device(seed: u64, table: u32) -> Device {
    let mut machine = Machine::new(seed + 1);
    let samples: Vec<_> = (0..DAY_S / EVERY_S)
        .map(|n| machine.sample(START_MS + n * EVERY_S * 1000, table))
        .collect();
    let mut builder = RollupBuilder::new();
    let mut closed: Vec<_> = samples.iter().filter_map(|s| builder.push(s).unwrap()).collect();
    closed.extend(builder.finish());
    let rollups = closed.into_iter().map(|c| c.rollup).collect();
    Device { id: DeviceId::generate(), samples, rollups }
}

/// One record of all devices each so many minutes, framed and encrypted.
fn wan(devices: &[Device], table: u32, raw: usize) {
    println!("WAN, with envelopes, frames, Noise, Yamux and TCP/IP (goal 1.5 B, 100 kB):");
    for minutes in [1, 5, 15, 60, 120, 240] {
        let (mut bytes, mut cells, mut blocks) = (0, 0usize, 0);
        let started = Instant::now();
        for period in 0..1440 / minutes {
            let metrics: Vec<_> = devices
                .iter()
                .map(|d| {
                    let rollups = &d.rollups[period * minutes..(period + 1) * minutes];
                    let block = RollupBlock::encode_mirrored(table, rollups).unwrap();
                    blocks += block.columns.len();
                    cells += rollups.len() * rollups[0].values.len();
                    DeviceMetrics { device: d.id, block }
                })
                .collect();
            for some in metrics.chunks(200) {
                let record = UpRecord::Metrics(some.to_vec()).encode().unwrap();
                let data = Data {
                    lane: Lane::Metrics,
                    epoch: START_MS,
                    prev: period as u64,
                    skipped: 0,
                    records: vec![record.into()],
                };
                bytes += on_the_wire(Frame::Data(data).encode().unwrap().len());
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "  blocks of {minutes:>3} min: {:>5.2} B a sample, {:>5.1} kB a device a day \
             ({:.2} B a cell in blocks alone; encodes {:.1} M samples/s)",
            bytes as f64 / raw as f64,
            bytes as f64 / devices.len() as f64 / 1000.0,
            blocks as f64 / cells as f64,
            raw as f64 / seconds / 1e6,
        );
    }
    let blocks: Vec<_> =
        devices.iter().map(|d| RollupBlock::encode(table, &d.rollups).unwrap()).collect();
    let started = Instant::now();
    for block in &blocks {
        std::hint::black_box(block.decode().unwrap());
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("  decodes {:.1} M samples/s\n", raw as f64 / seconds / 1e6);
}

/// Newest loads of all devices, a frame a minute, in the packet in which the clocks are
/// compared; computers measure at moments of their own.
fn newest(devices: &[Device], columns: &LoadColumns) {
    let (mut teller, mut frames, mut loads) = (Teller::default(), 0, 0);
    for minute in 1..=1440 {
        let now_ms = START_MS + minute * 60_000;
        let of = |(n, device): (usize, &Device)| {
            let sample = &device.samples[minute as usize * 6 - 1];
            let age_ms = n as u64 * 700 % (EVERY_S * 1000);
            (device.id, columns.load(now_ms - age_ms, &sample.values))
        };
        let all: Vec<_> = devices.iter().enumerate().map(of).collect();
        let told = teller.tell(now_ms / 1000, &all).unwrap();
        loads += told.loads.len();
        frames += within_a_packet(Frame::Newest(told).encode().unwrap().len());
    }
    let each = |bytes: usize| bytes as f64 / devices.len() as f64 / 1000.0;
    println!(
        "newest loads each minute: {:.1} kB a device a day ({:.1} of them the loads alone)\n",
        each(frames),
        each(loads),
    );
}

/// A frame's length prefix, Yamux header, Noise tag and length, TCP/IP headers of
/// each segment, and a share of the acknowledgements.
pub(crate) fn on_the_wire(frame: usize) -> usize {
    let stream = within_a_packet(frame);
    stream + stream.div_ceil(1400) * (52 + 26)
}

/// The same without headers of its own.
fn within_a_packet(frame: usize) -> usize {
    frame + 4 + 12 + 18
}

fn rest(devices: &[Device], columns: usize) {
    println!("\nAt rest, a block a device and day (goal 1.38 B a value):");
    let started = Instant::now();
    let blocks: Vec<_> = devices.iter().map(|d| block::encode(&d.rollups).unwrap()).collect();
    let encoding = started.elapsed().as_secs_f64();
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    let cells = devices.len() * 1440 * columns;
    println!(
        "  {:.2} B a value (min, max, mean, last are four), {:.2} B a minute's cell, \
         {:.2} B a raw sample; encodes {:.1} M cells/s",
        bytes as f64 / cells as f64 / 4.0,
        bytes as f64 / cells as f64,
        bytes as f64 / cells as f64 / 6.0,
        cells as f64 / encoding / 1e6,
    );
    let wire: usize =
        devices.iter().map(|d| RollupBlock::encode(0, &d.rollups).unwrap().columns.len()).sum();
    println!("  {:.2} B a cell by the wire's range coder instead", wire as f64 / cells as f64);
    let started = Instant::now();
    for block in blocks.iter().cycle().take(7) {
        let block = block::Block::parse(block).unwrap();
        for at in 0..columns {
            std::hint::black_box(block.column(at).unwrap());
        }
    }
    println!(
        "  a week of one device, all {columns} columns: {:.1} ms",
        started.elapsed().as_secs_f64() * 1000.0
    );
}

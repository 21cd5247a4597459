//! The same samples in the encodings of others.

use crate::on_the_wire;
use flate2::{Compression, write::ZlibEncoder};
use serde_json::{Value, json};
use std::io::Write;
use unifyit_protocol::telemetry::{Sample, SeriesTable};

/// Samples of one device that are sent together: a minute, as remote write and
/// proxies do it.
const BATCH: usize = 6;

/// Prints all of them.
pub(crate) fn print(table: &SeriesTable, devices: &[&[Sample]], raw: usize) {
    println!("The same samples otherwise, unrounded to minutes:");
    let line = |name: &str, bytes: usize| {
        println!("  {name:<44} {:>6.2} B a sample", bytes as f64 / raw as f64);
    };
    let all = |encode: &dyn Fn(&[Sample]) -> usize| -> usize {
        devices.iter().flat_map(|d| d.chunks(BATCH)).map(encode).sum()
    };
    line(
        "JSON, a message a sample row",
        all(&|batch| {
            batch.iter().map(|s| on_the_wire(json_rows(table, std::slice::from_ref(s)).len())).sum()
        }),
    );
    line(
        "JSON, batches of a minute, zlib",
        all(&|batch| {
            let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
            zlib.write_all(json_rows(table, batch).as_bytes()).expect("memory");
            on_the_wire(zlib.finish().expect("memory").len())
        }),
    );
    line(
        "Prometheus remote write 1.0, one device",
        all(&|batch| on_the_wire(snappy(&remote_write(table, &[(0, batch)])))),
    );
    let fleet: usize = (0..devices[0].len() / BATCH)
        .map(|at| {
            let batch: Vec<_> = devices
                .iter()
                .enumerate()
                .map(|(n, d)| (n, &d[at * BATCH..(at + 1) * BATCH]))
                .collect();
            on_the_wire(snappy(&remote_write(table, &batch)))
        })
        .sum();
    line("Prometheus remote write 1.0, all devices", fleet);
}

/// Rows as a monitoring proxy would send them.
fn json_rows(table: &SeriesTable, batch: &[Sample]) -> String {
    let rows: Vec<Value> = batch
        .iter()
        .flat_map(|sample| {
            table.series.iter().zip(&sample.values).map(move |(series, value)| {
                json!({
                    "clock": sample.at_ms / 1000,
                    "key": format!("{}[{}]", series.name, series.label),
                    "value": value.map(|v| v as f64 / 10f64.powi(i32::from(series.scale))),
                })
            })
        })
        .collect();
    Value::from(rows).to_string()
}

fn snappy(bytes: &[u8]) -> usize {
    snap::raw::Encoder::new().compress_vec(bytes).expect("memory").len()
}

/// `WriteRequest`: a time series with its labels for each column of each device.
fn remote_write(table: &SeriesTable, devices: &[(usize, &[Sample])]) -> Vec<u8> {
    let mut request = Vec::new();
    for (number, samples) in devices {
        for (at, series) in table.series.iter().enumerate() {
            let mut one = Vec::new();
            let instance = format!("device-{number:05}.example.org:9100");
            let name = series.name.replace('.', "_");
            let labels = [("__name__", name.as_str()), ("instance", &instance), ("job", "agent")];
            let label = Some(("label", series.label.as_str())).filter(|(_, l)| !l.is_empty());
            for (key, value) in labels.into_iter().chain(label) {
                let mut pair = Vec::new();
                field(&mut pair, 1, key.as_bytes());
                field(&mut pair, 2, value.as_bytes());
                field(&mut one, 1, &pair);
            }
            for sample in *samples {
                let value = sample.values[at].unwrap_or_default() as f64;
                let value = value / 10f64.powi(i32::from(series.scale));
                let mut point = vec![1 << 3 | 1];
                point.extend(value.to_le_bytes());
                point.push(2 << 3);
                number_to(&mut point, sample.at_ms);
                field(&mut one, 2, &point);
            }
            field(&mut request, 1, &one);
        }
    }
    request
}

fn field(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    out.push(number << 3 | 2);
    number_to(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn number_to(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

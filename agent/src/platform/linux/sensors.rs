//! Temperature sensors, below `/sys/class/hwmon`.
//!
//! Chips come and go (a module loaded late, a drive plugged in), and their names
//! are not unique: two drives are both `nvme`. Where a name stands for several,
//! each is told with the device that it is of.

use crate::apart::Watch;
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

pub(super) const HWMON: &str = "/sys/class/hwmon";
/// Most temperature sensors read.
const MAX_SENSORS: usize = 32;
/// Readings after which sensors are looked for even if the chips look the same.
const LOOK_EVERY: u32 = 60;

#[derive(Debug, Default)]
pub(super) struct Sensors {
    chips: Vec<OsString>,
    readings: u32,
    found: Vec<(String, PathBuf)>,
    /// How many more there are.
    pub(super) left_out: usize,
}

impl Sensors {
    /// Names and thousandths of a degree.
    pub(super) fn read(&mut self, folder: &Path, watch: &Watch) -> Vec<(String, i64)> {
        let Some(chips) = watch.ask(HWMON, || chips(folder)) else { return Vec::new() };
        if chips != self.chips || self.readings.is_multiple_of(LOOK_EVERY) {
            let mut found = find(folder, &chips, watch);
            self.left_out = found.len().saturating_sub(MAX_SENSORS);
            found.truncate(MAX_SENSORS);
            (self.chips, self.found) = (chips, found);
        }
        self.readings = self.readings.wrapping_add(1);
        let value = |(name, path): &(String, PathBuf)| {
            let value = watch.ask(&path.to_string_lossy(), || read_value(path))??;
            Some((name.clone(), value))
        };
        self.found.iter().filter_map(value).collect()
    }
}

fn chips(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut chips: Vec<OsString> = entries.map(|entry| entry.file_name()).collect();
    chips.sort();
    chips
}

struct Sensor {
    chip: String,
    of: String,
    label: String,
    path: PathBuf,
}

fn find(folder: &Path, chips: &[OsString], watch: &Watch) -> Vec<(String, PathBuf)> {
    let mut sensors = Vec::new();
    for chip in chips {
        let path = folder.join(chip);
        // One that does not answer is left out alone.
        if let Some(found) = watch.ask(&path.to_string_lossy(), || of_chip(&path)) {
            sensors.extend(found);
        }
    }
    let same = |a: &Sensor, b: &Sensor| a.chip == b.chip && a.label == b.label;
    let mut found: Vec<(String, PathBuf)> = sensors
        .iter()
        .map(|sensor| {
            let alone = sensors.iter().filter(|other| same(sensor, other)).count() == 1;
            let Sensor { chip, of, label, path } = sensor;
            let name =
                if alone { format!("{chip}/{label}") } else { format!("{chip} ({of})/{label}") };
            (name, path.clone())
        })
        .collect();
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    found
}

fn of_chip(folder: &Path) -> Vec<Sensor> {
    let chip = text(&folder.join("name")).unwrap_or_default();
    let device = fs::read_link(folder.join("device")).ok();
    let of = device.as_deref().unwrap_or(folder).file_name().unwrap_or_default();
    let of = of.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = file.file_name();
        let Some(index) =
            name.to_str().and_then(|n| n.strip_prefix("temp")?.strip_suffix("_input"))
        else {
            continue;
        };
        let label = text(&folder.join(format!("temp{index}_label")));
        let label = label.unwrap_or_else(|_| format!("temp{index}"));
        found.push(Sensor { chip: chip.clone(), of: of.clone(), label, path: file.path() });
    }
    found
}

/// A short text, whatever its encoding.
fn text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8_lossy(&fs::read(path)?).trim().to_owned();
    Ok(text.chars().filter(|c| !c.is_control()).take(64).collect())
}

fn read_value(path: &Path) -> Option<i64> {
    let value: i64 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    // Disconnected sensors report absurd values.
    (-100_000..=250_000).contains(&value).then_some(value)
}

//! The usual `process_*` series, read from `/proc` at each scrape.
//!
//! Not the `prometheus` crate's own collector: that one counts processor time in whole seconds.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::catalogue::{self, Metric};
use super::families::{Family, describe};

const METRICS: [&Metric; 8] = [
    &catalogue::PROCESS_CPU,
    &catalogue::PROCESS_RESIDENT,
    &catalogue::PROCESS_VIRTUAL,
    &catalogue::PROCESS_VIRTUAL_MAX,
    &catalogue::PROCESS_START,
    &catalogue::PROCESS_OPEN_FDS,
    &catalogue::PROCESS_MAX_FDS,
    &catalogue::PROCESS_THREADS,
];

/// Collects what the operating system knows of this process; nothing where there is no `/proc`.
pub struct ProcessCollector {
    descriptions: Vec<Desc>,
}

impl Default for ProcessCollector {
    fn default() -> Self {
        Self { descriptions: METRICS.iter().filter_map(|metric| describe(metric)).collect() }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        readings()
            .into_iter()
            .map(|(metric, value)| {
                let mut family = Family::new(metric);
                family.push(&[], value);
                family.finish()
            })
            .collect()
    }
}

type Reading = (&'static Metric, f64);

#[cfg(target_os = "linux")]
fn readings() -> Vec<Reading> {
    read_proc().unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn readings() -> Vec<Reading> {
    Vec::new()
}

#[cfg(target_os = "linux")]
fn read_proc() -> procfs::ProcResult<Vec<Reading>> {
    use procfs::process::{LimitValue, Process};

    let process = Process::myself()?;
    let stat = process.stat()?;
    let limits = process.limits()?;
    let ticks = procfs::ticks_per_second() as f64;
    let mut readings = vec![
        (&catalogue::PROCESS_CPU, (stat.utime + stat.stime) as f64 / ticks),
        (&catalogue::PROCESS_RESIDENT, (stat.rss * procfs::page_size()) as f64),
        (&catalogue::PROCESS_VIRTUAL, stat.vsize as f64),
        (&catalogue::PROCESS_START, procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks),
        (&catalogue::PROCESS_OPEN_FDS, process.fd_count()? as f64),
        (&catalogue::PROCESS_THREADS, stat.num_threads as f64),
    ];
    for (metric, limit) in [
        (&catalogue::PROCESS_VIRTUAL_MAX, limits.max_address_space.soft_limit),
        (&catalogue::PROCESS_MAX_FDS, limits.max_open_files.soft_limit),
    ] {
        if let LimitValue::Value(value) = limit {
            readings.push((metric, value as f64));
        }
    }
    Ok(readings)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_a_living_process() {
        let readings = readings();
        let value = |metric: &Metric| readings.iter().find(|(of, _)| of.name == metric.name).map(|(_, value)| *value);
        assert!(value(&catalogue::PROCESS_RESIDENT).unwrap() > 1e6);
        assert!(value(&catalogue::PROCESS_VIRTUAL) > value(&catalogue::PROCESS_RESIDENT));
        assert!(value(&catalogue::PROCESS_START).unwrap() > 1.7e9);
        assert!(value(&catalogue::PROCESS_OPEN_FDS).unwrap() >= 3.0);
        assert!(value(&catalogue::PROCESS_THREADS).unwrap() >= 1.0);
        assert!(value(&catalogue::PROCESS_CPU).unwrap() >= 0.0);
    }
}

//! What the operating system knows of this process, read from `/proc` at each scrape.

/// The figures of this process.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessFigures {
    /// Processor time in user and system mode.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// The limit of the address space; `None` if there is none.
    pub max_virtual_bytes: Option<u64>,
    /// The start, since the Unix epoch.
    pub start_seconds: f64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The limit of file descriptors; `None` if there is none.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: u64,
}

/// Reads the figures; `None` if there is no `/proc`.
#[cfg(target_os = "linux")]
pub fn read() -> Option<ProcessFigures> {
    read_proc().ok()
}

/// Reads the figures; `None` if there is no `/proc`.
#[cfg(not(target_os = "linux"))]
pub fn read() -> Option<ProcessFigures> {
    None
}

#[cfg(target_os = "linux")]
fn read_proc() -> procfs::ProcResult<ProcessFigures> {
    use procfs::process::{LimitValue, Process};

    let process = Process::myself()?;
    let stat = process.stat()?;
    let limits = process.limits()?;
    let ticks = procfs::ticks_per_second() as f64;
    let limit = |value| if let LimitValue::Value(value) = value { Some(value) } else { None };
    Ok(ProcessFigures {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        resident_bytes: stat.rss * procfs::page_size(),
        virtual_bytes: stat.vsize,
        max_virtual_bytes: limit(limits.max_address_space.soft_limit),
        start_seconds: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
        open_fds: process.fd_count()? as u64,
        max_fds: limit(limits.max_open_files.soft_limit),
        threads: stat.num_threads.unsigned_abs(),
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_a_living_process() {
        let figures = read().unwrap();
        assert!(figures.resident_bytes > 1_000_000);
        assert!(figures.virtual_bytes > figures.resident_bytes);
        assert!(figures.start_seconds > 1.7e9);
        assert!(figures.open_fds >= 3);
        assert!(figures.threads >= 1);
        assert!(figures.cpu_seconds >= 0.0);
    }
}

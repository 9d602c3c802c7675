//! A scrape: the rows of the catalogue and the families of the registry, each sample written as soon as it is
//! collected. Pushes of metrics are made of the same families and samples.
//!
//! *Invariant:* a scrape reads one snapshot of the board, so it shows one committed state per webhook, in which the
//! books balance. It holds no lock while it writes. Called by the server's thread for metrics, and by
//! [`super::otlp`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::Registry;
use prometheus::proto::MetricFamily;

use super::board::{Board, TargetView, Views};
use super::catalogue::{Buckets, Metric, MetricRow, MetricScope, daemon, deliveries, environment, process, work};
use super::gathered;
use super::process::ProcessFigures;
use super::pushes::{PushCounts, PushStatus};
use super::samples::Samples;
use crate::exposition::model::{FamilyHead, Sample};
use crate::exposition::{ExpositionWriter, Format};
use crate::store::handle::StoreInfo;
use crate::store::queue::QueueStatus;

/// What scrapes are made of. Clones share it.
#[derive(Clone, Debug)]
pub struct Scraper {
    /// What is shown about targets and environments.
    pub board: Board,
    /// What is shown about the state.
    pub store: StoreInfo,
    /// Where the daemon counts its own work.
    pub registry: Registry,
    /// How pushes of metrics went.
    pub pushes: PushStatus,
    /// When somebody last scraped.
    pub last_scrape: LastScrape,
}

/// When somebody last scraped, since the process was started. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LastScrape(Arc<Mutex<Option<Instant>>>);

impl LastScrape {
    fn note(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Whether it was less than `time` before `now`.
    pub fn is_within(&self, time: Duration, now: Instant) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| now.saturating_duration_since(last) < time)
    }
}

/// One moment, as all families of a scrape see it.
#[derive(Debug)]
pub struct Scrape {
    views: Arc<Views>,
    /// The labels of the duration histogram.
    duration_labels: Vec<&'static str>,
    store: StoreInfo,
    queue: QueueStatus,
    log_queue: QueueStatus,
    pushes: PushCounts,
    process: Option<ProcessFigures>,
    gathered: Vec<MetricFamily>,
}

/// Whether a family can differ from one scrape to the next without anything having been written to the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyOrigin {
    /// It shows the board alone, under this name: scrapes of the same [`Scrape::version`] show the same.
    Board(&'static str),
    /// It shows the moment of the scrape.
    Moment,
}

/// A family of a scrape.
#[derive(Clone, Copy, Debug)]
pub struct ScrapeFamily<'a>(Source<'a>);

/// Where the samples of a family come from.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Target(&'static deliveries::TargetRow),
    Environment(&'static Metric, for<'b> fn(environment::EnvironmentSource<'b>, &mut Samples<'b>)),
    Daemon(&'static Metric, for<'b> fn(&'b daemon::DaemonSource<'_>, &mut Samples<'b>)),
    Process(&'static MetricRow<process::ProcessCollector>),
    Registry(&'a MetricFamily),
}

/// Since when the counters of a family count, where its series do not say so themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedSince {
    /// Since the state was made: they go on over restarts.
    StateCreation,
    /// Since the process was started.
    ProcessStart,
}

impl<'a> ScrapeFamily<'a> {
    /// Returns what its samples share; `None` for a type that the daemon does not use.
    pub fn head(&self) -> Option<FamilyHead<'a>> {
        match self.0 {
            Source::Target(row) => Some(head(&row.metric)),
            Source::Environment(metric, _) | Source::Daemon(metric, _) => Some(head(metric)),
            Source::Process(row) => Some(head(&row.metric)),
            Source::Registry(gathered) => gathered::family(gathered),
        }
    }

    /// Returns since when its counters count.
    pub fn counted_since(&self) -> CountedSince {
        match self.0 {
            Source::Target(row) if row.metric.durable => CountedSince::StateCreation,
            Source::Environment(metric, _) | Source::Daemon(metric, _) if metric.durable => CountedSince::StateCreation,
            _ => CountedSince::ProcessStart,
        }
    }

    /// Returns what it shows.
    pub fn origin(&self) -> FamilyOrigin {
        match self.0 {
            Source::Target(row) => FamilyOrigin::Board(row.metric.name),
            Source::Environment(metric, _) => FamilyOrigin::Board(metric.name),
            Source::Daemon(..) | Source::Process(_) | Source::Registry(_) => FamilyOrigin::Moment,
        }
    }
}

impl Scraper {
    /// Returns what there is now. What is held at 0 counts as shown from now on.
    pub fn scrape(&self) -> Scrape {
        let (scrape, now) = (self.observe(), Instant::now());
        self.last_scrape.note(now);
        scrape.note_shown(now);
        scrape
    }

    /// Returns what there is now, for somebody who may not get to see it.
    pub fn observe(&self) -> Scrape {
        let views = self.board.snapshot();
        Scrape {
            duration_labels: views.display.duration_labels.iter().map(|label| label.as_str()).collect(),
            views,
            store: self.store.clone(),
            queue: self.store.queue().status(),
            log_queue: self.store.log_queue().status(),
            pushes: self.pushes.counts(),
            process: super::process::read(),
            gathered: self.registry.gather(),
        }
    }

    /// Writes what there is now.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn write(&self, format: Format, out: &mut impl fmt::Write) -> fmt::Result {
        let scrape = self.scrape();
        let mut writer = ExpositionWriter::new(format, out);
        scrape.families().try_for_each(|family| scrape.write(&family, &mut writer))?;
        writer.finish()
    }
}

impl Scrape {
    /// Returns the version of the board that it shows.
    pub fn version(&self) -> u64 {
        self.views.version()
    }

    /// Records that what is held at 0 was shown, at `now`.
    pub fn note_shown(&self, now: Instant) {
        let exposed = self.views.targets.values().filter(|view| view.exposed);
        exposed.for_each(|view| view.exposure.note_scrape(now));
    }

    /// Returns all families in the order of their names, which is that of a scrape.
    pub fn families(&self) -> impl Iterator<Item = ScrapeFamily<'_>> {
        let mut sources = BTreeMap::new();
        for row in deliveries::ROWS.iter().chain(work::ROWS) {
            sources.insert(row.metric.name, Source::Target(row));
        }
        for row in environment::ROWS {
            if let environment::EnvironmentCollector::Board(collect) = row.collect {
                sources.insert(row.metric.name, Source::Environment(&row.metric, collect));
            }
        }
        for row in daemon::ROWS {
            if let daemon::DaemonCollector::Board(collect) = row.collect {
                sources.insert(row.metric.name, Source::Daemon(&row.metric, collect));
            }
        }
        for row in process::ROWS {
            sources.insert(row.metric.name, Source::Process(row));
        }
        for family in &self.gathered {
            sources.insert(family.name(), Source::Registry(family));
        }
        sources.into_values().map(ScrapeFamily)
    }

    /// Writes a family.
    ///
    /// # Errors
    /// If the output fails.
    pub fn write<W: fmt::Write>(&self, family: &ScrapeFamily<'_>, writer: &mut ExpositionWriter<'_, W>) -> fmt::Result {
        let Some(head) = family.head() else { return Ok(()) };
        let mut writer = writer.family(head);
        self.visit(family, |sample| writer.sample(sample))
    }

    /// Passes the samples of a family to `visit`, in the order of their labels, until that fails.
    ///
    /// # Errors
    /// That of `visit`.
    pub fn visit<E>(
        &self,
        family: &ScrapeFamily<'_>,
        mut visit: impl FnMut(&Sample<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match family.0 {
            Source::Target(row) => self.visit_targets(row, visit),
            Source::Environment(metric, collect) => {
                for (name, view) in &self.views.environments {
                    let mut samples = Samples::new(labels(metric.scope, [&**name]), metric.labels);
                    collect(environment::EnvironmentSource { name, view, views: &self.views }, &mut samples);
                    visit_all(samples, &mut visit)?;
                }
                Ok(())
            }
            Source::Daemon(metric, collect) => {
                let subject = daemon::DaemonSource {
                    config: self.views.config,
                    is_behind: self.views.is_behind(),
                    store: &self.store,
                    queue: self.queue,
                    log_queue: self.log_queue,
                    pushes: self.pushes,
                };
                let mut samples = Samples::new(Vec::new(), metric.labels);
                collect(&subject, &mut samples);
                visit_all(samples, &mut visit)
            }
            Source::Process(row) => {
                let mut samples = Samples::new(Vec::new(), &[]);
                samples.push_known([], self.process.as_ref().and_then(row.collect));
                visit_all(samples, &mut visit)
            }
            Source::Registry(gathered) => {
                let Some(family) = gathered::family(gathered) else { return Ok(()) };
                gathered.get_metric().iter().try_for_each(|metric| visit(&gathered::sample(metric, family.kind)))
            }
        }
    }

    fn visit_targets<E>(
        &self,
        row: &deliveries::TargetRow,
        mut visit: impl FnMut(&Sample<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let names = match row.metric.buckets {
            Buckets::Configured => &*self.duration_labels,
            Buckets::None | Buckets::Fixed(_) => row.metric.labels,
        };
        let is_shown = |view: &&Arc<TargetView>| !(view.is_behind && row.metric.durable);
        for view in self.views.targets.values().filter(is_shown) {
            let subject = [&*view.target.environment, &*view.target.webhook_id];
            let mut samples = Samples::new(labels(row.metric.scope, subject), names);
            row.collect.collect(view, &mut samples);
            visit_all(samples, &mut visit)?;
        }
        Ok(())
    }
}

fn head(metric: &Metric) -> FamilyHead<'static> {
    FamilyHead { name: metric.name, kind: metric.kind, help: metric.help }
}

/// Returns the labels of a scope with these values.
fn labels<'a>(scope: MetricScope, values: impl IntoIterator<Item = &'a str>) -> Vec<(&'a str, &'a str)> {
    scope.labels().iter().copied().zip(values).collect()
}

/// Visits the samples of one subject; the caller passes subjects in the order of their labels.
fn visit_all<E>(samples: Samples<'_>, mut visit: impl FnMut(&Sample<'_>) -> Result<(), E>) -> Result<(), E> {
    samples.sorted().iter().try_for_each(&mut visit)
}

#[cfg(test)]
mod tests;

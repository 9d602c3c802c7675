//! `history`: writes past deliveries as OpenMetrics text, and with `--seed-state` makes a state that continues from it.

use std::fmt::Write;
use std::fs::Permissions;
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;
use tracing::{info, warn};

use super::asker::asker;
use super::find_webhooks::{self, FoundWebhooks};
use super::run::run_until_stopped;
use super::{Failure, HistoryArgs, print};
use crate::app;
use crate::audit::state::{StateError, StateFile};
use crate::budgeted_client::AskError;
use crate::client::Client;
use crate::config::{Config, EnvironmentConfig};
use crate::history::reading::{self, LiveHistory, ReadExtent};
use crate::history::replay::{Books, Past, Replay};
use crate::history::resume::{PriorReading, ResumeFile};
use crate::history::spool::Spool;
use crate::history::write::{History, Written};
use crate::log_reader::{LogReader, ReadError};
use crate::logging::about::about_webhook;
use crate::progress::{Estimate, WorkProgress};
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::store::draft::{self, DraftPlace, StateDraft};
use crate::store::error::StoreError;
use crate::store::place::beside;
use crate::store::sqlite::SqliteStore;
use crate::{blocking, local_clock};
use talkover_core::delivery::{Target, Timestamp};
use talkover_core::discovery::record::Unsaved;
use talkover_core::discovery::targets::ListedTarget;
use talkover_core::ledger::decide::Policy;
use talkover_core::reading::walk::Stretch;

/// How many logs are read to estimate their length; the others are assumed to be alike.
const SAMPLE: usize = 20;
/// The API keeps its logs for 30 days.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) fn run(config: Config, args: &HistoryArgs) -> Result<(), Failure> {
    if args.since.is_zero() {
        return Err(Failure::usage("--since must be longer than 0"));
    }
    if args.seed_state {
        draft::refuse_existing(&config.state.path).map_err(|error| {
            Failure::running(format!("{error}; --seed-state works only before the daemon's first start"))
        })?;
    }
    let output = Output::prepare(&args.output)?;
    let live = if args.seed_state { None } else { live_state(&config)? };
    let labels = app::policy(&config.poll, &config.metrics).labels;
    let resume = beside(&args.output, "resume");
    let resume = ResumeFile::open(&resume, labels).map_err(Failure::running)?;
    let mut run =
        HistoryRun { config, since: args.since, seed_state: args.seed_state, live, resume, found: Vec::new() };
    run_until_stopped(async |shutdown| {
        let failures = run.read_all(&shutdown).await?;
        let written = blocking::run(move || run.write(output, failures, &shutdown)).await?;
        print(&written)
    })
}

/// Opens the state of a daemon, if there is one.
fn live_state(config: &Config) -> Result<Option<StateFile>, Failure> {
    match StateFile::open(&config.state.path) {
        Ok(state) => {
            warn!(
                "state file {} exists: the samples of each webhook end where its counters begin, with a reset to 0",
                config.state.path.display()
            );
            Ok(Some(state))
        }
        Err(StateError::Missing { .. }) => Ok(None),
        Err(error) => Err(Failure::running(error)),
    }
}

/// The file to be written, under a temporary name until it is complete.
struct Output {
    file: NamedTempFile,
    directory: PathBuf,
    path: PathBuf,
}

impl Output {
    /// Checks at the start, not after hours, whether the file can be written.
    fn prepare(path: &Path) -> Result<Self, Failure> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Readable by all: promtool may run as another user, and the content is no more secret than `/metrics`.
        let readable = Permissions::from_mode(0o666);
        let file = tempfile::Builder::new().prefix(".talkover-history-").permissions(readable).tempfile_in(directory);
        let failed = |error| Failure::running(format!("failed to write to {}: {error}", directory.display()));
        Ok(Self { file: file.map_err(failed)?, directory: directory.to_owned(), path: path.to_owned() })
    }

    fn failed(&self, error: impl std::fmt::Display) -> Failure {
        Failure::running(format!("failed to write {}: {error}", self.path.display()))
    }
}

/// What was read of one environment.
struct EnvironmentRead {
    environment: EnvironmentConfig,
    discovered: Option<Unsaved>,
    webhooks: Vec<WebhookRead>,
}

/// A webhook whose log was read.
struct WebhookRead {
    listed: ListedTarget,
    live: Option<LiveHistory>,
}

/// One run of the command, from the first request to the last line.
struct HistoryRun {
    config: Config,
    since: Duration,
    seed_state: bool,
    live: Option<StateFile>,
    resume: ResumeFile,
    found: Vec<EnvironmentRead>,
}

impl HistoryRun {
    /// Reads everything that is missing. Returns a message for each log that could not be read.
    async fn read_all(&mut self, shutdown: &Shutdown) -> Result<Vec<String>, Failure> {
        let mut failures = Vec::new();
        for environment in self.config.environments.clone() {
            let mut reader = LogReader { asker: asker(&self.config, &environment, shutdown.clone())? };
            let webhooks = match find_webhooks::find(&environment, &mut reader.asker).await {
                Ok(webhooks) => webhooks,
                Err(AskError::Interrupted) => return Err(interrupted()),
                Err(error) => {
                    failures.push(format!("environment `{}` cannot be read: {error}", environment.name));
                    continue;
                }
            };
            self.read_environment(environment, webhooks, &mut reader, &mut failures).await?;
        }
        Ok(failures)
    }

    async fn read_environment(
        &mut self,
        environment: EnvironmentConfig,
        webhooks: FoundWebhooks,
        reader: &mut LogReader,
        failures: &mut Vec<String>,
    ) -> Result<(), Failure> {
        for (list, error) in &webhooks.unreadable {
            failures.push(format!("environment `{}`: the {list} cannot be read: {error}", environment.name));
        }
        for (list, shortfall) in &webhooks.cut {
            let environment = &environment.name;
            warn!(%environment, "the {list} was read only in part: {shortfall}; using what was found");
        }
        let mut wanted = Vec::new();
        for listed in webhooks.listed {
            self.refuse_other_since(&listed.target)?;
            let live = self.live_part(&listed.target)?;
            wanted.push(WebhookRead { listed, live });
        }
        let pages = self.estimate(&wanted, reader).await?;
        let estimate = Estimate { pages, per_minute: reader.asker.budget.per_second() * 60.0 };
        let mut progress = WorkProgress::begin(&format!("reading the logs of `{}`", environment.name), estimate);
        let mut unreadable: Option<String> = None;
        let mut read = Vec::new();
        // The second round updates the logs that were read long before the end of the first.
        for round in [Round::First, Round::Update] {
            for webhook in &wanted {
                let target = &webhook.listed.target;
                let result = match (&unreadable, round) {
                    (Some(reason), Round::First) => Err(reason.clone()),
                    (Some(_), Round::Update) => continue,
                    (None, _) if round == Round::Update && !read.contains(target) => continue,
                    (None, _) => self.read_one(webhook, reader, &mut progress, &mut unreadable).await?,
                };
                match result {
                    Ok(()) if round == Round::First => read.push(target.clone()),
                    Ok(()) => {}
                    Err(reason) if round == Round::First => failures.push(format!("{target} cannot be read: {reason}")),
                    // It is complete up to the first round.
                    Err(reason) => about_webhook!(warn, target, "failed to read the latest entries: {reason}"),
                }
            }
        }
        wanted.retain(|webhook| read.contains(&webhook.listed.target));
        self.found.push(EnvironmentRead { environment, discovered: webhooks.discovered, webhooks: wanted });
        Ok(())
    }

    /// Reads what is missing of one log. The inner error says why the log cannot be read.
    async fn read_one(
        &mut self,
        webhook: &WebhookRead,
        reader: &mut LogReader,
        progress: &mut WorkProgress,
        unreadable: &mut Option<String>,
    ) -> Result<Result<(), String>, Failure> {
        let extent = ReadExtent {
            per_page: self.config.poll.per_page,
            since: self.since,
            live: webhook.live,
            stale_after: self.config.poll.max_interval * 2,
            windows: self.policy().windows,
        };
        match reading::read(reader, &mut self.resume, &webhook.listed.target, extent, progress).await {
            Ok(()) => Ok(Ok(())),
            Err(ReadError::Ask(AskError::Interrupted)) => Err(interrupted()),
            Err(error @ ReadError::NotKept(_)) => Err(Failure::running(error)),
            Err(ReadError::Ask(error)) => {
                if reader.asker.silence.ends_all(&error) {
                    *unreadable = Some(error.to_string());
                }
                Ok(Err(error.to_string()))
            }
            Err(error @ ReadError::Walk(_)) => Ok(Err(error.to_string())),
        }
    }

    /// Returns what a daemon has counted of a webhook, if anything.
    fn live_part(&self, target: &Target) -> Result<Option<LiveHistory>, Failure> {
        let Some(state) = &self.live else { return Ok(None) };
        let Some((marks, count)) = state.marks(target).map_err(Failure::running)? else { return Ok(None) };
        let Some(since) = marks.history_cutoff else { return Ok(None) };
        let stretch = marks.watermark.filter(|newest| marks.contacted && *newest > since);
        let stretch = stretch.map(|newest| Stretch { newest, oldest: since, count });
        Ok(Some(LiveHistory { since, stretch }))
    }

    /// Refuses to continue an interrupted run with another `--since`.
    fn refuse_other_since(&self, target: &Target) -> Result<(), Failure> {
        let kept = self.resume.find(target).map_err(Failure::running)?;
        match kept.begun {
            Some((date, cutoff)) if date.since(cutoff) != self.since => Err(Failure::running(format!(
                "{} was made with --since {}: use the same value, or remove the file to start over",
                self.resume.path().display(),
                crate::config::format_duration(date.since(cutoff)),
            ))),
            _ => Ok(()),
        }
    }

    /// Estimates how many pages there are to read, from the length of a few logs.
    async fn estimate(&self, wanted: &[WebhookRead], reader: &mut LogReader) -> Result<u64, Failure> {
        let per_page = u64::from(self.config.poll.per_page);
        let share = (self.since.as_secs_f64() / RETENTION.as_secs_f64()).min(1.0);
        let (mut known, mut asked, mut missing) = (0, 0, 0);
        for webhook in wanted {
            let kept = self.resume.find(&webhook.listed.target).map_err(Failure::running)?;
            if kept.complete_until.is_some() {
                continue;
            }
            missing += 1;
            if asked == SAMPLE {
                continue;
            }
            let subject = webhook.listed.target.to_string();
            let length = async |client: &Client| client.logs(&webhook.listed.target, 1, 1).await;
            match reader.asker.ask_once(&subject, length).await {
                Err(AskError::Interrupted) => return Err(interrupted()),
                Ok((page, _)) => {
                    let total = page.pagination.total.unwrap_or(0) as f64 * share;
                    known += (total as u64).saturating_sub(read_before(webhook, &kept)) / per_page + 1;
                    asked += 1;
                }
                // The error is reported when the log is read.
                Err(_) => {}
            }
        }
        Ok(if asked == 0 { missing as u64 } else { known * missing as u64 / asked as u64 })
    }

    /// Decides what was read and writes the file. Returns the summary.
    fn write(self, mut output: Output, failures: Vec<String>, shutdown: &Shutdown) -> Result<String, Failure> {
        if self.seed_state && !failures.is_empty() {
            let hint = "nothing was written: a new state needs all webhooks. Run the same command again, or remove the \
                        webhooks that cannot be read from the configuration";
            return Err(Failure::running_all(failures.into_iter().chain([hint.to_owned()]).collect()));
        }
        let pasts = self.pasts()?;
        let mut spool = Spool::new(&output.directory).map_err(|error| output.failed(error))?;
        let draft = self.decide(&pasts, &mut spool, shutdown)?;
        info!(series = spool.len(), "writing {}", output.path.display());
        let labels = self.policy().labels;
        let history = History { pasts: &pasts, spool: &spool, labels: &labels };
        let written = history.write(BufWriter::new(output.file.as_file_mut()));
        let written = written.map_err(|error| output.failed(error))?;
        if shutdown.is_requested() {
            return Err(interrupted());
        }
        let summary = summary(&output.path, &pasts, &written, draft.as_ref().map(|_| &*self.config.state.path));
        place(output, draft, &self.config.state.path)?;
        if !failures.is_empty() {
            print(&summary)?;
            return Err(Failure::running_all(failures));
        }
        let path = self.resume.path().to_owned();
        let removed = self.resume.remove();
        removed.map_err(|error| Failure::running(format!("failed to remove {}: {error}", path.display())))?;
        Ok(summary)
    }

    fn policy(&self) -> Policy {
        app::policy(&self.config.poll, &self.config.metrics)
    }

    /// Returns the past of each webhook, in the order of their labels.
    fn pasts(&self) -> Result<Vec<Past>, Failure> {
        let mut pasts = Vec::new();
        for WebhookRead { listed: ListedTarget { target, info, .. }, live } in
            self.found.iter().flat_map(|found| &found.webhooks)
        {
            let kept = self.resume.find(target).map_err(Failure::running)?;
            let Some(((_, from), end)) = kept.begun.zip(kept.complete_until) else { continue };
            let samples_until = live.map_or(end, |live| live.since.min(end));
            pasts.push(Past { target: target.clone(), info: info.clone(), from, end, samples_until });
        }
        pasts.sort_by(|one, other| one.target.cmp(&other.target));
        Ok(pasts)
    }

    /// Decides the past of all webhooks, in a new state or only in memory.
    fn decide(&self, pasts: &[Past], spool: &mut Spool, shutdown: &Shutdown) -> Result<Option<StateDraft>, Failure> {
        let mut draft = self.seed_state.then(|| self.begin_state()).transpose()?;
        for (number, past) in pasts.iter().enumerate() {
            about_webhook!(info, &past.target, "computing the samples, {} of {}", number + 1, pasts.len());
            let books = match &mut draft {
                Some(draft) => Books::state(draft.store(), app::spans(&self.config.traces)),
                None => Books::scratch(),
            };
            self.decide_one(number, past, books, spool, shutdown)?;
        }
        if let Some(draft) = &mut draft {
            self.finish_state(draft.store(), pasts).map_err(Failure::running)?;
        }
        Ok(draft)
    }

    fn decide_one<'a>(
        &self,
        number: usize,
        past: &'a Past,
        books: Books<'a>,
        spool: &'a mut Spool,
        shutdown: &Shutdown,
    ) -> Result<(), Failure> {
        let mut replay = Replay::begin(past, number, self.policy(), books, spool).map_err(Failure::running)?;
        let mut last = None;
        loop {
            let part = self.resume.part(&past.target, last.as_ref()).map_err(Failure::running)?;
            if shutdown.is_requested() {
                return Err(interrupted());
            }
            let Some(end) = part.last() else { break };
            last = Some(end.clone());
            replay.add(part).map_err(Failure::running)?;
        }
        let invalid = self.resume.invalid(&past.target).map_err(Failure::running)?;
        let kept = self.resume.find(&past.target).map_err(Failure::running)?;
        replay.finish(invalid, kept.log_extent).map_err(Failure::running)
    }

    /// Makes a state that holds the layout of its series and what discovery has found.
    fn begin_state(&self) -> Result<StateDraft, Failure> {
        let path = &self.config.state.path;
        let begun = DraftPlace::reserve(path).and_then(|place| place.open(local_clock::now())).and_then(|mut draft| {
            let store = draft.store();
            store.limit_spans(self.config.traces.max_queued_spans)?;
            store.adopt_layouts(&self.policy().labels)?;
            for EnvironmentRead { environment, discovered, .. } in &self.found {
                if let Some(unsaved) = discovered {
                    store.save_discovered(&environment.name, unsaved, &[], &[], local_clock::now())?;
                }
            }
            Ok(draft)
        });
        begun.map_err(Failure::running)
    }

    /// Records that all webhooks are listed, and up to when each was read.
    fn finish_state(&self, store: &mut SqliteStore, pasts: &[Past]) -> Result<(), StoreError> {
        for EnvironmentRead { environment, webhooks, .. } in &self.found {
            let listed: Vec<Target> = webhooks.iter().map(|webhook| webhook.listed.target.clone()).collect();
            store.list(&environment.name, &listed, local_clock::now())?;
        }
        pasts.iter().for_each(|past| store.note_success(&past.target, past.end));
        Ok(())
    }
}

/// Renames the file and the state to their final paths.
fn place(output: Output, draft: Option<StateDraft>, state: &Path) -> Result<(), Failure> {
    if draft.is_some() {
        draft::refuse_existing(state).map_err(Failure::running)?;
    }
    output.file.as_file().sync_all().map_err(|error| output.failed(error))?;
    let Output { file, path, .. } = output;
    let persisted = file.persist(&path);
    persisted.map_err(|error| Failure::running(format!("failed to write {}: {}", path.display(), error.error)))?;
    draft.map_or(Ok(()), StateDraft::publish).map_err(Failure::running)
}

/// Which round over all logs this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Reads what is missing.
    First,
    /// Updates what was read long ago by now.
    Update,
}

/// Returns how many entries of a log have been read already.
fn read_before(webhook: &WebhookRead, kept: &PriorReading) -> u64 {
    let live = webhook.live.and_then(|live| live.stretch).map_or(0, |stretch| stretch.count);
    live + kept.stretch.map_or(0, |stretch| stretch.count)
}

fn interrupted() -> Failure {
    Failure::running("interrupted: run the same command again to continue")
}

fn summary(path: &Path, pasts: &[Past], written: &Written, seeded: Option<&Path>) -> String {
    let Written { series, samples, bytes } = written;
    let from = pasts.iter().map(|past| past.from).min();
    let until = pasts.iter().map(|past| past.samples_until).max();
    let range = from.zip(until).map(|(from, until)| format!(" from {} to {}", rfc3339(from), rfc3339(until)));
    let mut text = format!(
        "{}: {} webhooks, {series} series, {samples} samples{}, {:.1} MiB\n",
        path.display(),
        pasts.len(),
        range.unwrap_or_default(),
        *bytes as f64 / f64::from(1 << 20),
    );
    if let Some(state) = seeded {
        let _ = writeln!(text, "{}: made with these totals; start the daemon now", state.display());
    }
    let _ = writeln!(
        text,
        "next: promtool tsdb create-blocks-from --max-block-duration=24h openmetrics {} PROMETHEUS_DATA_DIRECTORY",
        path.display()
    );
    text
}

fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.as_micros()).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

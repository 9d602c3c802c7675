//! One turn of discovery: one request; and, if that changes the targets, what the state file remembers of them.

use tracing::{Instrument, Span};

use super::roster::Update;
use super::step::StepContext;
use crate::client::Answer;
use crate::local_clock;
use crate::shutdown::Shutdown;
use crate::sinks::metrics::board::TargetView;
use crate::sinks::metrics::daemon::discovery_endpoint;
use crate::sinks::metrics::exposure::Exposure;
use crate::store::Loaded;
use crate::store::error::StoreError;
use crate::telemetry::{request, work};
use talkover_core::delivery::Target;
use talkover_core::discovery::request::{DiscoveredPage, Request};
use talkover_core::discovery::targets::ListedTarget;
use talkover_core::server_time::Observed;

/// The answer to a request of discovery; `None` if it was abandoned because the program is stopping.
#[derive(Debug)]
pub struct Asked {
    /// The request.
    pub request: Request,
    /// The answer, and the server's time then.
    pub answer: Option<(Answer<DiscoveredPage>, Observed)>,
    /// The span of this turn of discovery.
    pub span: Span,
}

/// The result of writing an update.
#[derive(Debug)]
pub struct Registered {
    /// The update.
    pub update: Update,
    /// The new targets, with what is remembered of them; or why nothing was written.
    pub appeared: Result<Vec<(ListedTarget, Loaded)>, StoreError>,
}

/// Makes a request for the environment `name`.
pub async fn ask(context: StepContext, name: &str, request: Request, mut shutdown: Shutdown) -> Asked {
    let span = work::discover(name);
    let asked = async {
        match &request {
            Request::Owners { owner_type, page, per_page } => {
                context.client.owners(*owner_type, *page, *per_page).await.map(DiscoveredPage::Owners)
            }
            Request::Webhooks { owner, page } => {
                context.client.webhooks(owner, *page).await.map(DiscoveredPage::Webhooks)
            }
        }
    };
    let asked = asked.instrument(request::begin(&span, 0));
    let answer = tokio::select! {
        answer = asked => Some(answer),
        () = shutdown.recv() => None,
    };
    let answer = answer.map(|answer| {
        context.api.record(name, discovery_endpoint(&request), &answer.exchange);
        let seen = context.clock.observe(&answer.exchange);
        (answer, seen)
    });
    Asked { request, answer, span }
}

/// Writes an update, and loads what is remembered of the new targets. Blocks on the disk. `turn` is the span of the
/// answer that has led to it.
pub fn register(context: &StepContext, name: &str, update: Update, turn: &Span) -> Registered {
    let span = work::register(turn);
    let appeared = write(context, name, &update);
    if let Err(failure) = &appeared {
        work::fail_state(&span, failure);
    }
    Registered { update, appeared }
}

fn write(context: &StepContext, name: &str, update: &Update) -> Result<Vec<(ListedTarget, Loaded)>, StoreError> {
    let (store, changes) = (&context.store, &update.changes);
    let listed: Vec<Target> = changes.appeared.iter().chain(&changes.changed).map(|one| one.target.clone()).collect();
    store.run_blocking(|store| {
        store.save_discovered(name, &update.unsaved, &listed, &changes.disappeared, local_clock::now())?;
        let load = |listed: &ListedTarget| Ok((listed.clone(), store.load(&listed.target, &context.policy.labels)?));
        changes.appeared.iter().map(load).collect()
    })
}

/// How a target is shown before its first poll.
pub fn view(listed: &ListedTarget, loaded: &Loaded, poll_interval: std::time::Duration) -> TargetView {
    let mut exposure = Exposure::default();
    exposure.add(&loaded.births, loaded.catching_up);
    let view = TargetView::new(listed.target.clone(), &loaded.ledger, exposure, loaded.last_success, poll_interval);
    TargetView {
        up_since: loaded.failing_since,
        info: listed.info.clone(),
        is_behind: loaded.is_behind,
        exposed: view.exposed && !loaded.is_behind,
        ..view
    }
}

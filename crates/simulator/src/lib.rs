//! A simulated TalkOver API: the other end of the wire in the demonstration, in tests and in benchmarks.
//!
//! It plays a seeded world of webhooks behind the documented endpoints, makes requests fail as a scenario says, and
//! knows the truth. It never uses the daemon's own idea of the API: its wire format is written from the documentation a
//! second time, so that a misreading shows. Used by `cli` (`simulate`, `demo`), tests and benches.
//!
//! ```text
//! scenario ──> world ──> truth            what happens, and what has happened
//!                │
//! requests ──> server <── faults          what is answered, and what goes wrong
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use faults::Faults;
pub use faults::PageFaults;
use requests::Limiter;
use server::socket::{BreakableListener, Wire};
use server::{ServerState, lock};

pub use clock::{Clock, ManualClock, Moment};
pub use requests::{ReceivedRequest, largest_per_minute};
pub use scenario::{Fault, FaultPlan, ListedOwner, Owner, OwnerKind, RandomFault, Scenario, ScenarioError, Webhook};
pub use truth::{EntryTruth, Sum, Truth, WebhookTruth};
pub use world::{Anomaly, EntrySpec, HandError, Status, World};

pub mod clock;
pub mod faults;
mod random;
mod requests;
pub mod scenario;
mod server;
pub mod truth;
pub mod world;

/// The default seed: any number would do, but the demonstration should look the same everywhere.
pub const DEFAULT_SEED: u64 = 20_240_115;

/// How long [`Simulator::shutdown`] waits for answers that are under way.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running simulated API. It stops when this is dropped.
pub struct Simulator {
    shared: Arc<ServerState>,
    address: SocketAddr,
    stop: watch::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Simulator {
    /// Starts the world of `scenario`, with `clock` as its time, and serves it on `listener`.
    ///
    /// Must be called within a tokio runtime. The error is that of asking the listener for its address.
    pub fn start(scenario: Scenario, seed: u64, clock: impl Into<Clock>, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopping) = watch::channel(());
        let shared = Arc::new(shared(scenario, seed, clock.into(), stopping.clone()));
        let service = Router::new()
            .fallback(server::handle)
            .with_state(Arc::clone(&shared))
            .into_make_service_with_connect_info::<Wire>();
        let serve = axum::serve(BreakableListener(listener), service).with_graceful_shutdown(stopped(stopping));
        let task = tokio::spawn(serve.into_future());
        Ok(Self { shared, address, stop, task })
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for a client on this machine.
    pub fn base_url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{address}")
    }

    /// What really happened, until now.
    pub fn truth(&self) -> Truth {
        self.shared.world_now().truth()
    }

    /// Settles what is pending and stops the world, but not the server (see [`World::settle_and_freeze`]).
    pub fn settle_and_freeze(&self) {
        self.shared.world_now().settle_and_freeze();
    }

    /// Acts on the world, after everything until now has happened. No request is answered meanwhile.
    pub fn with_world<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.shared.world_now())
    }

    /// Makes the next request go wrong for which no fault is queued or scripted yet.
    pub fn push_fault(&self, fault: Fault) {
        lock(&self.shared.faults).push(fault);
    }

    /// Replaces all faults, scripted, queued or random, by `plan`, from the next request on.
    pub fn set_faults(&self, plan: &FaultPlan) {
        lock(&self.shared.faults).replace(plan);
    }

    /// Makes pages of delivery logs go wrong in this way from the next request on.
    pub fn set_page_faults(&self, faults: PageFaults) {
        *lock(&self.shared.page_faults) = faults;
    }

    /// Replaces the known tokens, like an operator who regenerates them: requests with others get 401 at once.
    pub fn set_tokens(&self, tokens: Vec<String>) {
        *lock(&self.shared.tokens) = tokens;
    }

    /// Changes how many requests each token may make in a minute.
    pub fn set_rate_limit(&self, requests_per_minute: u32) {
        lock(&self.shared.limiter).set_limit(requests_per_minute);
    }

    /// All requests received so far, in the order of arrival, without those to `/_simulator/…`.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        lock(&self.shared.received).clone()
    }

    /// Stops the server: answers under way are finished, or cut off after two seconds.
    pub async fn shutdown(mut self) {
        let _nobody_waits = self.stop.send(());
        if tokio::time::timeout(PATIENCE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

fn shared(scenario: Scenario, seed: u64, clock: Clock, stopping: watch::Receiver<()>) -> ServerState {
    let scenario = Arc::new(scenario);
    let start = clock.now();
    ServerState {
        world: World::new(Arc::clone(&scenario), seed, start).into(),
        faults: Faults::new(&scenario.faults, seed).into(),
        limiter: Limiter::new(scenario.rate_limit_per_minute).into(),
        received: Vec::new().into(),
        tokens: scenario.tokens.clone().into(),
        page_faults: PageFaults::default().into(),
        max_per_page: scenario.max_per_page,
        clock,
        start,
        stopping,
    }
}

/// Waits until the server is to stop, or its handle is gone.
async fn stopped(mut stopping: watch::Receiver<()>) {
    let _told_or_gone = stopping.changed().await;
}

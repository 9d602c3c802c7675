//! The API client of the commands: sends their requests within the same budget as the daemon.

use tracing::Span;

use super::Failure;
use crate::app::{self, AppError};
use crate::budget::Budget;
use crate::budgeted_client::{BudgetedClient, Silence};
use crate::config::{Config, EnvironmentConfig};
use crate::local_clock;
use crate::server_clock::ServerClock;
use crate::shutdown::Shutdown;

/// Returns a client for the API of `environment` that shares the daemon's request budget.
pub(super) fn asker(
    config: &Config,
    environment: &EnvironmentConfig,
    shutdown: Shutdown,
) -> Result<BudgetedClient, Failure> {
    // `check` may run before the daemon's first start.
    if let Some(directory) = config.state.path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory)
            .map_err(|error| Failure::running(format!("failed to create {}: {error}", directory.display())))?;
    }
    let budget = Budget::open(
        &config.state.path,
        &local_clock::boot_id(),
        &environment.name,
        environment.requests_per_minute,
        environment.max_concurrent_requests,
        config.requests_per_minute,
    );
    Ok(BudgetedClient {
        client: app::client(environment).map_err(Failure::running)?,
        budget: budget.map_err(AppError::Budget).map_err(Failure::running)?,
        token: environment.token.clone(),
        requests_per_minute: environment.requests_per_minute,
        clock: ServerClock::new(environment.name.as_str().into()),
        shutdown,
        requests: 0,
        rate_limit: (None, None),
        silence: Silence::default(),
        span: Span::none(),
    })
}

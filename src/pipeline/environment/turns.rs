//! The turns of targets: pays for a turn's request, starts the step that makes it, and processes the result;
//! discovery's turns pay and learn here too. A step begins only when its request is paid for, with the reader that
//! [`Members`](super::members::Members) hands over. Called by the environment's loop alone.

use std::io;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::debug;

use super::members::Ticket;
use super::spender::Grant;
use super::{Done, EnvironmentLoop, jitter};
use crate::client::Exchange;
use crate::local_clock;
use crate::pipeline::reader::Step;
use crate::pipeline::step::{Stepped, step};
use crate::shutdown::Shutdown;
use talkover_core::schedule::patience::Change;
use talkover_core::schedule::scheduler::TurnOutcome;
use talkover_core::schedule::{RequestClass, TargetId, Turn};
use talkover_core::server_time::{DateHeader, ServerTime};

/// How long rechecks wait after a failure: a page that always fails must not use up a tenth of the budget.
const RECHECK_RETRY: Duration = Duration::from_secs(60);

impl EnvironmentLoop {
    /// Starts a step of a target, if it has anything to do and the budget allows it.
    pub(super) fn start_step(
        &mut self,
        id: TargetId,
        class: RequestClass,
        tasks: &mut JoinSet<Done>,
        shutdown: &Shutdown,
    ) {
        let now = self.now();
        let expected = self.scheduler.expected(id, now);
        let Some(idle) = self.members.idle_mut(id) else { return };
        if !idle.is_reading() {
            self.patience.begin(id);
        }
        let Some(work) = idle.begin(class, expected, now) else {
            let [sweep, recheck] = idle.due().map(|due| due.filter(|due| *due > now));
            return self.scheduler.set_due(id, sweep, recheck, now);
        };
        idle.begin_trace(&work);
        match &work {
            Step::Settle(_) => self.patience.write(id),
            Step::Read(_) => {
                let Grant::Granted = self.pay(now) else { return self.give_back(id, work) };
                self.renew_token();
                self.patience.ask(id, now);
            }
        }
        let Some((reader, ticket)) = self.members.send(id) else { return };
        self.scheduler.start(Turn::Ask(id, class), now);
        let step = step(self.context.clone(), reader, work, now, shutdown.clone());
        tasks.spawn(async move { Done::Stepped(ticket, class, Box::new(step.await)) });
    }

    fn give_back(&mut self, id: TargetId, work: Step) {
        if let Some(idle) = self.members.idle_mut(id) {
            idle.give_back(work);
        }
    }

    /// Processes the result of a step.
    pub(super) fn receive_step(&mut self, ticket: Ticket, class: RequestClass, stepped: Stepped) {
        let Stepped { reader, exchange, date, result } = stepped;
        let (id, now) = (ticket.id(), self.now());
        if let Some(exchange) = &exchange {
            self.learn(exchange, now);
        }
        let Some(idle) = self.members.bring_back(ticket, reader) else { return };
        if let Some(listed) = self.search.roster.get(&idle.target().webhook_id) {
            idle.update(listed);
        }
        let end = idle.record(&result, class, date, &self.context.board);
        let (outcome, change) = self.patience.end(&mut self.scheduler, id, end, now, jitter());
        if change == Some(Change::OutageBegan) {
            debug!(environment = %self.name, "no webhook is answered: probing one after the other");
        }
        self.log_step(id, class, &result, outcome, now);
        self.scheduler.finish(Turn::Ask(id, class), outcome, now);
        self.plan(id, class, outcome, date);
        self.report_step(&result, now);
    }

    /// Updates the scheduler with what a target has to do after a turn, and shows how often it is polled.
    fn plan(&mut self, id: TargetId, class: RequestClass, outcome: TurnOutcome, date: ServerTime) {
        let now = self.now();
        let Some(idle) = self.members.idle_mut(id) else { return };
        let is_poll_complete = matches!(outcome, TurnOutcome::Complete(_)) && class != RequestClass::Rechecks;
        if let Some(arrivals) = is_poll_complete.then(|| idle.take_arrivals(date)).flatten() {
            self.scheduler.seed(id, arrivals, now);
        }
        let [sweep, recheck] = idle.due();
        let has_recheck_failed = matches!(outcome, TurnOutcome::Failed(_)) && class == RequestClass::Rechecks;
        if has_recheck_failed {
            idle.state.recheck_not_before = now + RECHECK_RETRY;
        }
        let earliest = now.max(idle.state.recheck_not_before);
        self.scheduler.set_due(id, sweep, recheck.map(|due| due.max(earliest)), now);
        let interval = self.scheduler.interval(id, now);
        let next_poll = self.scheduler.next_poll(id, now);
        let next_poll = self.instant(next_poll);
        let Some(idle) = self.members.idle_mut(id) else { return };
        self.context.board.update(idle.target(), |view, _| {
            view.poll_interval = interval;
            view.next_poll = next_poll;
        });
    }

    /// Pays for a request at `now`, and adapts to what may be spent from now on.
    pub(super) fn pay(&mut self, now: Duration) -> Grant {
        let grant = self.spender.pay(now, local_clock::uptime_ns());
        self.follow_limits();
        if let Grant::Failing(failure) = &grant {
            self.show_unpaid(failure);
        }
        grant
    }

    /// Shows why no target can be polled, because the results of the last polls no longer do.
    fn show_unpaid(&self, failure: &io::Error) {
        self.context.write_errors.inc();
        let date = self.context.clock.now().timestamp();
        let failure = format!("failed to write the file of the request budget: {failure}");
        for idle in self.members.idle() {
            self.context.board.update(idle.target(), |view, _| view.fail(&failure, date));
        }
    }

    /// Reads the token again: its file may have changed, above all after a 401.
    pub(super) fn renew_token(&self) {
        if let Some(token) = (self.read_token)() {
            self.context.client.set_token(&token);
        }
    }

    /// Learns from an answer, received at `now`: the API's clock and limits.
    pub(super) fn learn(&mut self, exchange: &Exchange, now: Duration) {
        // A 429 says anyhow that nothing remains, and the pause that follows it deals with that.
        let remaining = exchange.rate_limit_remaining.filter(|_| exchange.code != Some(429));
        self.spender.learn(exchange.rate_limit, remaining, now);
        self.follow_limits();
        let rate = self.spender.rate();
        let date = self.context.clock.now().timestamp();
        self.context.board.update_environment(&self.name, |view| {
            view.budget = rate;
            if exchange.code.is_some() {
                view.last_answer = Some(date);
            }
            view.rate_limit = exchange.rate_limit.or(view.rate_limit);
            view.rate_limit_remaining = exchange.rate_limit_remaining.or(view.rate_limit_remaining);
            let offset = exchange
                .date
                .map(|DateHeader(date)| date.as_seconds_f64() - local_clock::now().timestamp().as_seconds_f64());
            view.clock_offset = offset.or(view.clock_offset);
        });
    }
}

//! What is wrong with the state file as a whole.

use serde::Serialize;

use crate::sinks::metrics::board::Views;
use crate::store::problems::StateProblems;

/// The state file.
#[derive(Debug, Default, Serialize)]
pub(in crate::server) struct StateStatus {
    /// What is wrong with it.
    pub(in crate::server) problems: Vec<StateTrouble>,
}

/// One problem of the state file.
#[derive(Debug, Serialize)]
pub(in crate::server) struct StateTrouble {
    /// As `talkover_exporter_state_problem` names it.
    pub(in crate::server) problem: StateProblemKind,
    /// What has happened.
    pub(in crate::server) what: String,
    /// The way out, if it is not over by itself.
    pub(in crate::server) remedy: String,
}

/// The label `problem` of `talkover_exporter_state_problem`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum StateProblemKind {
    /// The path no longer leads to the open file, or something else has written to it.
    Detached,
    /// The state is older than what was shown, and some logs have not been read again since.
    Behind,
    /// It was made at this start, although there was one before.
    New,
}

impl StateStatus {
    /// What `problems` and the webhooks in `views` tell.
    pub(super) fn of(problems: &StateProblems, views: &Views) -> Self {
        Self { problems: [detached(problems), behind(problems, views), new(problems)].into_iter().flatten().collect() }
    }
}

fn detached(problems: &StateProblems) -> Option<StateTrouble> {
    let detached = problems.detached()?;
    let (what, remedy) = (detached.what.clone(), detached.remedy.clone());
    Some(StateTrouble { problem: StateProblemKind::Detached, what, remedy })
}

fn behind(problems: &StateProblems, views: &Views) -> Option<StateTrouble> {
    let waiting = views.listed().filter(|view| view.is_behind).count();
    let gap = problems.gap().filter(|_| waiting > 0)?;
    let logs = if waiting == 1 { "the log of 1 webhook is".to_owned() } else { format!("the logs of {waiting} are") };
    Some(StateTrouble {
        problem: StateProblemKind::Behind,
        what: format!("the state is {gap}; {logs} still to be read again"),
        remedy:
            "the series of a webhook are absent until its log has been read again; if there is a younger copy of the \
                 state, stop this process, and put it in place"
                .to_owned(),
    })
}

fn new(problems: &StateProblems) -> Option<StateTrouble> {
    let evidence = problems.new_despite()?;
    Some(StateTrouble {
        problem: StateProblemKind::New,
        what: format!("a new state was made at this start, but {evidence}"),
        remedy:
            "counters begin anew; if the state was not removed on purpose, stop this process, put it back, and start \
                 again"
                .to_owned(),
    })
}

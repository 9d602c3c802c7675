//! The agents and campaigns of the world, and what an operator does to them and to their webhooks while it runs.
//!
//! None of it shifts a random number of the world's own course.

use std::collections::BTreeMap;

use super::World;
use crate::clock::Moment;
use crate::scenario::{Owner, OwnerKind, Scenario, Webhook};

/// All owners, in the order in which the lists show them: by their ids.
#[derive(Default)]
pub(super) struct Owners(BTreeMap<(OwnerKind, String), OwnerState>);

/// An agent or a campaign at one moment.
#[derive(Clone)]
pub(crate) struct OwnerState {
    pub(crate) owner: Owner,
    pub(crate) status: String,
    /// When it was last changed, if it was.
    pub(crate) changed_at: Option<Moment>,
}

impl Owners {
    /// The owners that a scenario lists explicitly.
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut owners = Self::default();
        for listed in &scenario.owners {
            let owner = Owner { kind: listed.kind, id: listed.id.clone(), name: listed.name.clone() };
            owners.add(&owner, listed.status.as_deref());
        }
        owners
    }

    /// Adds an owner, unless it exists.
    pub(super) fn add(&mut self, owner: &Owner, status: Option<&str>) {
        let usual = owner.kind.statuses().first().copied().unwrap_or_default();
        let state = OwnerState { owner: owner.clone(), status: status.unwrap_or(usual).to_owned(), changed_at: None };
        self.0.entry((owner.kind, owner.id.clone())).or_insert(state);
    }
}

impl World {
    /// Adds an agent or a campaign without webhooks, with its usual status. An existing one is not changed.
    pub fn add_owner(&mut self, owner: &Owner) {
        self.owners.add(owner, None);
    }

    /// Removes an agent or a campaign with all its webhooks. Returns whether there was one.
    pub fn remove_owner(&mut self, kind: OwnerKind, id: &str) -> bool {
        let owned = self.logs.iter_mut().filter(|log| log.webhook.owner.kind == kind && log.webhook.owner.id == id);
        owned.for_each(|log| log.removed = true);
        self.owners.0.remove(&(kind, id.to_owned())).is_some()
    }

    /// Renames an agent or a campaign. Returns whether there is one.
    pub fn rename_owner(&mut self, kind: OwnerKind, id: &str, name: &str) -> bool {
        self.change_owner(kind, id, |state| name.clone_into(&mut state.owner.name))
    }

    /// Sets the status of an agent or a campaign, documented or not. Returns whether there is one.
    pub fn set_status(&mut self, kind: OwnerKind, id: &str, status: &str) -> bool {
        self.change_owner(kind, id, |state| status.clone_into(&mut state.status))
    }

    fn change_owner(&mut self, kind: OwnerKind, id: &str, change: impl FnOnce(&mut OwnerState)) -> bool {
        let Some(state) = self.owners.0.get_mut(&(kind, id.to_owned())) else { return false };
        change(state);
        state.changed_at = Some(self.now);
        true
    }

    /// Changes a webhook: its name, whether it is enabled, and so on, but neither its id nor its owner. Returns whether
    /// there is one. Its traffic keeps the rate with which it began.
    pub fn change_webhook(&mut self, webhook_id: &str, change: impl FnOnce(&mut Webhook)) -> bool {
        let Some(log) = self.logs.iter_mut().find(|log| log.is(webhook_id)) else { return false };
        let (id, owner) = (log.webhook.id.clone(), log.webhook.owner.clone());
        change(&mut log.webhook);
        (log.webhook.id, log.webhook.owner) = (id, owner);
        log.changed_at = Some(self.now);
        true
    }

    /// The owners of a kind, in the order of their ids.
    pub(crate) fn owners(&self, kind: OwnerKind) -> impl Iterator<Item = &OwnerState> {
        self.owners.0.values().filter(move |state| state.owner.kind == kind)
    }

    /// Whether there is such an owner.
    pub(crate) fn has_owner(&self, kind: OwnerKind, id: &str) -> bool {
        self.owners.0.contains_key(&(kind, id.to_owned()))
    }
}

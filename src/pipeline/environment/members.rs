//! The targets of one environment, each in exactly one place: idle, away on a step, or away and no longer listed.
//!
//! *Invariant:* there is one reader for each target. [`Members::send`] takes it out and hands it over with a
//! [`Ticket`]; only that ticket brings it back, once. So no target can have two steps under way, and nothing can be
//! started for a target that is away. Makes no request and knows no time. Called by the environment's loop alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::idle_target::{IdleTarget, PollState};
use crate::pipeline::reader::Reader;
use talkover_core::schedule::TargetId;

/// All targets of an environment.
#[derive(Debug, Default)]
pub(super) struct Members {
    members: HashMap<TargetId, Member>,
    /// Includes members that are leaving.
    by_webhook: HashMap<Arc<str>, TargetId>,
    /// Targets added so far.
    added: u64,
}

#[derive(Debug)]
struct Member {
    webhook_id: Arc<str>,
    place: Place,
}

/// Where a target is.
#[derive(Debug)]
enum Place {
    /// Present: a step may be started.
    Idle(Box<IdleTarget>),
    /// On a step.
    Away,
    /// On its last step: it is no longer listed.
    Leaving,
}

/// The right to bring back a reader that was sent away.
#[derive(Debug)]
#[must_use = "the reader cannot be brought back without it"]
pub(super) struct Ticket {
    id: TargetId,
    state: PollState,
}

impl Ticket {
    /// Returns the target that it was issued for.
    pub(super) fn id(&self) -> TargetId {
        self.id
    }
}

impl Members {
    /// Adds a target and returns its id. Its webhook must not be a member already, not even one that is leaving.
    pub(super) fn add(&mut self, idle: IdleTarget) -> TargetId {
        let id = TargetId(self.added);
        self.added += 1;
        let webhook_id = Arc::clone(&idle.target().webhook_id);
        self.by_webhook.insert(Arc::clone(&webhook_id), id);
        self.members.insert(id, Member { webhook_id, place: Place::Idle(Box::new(idle)) });
        id
    }

    /// Returns the id of a webhook that is listed.
    pub(super) fn listed(&self, webhook_id: &str) -> Option<TargetId> {
        let (id, place) = self.find(webhook_id)?;
        (!matches!(place, Place::Leaving)).then_some(id)
    }

    /// Whether a webhook is no longer listed, but has a step under way.
    pub(super) fn is_leaving(&self, webhook_id: &str) -> bool {
        matches!(self.find(webhook_id), Some((_, Place::Leaving)))
    }

    fn find(&self, webhook_id: &str) -> Option<(TargetId, &Place)> {
        let id = *self.by_webhook.get(webhook_id)?;
        Some((id, &self.members.get(&id)?.place))
    }

    /// Returns all targets that are idle.
    pub(super) fn idle(&self) -> impl Iterator<Item = &IdleTarget> {
        self.members.values().filter_map(|member| match &member.place {
            Place::Idle(idle) => Some(idle.as_ref()),
            Place::Away | Place::Leaving => None,
        })
    }

    /// Returns a target if it is idle.
    pub(super) fn idle_mut(&mut self, id: TargetId) -> Option<&mut IdleTarget> {
        match &mut self.members.get_mut(&id)?.place {
            Place::Idle(idle) => Some(idle),
            Place::Away | Place::Leaving => None,
        }
    }

    /// Sends an idle target away on a step. `None` if it is not idle.
    pub(super) fn send(&mut self, id: TargetId) -> Option<(Reader, Ticket)> {
        let place = &mut self.members.get_mut(&id)?.place;
        match std::mem::replace(place, Place::Away) {
            Place::Idle(idle) => {
                let (reader, state) = idle.into_parts();
                Some((reader, Ticket { id, state }))
            }
            elsewhere => {
                *place = elsewhere;
                None
            }
        }
    }

    /// Brings back a target from its step. Drops it and returns `None` if it is no longer listed.
    pub(super) fn bring_back(&mut self, ticket: Ticket, reader: Reader) -> Option<&mut IdleTarget> {
        let Ticket { id, state } = ticket;
        match self.members.entry(id) {
            Entry::Occupied(entry) if matches!(entry.get().place, Place::Leaving) => {
                let left = entry.remove();
                self.by_webhook.remove(&left.webhook_id);
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().place = Place::Idle(Box::new(IdleTarget::returned(reader, state)));
            }
            Entry::Vacant(_) => {}
        }
        self.idle_mut(id)
    }

    /// Removes a webhook that is no longer listed and returns its id; `None` if it is not a member or already leaving.
    /// One that is away stays until its step ends.
    pub(super) fn remove(&mut self, webhook_id: &str) -> Option<TargetId> {
        let id = self.listed(webhook_id)?;
        if let Entry::Occupied(mut entry) = self.members.entry(id) {
            match entry.get().place {
                Place::Idle(_) => {
                    entry.remove();
                    self.by_webhook.remove(webhook_id);
                }
                Place::Away | Place::Leaving => entry.get_mut().place = Place::Leaving,
            }
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use talkover_core::delivery::{OwnerType, Target};
    use talkover_core::testing::policy;

    use super::*;
    use crate::pipeline::reader::{ReadSettings, Remembered};

    fn idle_target(webhook_id: &str) -> IdleTarget {
        let target = Target {
            environment: "test".into(),
            webhook_id: webhook_id.into(),
            owner_type: OwnerType::Agent,
            owner_id: "a".into(),
            webhook_name: "name".into(),
        };
        let settings = ReadSettings { per_page: 10, windows: policy().windows };
        IdleTarget::returned(Reader::new(target, Remembered::default(), settings), PollState::default())
    }

    #[test]
    fn a_target_can_be_sent_away_once_until_it_is_brought_back() {
        let mut members = Members::default();
        let id = members.add(idle_target("w"));
        let (reader, ticket) = members.send(id).unwrap();
        assert!(members.send(id).is_none());
        assert!(members.idle_mut(id).is_none());
        assert_eq!((members.idle().count(), members.listed("w")), (0, Some(id)));
        assert_eq!(ticket.id(), id);
        assert_eq!(&*members.bring_back(ticket, reader).unwrap().target().webhook_id, "w");
        assert!(members.send(id).is_some());
    }

    #[test]
    fn an_idle_target_leaves_at_once() {
        let mut members = Members::default();
        let (gone, stays) = (members.add(idle_target("gone")), members.add(idle_target("stays")));
        assert_eq!(members.remove("gone"), Some(gone));
        assert_eq!((members.remove("gone"), members.listed("gone")), (None, None));
        assert!(!members.is_leaving("gone"));
        assert_eq!((members.listed("stays"), members.idle().count()), (Some(stays), 1));
    }

    #[test]
    fn a_target_on_a_step_is_leaving_until_the_step_ends() {
        let mut members = Members::default();
        let id = members.add(idle_target("w"));
        let (reader, ticket) = members.send(id).unwrap();
        assert!(!members.is_leaving("w"));
        assert_eq!(members.remove("w"), Some(id));
        assert!(members.is_leaving("w"));
        assert_eq!((members.listed("w"), members.remove("w")), (None, None));
        assert!(members.send(id).is_none());
        assert!(members.bring_back(ticket, reader).is_none());
        assert!(!members.is_leaving("w"));
        let again = members.add(idle_target("w"));
        assert_ne!(again, id);
        assert_eq!(members.listed("w"), Some(again));
    }
}

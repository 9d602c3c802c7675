//! What discovery requests next, and what the answers mean. Pure: times are passed in, and one request is under way at
//! a time.
//!
//! A refresh reads only the lists of owners. An owner's webhooks are read when it is new, when the list shows a change,
//! and otherwise in rotation: each owner at the latest at the end of its period, and all of them spread evenly over it.
//!
//! A page of owners that keeps failing is read in parts, and lists that do not end are cut off ([`super::listing`]);
//! both are logged, once each. Owners beyond [`Bounds::OWNERS`] of a type, and webhooks beyond [`Bounds::WEBHOOKS`] of
//! an owner, are not kept.
//!
//! A webhook is gone when its owner's list leaves it out, or when its owner is gone
//! ([`listing::GONE`](super::listing::GONE)); never because an answer failed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::filter::Filter;
use super::listing::{Bounds, CompleteList, Completeness, GONE, LastReading, ListFailure, Listing, Shortfall};
use super::pool::TextPool;
use super::record::{DiscoveryRecord, ListRecord, OwnerRecord, Unsaved};
use super::request::{DiscoveredPage, Request};
use super::room::WebhookRoom;
use super::rotation::{self, OwnerTurn};
use super::targets::Discovered;
use super::{ApiOwner, ApiWebhook, OwnerKey};
use crate::delivery::{OwnerType, Timestamp};
use crate::reading::error::ApiError;
use crate::reading::wire::lists::ListPage;
use crate::schedule::patience::RequestFailure;
use crate::server_time::ServerTime;

/// The documented maximum of entries on a page.
const PER_PAGE: u32 = 100;
/// The documented default, for a server that refuses more or whose answers would be too large.
const SMALL_PER_PAGE: u32 = 20;
/// How soon a failed list is retried; each further failure doubles the wait, up to `refresh_interval`.
const LIST_RETRY: Duration = Duration::from_secs(15);
/// A list that was refused this often in a row starts over: perhaps its next page no longer exists.
const REFUSALS_OF_LISTING: u32 = 3;
/// The same for an owner's webhooks, up to the owner's period.
const OWNER_RETRY: Duration = Duration::from_secs(60);
/// Times count from this long before the start, so that earlier ones can be expressed. Longer than any period.
const BEFORE_START: Duration = Duration::from_secs(48 * 3600);

/// What is searched, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscoverySettings {
    /// Whether agents are searched.
    pub agents: bool,
    /// Whether campaigns are.
    pub campaigns: bool,
    /// The time from the end of one refresh to the next.
    pub refresh_interval: Duration,
    /// The most webhooks to keep.
    pub max_webhooks: usize,
}

/// The discovery of one environment. Times are durations since its start.
#[derive(Debug)]
pub struct Discovery {
    settings: DiscoverySettings,
    filter: Filter,
    lists: BTreeMap<OwnerType, OwnerList>,
    owners: BTreeMap<OwnerKey, KnownOwner>,
    /// The owner whose list of webhooks is being read, and its first pages.
    reading: Option<(OwnerKey, Listing<ApiWebhook>)>,
    /// What owners and webhooks have in common.
    pool: TextPool,
    is_asking: bool,
    /// When the first wish is due; cached, because it is read much more often than it changes.
    due: Option<Duration>,
    unsaved: BTreeSet<OwnerKey>,
    unsaved_lists: BTreeSet<OwnerType>,
    gone: BTreeSet<OwnerKey>,
    news: Vec<ShortList>,
}

/// A list that was read only in part, although it was read completely before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortList {
    /// Whose webhooks it lists; `None` if it is the list of owners itself.
    pub owner: Option<OwnerKey>,
    /// The type of its owners.
    pub owner_type: OwnerType,
    /// Why it was read only in part.
    pub shortfall: Shortfall,
}

#[derive(Debug)]
struct OwnerList {
    record: ListRecord,
    listing: Listing<ApiOwner>,
    per_page: u32,
    due: Duration,
    failures: u32,
    /// Why it was last read only in part, if it was.
    shortfall: Option<Shortfall>,
}

#[derive(Debug)]
struct KnownOwner {
    record: OwnerRecord,
    turn: OwnerTurn,
    /// Why the list of its webhooks was last read only in part, if it was.
    shortfall: Option<Shortfall>,
    /// What its webhooks take of [`DiscoverySettings::max_webhooks`].
    taken: WebhookRoom,
    /// Wanted webhooks of it that are left out for that.
    skipped: usize,
}

fn new_list_of_owners(per_page: u32) -> Listing<ApiOwner> {
    Listing::new(Bounds::OWNERS, Some(per_page))
}

impl Discovery {
    /// Resumes from what is remembered; `now` is the server's clock, as far as it is known.
    pub fn new(settings: DiscoverySettings, filter: Filter, record: DiscoveryRecord, now: ServerTime) -> Self {
        let searched = [(OwnerType::Agent, settings.agents), (OwnerType::Campaign, settings.campaigns)];
        let types: Vec<OwnerType> = searched.into_iter().filter(|(_, is_on)| *is_on).map(|(owner, _)| owner).collect();
        let at = |moment: Timestamp| BEFORE_START.saturating_sub(now.since(moment));
        let list = |owner_type| {
            let record = record.lists.get(owner_type).copied().unwrap_or_default();
            let due = record.completed_at.map_or(Duration::ZERO, |moment| at(moment) + settings.refresh_interval);
            // A clock that was wrong must not delay a refresh.
            let due = due.min(BEFORE_START + settings.refresh_interval);
            let listing = new_list_of_owners(PER_PAGE);
            (*owner_type, OwnerList { record, listing, per_page: PER_PAGE, due, failures: 0, shortfall: None })
        };
        let mut discovery = Self {
            lists: types.iter().map(list).collect(),
            settings,
            filter,
            owners: BTreeMap::new(),
            reading: None,
            pool: TextPool::default(),
            is_asking: false,
            due: None,
            unsaved: BTreeSet::new(),
            unsaved_lists: BTreeSet::new(),
            gone: BTreeSet::new(),
            news: Vec::new(),
        };
        let mut room = WebhookRoom::new(settings.max_webhooks);
        for (key, mut record) in record.owners {
            if types.contains(&key.owner_type) {
                discovery.pool.share_owner(&mut record.owner);
                record.webhooks.values_mut().for_each(|known| discovery.pool.share_webhook(&mut known.webhook));
                let turn = OwnerTurn::read_at(record.read_at.map(at));
                let skipped = room.trim(&key, &mut record, &discovery.filter);
                let taken = WebhookRoom::taken_by(&key, &record, &discovery.filter);
                discovery.owners.insert(key, KnownOwner { record, turn, shortfall: None, taken, skipped });
            } else {
                discovery.gone.insert(key);
            }
        }
        discovery.forget_unwanted_pasts();
        discovery.look_ahead();
        discovery
    }

    /// Everything to remember.
    pub fn into_record(self) -> DiscoveryRecord {
        let lists = self.lists.into_iter().map(|(key, list)| (key, list.record)).collect();
        DiscoveryRecord { lists, owners: self.owners.into_iter().map(|(key, known)| (key, known.record)).collect() }
    }

    /// A webhook that is excluded now becomes known when it is included again, not when it was first found.
    fn forget_unwanted_pasts(&mut self) {
        for (key, known) in &mut self.owners {
            let OwnerRecord { owner, webhooks, .. } = &mut known.record;
            for (id, webhook) in webhooks {
                let is_wanted = self.filter.wants(&owner.name, &webhook.webhook.name, &key.id, id);
                if !is_wanted && webhook.known_at.take().is_some() {
                    self.unsaved.insert(key.clone());
                }
            }
        }
    }

    /// When the next request is due; `None` while one is under way.
    pub fn due(&self) -> Option<Duration> {
        self.due.filter(|_| !self.is_asking).map(|due| due.saturating_sub(BEFORE_START))
    }

    fn look_ahead(&mut self) {
        self.due = self.wishes().map(|(due, _)| due).min();
    }

    /// The request to make at `now`, if one is due and none is under way.
    pub fn next(&self, now: Duration) -> Option<Request> {
        let now = now + BEFORE_START;
        let mut due = self.wishes().filter(|(due, _)| *due <= now && !self.is_asking);
        due.next().map(|(_, wish)| wish.request(self))
    }

    /// What is wanted and when, the most important first.
    fn wishes(&self) -> impl Iterator<Item = (Duration, Wish<'_>)> {
        let lists = self.lists.iter().map(|(owner_type, list)| (list.due, Wish::Owners(*owner_type, list)));
        let rest = self.reading.iter().map(|(key, _)| (Duration::ZERO, Wish::Webhooks(key)));
        let turns = || self.owners.iter().map(|(key, known)| (key, &known.turn, rotation::class(key, &known.record)));
        let urgent = turns().filter_map(|(key, turn, class)| Some((turn.urgent_at(class)?, Wish::Webhooks(key))));
        let rotating = rotation::next(turns()).map(|(due, key)| (due, Wish::Webhooks(key)));
        lists.chain(rest).chain(urgent).chain(rotating)
    }

    /// Records that a request is under way.
    pub fn start(&mut self) {
        self.is_asking = true;
    }

    /// Records that the request under way was given up before it was answered.
    pub fn abandon(&mut self) {
        self.is_asking = false;
    }

    /// Processes the answer to `request` at `now`; `date` is the server's clock. Returns whether
    /// [`targets`](Self::targets) may have changed.
    pub fn finish(
        &mut self,
        request: Request,
        result: Result<DiscoveredPage, &ApiError>,
        date: ServerTime,
        now: Duration,
    ) -> bool {
        let now = now + BEFORE_START;
        self.is_asking = false;
        let has_changed = self.take_in(request, result, date.timestamp(), now);
        self.look_ahead();
        has_changed
    }

    fn take_in(
        &mut self,
        request: Request,
        result: Result<DiscoveredPage, &ApiError>,
        date: Timestamp,
        now: Duration,
    ) -> bool {
        match (request, result) {
            (Request::Owners { owner_type, .. }, Ok(DiscoveredPage::Owners(page))) => {
                self.absorb_owners(owner_type, page, date, now)
            }
            (Request::Webhooks { owner, .. }, Ok(DiscoveredPage::Webhooks(page))) => {
                self.absorb_webhooks(owner, page, date, now)
            }
            (Request::Owners { owner_type, .. }, result) => {
                self.fail_list(owner_type, result.err(), now);
                false
            }
            (Request::Webhooks { owner, .. }, _) => {
                self.fail_owner(&owner, now);
                false
            }
        }
    }

    fn absorb_owners(
        &mut self,
        owner_type: OwnerType,
        mut page: ListPage<ApiOwner>,
        date: Timestamp,
        now: Duration,
    ) -> bool {
        let Some(list) = self.lists.get_mut(&owner_type) else { return false };
        list.failures = 0;
        page.entries.iter_mut().for_each(|(_, owner)| self.pool.share_owner(owner));
        let absent_at = list.record.whole_at;
        // An owner is used as soon as its page has come, before the list is complete.
        let mut has_changed = false;
        let mut room = room_for(&self.owners, owner_type);
        for (id, owner) in &page.entries {
            let key = OwnerKey { owner_type, id: id.clone() };
            if !self.owners.contains_key(&key) {
                if room == 0 {
                    continue;
                }
                room -= 1;
            }
            has_changed |= record_owner(&mut self.owners, &key, owner, absent_at) && self.unsaved.insert(key);
        }
        let Some(complete) = list.listing.absorb(page, date) else { return has_changed };
        list.due = now + self.settings.refresh_interval;
        list.record.completed_at = Some(date);
        if complete.is_whole() {
            list.record.whole_at = Some(complete.begun_at);
        }
        if let Some(shortfall) = complete.shortfall.filter(|shortfall| list.shortfall != Some(*shortfall)) {
            self.news.push(ShortList { owner: None, owner_type, shortfall });
        }
        list.shortfall = complete.shortfall;
        self.unsaved_lists.insert(owner_type);
        self.weigh_owners(owner_type, &complete) || has_changed
    }

    /// Forgets the owners that are gone.
    fn weigh_owners(&mut self, owner_type: OwnerType, complete: &CompleteList<ApiOwner>) -> bool {
        // If everything is gone at once, the API is more often wrong than right: it has to say so twice.
        let is_empty = complete.entries.is_empty() && complete.certainty != Completeness::Partial;
        let weight = if is_empty { GONE / 2 } else { complete.certainty.weight() };
        let mut gone = Vec::new();
        for (key, known) in self.owners.iter_mut().filter(|(key, _)| key.owner_type == owner_type) {
            let missed = if complete.entries.contains_key(&key.id) { 0 } else { known.record.missed + weight };
            if known.record.missed != missed {
                known.record.missed = missed;
                self.unsaved.insert(key.clone());
            }
            if missed >= GONE {
                gone.push(key.clone());
            }
        }
        for key in &gone {
            self.owners.remove(key);
            self.unsaved.remove(key);
            self.reading.take_if(|(owner, _)| owner == key);
        }
        let has_changed = !gone.is_empty();
        self.gone.extend(gone);
        has_changed
    }

    fn absorb_webhooks(
        &mut self,
        key: OwnerKey,
        mut page: ListPage<ApiWebhook>,
        date: Timestamp,
        now: Duration,
    ) -> bool {
        page.entries.iter_mut().for_each(|(_, webhook)| self.pool.share_webhook(webhook));
        let room = self.room_beside(&key);
        // It may have gone while its answer was on the way.
        let Some(known) = self.owners.get_mut(&key) else { return false };
        let mut listing = match self.reading.take() {
            Some((owner, listing)) if owner == key => listing,
            _ => Listing::new(Bounds::WEBHOOKS, None),
        };
        let Some(complete) = listing.absorb(page, date) else {
            self.reading = Some((key, listing));
            return false;
        };
        if let Some(shortfall) = complete.shortfall.filter(|shortfall| known.shortfall != Some(*shortfall)) {
            self.news.push(ShortList { owner: Some(key.clone()), owner_type: key.owner_type, shortfall });
        }
        known.shortfall = complete.shortfall;
        let was_called = known.record.is_changed;
        let (has_changed, skipped) = known.record.take_over(&key, complete, &self.filter, room);
        (known.taken, known.skipped) = (WebhookRoom::taken_by(&key, &known.record, &self.filter), skipped);
        // What is missing and not yet known to be gone is looked for again, but not at once.
        if was_called && !has_changed || known.record.is_changed {
            known.turn.succeed_in_vain(now);
        } else {
            known.turn.succeed(now);
        }
        self.unsaved.insert(key);
        has_changed
    }

    /// The room for the webhooks of one owner.
    fn room_beside(&self, key: &OwnerKey) -> WebhookRoom {
        let others = self.owners.iter().filter(|(other, _)| *other != key);
        others.fold(WebhookRoom::new(self.settings.max_webhooks), |room, (_, known)| room.without(known.taken))
    }

    /// How many webhooks that are wanted are left out, as far as is known: beyond
    /// [`DiscoverySettings::max_webhooks`].
    pub fn skipped(&self) -> usize {
        self.owners.values().map(|known| known.skipped).sum()
    }

    fn fail_list(&mut self, owner_type: OwnerType, failure: Option<&ApiError>, now: Duration) {
        let Some(list) = self.lists.get_mut(&owner_type) else { return };
        list.failures += 1;
        list.listing.interrupt();
        let is_too_much = matches!(failure, Some(ApiError::Http { status: 422, .. } | ApiError::TooLarge { .. }));
        let is_of_page = failure.is_some_and(|failure| match failure.failure() {
            RequestFailure::Unanswered(_) => true,
            RequestFailure::Answered(_) => !matches!(failure, ApiError::Http { .. }),
            RequestFailure::Rejected(_) => false,
        });
        let was_unreadable = list.shortfall == Some(Shortfall::Unreadable);
        let last = if was_unreadable { LastReading::Unreadable } else { LastReading::Whole };
        let mut failed = ListFailure::Retry;
        if is_too_much && list.per_page > SMALL_PER_PAGE {
            list.per_page = SMALL_PER_PAGE;
            list.listing = new_list_of_owners(list.per_page);
        } else if is_of_page {
            failed = list.listing.fail(last);
        } else if list.failures.is_multiple_of(REFUSALS_OF_LISTING) {
            list.listing = new_list_of_owners(list.per_page);
        }
        // While the cause is being looked for, there is no reason to wait longer each time.
        let failures = if list.listing.is_looked_into() { 1 } else { list.failures };
        let pause = rotation::doubled(LIST_RETRY, failures, self.settings.refresh_interval);
        list.due = if failed == ListFailure::Onward { now } else { now + pause };
    }

    fn fail_owner(&mut self, key: &OwnerKey, now: Duration) {
        self.reading.take_if(|(owner, _)| owner == key);
        if let Some(known) = self.owners.get_mut(key) {
            known.turn.fail(now, OWNER_RETRY, rotation::class(key, &known.record));
        }
    }

    /// The webhooks that exist, wanted or not.
    pub fn targets(&self) -> impl Iterator<Item = Discovered<'_>> {
        self.owners.iter().flat_map(move |(key, known)| {
            let owner_name = &known.record.owner.name;
            known.record.webhooks.iter().map(move |(id, record)| Discovered {
                owner: key,
                owner_name,
                webhook_id: id,
                webhook: &record.webhook,
                is_wanted: self.filter.wants(owner_name, &record.webhook.name, &key.id, id),
                known_at: record.known_at,
            })
        })
    }

    /// When all lists had last been read to their end, by the server's clock.
    pub fn last_success(&self) -> Option<Timestamp> {
        let times: Option<Vec<Timestamp>> = self.lists.values().map(|list| list.record.completed_at).collect();
        times?.into_iter().min()
    }

    /// Whether all lists were read, including those of each owner's webhooks; or requested without success, if only
    /// those fail.
    pub fn has_seen_all(&self) -> bool {
        let lists = self.lists.values().all(|list| list.record.completed_at.is_some());
        lists && self.owners.values().all(|known| known.turn.has_come())
    }

    /// Takes the lists that were read only in part since the last call, each once for as long as that lasts.
    pub fn take_news(&mut self) -> Vec<ShortList> {
        std::mem::take(&mut self.news)
    }

    /// Takes what is to be written; if that fails, give it back ([`keep_unsaved`](Self::keep_unsaved)).
    pub fn take_unsaved(&mut self) -> Unsaved {
        let owners = std::mem::take(&mut self.unsaved);
        let owners = owners.into_iter().filter_map(|key| Some((key.clone(), self.owners.get(&key)?.record.clone())));
        let lists = std::mem::take(&mut self.unsaved_lists);
        let lists = lists.into_iter().filter_map(|key| Some((key, self.lists.get(&key)?.record)));
        let record = DiscoveryRecord { lists: lists.collect(), owners: owners.collect() };
        Unsaved { record, gone: std::mem::take(&mut self.gone).into_iter().collect() }
    }

    /// Takes back what could not be written: the next [`take_unsaved`](Self::take_unsaved) returns it again.
    pub fn keep_unsaved(&mut self, unsaved: Unsaved) {
        self.unsaved.extend(unsaved.record.owners.into_keys());
        self.unsaved_lists.extend(unsaved.record.lists.into_keys());
        // An owner that has come back meanwhile is written again.
        self.gone.extend(unsaved.gone);
    }
}

/// A request that will be due at some time.
enum Wish<'a> {
    Owners(OwnerType, &'a OwnerList),
    Webhooks(&'a OwnerKey),
}

impl Wish<'_> {
    fn request(&self, discovery: &Discovery) -> Request {
        match self {
            Self::Owners(owner_type, list) => {
                let (page, per_page) = list.listing.next_page();
                Request::Owners { owner_type: *owner_type, page, per_page: per_page.unwrap_or(list.per_page) }
            }
            Self::Webhooks(key) => {
                let begun = discovery.reading.as_ref().filter(|(owner, _)| owner == *key);
                let page = begun.map_or(1, |(_, listing)| listing.next_page().0);
                Request::Webhooks { owner: (*key).clone(), page }
            }
        }
    }
}

/// How many more owners of a type fit.
fn room_for(owners: &BTreeMap<OwnerKey, KnownOwner>, owner_type: OwnerType) -> usize {
    let known = owners.keys().filter(|key| key.owner_type == owner_type).count();
    Bounds::OWNERS.entries.saturating_sub(known)
}

/// Processes what a list says of one owner; returns whether that is news.
fn record_owner(
    owners: &mut BTreeMap<OwnerKey, KnownOwner>,
    key: &OwnerKey,
    owner: &ApiOwner,
    absent_at: Option<Timestamp>,
) -> bool {
    match owners.get_mut(key) {
        None => {
            let record = OwnerRecord::new(owner.clone(), absent_at);
            owners.insert(
                key.clone(),
                KnownOwner {
                    record,
                    turn: OwnerTurn::read_at(None),
                    shortfall: None,
                    taken: WebhookRoom::default(),
                    skipped: 0,
                },
            );
            true
        }
        Some(known) if known.record.owner != *owner => {
            known.record.owner = owner.clone();
            known.record.is_changed = true;
            true
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests;

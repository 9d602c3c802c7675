//! The query of the status page: which webhooks, in which order, and which page of the list.

use std::fmt::Write;

use crate::server::status::{DeliveryState, ReadingState, WebhookStatus};

/// Longer search texts are cut: no name is as long.
const MAX_TEXT: usize = 200;

/// The order of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::server) enum Sort {
    /// Worst first.
    #[default]
    Worst,
    /// By name.
    Name,
    /// Most lost deliveries within an hour first.
    LostHour,
    /// Most lost deliveries within a day first.
    LostDay,
    /// Latest lost delivery first.
    LastLost,
    /// Most open entries first.
    Open,
}

impl Sort {
    pub(super) const ALL: [Self; 6] =
        [Self::Worst, Self::Name, Self::LostHour, Self::LostDay, Self::LastLost, Self::Open];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Worst => "worst",
            Self::Name => "name",
            Self::LostHour => "lost_hour",
            Self::LostDay => "lost_day",
            Self::LastLost => "last_lost",
            Self::Open => "open",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Worst => "worst first",
            Self::Name => "name",
            Self::LostHour => "lost in the last hour",
            Self::LostDay => "lost in the last day",
            Self::LastLost => "last lost delivery",
            Self::Open => "open entries",
        }
    }
}

/// Which webhooks to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::server) enum WantedState {
    /// All of them.
    #[default]
    All,
    /// Those with something wrong.
    Problems,
    /// By their deliveries.
    Deliveries(DeliveryState),
    /// By the reading of their log.
    Reading(ReadingState),
}

impl WantedState {
    pub(super) const ALL: [Self; 9] = [
        Self::All,
        Self::Problems,
        Self::Deliveries(DeliveryState::Failing),
        Self::Deliveries(DeliveryState::Ok),
        Self::Deliveries(DeliveryState::Idle),
        Self::Deliveries(DeliveryState::Unknown),
        Self::Reading(ReadingState::Failing),
        Self::Reading(ReadingState::FirstContact),
        Self::Reading(ReadingState::Disabled),
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Problems => "problems",
            Self::Deliveries(DeliveryState::Failing) => "failing",
            Self::Deliveries(DeliveryState::Ok) => "ok",
            Self::Deliveries(DeliveryState::Idle) => "idle",
            Self::Deliveries(DeliveryState::Unknown) => "unknown",
            Self::Reading(ReadingState::Failing) => "unreadable",
            Self::Reading(ReadingState::FirstContact) => "first_contact",
            Self::Reading(ReadingState::Disabled) => "disabled",
            Self::Reading(ReadingState::Ok) => "readable",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Problems => "with a problem",
            Self::Deliveries(DeliveryState::Failing) => "deliveries failing",
            Self::Deliveries(DeliveryState::Ok) => "deliveries ok",
            Self::Deliveries(DeliveryState::Idle) => "idle",
            Self::Deliveries(DeliveryState::Unknown) => "deliveries unknown",
            Self::Reading(ReadingState::Failing) => "log cannot be read",
            Self::Reading(ReadingState::FirstContact) => "first reading",
            Self::Reading(ReadingState::Disabled) => "disabled",
            Self::Reading(ReadingState::Ok) => "log can be read",
        }
    }

    fn holds(self, webhook: &WebhookStatus) -> bool {
        let (deliveries, reading) = (webhook.deliveries.state, webhook.reading.state);
        match self {
            Self::All => true,
            Self::Problems => deliveries == DeliveryState::Failing || reading == ReadingState::Failing,
            Self::Deliveries(state) => deliveries == state,
            Self::Reading(state) => reading == state,
        }
    }
}

/// The parsed query. Unknown keys and values are ignored, so that an old link does not become an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::server) struct Query {
    /// Part of a name or an id.
    pub(super) text: String,
    /// The environment's name; empty for all.
    pub(super) environment: String,
    pub(super) wanted: WantedState,
    pub(super) sort: Sort,
    /// The page of the list, from 1.
    pub(super) page: usize,
}

impl Query {
    /// Parses the query part of a URL.
    pub(in crate::server) fn parse(query: &str) -> Self {
        let mut parsed = Self { page: 1, ..Self::default() };
        for (key, value) in form_urlencoded(query) {
            match &*key {
                "q" => parsed.text = value.trim().chars().take(MAX_TEXT).collect(),
                "environment" => parsed.environment = value.chars().take(MAX_TEXT).collect(),
                "state" => {
                    let known = WantedState::ALL.into_iter().find(|wanted| wanted.as_str() == value);
                    parsed.wanted = known.unwrap_or_default();
                }
                "sort" => parsed.sort = Sort::ALL.into_iter().find(|sort| sort.as_str() == value).unwrap_or_default(),
                "page" => parsed.page = value.parse().unwrap_or(1).max(1),
                _ => {}
            }
        }
        parsed
    }

    /// Returns the relative URL for this query.
    pub(super) fn href(&self) -> String {
        let page = self.page.to_string();
        let given = [
            ("q", &*self.text, ""),
            ("environment", &*self.environment, ""),
            ("state", self.wanted.as_str(), WantedState::default().as_str()),
            ("sort", self.sort.as_str(), Sort::default().as_str()),
            ("page", &*page, "1"),
        ];
        let given = given.into_iter().filter(|(_, value, default)| value != default);
        let pairs: Vec<String> = given.map(|(key, value, _)| format!("{key}={}", percent_encoded(value))).collect();
        format!("?{}", pairs.join("&"))
    }

    /// Whether some webhooks are filtered out.
    pub(super) fn is_filtered(&self) -> bool {
        !self.text.is_empty() || !self.environment.is_empty() || self.wanted != WantedState::All
    }

    /// Returns the selected webhooks in order; `all` are given worst first.
    pub(super) fn select<'a>(&self, all: &'a [WebhookStatus]) -> Vec<&'a WebhookStatus> {
        let text = self.text.to_lowercase();
        let has_text = |webhook: &WebhookStatus| {
            let places = [&webhook.name, &webhook.webhook_id, &webhook.owner_id];
            let places = places.into_iter().map(String::as_str).chain(webhook.owner_name.as_deref());
            text.is_empty() || places.into_iter().any(|place| place.to_lowercase().contains(&text))
        };
        let is_of = |webhook: &WebhookStatus| self.environment.is_empty() || webhook.environment == self.environment;
        let wanted = all.iter().filter(|webhook| is_of(webhook) && self.wanted.holds(webhook) && has_text(webhook));
        let mut wanted: Vec<&WebhookStatus> = wanted.collect();
        // Sorting is stable: among equals, the worst comes first.
        match self.sort {
            Sort::Worst => {}
            Sort::Name => wanted.sort_by_cached_key(|webhook| webhook.name.to_lowercase()),
            Sort::LostHour => sort_most_first(&mut wanted, |webhook| webhook.deliveries.last_hour.map(|of| of.lost())),
            Sort::LostDay => sort_most_first(&mut wanted, |webhook| webhook.deliveries.last_day.map(|of| of.lost())),
            Sort::LastLost => {
                sort_most_first(&mut wanted, |webhook| webhook.view.losses.last_key_value().map(|(end, _)| end.at));
            }
            Sort::Open => sort_most_first(&mut wanted, |webhook| webhook.view.open.iter().sum::<u64>()),
        }
        wanted
    }
}

fn sort_most_first<T: Ord>(webhooks: &mut [&WebhookStatus], of: impl Fn(&WebhookStatus) -> T) {
    webhooks.sort_by_key(|webhook| std::cmp::Reverse(of(webhook)));
}

/// Returns the keys and values of a query, as browsers encode them (URL Standard, section 5.1).
fn form_urlencoded(query: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decoded(key), percent_decoded(value))
    })
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Encodes text for a path segment or a query value.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_was_written() {
        let query = Query {
            text: "Größe & <b>+%".to_owned(),
            environment: "a b".to_owned(),
            wanted: WantedState::Reading(ReadingState::FirstContact),
            sort: Sort::LastLost,
            page: 3,
        };
        let href = query.href();
        assert!(href.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"?&=%_-.".contains(&byte)), "{href}");
        assert_eq!(Query::parse(&href[1..]), query);
        assert_eq!(Query::parse("").href(), "?");
        assert_eq!(Query::parse("q=a+b%20c%2").text, "a b c%2");
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let plain = Query::parse("");
        for odd in ["page=0", "page=-1", "page=x", "sort=", "state=%ff", "&&=&", "other=1"] {
            assert_eq!(Query::parse(odd), plain, "{odd}");
        }
        for wanted in WantedState::ALL {
            assert_eq!(Query::parse(&format!("state={}", wanted.as_str())).wanted, wanted);
        }
    }
}

//! Interns texts that many owners and webhooks share, such as hosts and states: each is in memory once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{ApiOwner, ApiWebhook};

/// The texts. What nobody else holds any more is forgotten before they become twice as many.
#[derive(Clone, Debug, Default)]
pub(super) struct TextPool {
    texts: BTreeSet<Arc<str>>,
    /// How many there were after it was last cleared up.
    kept: usize,
}

/// Below this, clearing up is not worth it.
const FEW: usize = 64;

impl TextPool {
    /// Lets an owner share its state with others.
    pub(super) fn share_owner(&mut self, owner: &mut ApiOwner) {
        if let Some(status) = &mut owner.status {
            self.share(status);
        }
    }

    /// Lets a webhook share its host with others.
    pub(super) fn share_webhook(&mut self, webhook: &mut ApiWebhook) {
        if let Some(endpoint) = &mut webhook.endpoint {
            self.share(&mut endpoint.host);
        }
    }

    fn share(&mut self, text: &mut Arc<str>) {
        if let Some(known) = self.texts.get(text) {
            text.clone_from(known);
            return;
        }
        if self.texts.len() >= (2 * self.kept).max(FEW) {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.kept = self.texts.len();
        }
        self.texts.insert(text.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_and_unused_ones_are_forgotten() {
        let mut pool = TextPool::default();
        let mut shared = |text: &str| {
            let mut text = Arc::from(text);
            pool.share(&mut text);
            text
        };
        let (first, second): (Arc<str>, Arc<str>) = (shared("hooks.example.com"), shared("hooks.example.com"));
        assert!(Arc::ptr_eq(&first, &second));
        for number in 0..10_000 {
            shared(&number.to_string());
        }
        assert!(Arc::ptr_eq(&first, &shared("hooks.example.com")), "it is in use");
        assert!(pool.texts.len() <= FEW, "{} are left", pool.texts.len());
    }
}

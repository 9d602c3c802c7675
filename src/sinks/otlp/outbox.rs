//! What an exporter needs of a queue in the state: the items of one signal on their way to a receiver.

use prost::Message;

use crate::config::OtlpSignal;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::handle::StoreHandle;
use crate::store::queue::OutboxQueue;

/// A queue of encoded items, and how requests are made of them.
pub trait Outbox: Send + 'static {
    /// An item that is waiting.
    type Item: Send + 'static;
    /// The request that sends some of them.
    type Request: Message + Clone + Default + 'static;
    /// What they are.
    const SIGNAL: OtlpSignal;

    /// Returns what is known of the queue without reading the state.
    fn queue(store: &StoreHandle) -> &OutboxQueue;

    /// Returns the oldest items: at most `max_items`, and together at most `max_bytes`, but at least one if there is one.
    ///
    /// # Errors
    /// If the state cannot be read.
    fn oldest(store: &dyn Store, max_items: usize, max_bytes: usize) -> Result<Vec<Self::Item>, StoreError>;

    /// Removes the items up to the number `through`, inclusive, of which a receiver has refused `rejected`.
    ///
    /// # Errors
    /// If the state cannot be written.
    fn acknowledge(store: &mut dyn Store, through: i64, rejected: u64) -> Result<(), StoreError>;

    /// Returns the number of an item.
    fn number_of(item: &Self::Item) -> i64;

    /// Returns the request that sends these items.
    fn request(&self, items: Vec<Self::Item>) -> Self::Request;
}

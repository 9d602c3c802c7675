//! Metrics over OTLP: what a scrape shows, pushed to a receiver at each interval.
//!
//! A push is made of the families and samples of a scrape, so there is one catalogue. [`points`] makes data points of
//! samples, [`requests`] groups them by environment and splits them into requests of limited size, and [`pusher`] sends
//! these. Everything is cumulative, so a push that fails is made up for by the next one: nothing is kept for it.
//!
//! *Invariant:* only what was committed is pushed, because the board shows nothing else; so values go on over restarts,
//! and the start of what is durable never changes.

mod pace;
pub mod points;
pub mod pusher;
pub mod requests;

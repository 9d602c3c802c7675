//! Metrics over OTLP: a receiver gets what a scrape shows, series by series, whatever happens to it or to the daemon.

mod push;
mod pushed;
mod requests;

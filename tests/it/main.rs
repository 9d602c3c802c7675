//! The program as its users run it: the real binary, or the real daemon in this process, against the simulated TalkOver
//! over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect has to fail")]

mod births;
mod budget;
mod certificates;
mod checks;
mod circles;
mod cli;
mod clocks;
mod conventions;
mod corpora;
mod crash;
mod daemon;
mod dashboards;
mod demo;
mod discovery;
mod docs;
mod environments;
mod exposition;
mod faults;
mod formats;
mod hardships;
mod harness;
mod history;
mod large;
mod listening;
mod names;
mod neighbours;
mod otlp;
mod panics;
mod reload;
mod roster;
mod schedule;
mod stalled;
mod state;
mod state_copy;
mod status;
mod telemetry;
mod traces;

mod unreadable;
mod verify;

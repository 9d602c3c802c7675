//! The program as its users run it: the real binary, or the real daemon in this process, against the simulated TalkOver over
//! real sockets.

mod cli;
mod crash;
mod daemon;
mod demo;
mod exposition;
mod harness;

//! `sfu`: a WebRTC room service on libsfu, with its web page.
//!
//! tokio and axum run on threads of their own; every act of the service goes as a command through the engine handle
//! to a shard, as it would from any other language.

mod args;
mod bench;
mod broadcasters;
mod codecs;
mod connection;
mod consumers;
mod doctor;
mod log;
mod metrics;
mod protoo;
mod report;
mod requests;
mod room;
mod sdp_file;
mod serve;
mod service;
mod session;
mod speaker;
mod streams;
mod tls;
mod web;

use std::process::ExitCode;

use clap::Parser;

use args::{Command, CommandLine};

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Version => {
            println!("sfu {}", env!("CARGO_PKG_VERSION"));
            println!("page and protocol: protoo, mediasoup-client 3");
            ExitCode::SUCCESS
        }
    }
}

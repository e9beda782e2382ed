//! `sfu doctor`: the checks that the engine makes before it starts, as a table.

use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use sfu_control::host::{Check, ListenInfo, PreflightOptions, Status, check, usable_cpus};

use crate::args::{DoctorArgs, RtcProtocol};

/// Prints the table; fails if a check failed.
pub(crate) fn run(args: &DoctorArgs) -> ExitCode {
    let checks = check(&options(args));
    println!("{}", table(&checks));
    let failed = checks.iter().filter(|check| check.status == Status::Fail).count();
    let warned = checks.iter().filter(|check| check.status == Status::Warn).count();
    if failed > 0 {
        println!("{failed} of {} checks failed: the engine will not start until they are mended.", checks.len());
        ExitCode::FAILURE
    } else if warned > 0 {
        println!("The engine can start; {warned} of {} checks could be better.", checks.len());
        ExitCode::SUCCESS
    } else {
        println!("All {} checks passed.", checks.len());
        ExitCode::SUCCESS
    }
}

/// The same as `sfu serve` would ask for with these arguments.
fn options(args: &DoctorArgs) -> PreflightOptions {
    let cpus = usable_cpus();
    let shards = if args.shards == 0 { cpus.len().max(1) } else { usize::from(args.shards) };
    let mut listen = Vec::new();
    for ip in &args.rtc_ip {
        let info = |info: ListenInfo, port| ListenInfo { port, ipv6_only: ip.is_ipv6(), ..info };
        if args.rtc_protocol.contains(&RtcProtocol::Udp) {
            listen.push(info(ListenInfo::udp(*ip), args.rtc_port));
        }
        if args.rtc_protocol.contains(&RtcProtocol::Tcp) {
            listen.push(info(ListenInfo::tcp(*ip), args.rtc_port));
        }
    }
    // More shards than cores are left unpinned, as the engine does.
    let cpus = if shards <= cpus.len() { cpus[..shards].to_vec() } else { Vec::new() };
    PreflightOptions { shards, cpus, listen }
}

fn table(checks: &[Check]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["", "check", "found", "what to do"]);
    for check in checks {
        let mark = match check.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        };
        table.add_row([mark, check.name, &check.value, &check.remedy]);
    }
    table
}

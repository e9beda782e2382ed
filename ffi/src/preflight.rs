//! The text of `sfu_preflight`: the runtime's checks for the options of an engine, one line each.

use sfu_control::EngineOptions;
use sfu_control::host::{Check, PreflightOptions, Status, check, usable_cpus};

use crate::status::{SFU_OK, of_start};

/// The status with which an engine would be refused, and the table.
pub(crate) fn report(options: &EngineOptions) -> (u32, String) {
    let cores = if options.cpus.is_empty() { usable_cpus().len() } else { options.cpus.len() };
    let options = PreflightOptions {
        shards: if options.shards == 0 { cores } else { options.shards.into() },
        cpus: options.cpus.iter().map(|cpu| usize::from(*cpu)).collect(),
        listen: Vec::new(),
    };
    let checks = check(&options);
    let failed = checks.iter().find(|check| check.status == Status::Fail);
    let status = failed.map_or(SFU_OK, |check| of_start(check.code));
    (status, checks.iter().map(line).collect())
}

fn line(check: &Check) -> String {
    let state = match check.status {
        Status::Ok => "ok",
        Status::Warn => "warn",
        Status::Fail => "fail",
    };
    let remedy = if check.remedy.is_empty() { String::new() } else { format!("; {}", check.remedy) };
    format!("{state} {}: {}{remedy}\n", check.name, check.value)
}

#[cfg(test)]
mod tests {
    use sfu_control::host::StartCode;

    use super::*;

    #[test]
    fn a_line_names_state_check_value_and_remedy() {
        let check = Check {
            name: "memlock",
            status: Status::Fail,
            value: "64 KiB".to_owned(),
            remedy: "raise it".to_owned(),
            code: StartCode::MemlockTooLow,
        };
        assert_eq!(line(&check), "fail memlock: 64 KiB; raise it\n");
    }

    #[test]
    fn row_097_more_cores_than_there_are_fail_with_their_own_status() {
        let options = EngineOptions { shards: 1, cpus: vec![60_000], ..EngineOptions::default() };
        let (status, text) = report(&options);
        assert_eq!(status, crate::status::SFU_START_CPU_UNAVAILABLE, "{text}");
    }
}

//! `sfu bench`: puts a load on a server and says how well it was carried.
//!
//! Publishers join first, then viewers at a steady rate; the load stays for a while, or grows step by step until a bound
//! is crossed (`--ramp`). Progress goes to standard error, the report to standard output. Everything ends by itself, and
//! on Ctrl-C, with DELETE for each stream.

mod args;
mod load;
mod meter;
mod payload;
mod peer;
mod publisher;
mod report;
mod signalling;
mod viewer;

use std::io::Write;
use std::process::ExitCode;

pub(crate) use args::BenchArgs;
use load::Load;
use report::Report;

/// Runs the load and prints its report; fails if a client could not connect or fell off.
pub(crate) fn run(args: &BenchArgs) -> ExitCode {
    str0m::crypto::from_feature_flags().install_process_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no threads for the load: {error}")),
    };
    match runtime.block_on(measure(args)) {
        Ok(report) => print(args, &report),
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    eprintln!("sfu bench: {error}");
    ExitCode::FAILURE
}

fn print(args: &BenchArgs, report: &Report) -> ExitCode {
    let json = match serde_json::to_string_pretty(report) {
        Ok(json) => json,
        Err(error) => return fail(&format!("the report: {error}")),
    };
    let to_stdout = args.json.as_ref().is_some_and(|file| file.as_os_str() == "-");
    let text = if to_stdout { format!("{json}\n") } else { report.to_string() };
    // A reader that has gone away has no use for the rest.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if let Some(file) = args.json.as_ref().filter(|_| !to_stdout)
        && let Err(error) = std::fs::write(file, json + "\n")
    {
        return fail(&format!("--json: {}: {error}", file.display()));
    }
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn measure(args: &BenchArgs) -> Result<Report, String> {
    let mut load = Load::new(args)?;
    let result = tokio::select! {
        result = steps(args, &mut load) => result,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("stopped");
            Ok(())
        }
    };
    load.end().await;
    result.map(|()| load.report())
}

async fn steps(args: &BenchArgs, load: &mut Load) -> Result<(), String> {
    load.add_publishers().await?;
    let Some(more) = args.ramp else {
        load.add_viewers(args.viewers).await;
        load.watch(args.duration()).await;
        return Ok(());
    };
    load.add_viewers(args.viewers).await;
    let step = std::time::Duration::from_secs(args.step.into());
    while load.watch(step).await && load.may_grow() {
        load.add_viewers(more).await;
    }
    Ok(())
}

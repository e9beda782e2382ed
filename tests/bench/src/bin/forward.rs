//! What a forwarded packet costs, end to end, and how long it takes: libsfu's two back ends and the loop of other
//! forwarders, interleaved in one run.
//!
//! `cargo run --release -p sfu-bench --bin forward` is the whole of it; with `quick` it takes under two minutes; `gate` is
//! `quick`, and fails if a ratio falls below its floor. The name of a way out (`loopback`, `tun`, `tun+uso`, `veth`) leaves
//! the others out, a number all but that many viewers. Results are in `target/bench` as text, JSON and SVG.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use sfu_bench::clock::Clock;
use sfu_bench::egress::{self, Egress};
use sfu_bench::measure::{Figures, Load, Source, median, round};
use sfu_bench::peer_loop::PeerLoop;
use sfu_bench::report::{Line, Report};
use sfu_bench::room::{Room, RoomOptions};
use sfu_bench::subject::Subject;
use sfu_bench::sys;
use sfu_bench::viewers::Viewers;
use sfu_runtime::IoBackend;

/// Where subjects run, and where the load comes from.
const SUBJECT_CPU: usize = 0;
const LOAD_CPU: usize = 1;
/// More loss than this is not free of loss, percent.
const LOSS_FREE: f64 = 0.1;
/// Above this share of its core a forwarder keeps up only until its buffers are full, percent.
const KEEPS_UP: f64 = 97.0;

/// How much is run.
struct Extent {
    rounds: usize,
    duration: Duration,
    subjects: &'static [Kind],
    whole: bool,
}

/// A subject to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Peer,
    Mmsg,
    Uring,
    /// As `Mmsg`, with frames padded to one size: for frames alone.
    Padded,
}

impl Kind {
    /// It has something to say about loads whose packets differ in size, or do not.
    fn runs(self, uneven: bool) -> bool {
        uneven || self != Self::Padded
    }
}

const WHOLE: Extent = Extent {
    rounds: 5,
    duration: Duration::from_secs(1),
    subjects: &[Kind::Peer, Kind::Mmsg, Kind::Uring, Kind::Padded],
    whole: true,
};
const QUICK: Extent =
    Extent { rounds: 5, duration: Duration::from_millis(600), subjects: &[Kind::Peer, Kind::Mmsg], whole: false };

/// Loads with one set of viewers, and the way out.
struct Stage {
    egress: Egress,
    streams: u32,
    viewers: usize,
    loads: &'static [Shape],
}

impl Stage {
    /// No word of the command line leaves it out.
    fn is_wanted(&self, words: &[String]) -> bool {
        let ways: Vec<&String> = words.iter().filter(|word| NAMES.contains(&word.as_str())).collect();
        let sizes: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
        (ways.is_empty() || ways.iter().any(|way| *way == self.egress.name()))
            && (sizes.is_empty() || sizes.contains(&self.viewers))
    }
}

/// Names of the ways out.
const NAMES: [&str; 4] = ["loopback", "tun", "tun+uso", "veth"];

/// Burst, size, rate, uneven.
type Shape = (usize, usize, usize, bool);

const SINGLES: Shape = (1, 1_200, 500, false);
const RUNS: Shape = (4, 1_200, 500, false);
const FRAMES: Shape = (4, 1_200, 500, true);
const EVERYDAY: Shape = (1, 1_200, 100, false);

const STAGES_QUICK: &[Stage] = &[
    Stage { egress: Egress::Loopback, streams: 1, viewers: 10, loads: &[EVERYDAY, (1, 1_200, 2_000, false)] },
    Stage { egress: Egress::Loopback, streams: 1, viewers: 100, loads: &[SINGLES, RUNS, FRAMES] },
];

const STAGES: &[Stage] = &[
    Stage {
        egress: Egress::Loopback,
        streams: 1,
        viewers: 1,
        loads: &[(1, 1_200, 1_000, false), (1, 1_200, 5_000, false), (1, 1_200, 20_000, false)],
    },
    Stage {
        egress: Egress::Loopback,
        streams: 1,
        viewers: 10,
        loads: &[EVERYDAY, (1, 1_200, 5_000, false), (4, 1_200, 5_000, false)],
    },
    Stage { egress: Egress::Loopback, streams: 1, viewers: 100, loads: &[SINGLES, RUNS, FRAMES, (1, 200, 500, false)] },
    Stage { egress: Egress::Loopback, streams: 4, viewers: 25, loads: &[(4, 1_200, 2_000, true)] },
    Stage {
        egress: Egress::Loopback,
        streams: 1,
        viewers: 500,
        loads: &[(1, 1_200, 100, false), (4, 1_200, 100, false)],
    },
    Stage {
        egress: Egress::Tun { uso: true },
        streams: 1,
        viewers: 10,
        loads: &[(1, 1_200, 5_000, false), (4, 1_200, 5_000, false)],
    },
    Stage { egress: Egress::Tun { uso: true }, streams: 1, viewers: 100, loads: &[SINGLES, RUNS, FRAMES] },
    Stage { egress: Egress::Tun { uso: false }, streams: 1, viewers: 100, loads: &[SINGLES, RUNS, FRAMES] },
    Stage {
        egress: Egress::Tun { uso: true },
        streams: 1,
        viewers: 500,
        loads: &[(1, 1_200, 100, false), (4, 1_200, 100, false)],
    },
    Stage { egress: Egress::Veth, streams: 1, viewers: 100, loads: &[SINGLES, RUNS, FRAMES] },
];

/// Ratios to the peer loop that hold on a busy machine too: burst and floor, at a hundred viewers on loopback. What is
/// promised (SPECIFICATION.md) is more.
const FLOORS: &[(usize, f64)] = &[(1, 1.0), (4, 1.3)];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|w| w == word);
    let gate = has("gate");
    let extent = if gate || has("quick") { QUICK } else { WHOLE };
    let own_network = egress::enter();
    let mut report = Report::default();
    if let Err(reason) = &own_network {
        report.notes.push(("only loopback was measured".to_owned(), reason.clone()));
    }
    let stages = if extent.whole { STAGES } else { STAGES_QUICK };
    let possible = |stage: &&Stage| stage.egress == Egress::Loopback || own_network.is_ok();
    let mut number = 0;
    for stage in stages.iter().filter(possible).filter(|stage| stage.is_wanted(&words)) {
        if let Err(reason) = run(stage, &extent, &mut number, &mut report) {
            report.notes.push((format!("{} was left out", stage.egress.name()), reason));
        }
    }
    if extent.whole && words.is_empty() {
        idle(&mut report);
    }
    print!("{}", report.text());
    let folder =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from).join("bench");
    match report.save(&folder, if extent.whole { "forward" } else { "forward-quick" }) {
        Ok(path) => println!("in {}, and beside it as JSON and SVG", path.display()),
        Err(error) => println!("the report could not be written to {}: {error}", folder.display()),
    }
    if gate { judge(&report) } else { ExitCode::SUCCESS }
}

fn start(kind: Kind, stage: &Stage, number: usize) -> Result<Box<dyn Subject>, String> {
    let site = egress::make(stage.egress, stage.viewers, number)?;
    let server = site.server;
    let viewers = Viewers::new(site);
    let io = match kind {
        Kind::Peer => return Ok(PeerLoop::start(viewers, stage.streams, SUBJECT_CPU)),
        Kind::Mmsg | Kind::Padded => IoBackend::Mmsg,
        Kind::Uring => IoBackend::IoUring,
    };
    let padded = kind == Kind::Padded;
    let options = RoomOptions { io, streams: stage.streams, cpu: SUBJECT_CPU, consent: false, padded };
    Ok(Room::start(viewers, server, options))
}

fn run(stage: &Stage, extent: &Extent, number: &mut usize, report: &mut Report) -> Result<(), String> {
    let clock = Clock::new();
    let mut subjects: Vec<(Kind, Box<dyn Subject>, Source)> = Vec::new();
    let frames = stage.loads.iter().any(|(.., uneven)| *uneven);
    for kind in extent.subjects.iter().filter(|kind| kind.runs(frames)) {
        *number += 1;
        subjects.push((*kind, start(*kind, stage, *number)?, Source::new(stage.streams)));
    }
    sys::pin(LOAD_CPU);
    for (burst, size, rate, uneven) in stage.loads {
        let load = Load {
            streams: stage.streams,
            viewers: stage.viewers,
            burst: *burst,
            size: *size,
            rate: *rate,
            uneven: *uneven,
        };
        eprintln!("{} {load:?}", stage.egress.name());
        let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); subjects.len()];
        // The first round of each warms caches, pools and histories, and counts for nothing.
        for n in 0..=extent.rounds {
            let running = rounds.iter_mut().zip(&mut subjects).filter(|(_, (kind, ..))| kind.runs(*uneven));
            for (figures, (_, subject, source)) in running {
                let figure = round(clock, subject.as_mut(), source, &load, extent.duration);
                if n > 0 {
                    figures.push(figure);
                }
            }
        }
        let medians: Vec<Figures> = rounds.iter().map(|figures| median(figures)).collect();
        for ((_, subject, _), figures) in subjects.iter().zip(&medians).filter(|((kind, ..), _)| kind.runs(*uneven)) {
            let ratio = medians[0].ns_out / figures.ns_out;
            report.lines.push(Line { egress: stage.egress, load, subject: subject.name(), figures: *figures, ratio });
        }
    }
    if extent.whole && stage.viewers == 100 && stage.egress.counts() {
        for (_, subject, source) in subjects.iter_mut().filter(|(kind, ..)| kind.runs(false)) {
            for burst in [1, 4] {
                let most = loss_free(clock, subject.as_mut(), source, stage, burst);
                let name =
                    format!("{}, {}, N=100, bursts of {burst}: most without loss", stage.egress.name(), subject.name());
                report.notes.push((name, format!("{:.0} k packets/s out", most as f64 * 100.0 / 1_000.0)));
            }
        }
    }
    subjects.into_iter().for_each(|(_, subject, _)| subject.close());
    // What is started next inherits no core.
    sys::unpin();
    Ok(())
}

/// The highest rate of packets in, to five percent, at which nothing is lost.
fn loss_free(clock: Clock, subject: &mut dyn Subject, source: &mut Source, stage: &Stage, burst: usize) -> usize {
    let mut holds = |rate: usize| {
        let load = Load { streams: stage.streams, viewers: stage.viewers, burst, size: 1_200, rate, uneven: false };
        let figures = round(clock, subject, source, &load, Duration::from_millis(500));
        figures.loss <= LOSS_FREE && figures.utilisation <= KEEPS_UP
    };
    let (mut low, mut high) = (0, 400);
    while holds(high) && high < 100_000 {
        (low, high) = (high, high * 2);
    }
    while high - low > high / 20 {
        let middle = usize::midpoint(low, high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// What silent peers cost.
fn idle(report: &mut Report) {
    let Ok(site) = egress::make(Egress::Loopback, 100, 0) else { return };
    let server = site.server;
    let options = RoomOptions { io: IoBackend::Default, streams: 1, cpu: SUBJECT_CPU, consent: true, padded: false };
    let mut room = Room::start(Viewers::new(site), server, options);
    let share = room.idle(Duration::from_secs(8));
    report.notes.push(("idle, 100 silent peers".to_owned(), format!("{share:.2} % of a core")));
    room.close();
}

/// Whether the ratios hold.
fn judge(report: &Report) -> ExitCode {
    let mut failed = 0;
    let mut passed = 0;
    for (burst, floor) in FLOORS {
        let line = report.lines.iter().find(|line| {
            line.load.viewers == 100
                && line.load.burst == *burst
                && !line.load.uneven
                && line.subject.starts_with("libsfu")
        });
        let ratio = line.map_or(0.0, |line| line.ratio);
        let good = ratio >= *floor;
        (passed, failed) = (passed + usize::from(good), failed + usize::from(!good));
        let verdict = if good { "holds" } else { "IS BROKEN" };
        println!("bursts of {burst}: {ratio:.2} times cheaper than the peer loop; the floor of {floor} {verdict}");
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

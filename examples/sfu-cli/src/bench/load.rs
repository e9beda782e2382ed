//! The clients of a run, and the spans of time in which they are looked at.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::Uri;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::args::BenchArgs;
use super::meter::{Meter, Received, Tally, histogram, now};
use super::peer::Peer;
use super::publisher::{Publisher, Recipe};
use super::report::{Report, Step, Times};
use super::signalling::{Signalling, local_address};
use super::viewer::Viewer;

/// Viewers, and publishers, of a run at most.
const MAX_CLIENTS: usize = 10_000;
/// Longest wait for streams to be ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where a client goes and how.
#[derive(Clone)]
struct Way {
    url: String,
    token: Option<String>,
    bind: IpAddr,
    loss: f64,
    signalling: Signalling,
    meter: Arc<Meter>,
    stop: watch::Receiver<bool>,
}

/// See the module's head.
pub(super) struct Load {
    args: BenchArgs,
    /// Where media leaves from, publishers' and viewers'.
    binds: (IpAddr, IpAddr),
    recipe: Recipe,
    signalling: Signalling,
    meter: Arc<Meter>,
    tallies: Vec<Arc<Mutex<Tally>>>,
    clients: JoinSet<()>,
    stop: watch::Sender<bool>,
    steps: Vec<Step>,
}

/// All viewers' tallies together.
struct Sum {
    received: Received,
    /// Packets of each viewer.
    each: Vec<u64>,
    latency: hdrhistogram::Histogram<u32>,
    jitter_micros: f64,
}

impl Load {
    pub(super) fn new(args: &BenchArgs) -> Result<Self, String> {
        let recipe = Recipe::new(args);
        if recipe.is_empty() {
            return Err("--no-audio and --video-bitrate 0 leave nothing to publish; give one of them".to_owned());
        }
        for (option, each) in [("--publishers", args.publishers), ("--viewers", args.viewers)] {
            let all = usize::from(args.rooms) * usize::from(each);
            if all > MAX_CLIENTS {
                return Err(format!("--rooms times {option} is {all}; at most {MAX_CLIENTS} are made"));
            }
        }
        // Asked once: looking names up may take its time.
        let bind = |url: String| args.bind.map_or_else(|| local_address(&url), Ok);
        let binds = (bind(args.whip_url(&args.room_name(0)))?, bind(args.whep_url(&args.room_name(0)))?);
        Ok(Self {
            binds,
            args: args.clone(),
            recipe,
            signalling: Signalling::new(args.insecure)?,
            meter: Arc::new(Meter::new()),
            tallies: Vec::new(),
            clients: JoinSet::new(),
            stop: watch::Sender::new(false),
            steps: Vec::new(),
        })
    }

    fn way(&self, url: String, token: Option<&String>, bind: IpAddr) -> Way {
        let (signalling, meter, stop) = (self.signalling.clone(), Arc::clone(&self.meter), self.stop.subscribe());
        Way { url, token: token.cloned(), bind, loss: self.args.loss / 100.0, signalling, meter, stop }
    }

    /// Connects all publishers; without one of them there is nothing to measure.
    pub(super) async fn add_publishers(&mut self) -> Result<(), String> {
        let mut ready = Vec::new();
        for room in 0..self.args.rooms {
            let url = self.args.whip_url(&self.args.room_name(room));
            let way = self.way(url, self.args.whip_token.as_ref(), self.binds.0);
            for _ in 0..self.args.publishers {
                let (tell, told) = tokio::sync::oneshot::channel();
                self.clients.spawn(publish(way.clone(), self.recipe.clone(), tell));
                ready.push(told);
            }
        }
        let wanted = ready.len();
        for told in ready {
            // One that fails says so in the meter.
            let _ = told.await;
        }
        let connected = self.meter.publishers.load(Relaxed);
        if connected < wanted {
            let reason = self.meter.failures().pop().unwrap_or_default();
            return Err(format!("{connected} of {wanted} publishers connected: {reason}"));
        }
        eprintln!("{connected} publishers");
        Ok(())
    }

    /// Adds viewers to each room, at the rate that was asked for.
    pub(super) async fn add_viewers(&mut self, each: u16) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.args.join_rate);
        let mut ready = Vec::new();
        for _ in 0..each {
            for room in 0..self.args.rooms {
                ticks.tick().await;
                let url = self.args.whep_url(&self.args.room_name(room));
                let way = self.way(url, self.args.whep_token.as_ref(), self.binds.1);
                let tally = Arc::<Mutex<Tally>>::default();
                self.tallies.push(Arc::clone(&tally));
                let (tell, told) = tokio::sync::oneshot::channel();
                self.clients.spawn(watch(way, self.recipe.clone(), self.args.publishers, tally, tell));
                ready.push(told);
            }
        }
        for told in ready {
            let _ = told.await;
        }
    }

    /// More viewers may be added: neither this program's own bound is reached, nor did the server refuse one.
    pub(super) fn may_grow(&self) -> bool {
        self.tallies.len() < MAX_CLIENTS && self.meter.failures().is_empty()
    }

    /// Looks at the load for so long, telling of each second; says whether it stayed within the bounds.
    pub(super) async fn watch(&mut self, span: Duration) -> bool {
        // The joins' own disturbance is not the steady load's.
        self.sum();
        let (began, sent) = (now(), self.meter.sent().0);
        let before = self.sum();
        let mut latency = histogram();
        let mut latest = before.received;
        while (now() - began) < span {
            let second = now();
            tokio::time::sleep(Duration::from_secs(1).min(span.saturating_sub(now() - began))).await;
            let sum = self.sum();
            let news = sum.received.since(latest);
            latest = sum.received;
            let rate = news.packets as f64 / (now() - second).as_secs_f64();
            let loss = news.loss_percent();
            let seen = Times::from(&sum.latency);
            // Equal bounds, so that adding cannot fail.
            let _ = latency.add(&sum.latency);
            let viewers = self.meter.viewers.load(Relaxed);
            eprintln!(
                "{:4.0} s  {viewers} viewers  {rate:.0} packets/s out  lost {loss:.2} %  latency {seen}",
                (now() - began).as_secs_f64()
            );
        }
        let step = self.step(now() - began, self.meter.sent().0 - sent, &before, &latency);
        if self.args.ramp.is_none() && step.silent_viewers > 0 {
            self.meter.fail(format!("{} viewers got nothing", step.silent_viewers));
        }
        self.steps.push(step);
        step.held
    }

    fn step(&self, took: Duration, sent: u64, before: &Sum, latency: &hdrhistogram::Histogram<u32>) -> Step {
        let sum = self.sum();
        let received = sum.received.since(before.received);
        // No gap tells of a viewer that gets nothing at all.
        let silent = sum.each.iter().zip(&before.each).filter(|(now, before)| now == before).count();
        let latency_ms = Times::from(latency);
        let loss_percent = received.loss_percent();
        let seconds = took.as_secs_f64();
        let within =
            loss_percent <= self.args.loss + self.args.max_loss && latency_ms.p99 <= f64::from(self.args.max_latency);
        Step {
            publishers: self.meter.publishers.load(Relaxed),
            viewers: self.meter.viewers.load(Relaxed),
            seconds,
            packets_per_second_in: sent as f64 / seconds,
            packets_per_second_out: received.packets as f64 / seconds,
            bits_per_second_out: received.bytes as f64 * 8.0 / seconds,
            loss_percent,
            late_percent: 100.0 * received.late as f64 / received.packets.max(1) as f64,
            jitter_ms: sum.jitter_micros / 1e3,
            latency_ms,
            silent_viewers: silent,
            held: silent == 0 && received.packets > 0 && (self.args.ramp.is_none() || within),
        }
    }

    /// Adds the tallies up, and takes their latencies away.
    fn sum(&self) -> Sum {
        let mut sum = Sum { received: Received::default(), each: Vec::new(), latency: histogram(), jitter_micros: 0.0 };
        for tally in &self.tallies {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            sum.received.packets += tally.received.packets;
            sum.each.push(tally.received.packets);
            sum.received.bytes += tally.received.bytes;
            sum.received.lost += tally.received.lost;
            sum.received.late += tally.received.late;
            sum.jitter_micros += tally.jitter_micros / self.tallies.len() as f64;
            // Equal bounds, so that adding cannot fail.
            let _ = sum.latency.add(&tally.latency);
            tally.latency.reset();
        }
        sum
    }

    /// Ends all streams.
    pub(super) async fn end(&mut self) {
        self.stop.send_replace(true);
        let all = async {
            while let Some(ended) = self.clients.join_next().await {
                if let Err(error) = ended {
                    self.meter.fail(format!("a bug in a client: {error}"));
                }
            }
        };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            eprintln!("some streams were not ended in {} s", FAREWELL.as_secs());
        }
    }

    pub(super) fn report(&self) -> Report {
        let held = self.steps.iter().filter(|step| step.held).map(|step| step.viewers).max();
        Report {
            server: self.args.server.clone(),
            steps: self.steps.clone(),
            largest_held: held.filter(|_| self.args.ramp.is_some()),
            connect_ms: Times::from(&self.meter.joins()),
            first_packet_ms: Times::from(&self.meter.first_packets()),
            own_delay_ms: Times::from(&self.meter.late()),
            unsent: self.meter.unsent(),
            failures: self.meter.failures(),
        }
    }
}

/// Counts a client while it is connected.
struct Present<'a>(&'a AtomicUsize);

impl<'a> Present<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

type Tell = tokio::sync::oneshot::Sender<()>;

/// A publisher's life.
async fn publish(way: Way, recipe: Recipe, tell: Tell) {
    let began = now();
    let (mut resource, mut present) = (None, None);
    let life = async {
        let (mut peer, offered) =
            Peer::offer(way.bind, way.loss, Arc::clone(&way.meter), |api| recipe.offer(api)).await?;
        let accepted = way.signalling.offer(&way.url, way.token.as_deref(), offered.offer.clone()).await?;
        resource = accepted.resource;
        let sections = offered.sections.clone();
        peer.accept(offered, &accepted.answer)?;
        let mut role = Publisher::new(&recipe, &sections, peer.rtc(), Arc::clone(&way.meter))?;
        let connected = || {
            present = Some(Present::new(&way.meter.publishers));
            way.meter.count_join(now() - began);
            // Nobody waits any more when the run was stopped.
            let _ = tell.send(());
        };
        peer.run(&mut role, way.stop.clone(), connected).await
    };
    if let Err(error) = life.await {
        way.meter.fail(format!("publisher: {error}"));
    }
    drop(present);
    farewell(&way, resource).await;
}

/// A viewer's life.
async fn watch(way: Way, recipe: Recipe, publishers: u16, tally: Arc<Mutex<Tally>>, tell: Tell) {
    let began = now();
    let (mut resource, mut present) = (None, None);
    let life = async {
        let kinds = (0..publishers).flat_map(|_| recipe.kinds());
        let (mut peer, offered) =
            Peer::offer(way.bind, way.loss, Arc::clone(&way.meter), |api| Viewer::offer(api, kinds)).await?;
        let accepted = way.signalling.offer(&way.url, way.token.as_deref(), offered.offer.clone()).await?;
        resource = accepted.resource;
        peer.accept(offered, &accepted.answer)?;
        let mut role = Viewer::new(Arc::clone(&way.meter), tally, began);
        let connected = || {
            present = Some(Present::new(&way.meter.viewers));
            way.meter.count_join(now() - began);
            let _ = tell.send(());
        };
        peer.run(&mut role, way.stop.clone(), connected).await
    };
    if let Err(error) = life.await {
        way.meter.fail(format!("viewer: {error}"));
    }
    drop(present);
    farewell(&way, resource).await;
}

async fn farewell(way: &Way, resource: Option<Uri>) {
    let Some(resource) = resource else { return };
    if let Err(error) = way.signalling.end(&resource, way.token.as_deref()).await {
        way.meter.fail(error);
    }
}

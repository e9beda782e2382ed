//! `GET /metrics`: what the engine, its shards, the rooms and the web side count, as OpenMetrics text.
//!
//! Told: statistics of the engine and summaries of rooms, gathered when somebody asks; requests as they are
//! answered. Tells: text. Names end with their unit; counters end with `_total`. README.md lists them.
//! Limits: only as many rooms as the operator wants have series of their own, those with the most peers: names of
//! rooms are secrets to some, and a server of metrics does not bear any number of series.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use sfu_control::schema as fb;

use crate::service::Service;

/// The media type of the text.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One label.
type Named = [(&'static str, String); 1];
/// Two labels.
type Twice = [(&'static str, String); 2];

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    code: u32,
}

/// Requests that were answered, by method and code. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests {
    signalling: Family<Answered, Counter>,
    http: Family<Answered, Counter>,
    connections: Gauge,
}

/// Methods of signalling with a series of their own; the rest is "other", since a peer may send anything.
const METHODS: [&str; 21] = [
    "getRouterRtpCapabilities",
    "join",
    "createWebRtcTransport",
    "connectWebRtcTransport",
    "restartIce",
    "produce",
    "closeProducer",
    "pauseProducer",
    "resumeProducer",
    "pauseConsumer",
    "resumeConsumer",
    "requestConsumerKeyFrame",
    "setConsumerPreferredLayers",
    "setConsumerPriority",
    "switchConsumerProducer",
    "produceData",
    "changeDisplayName",
    "getTransportStats",
    "getProducerStats",
    "getConsumerStats",
    "getDataProducerStats",
];

impl Requests {
    /// A request of a peer was answered; 200 is success.
    pub(crate) fn signalled(&self, method: &str, code: u32) {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        self.signalling.get_or_create(&Answered { method, code }).inc();
    }

    /// A request over HTTP was answered; `route` is one of the service's own.
    pub(crate) fn served(&self, route: &'static str, code: u16) {
        self.http.get_or_create(&Answered { method: route, code: u32::from(code) }).inc();
    }

    /// A peer's connection; it counts until it is dropped.
    pub(crate) fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }
}

/// See [`Requests::connected`].
#[derive(Debug)]
pub(crate) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What a room is doing.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoomNumbers {
    pub(crate) name: String,
    pub(crate) peers: usize,
    /// Of each of its routers.
    pub(crate) summaries: Vec<fb::StatsReportT>,
}

/// Everything that the text is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    pub(crate) rooms: usize,
    pub(crate) peers: usize,
    pub(crate) engine: fb::StatsReportT,
    pub(crate) listed: Vec<RoomNumbers>,
    pub(crate) log_lines_dropped: u64,
}

/// Asks the engine, and writes the text.
pub(crate) async fn gather(service: &Service, max_rooms: usize, log_lines_dropped: u64) -> Result<String, String> {
    let (rooms, peers) = service.census().await;
    let engine = service.client.stats(0).await.map_err(|error| error.to_string())?;
    let mut open = service.open_rooms().await;
    open.sort_by_key(|room| std::cmp::Reverse(room.len()));
    let mut listed = Vec::new();
    for room in open.iter().take(max_rooms) {
        let mut summaries = Vec::new();
        for router in &room.routers {
            // A room may close meanwhile.
            summaries.extend(service.client.summary(*router).await.ok());
        }
        if !summaries.is_empty() {
            listed.push(RoomNumbers { name: room.name.clone(), peers: room.len(), summaries });
        }
    }
    Ok(write(&Numbers { rooms, peers, engine, listed, log_lines_dropped }, &service.requests))
}

fn gauge(registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>, value: u64) {
    let metric = Gauge::<i64>::default();
    metric.set(i64::try_from(value).unwrap_or(i64::MAX));
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric),
        None => registry.register(name, help, metric),
    }
}

fn count(counters: Option<&Vec<fb::CounterT>>, name: &str) -> u64 {
    counters.into_iter().flatten().find(|c| c.name == name).map_or(0, |c| c.value)
}

/// The text.
pub(crate) fn write(numbers: &Numbers, requests: &Requests) -> String {
    let mut registry = Registry::with_prefix("sfu");
    let build = Family::<Named, Gauge>::default();
    build.get_or_create(&[("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
    registry.register("build_info", "Version of the program", build);
    gauge(&mut registry, "rooms", "Open rooms", None, numbers.rooms as u64);
    gauge(&mut registry, "peers", "Peers in all rooms", None, numbers.peers as u64);
    shards(&mut registry, numbers.engine.shards.as_deref().unwrap_or_default());
    rooms(&mut registry, &numbers.listed);
    registry.register("signalling_requests", "Requests of peers by method and code", requests.signalling.clone());
    registry.register("signalling_connections", "Peers that are connected", requests.connections.clone());
    registry.register("http_requests", "Answers over HTTP by route and status", requests.http.clone());
    let dropped = Counter::<u64>::default();
    dropped.inc_by(numbers.log_lines_dropped);
    registry.register("log_lines_dropped", "Log lines that found no place", dropped);
    let mut out = String::new();
    match text::encode(&mut out, &registry) {
        Ok(()) => out,
        // A String takes everything.
        Err(std::fmt::Error) => String::new(),
    }
}

fn shards(registry: &mut Registry, all: &[fb::ShardStatsT]) {
    let label = |shard: &fb::ShardStatsT| ("shard", shard.index.to_string());
    let objects = Family::<Twice, Gauge>::default();
    let drops = Family::<Twice, Counter>::default();
    let cpu = Family::<Twice, Counter<f64, std::sync::atomic::AtomicU64>>::default();
    let mailbox = Family::<Twice, Gauge>::default();
    let [received, sent, messages, failures, handed, switches, faults] =
        std::array::from_fn::<_, 7, _>(|_| Family::<Named, Counter>::default());
    for shard in all {
        let counters = shard.counters.as_ref();
        for kind in ["routers", "webrtc_servers", "transports", "producers", "consumers", "observers"] {
            let one = objects.get_or_create_owned(&[label(shard), ("kind", kind.to_owned())]);
            one.set(i64::try_from(count(counters, kind)).unwrap_or(i64::MAX));
        }
        for reason in shard.drops.iter().flatten() {
            drops.get_or_create_owned(&[label(shard), ("reason", reason.name.clone())]).inc_by(reason.value);
        }
        for (mode, name) in [("user", "thread_cpu_user_us"), ("system", "thread_cpu_system_us")] {
            let seconds = count(counters, name) as f64 / 1e6;
            cpu.get_or_create_owned(&[label(shard), ("mode", mode.to_owned())]).inc_by(seconds);
        }
        for state in ["queued", "in_flight", "capacity"] {
            let depth = count(counters, &format!("mailbox_{state}"));
            let one = mailbox.get_or_create_owned(&[label(shard), ("state", state.to_owned())]);
            one.set(i64::try_from(depth).unwrap_or(i64::MAX));
        }
        for (family, name) in [
            (&received, "datagrams_received"),
            (&sent, "datagrams_sent"),
            (&messages, "messages_sent"),
            (&failures, "send_failures"),
            (&handed, "datagrams_handed_over"),
            (&switches, "thread_involuntary_switches"),
            (&faults, "thread_major_faults"),
        ] {
            family.get_or_create_owned(&[label(shard)]).inc_by(count(counters, name));
        }
    }
    registry.register("shard_objects", "Objects on a shard", objects);
    registry.register("shard_dropped", "Network input and packets refused, by reason", drops);
    registry.register_with_unit("shard_cpu", "CPU time of a shard's thread", Unit::Seconds, cpu);
    registry.register("shard_mailbox_requests", "Requests at a shard's mailbox", mailbox);
    registry.register("shard_datagrams_received", "Datagrams received", received);
    registry.register("shard_datagrams_sent", "Datagrams handed to the kernel", sent);
    registry.register("shard_messages_sent", "Messages in which they were: a run of datagrams is one", messages);
    registry.register("shard_send_failures", "Datagrams that the kernel refused", failures);
    registry.register("shard_datagrams_handed_over", "Datagrams that were another shard's", handed);
    registry.register("shard_involuntary_switches", "Times that a shard's thread was preempted", switches);
    registry.register("shard_major_faults", "Page faults of a shard's thread that read from disk", faults);
}

fn rooms(registry: &mut Registry, all: &[RoomNumbers]) {
    let label = |room: &RoomNumbers| ("room", room.name.clone());
    let objects = Family::<Twice, Gauge>::default();
    let rate = Family::<Twice, Gauge>::default();
    let bytes = Family::<Twice, Counter>::default();
    for room in all {
        let count = |name: &str| -> u64 { room.summaries.iter().map(|of| count(of.counters.as_ref(), name)).sum() };
        let peers = objects.get_or_create_owned(&[label(room), ("kind", "peers".to_owned())]);
        peers.set(i64::try_from(room.peers).unwrap_or(i64::MAX));
        for kind in ["transports", "producers", "consumers"] {
            let one = objects.get_or_create_owned(&[label(room), ("kind", kind.to_owned())]);
            one.set(i64::try_from(count(kind)).unwrap_or(i64::MAX));
        }
        for (direction, bits, total) in
            [("in", "receive_bitrate", "bytes_received"), ("out", "send_bitrate", "bytes_sent")]
        {
            let labels = [label(room), ("direction", direction.to_owned())];
            rate.get_or_create_owned(&labels).set(i64::try_from(count(bits)).unwrap_or(i64::MAX));
            bytes.get_or_create_owned(&labels).inc_by(count(total));
        }
    }
    registry.register("room_objects", "Peers and objects of a room", objects);
    let bits = Unit::Other("bits_per_second".to_owned());
    registry.register_with_unit("room_bitrate", "Datagrams of a room's transports over the last second", bits, rate);
    registry.register_with_unit("room_traffic", "Datagrams of a room's living transports", Unit::Bytes, bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// The schema's structs can grow, so they are made by what they have now.
    fn made<T: Default>(set: impl FnOnce(&mut T)) -> T {
        let mut made = T::default();
        set(&mut made);
        made
    }

    fn counters(list: &[(&str, u64)]) -> Option<Vec<fb::CounterT>> {
        let one =
            |(name, value): &(&str, u64)| made(|c: &mut fb::CounterT| (c.name, c.value) = ((*name).to_owned(), *value));
        Some(list.iter().map(one).collect())
    }

    fn numbers() -> Numbers {
        let shard = |index| {
            made(|s: &mut fb::ShardStatsT| {
                s.index = index;
                s.drops = counters(&[("srtp_auth", 3)]);
                s.counters = counters(&[("routers", 2), ("datagrams_received", 9), ("thread_cpu_user_us", 1_500_000)]);
            })
        };
        let engine = made(|r: &mut fb::StatsReportT| r.shards = Some(vec![shard(0), shard(1)]));
        let summary = made(|r: &mut fb::StatsReportT| {
            r.counters = counters(&[("producers", 2), ("receive_bitrate", 64_000), ("bytes_sent", 77)]);
        });
        let second = made(|r: &mut fb::StatsReportT| r.counters = counters(&[("producers", 3), ("bytes_sent", 3)]));
        let summaries = vec![summary, second];
        let listed = vec![RoomNumbers { name: "a \"room\"\\\n".to_owned(), peers: 3, summaries }];
        Numbers { rooms: 1, peers: 3, engine, listed, log_lines_dropped: 4 }
    }

    /// A reader of the text that holds it to the rules: each family is announced once, before its samples and in one
    /// piece; names are legal; counters end with `_total`; no series comes twice; the text ends with `# EOF`.
    fn lint(text: &str) -> BTreeMap<String, f64> {
        let mut kinds: BTreeMap<String, String> = BTreeMap::new();
        let (mut helped, mut closed) = (BTreeSet::new(), BTreeSet::new());
        let mut current = String::new();
        let mut series = BTreeMap::new();
        let mut lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.pop(), Some("# EOF"));
        for line in lines {
            if let Some(rest) = line.strip_prefix("# ") {
                let mut words = rest.splitn(3, ' ');
                let (what, name, value) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
                if name != current {
                    assert!(closed.insert(name.to_owned()), "{name} comes twice");
                    current = name.to_owned();
                }
                match what {
                    "HELP" => assert!(helped.insert(name.to_owned()) && value.len() > 5, "{line}"),
                    "TYPE" => assert!(kinds.insert(name.to_owned(), value.to_owned()).is_none(), "{line}"),
                    "UNIT" => assert!(name.ends_with(value), "{line}: a name ends with its unit"),
                    other => panic!("{other} is no word of the format"),
                }
                continue;
            }
            let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
            let bare = name.split('{').next().unwrap();
            assert!(bare.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{bare}");
            assert!(bare.starts_with("sfu_") && bare.starts_with(&current), "{line} is not of {current}");
            let suffix = if kinds[&current] == "counter" { "_total" } else { "" };
            assert_eq!(bare, format!("{current}{suffix}"));
            assert!(helped.contains(&current), "{line} is not explained");
            assert!(series.insert(name.to_owned(), value.parse().expect("a number")).is_none(), "{name} twice");
        }
        series
    }

    #[test]
    fn the_text_keeps_the_rules_of_the_format_and_tells_the_numbers() {
        let requests = Requests::default();
        requests.signalled("join", 200);
        requests.signalled("anything \" a peer makes up", 404);
        requests.served("/health", 200);
        let connected = requests.connected();
        let series = lint(&write(&numbers(), &requests));
        drop(connected);
        for (name, value) in [
            ("sfu_rooms", 1.0),
            ("sfu_peers", 3.0),
            ("sfu_shard_objects{shard=\"1\",kind=\"routers\"}", 2.0),
            ("sfu_shard_dropped_total{shard=\"0\",reason=\"srtp_auth\"}", 3.0),
            ("sfu_shard_cpu_seconds_total{shard=\"0\",mode=\"user\"}", 1.5),
            ("sfu_shard_datagrams_received_total{shard=\"0\"}", 9.0),
            ("sfu_signalling_requests_total{method=\"join\",code=\"200\"}", 1.0),
            ("sfu_signalling_requests_total{method=\"other\",code=\"404\"}", 1.0),
            ("sfu_signalling_connections", 1.0),
            ("sfu_http_requests_total{method=\"/health\",code=\"200\"}", 1.0),
            ("sfu_log_lines_dropped_total", 4.0),
        ] {
            assert_eq!(series.get(name), Some(&value), "{name} in {series:#?}");
        }
        let room = |name: &str| series.iter().find(|(series, _)| series.starts_with(name)).map(|(_, value)| *value);
        assert_eq!(
            room("sfu_room_bitrate_bits_per_second{room=\"a \\\"room\\\"\\\\\\n\",direction=\"in\"}"),
            Some(64_000.0)
        );
        // Two routers are one room.
        assert_eq!(room("sfu_room_objects{room=\"a \\\"room\\\"\\\\\\n\",kind=\"producers\"}"), Some(5.0));
        assert_eq!(room("sfu_room_traffic_bytes_total{room=\"a \\\"room\\\"\\\\\\n\",direction=\"out\"}"), Some(80.0));
        assert!(lint(&write(&numbers(), &requests)).contains_key("sfu_signalling_connections"));
        assert_eq!(lint(&write(&Numbers::default(), &Requests::default())).get("sfu_rooms"), Some(&0.0));
    }
}

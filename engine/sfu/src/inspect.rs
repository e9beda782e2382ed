//! Dumps and statistics: what the shard looks like from outside.

use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::time::Time;

use crate::command::{CommandError, Reply};
use crate::producer::Producer;
use crate::shard::Shard;
use crate::stats::{
    ConsumerDump, DirectTransportDump, Dump, ObserverDump, PipeTransportDump, PlainTransportDump, ProducerDump,
    RouterDump, RtpStreamStats, ShardDump, Stats, WebRtcServerDump, WebRtcTransportDump,
};
use crate::transport::{Kind, Transport};

impl Shard {
    pub(crate) fn dump(&self, id: ObjectId) -> Result<Reply, CommandError> {
        let dump = match id.kind() {
            Some(ObjectKind::Router) => self.dump_router(id),
            Some(ObjectKind::WebRtcServer) => self.dump_server(id),
            Some(ObjectKind::Transport) => self.dump_transport(id),
            Some(ObjectKind::Producer) => self.dump_producer(id),
            Some(ObjectKind::Consumer) => self.dump_consumer(id),
            Some(ObjectKind::Observer) => self.dump_observer(id),
            None => None,
        };
        dump.map(|d| Reply::Dump(Box::new(d))).ok_or_else(|| CommandError::not_found("target", id))
    }

    pub(crate) fn dump_shard(&self) -> Reply {
        let own = self.transports.iter().filter(|(_, t)| t.server().is_none()).map(|(_, t)| t.sockets().len());
        let shared = self.servers.iter().map(|(_, s)| s.sockets.len());
        Reply::Dump(Box::new(Dump::Shard(ShardDump {
            index: self.index,
            routers: self.routers.iter().filter(|(_, r)| r.home.is_none()).map(|(id, _)| id).collect(),
            webrtc_servers: self.servers.iter().map(|(id, _)| id).collect(),
            sockets: own.chain(shared).sum::<usize>() as u32,
        })))
    }

    fn dump_server(&self, id: ObjectId) -> Option<Dump> {
        let server = self.servers.get(id)?;
        Some(Dump::WebRtcServer(WebRtcServerDump {
            id,
            sockets: server.socket_ids().collect(),
            local_addresses: server.sockets.iter().map(|s| (s.protocol, s.local)).collect(),
            transports: server.transports.clone(),
            username_fragments: self.username_fragments(&server.transports),
        }))
    }

    fn username_fragments(&self, transports: &[ObjectId]) -> Vec<(String, ObjectId)> {
        let known = transports.iter().filter_map(|id| Some((*id, self.transports.get(*id)?.webrtc()?)));
        let text = |ufrag: &[u8]| String::from_utf8_lossy(ufrag).into_owned();
        known.flat_map(|(id, webrtc)| webrtc.ufrags.iter().map(move |ufrag| (text(ufrag), id))).collect()
    }

    fn dump_router(&self, id: ObjectId) -> Option<Dump> {
        let router = self.routers.get(id)?;
        let all = |of: fn(&Transport) -> &Vec<ObjectId>| -> Vec<ObjectId> {
            let transports = router.transports.iter().filter_map(|t| self.transports.get(*t));
            transports.flat_map(|t| of(t).iter().copied()).collect()
        };
        let producers = all(|t| &t.producers);
        let consumers_of = |p: &ObjectId| Some((*p, self.shown(&self.producers.get(*p)?.it.consumers)));
        let observers_of = |p: &ObjectId| Some((*p, self.observed.get(p)?.clone()));
        Some(Dump::Router(RouterDump {
            id,
            transports: router.transports.clone(),
            consumers: self.shown(&all(|t| &t.consumers)),
            observers: router.observers.clone(),
            consumers_of: producers.iter().filter_map(consumers_of).filter(|(_, all)| !all.is_empty()).collect(),
            observers_of: producers.iter().filter_map(observers_of).collect(),
            producers,
        }))
    }

    fn dump_transport(&self, id: ObjectId) -> Option<Dump> {
        let t = self.transports.get(id)?;
        let (router, producers, consumers) = (self.room_of(t.router), t.producers.clone(), self.shown(&t.consumers));
        let streams = self.streams_of(t);
        let webrtc = match &t.kind {
            Kind::WebRtc(webrtc) => webrtc,
            Kind::Plain(plain) => {
                return Some(Dump::PlainTransport(PlainTransportDump {
                    id,
                    router,
                    rtcp_mux: plain.is_muxed(),
                    comedia: plain.comedia,
                    local_addresses: plain.sockets.iter().map(|s| s.local).collect(),
                    tuple: plain.addrs(false),
                    rtcp_tuple: plain.addrs(true).filter(|_| !plain.is_muxed()),
                    srtp_profile: plain.local_key.as_ref().map(|key| key.profile.sdes_name()),
                    producers,
                    consumers,
                    streams,
                }));
            }
            Kind::Pipe(pipe) => {
                return Some(Dump::PipeTransport(PipeTransportDump {
                    id,
                    router,
                    local_address: pipe.socket.local,
                    tuple: pipe.addrs(),
                    rtx: pipe.rtx,
                    srtp: pipe.local_key.is_some(),
                    only_wanted: pipe.only_wanted,
                    silent: pipe.is_silent(),
                    producers,
                    consumers,
                    streams,
                }));
            }
            Kind::Direct => {
                return Some(Dump::DirectTransport(DirectTransportDump { id, router, producers, consumers, streams }));
            }
            Kind::Carrier => return None,
        };
        Some(Dump::WebRtcTransport(WebRtcTransportDump {
            id,
            router,
            webrtc_server: webrtc.server,
            ice_state: webrtc.ice_state(),
            ice_parameters: webrtc.ice_parameters(),
            ice_candidates: webrtc.candidates.clone(),
            selected_tuple: webrtc.ice.selected().and_then(|tuple| webrtc.addrs(&tuple)),
            tuples: webrtc.ice.tuples().filter_map(|tuple| webrtc.addrs(&tuple)).collect(),
            dtls_state: webrtc.dtls_state,
            dtls_local_role: webrtc.role,
            fingerprints: self.fingerprints.clone(),
            srtp_profile: t.link.srtp().map(|srtp| srtp.profile.openssl_name()),
            producers: t.producers.clone(),
            consumers: self.shown(&t.consumers),
            streams,
        }))
    }

    fn dump_producer(&self, id: ObjectId) -> Option<Dump> {
        let held = self.producers.get(id)?;
        let producer = &held.it;
        Some(Dump::Producer(ProducerDump {
            id,
            transport: producer.transport(),
            kind: producer.kind(),
            paused: producer.is_paused(),
            ssrcs: producer.ssrcs().map(|(ssrc, _)| ssrc).collect(),
            consumers: self.shown(&producer.consumers),
            stream_type: producer.config().stream_type,
            scores: producer.encoding_scores(),
            wanted_layers: producer.wanted,
            trace: held.watch.traced(),
            observed: held.watch.is_observed(),
            opaque_payload: producer.config().opaque_payload,
        }))
    }

    fn dump_consumer(&self, id: ObjectId) -> Option<Dump> {
        let held = self.consumers.get(id)?;
        let consumer = &held.it;
        let codecs = &consumer.config().codecs;
        Some(Dump::Consumer(ConsumerDump {
            id,
            transport: consumer.transport(),
            producer: self.origin_of(consumer.producer()),
            kind: consumer.config().kind,
            paused: consumer.is_paused_by_command(),
            producer_paused: consumer.producer_paused(),
            ssrc: consumer.ssrc(),
            rtx_ssrc: consumer.rtx_ssrc(),
            fec_ssrc: consumer.ssrcs().fec_ssrc,
            stream_type: consumer.config().stream_type,
            priority: consumer.priority(),
            preferred_layers: consumer.preferred_layers(),
            target_layers: consumer.target_layers(),
            current_layers: consumer.current_layers(),
            pending_producer: consumer.pending_source().map(|producer| self.origin_of(producer)),
            payload_types: codecs.iter().map(|c| (c.payload_type, c.rtx_payload_type)).collect(),
            extensions: consumer.config().extensions.iter().collect(),
            trace: held.watch.traced(),
            decision_rows: consumer.decisions().capacity(),
            extensions_left_out: consumer.extensions_left_out(),
            lanes: self.dump_lanes(id),
        }))
    }

    fn dump_observer(&self, id: ObjectId) -> Option<Dump> {
        let observer = self.observers.get(id)?;
        Some(Dump::Observer(ObserverDump {
            id,
            router: observer.router(),
            options: observer.options(),
            paused: observer.is_paused(),
            producers: observer.producers.iter().map(|p| self.origin_of(*p)).collect(),
            dominant: observer.dominant().map(|p| self.origin_of(p)),
        }))
    }

    fn observer_stats(&self, id: ObjectId, stats: &mut Stats) -> Option<()> {
        let observer = self.observers.get(id)?;
        stats.counters = vec![("producers", observer.producers.len() as u64)];
        Some(())
    }

    pub(crate) fn stats(&self, now: Time, id: ObjectId) -> Result<Reply, CommandError> {
        let id = self.local_router(id);
        let mut stats = self.blank_stats(now);
        let found = match id.kind() {
            Some(ObjectKind::Router) => self.router_stats(now, id, &mut stats),
            Some(ObjectKind::WebRtcServer) => self.server_stats(id, &mut stats),
            Some(ObjectKind::Transport) => self.transport_stats(now, id, &mut stats),
            Some(ObjectKind::Producer) => self.producer_stats(now, id, &mut stats),
            Some(ObjectKind::Consumer) => self.consumer_stats(now, id, &mut stats),
            Some(ObjectKind::Observer) => self.observer_stats(id, &mut stats),
            None => None,
        };
        found.map(|()| Reply::Stats(Box::new(stats))).ok_or_else(|| CommandError::not_found("target", id))
    }

    pub(crate) fn summary(&self, now: Time, id: ObjectId) -> Result<Reply, CommandError> {
        let Some(router) = self.routers.get(self.local_router(id)) else {
            return self.stats(now, id).map(|reply| match reply {
                Reply::Stats(mut stats) => {
                    stats.streams.clear();
                    Reply::Stats(stats)
                }
                other => other,
            });
        };
        let mut stats = self.blank_stats(now);
        let mut sums = [0_u64; 6];
        for transport in router.transports.iter().filter_map(|t| self.transports.get(*t)) {
            let one = transport.stats(now);
            let consumers = match transport.kind {
                Kind::Pipe(_) => self.shown(&transport.consumers).len(),
                _ => transport.consumers.len(),
            };
            let counts = [transport.producers.len(), consumers].map(|n| n as u64);
            let rates = [one.receive_bitrate, one.send_bitrate].map(u64::from);
            let all = [counts[0], counts[1], rates[0], rates[1], one.bytes_received, one.bytes_sent];
            sums.iter_mut().zip(all).for_each(|(sum, one)| *sum = sum.saturating_add(one));
            for (reason, n) in transport.drops.nonzero() {
                stats.drops.add_many(reason, n);
            }
        }
        let names = ["producers", "consumers", "receive_bitrate", "send_bitrate", "bytes_received", "bytes_sent"];
        stats.counters =
            vec![("transports", router.transports.len() as u64), ("observers", router.observers.len() as u64)];
        stats.counters.extend(names.into_iter().zip(sums));
        Ok(Reply::Stats(Box::new(stats)))
    }

    pub(crate) fn shard_stats(&self, now: Time) -> Reply {
        let mut stats = self.blank_stats(now);
        stats.drops = self.out.drops.clone();
        let (tuples, ufrags) = self.lookup.sizes();
        let [routers, transports, producers, consumers] = self.object_counts();
        stats.counters = vec![
            ("routers", routers as u64),
            ("webrtc_servers", self.servers.len() as u64),
            ("transports", transports as u64),
            ("producers", producers as u64),
            ("consumers", consumers as u64),
            ("observers", self.observers.len() as u64),
            ("tuples", tuples as u64),
            ("username_fragments", ufrags as u64),
            ("timers", self.timers.len() as u64),
            ("dtls_handshakes", self.handshakes as u64),
            ("datagrams_received", self.datagrams),
            ("branches", self.span.branches.len() as u64),
            ("mirrors", self.span.mirrors.len() as u64),
            ("peer_packets_received", self.span.received),
            ("peer_packets_sent", self.out.peers.sent),
            ("peer_packets_shed", self.out.peers.shed),
        ];
        Reply::Stats(Box::new(stats))
    }

    fn blank_stats(&self, now: Time) -> Stats {
        let unix = self.epoch_unix_nanos.saturating_add(now.as_nanos());
        Stats { timestamp_ms: unix / 1_000_000, ..Stats::default() }
    }

    fn router_stats(&self, now: Time, id: ObjectId, stats: &mut Stats) -> Option<()> {
        let router = self.routers.get(id)?;
        for transport in &router.transports {
            self.add_streams(now, *transport, stats);
        }
        stats.counters = vec![("transports", router.transports.len() as u64)];
        Some(())
    }

    fn server_stats(&self, id: ObjectId, stats: &mut Stats) -> Option<()> {
        let server = self.servers.get(id)?;
        stats.counters = vec![("sockets", server.sockets.len() as u64), ("transports", server.transports.len() as u64)];
        Some(())
    }

    fn transport_stats(&self, now: Time, id: ObjectId, stats: &mut Stats) -> Option<()> {
        let transport = self.transports.get(id)?;
        stats.transport = Some(transport.stats(now));
        stats.drops = transport.drops.clone();
        stats.counters = transport.feedback.counters();
        stats.counters.push(("learned_ssrcs", transport.listener.learned() as u64));
        stats.counters.push(("learned_ssrcs_limit", transport.listener.max_learned() as u64));
        stats.counters.push(("learned_ssrcs_total", transport.listener.brought()));
        let outbound = transport.link.srtp().map_or(0, |srtp| srtp.sender.stream_count());
        stats.counters.push(("outbound_ssrcs", outbound as u64));
        self.add_streams(now, id, stats)?;
        let (streams, transport) = (&stats.streams, stats.transport.as_mut()?);
        (transport.rtp_receive_bitrate, transport.rtp_loss_received) = flow(streams, true);
        (transport.rtp_send_bitrate, transport.rtp_loss_sent) = flow(streams, false);
        Some(())
    }

    fn add_streams(&self, now: Time, transport: ObjectId, stats: &mut Stats) -> Option<()> {
        let transport = self.transports.get(transport)?;
        for producer in transport.producers.iter().filter_map(|p| self.producers.get(*p)) {
            stats.streams.extend(producer.it.stats(now));
        }
        for consumer in transport.consumers.iter().filter_map(|c| self.consumers.get(*c)) {
            stats.streams.push(consumer.it.stats(now));
        }
        Some(())
    }

    /// Of links to other shards: how many, what they want, and what went there.
    fn producer_stats(&self, now: Time, id: ObjectId, stats: &mut Stats) -> Option<()> {
        let producer = &self.producers.get(id)?.it;
        stats.streams = producer.stats(now);
        if !producer.links.is_empty() {
            let encodings = producer.links.iter().map(|link| u64::from(link.encodings.count_ones())).sum();
            stats.counters = vec![
                ("peer_links", producer.links.len() as u64),
                ("peer_encodings_wanted", encodings),
                ("peer_packets_sent", producer.links.iter().map(|link| link.packets).sum()),
            ];
        }
        Some(())
    }

    /// A consumer's own stream and its producer's: what goes out is judged by what comes in.
    fn consumer_stats(&self, now: Time, id: ObjectId, stats: &mut Stats) -> Option<()> {
        let consumer = &self.consumers.get(id)?.it;
        let lanes = self.lanes(id);
        stats.streams.extend(lanes.iter().filter_map(|lane| Some(self.consumers.get(*lane)?.it.stats(now))));
        let inbound = |p: &Producer| p.stats(now);
        stats.streams.extend(self.producers.get(consumer.producer()).map(|p| inbound(&p.it)).unwrap_or_default());
        Some(())
    }
}

/// Bitrate of the streams of one direction, and the share of it that is lost.
fn flow(streams: &[RtpStreamStats], inbound: bool) -> (u32, Option<f32>) {
    let of = || streams.iter().filter(|s| s.inbound == inbound);
    let bitrate = of().fold(0_u32, |sum, s| sum.saturating_add(s.bitrate));
    let lost: f32 = of().map(|s| s.bitrate as f32 * f32::from(s.fraction_lost) / 256.0).sum();
    (bitrate, (bitrate > 0).then(|| lost / bitrate as f32))
}

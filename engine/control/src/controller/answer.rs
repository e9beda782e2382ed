//! From a shard's reply to the body of ours: what only the control floor knows is added, and what it has to remember
//! is put into the registry.

use sfu_core::command::{CommandError, ErrorCode, IceParameters, PipeTransportCreated, Reply, WebRtcTransportCreated};
use sfu_core::stats::Dump;
use sfu_wire::id::ObjectId;

use super::{Controller, Pending, schema_words};
use crate::encode;
use crate::ortc::layers::type_name;
use crate::ortc::{consumer, convert};
use crate::registry::Consumer;
use crate::schema as fb;
use crate::sdp;

type Answered = Result<fb::ReplyBodyT, CommandError>;

/// A shard answered with something else than its command's documentation says: a bug on our side.
fn mismatch() -> CommandError {
    CommandError::new(ErrorCode::Internal, "", "the shard's reply does not belong to the request")
}

fn parameters(p: &crate::ortc::RtpParameters) -> Option<Box<fb::RtpParametersT>> {
    Some(Box::new(convert::parameters_of_stream_to(p)))
}

impl Controller {
    /// Completes a request that its shard carried out.
    pub(super) fn finish(&mut self, shard: u8, pending: Pending, reply: Reply) -> Answered {
        match (pending, reply) {
            (Pending::Router { capabilities }, Reply::Created(id)) => {
                let rtp_capabilities = Some(Box::new(convert::capabilities_to(&capabilities)));
                self.registry.add_router(id, capabilities);
                Ok(fb::ReplyBodyT::Created(Box::new(fb::CreatedT { id: id.to_u64(), rtp_capabilities })))
            }
            (Pending::Server, Reply::Created(id)) => {
                self.registry.add_server(id);
                Ok(fb::ReplyBodyT::Created(Box::new(fb::CreatedT { id: id.to_u64(), rtp_capabilities: None })))
            }
            (Pending::Observer { router }, Reply::Created(id)) => {
                if self.registry.add_observer(id, router) {
                    self.placement.add(shard);
                }
                Ok(fb::ReplyBodyT::Created(Box::new(fb::CreatedT { id: id.to_u64(), rtp_capabilities: None })))
            }
            (Pending::Transport { router, server }, reply) => self.finish_transport(shard, router, server, reply),
            (Pending::Produce { transport, parameters, consumable, config }, Reply::Created(id)) => {
                let type_ = type_name(consumable.stream_type);
                if self.registry.add_producer(id, transport, parameters, (consumable, config)) {
                    self.placement.add(shard);
                }
                let created = fb::ProducerCreatedT { id: id.to_u64(), type_ };
                Ok(fb::ReplyBodyT::ProducerCreated(Box::new(created)))
            }
            (
                Pending::Consume { transport, producer, parameters: mut rtp, kind, stream_type, share, .. },
                Reply::Consumer(created),
            ) => {
                consumer::complete(&mut rtp, &created.streams);
                let rtp_parameters = parameters(&rtp);
                let entry = Consumer { transport, producer, kind, parameters: rtp, share };
                if self.registry.add_consumer(created.id, entry) {
                    self.placement.add(shard);
                }
                Ok(fb::ReplyBodyT::ConsumerCreated(Box::new(fb::ConsumerCreatedT {
                    id: created.id.to_u64(),
                    kind: convert::kind_to(kind),
                    rtp_parameters,
                    type_: type_name(stream_type),
                    producer_paused: created.producer_paused,
                })))
            }
            (Pending::PreferredLayers { consumer, layers }, Reply::Done) => {
                self.registry.set_share(consumer, |share| share.preferred_layers = layers);
                Ok(fb::ReplyBodyT::Done(Box::default()))
            }
            (Pending::Priority { consumer, priority }, Reply::Done) => {
                self.registry.set_share(consumer, |share| share.priority = priority);
                Ok(fb::ReplyBodyT::Done(Box::default()))
            }
            (Pending::Switch { consumer, producer, parameters, stream_type }, Reply::Done) => {
                Ok(self.switched(consumer, producer, parameters, stream_type))
            }
            (Pending::Close { object }, Reply::Done) => {
                self.forget(object);
                Ok(fb::ReplyBodyT::Done(Box::default()))
            }
            (Pending::Plain { target }, Reply::IceParameters(ice)) => Ok(self.ice_restarted(target, ice)),
            (Pending::Plain { target }, reply) => self.plain(target, reply),
            _ => Err(mismatch()),
        }
    }

    /// Descriptions of the transport will need what its reply says.
    fn transport_created(&mut self, created: WebRtcTransportCreated) -> Answered {
        let ice = encode::ice_parameters(created.ice);
        let candidates = encode::ice_candidates(created.candidates);
        let dtls = encode::dtls_parameters(&created.fingerprints);
        let local = sdp::Local {
            ice: convert::ice_parameters_from(ice.clone()),
            candidates: candidates.iter().cloned().map(convert::ice_candidate_from).collect(),
            dtls: convert::dtls_parameters_from(dtls.clone(), "dtls_parameters")?,
        };
        self.registry.describe(created.id, local);
        Ok(fb::ReplyBodyT::WebRtcTransportCreated(Box::new(fb::WebRtcTransportCreatedT {
            id: created.id.to_u64(),
            ice_parameters: Some(Box::new(ice)),
            ice_candidates: Some(candidates),
            dtls_parameters: Some(Box::new(dtls)),
        })))
    }

    fn ice_restarted(&mut self, transport: u64, ice: IceParameters) -> fb::ReplyBodyT {
        let ice = encode::ice_parameters(ice);
        self.registry.restarted(ObjectId::from_u64(transport), convert::ice_parameters_from(ice.clone()));
        fb::ReplyBodyT::IceRestarted(Box::new(fb::IceRestartedT { ice_parameters: Some(Box::new(ice)) }))
    }

    fn finish_transport(&mut self, shard: u8, router: ObjectId, server: Option<ObjectId>, reply: Reply) -> Answered {
        let (id, body) = match reply {
            Reply::WebRtcTransport(created) => {
                self.admit_transport(shard, created.id, router, server);
                return self.transport_created(created);
            }
            Reply::PlainTransport(created) => {
                (created.id, fb::ReplyBodyT::PlainTransportCreated(Box::new(encode::plain_created(&created))))
            }
            Reply::PipeTransport(created) => return Ok(self.pipe_created(shard, router, &created)),
            Reply::Created(id) => {
                let body = fb::CreatedT { id: id.to_u64(), rtp_capabilities: None };
                (id, fb::ReplyBodyT::Created(Box::new(body)))
            }
            _ => return Err(mismatch()),
        };
        self.admit_transport(shard, id, router, server);
        Ok(body)
    }

    /// What consumes there will be a pipe consumer.
    fn pipe_created(&mut self, shard: u8, router: ObjectId, created: &PipeTransportCreated) -> fb::ReplyBodyT {
        self.admit_transport(shard, created.id, router, None);
        self.registry.set_pipe(created.id, created.rtx);
        fb::ReplyBodyT::PipeTransportCreated(Box::new(encode::pipe_created(created)))
    }

    fn admit_transport(&mut self, shard: u8, id: ObjectId, router: ObjectId, server: Option<ObjectId>) {
        if !self.registry.add_transport(id, router, server) {
            self.placement.take(shard, 1);
            self.registry.release_transport(router, shard);
        }
    }

    fn plain(&self, target: u64, reply: Reply) -> Answered {
        Ok(match reply {
            Reply::Done => fb::ReplyBodyT::Done(Box::default()),
            Reply::Connected(role) => {
                fb::ReplyBodyT::Connected(Box::new(fb::ConnectedT { local_role: encode::dtls_role(Some(role)) }))
            }
            Reply::Dump(dump) => self.dump(*dump),
            Reply::Stats(stats) => fb::ReplyBodyT::StatsReport(Box::new(encode::stats_report(target, &stats))),
            Reply::Decisions { capacity, rows } => encode::decisions(capacity, &rows),
            Reply::Created(_)
            | Reply::WebRtcTransport(_)
            | Reply::PlainTransport(_)
            | Reply::PipeTransport(_)
            | Reply::Consumer(_)
            | Reply::IceParameters(_) => return Err(mismatch()),
        })
    }

    fn dump(&self, dump: Dump) -> fb::ReplyBodyT {
        match dump {
            Dump::Shard(d) => fb::ReplyBodyT::ShardDump(Box::new(self.shard_dump(&d))),
            Dump::WebRtcServer(d) => fb::ReplyBodyT::WebRtcServerDump(Box::new(encode::server_dump(&d))),
            Dump::Router(mut d) => {
                self.registry.complete_router(&mut d);
                let capabilities = self.registry.router(d.id).map(|r| convert::capabilities_to(&r.capabilities));
                fb::ReplyBodyT::RouterDump(Box::new(encode::router_dump(&d, capabilities)))
            }
            Dump::WebRtcTransport(mut d) => {
                d.webrtc_server = d.webrtc_server.map(|part| self.registry.server_of(part));
                fb::ReplyBodyT::WebRtcTransportDump(Box::new(encode::transport_dump(d)))
            }
            Dump::PlainTransport(d) => fb::ReplyBodyT::PlainTransportDump(Box::new(encode::plain_dump(&d))),
            Dump::PipeTransport(d) => fb::ReplyBodyT::PipeTransportDump(Box::new(encode::pipe_dump(&d))),
            Dump::DirectTransport(d) => fb::ReplyBodyT::DirectTransportDump(Box::new(encode::direct_dump(&d))),
            Dump::Producer(mut d) => {
                self.registry.complete_producer(&mut d);
                let mut out = encode::producer_dump(&d);
                if let Some(known) = self.registry.producer(d.id) {
                    out.rtp_parameters = parameters(&known.parameters);
                    out.consumable_rtp_parameters = parameters(&known.consumable.parameters);
                }
                fb::ReplyBodyT::ProducerDump(Box::new(out))
            }
            Dump::Observer(d) => fb::ReplyBodyT::ObserverDump(Box::new(encode::observer_dump(&d))),
            Dump::Consumer(d) => {
                let mut out = encode::consumer_dump(&d);
                out.rtp_parameters = self.registry.consumer(d.id).and_then(|c| parameters(&c.parameters));
                fb::ReplyBodyT::ConsumerDump(Box::new(out))
            }
        }
    }

    fn shard_dump(&self, dump: &sfu_core::stats::ShardDump) -> fb::ShardDumpT {
        let mut dump = dump.clone();
        dump.webrtc_servers.iter_mut().for_each(|server| *server = self.registry.server_of(*server));
        encode::shard_dump(&dump, self.cpus.get(usize::from(dump.index)).copied().flatten())
    }

    /// One shard's part of an answer by all; the reply, if it was the last one.
    pub(super) fn part(&mut self, key: u64, shard: u8, result: Result<Reply, CommandError>) -> Option<Vec<u8>> {
        let dump = match &result {
            Ok(Reply::Dump(dump)) => match &**dump {
                Dump::Shard(dump) => Some(self.shard_dump(dump)),
                _ => None,
            },
            _ => None,
        };
        let gathering = self.gatherings.get_mut(&key)?;
        match (result, dump) {
            (Ok(Reply::Dump(_)), Some(dump)) => gathering.shards.push(dump),
            (Ok(Reply::Stats(stats)), _) if gathering.router.is_some() => {
                let report = encode::stats_report(gathering.router.map_or(0, ObjectId::to_u64), &stats);
                match &mut gathering.stats {
                    Some(sum) => encode::add_room_stats(sum, report),
                    None => gathering.stats = Some(report),
                }
            }
            (Err(error), _)
                if error.code == ErrorCode::NotFound && gathering.router.is_some_and(|r| r.shard() != shard) =>
            {
                // Its last transport there has just gone.
            }
            (Ok(Reply::Stats(stats)), _) => {
                let mut report = encode::stats_report(0, &stats);
                report.shards = Some(vec![encode::shard_stats(shard, &mut report)]);
                match &mut gathering.stats {
                    Some(sum) => encode::add_stats(sum, report),
                    None => gathering.stats = Some(report),
                }
            }
            (Ok(_), _) => gathering.error = Some(mismatch()),
            (Err(error), _) => {
                let (field, text) = (schema_words(&error.field), format!("shard {shard}: {}", error.text));
                gathering.error = Some(CommandError { field, text, ..error });
            }
        }
        gathering.waiting -= 1;
        if gathering.waiting > 0 {
            return None;
        }
        let mut done = self.gatherings.remove(&key)?;
        self.requests.remove(&done.request);
        let body = match (done.error, done.stats) {
            (Some(error), _) => Err(error),
            (None, Some(stats)) => Ok(fb::ReplyBodyT::StatsReport(Box::new(stats))),
            (None, None) => {
                done.shards.sort_by_key(|s| s.index);
                let version = Some(env!("CARGO_PKG_VERSION").to_owned());
                Ok(fb::ReplyBodyT::EngineDump(Box::new(fb::EngineDumpT { shards: Some(done.shards), version })))
            }
        };
        Some(encode::reply(done.request, body))
    }
}

//! The control floor without its threads: requests become commands for shards, and what shards say becomes messages.
//!
//! Told: decoded requests ([`Controller::accept`]) and the runtime's outputs ([`Controller::output`]). Tells: what to
//! submit to which shard, and encoded messages, exactly one reply for each request accepted. Limits: requests in
//! flight are bounded by the queues of the runtime. Left out: waiting, waking, locking ([`Engine`](crate::Engine)).

mod answer;
mod descriptions;
mod pipes;
mod plan;
mod plan_layers;
mod request_values;
mod servers;
mod span;
mod transports;
mod watching;

#[cfg(test)]
pub(crate) use span::TOGETHER;

use std::collections::{HashMap, HashSet, VecDeque};

use sfu_core::command::{Command, CommandError, ErrorCode, Event, Reply};
use sfu_core::config::{ProducerConfig, StreamType};
use sfu_runtime::{ListenInfo, Output, ShardRequest};
use sfu_wire::id::ObjectId;
use sfu_wire::scalability::Layers;

use crate::encode;
use crate::ortc::consumer::Share;
use crate::ortc::producer::Consumable;
use crate::ortc::{MediaKind, RtpCapabilities, RtpParameters};
use crate::placement::Placement;
use crate::registry::Registry;
use crate::schema as fb;
use servers::{Job, ServerJob};

pub(crate) use descriptions::Prepared;

/// What an accepted request leads to.
#[derive(Debug)]
pub(crate) enum Step {
    /// It is answered already.
    Answer(Vec<u8>),
    /// Commands for shards; each has its token.
    Dispatch(Vec<(u8, ShardRequest)>),
}

/// What is known of a command when its reply comes.
#[derive(Debug)]
enum Pending {
    Router {
        capabilities: RtpCapabilities,
    },
    Server,
    Transport {
        router: ObjectId,
        server: Option<ObjectId>,
    },
    Produce {
        transport: ObjectId,
        parameters: RtpParameters,
        consumable: Consumable,
        config: Box<ProducerConfig>,
    },
    Consume {
        transport: ObjectId,
        producer: ObjectId,
        mid: String,
        parameters: RtpParameters,
        kind: MediaKind,
        stream_type: StreamType,
        share: Share,
    },
    PreferredLayers {
        consumer: ObjectId,
        layers: Option<Layers>,
    },
    Priority {
        consumer: ObjectId,
        priority: u8,
    },
    Switch {
        consumer: ObjectId,
        producer: ObjectId,
        parameters: RtpParameters,
        stream_type: StreamType,
    },
    Observer {
        router: ObjectId,
    },
    Close {
        object: ObjectId,
    },
    Plain {
        target: u64,
    },
    Part {
        gathering: u64,
    },
    /// Of something that is done to a server on all shards.
    ServerPart {
        job: u64,
    },
    /// A part of a server on a shard that was made anew.
    ServerAgain {
        server: ObjectId,
    },
    /// Nobody waits for it.
    Unasked,
}

#[derive(Debug)]
struct InFlight {
    /// The caller's id.
    request: u64,
    shard: u8,
    pending: Pending,
}

/// A question to several shards.
#[derive(Debug)]
struct Gathering {
    request: u64,
    /// The router that it is about; absent: the shards themselves.
    router: Option<ObjectId>,
    waiting: usize,
    error: Option<CommandError>,
    shards: Vec<fb::ShardDumpT>,
    stats: Option<fb::StatsReportT>,
}

/// How a request is carried out.
#[expect(clippy::large_enum_variant, reason = "a plan lives for one call on the stack")]
enum Plan {
    /// Here and now.
    Answer(fb::ReplyBodyT),
    /// By one shard.
    One { shard: u8, listen: Vec<ListenInfo>, command: Command, pending: Pending },
    /// By all shards.
    All { command: Command },
    /// By all shards, or all that a server is on.
    Server(Job),
    /// By all shards that the router has something on.
    Room { router: ObjectId, command: Command },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Controller {
    registry: Registry,
    placement: Placement,
    /// Core of each shard.
    cpus: Vec<Option<usize>>,
    in_flight: HashMap<u64, InFlight>,
    gatherings: HashMap<u64, Gathering>,
    /// What is being done to servers of all shards.
    jobs: HashMap<u64, ServerJob>,
    /// Requests of our own for shards.
    own: VecDeque<(u8, ShardRequest)>,
    /// Callers' ids in flight.
    requests: HashSet<u64>,
    next_token: u64,
    /// No new routers; `Some(true)`: and the last one's end was told.
    draining: Option<bool>,
}

/// A field's path in the schema's words: the floors below name fields as ORTC does.
fn schema_words(field: &str) -> String {
    let mut words = String::with_capacity(field.len() + 4);
    for letter in field.chars() {
        if letter.is_ascii_uppercase() {
            words.push('_');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

impl Controller {
    /// One entry for each shard: its core.
    pub(crate) fn new(cpus: Vec<Option<usize>>) -> Self {
        Self {
            registry: Registry::default(),
            placement: Placement::new(cpus.len()),
            cpus,
            in_flight: HashMap::new(),
            gatherings: HashMap::new(),
            jobs: HashMap::new(),
            own: VecDeque::new(),
            requests: HashSet::new(),
            next_token: 1,
            draining: None,
        }
    }

    /// Takes a request. The only refusal is that of an id in flight: a reply with that id could not be told from the
    /// first one's. All other mistakes are answered by a reply.
    pub(crate) fn accept(&mut self, prepared: Prepared) -> Result<Step, CommandError> {
        let id = prepared.request.id;
        if self.requests.contains(&id) {
            let text = format!("request {id} is in flight; give each request an id of its own");
            return Err(CommandError::new(ErrorCode::AlreadyExists, "id", text));
        }
        Ok(match self.plan(prepared) {
            Err(error) => Step::Answer(encode::reply(id, Err(error))),
            Ok(Plan::Answer(body)) => Step::Answer(encode::reply(id, Ok(body))),
            Ok(Plan::One { shard, listen, command, pending }) => {
                self.requests.insert(id);
                let token = self.fly(id, shard, pending);
                Step::Dispatch(vec![(shard, ShardRequest { token, listen, command })])
            }
            Ok(Plan::Server(job)) => {
                self.requests.insert(id);
                Step::Dispatch(self.begin_job(id, job))
            }
            Ok(Plan::All { command }) => {
                let shards: Vec<u8> = self.placement.alive().collect();
                if shards.is_empty() {
                    let error = CommandError::new(ErrorCode::Closed, "", "no shard is left");
                    return Ok(Step::Answer(encode::reply(id, Err(error))));
                }
                self.requests.insert(id);
                Step::Dispatch(self.gather(id, None, shards, &command))
            }
            Ok(Plan::Room { router, command }) => {
                self.requests.insert(id);
                let shards = self.registry.shards_of(router);
                Step::Dispatch(self.gather(id, Some(router), shards, &command))
            }
        })
    }

    fn fly(&mut self, request: u64, shard: u8, pending: Pending) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.in_flight.insert(token, InFlight { request, shard, pending });
        token
    }

    fn gather(
        &mut self,
        request: u64,
        router: Option<ObjectId>,
        shards: Vec<u8>,
        command: &Command,
    ) -> Vec<(u8, ShardRequest)> {
        let gathering = self.next_token;
        let waiting = shards.len();
        let entry = Gathering { request, router, waiting, error: None, shards: Vec::new(), stats: None };
        self.gatherings.insert(gathering, entry);
        let one = |shard| {
            let token = self.fly(request, shard, Pending::Part { gathering });
            (shard, ShardRequest { token, listen: Vec::new(), command: command.clone() })
        };
        shards.into_iter().map(one).collect()
    }

    /// The first command of a request was not taken: the request never was.
    pub(crate) fn withdraw(&mut self, token: u64) {
        let Some(flight) = self.in_flight.remove(&token) else { return };
        self.requests.remove(&flight.request);
        match flight.pending {
            Pending::Part { gathering } => {
                self.gatherings.remove(&gathering);
                self.in_flight.retain(|_, f| !matches!(f.pending, Pending::Part { gathering: g } if g == gathering));
            }
            Pending::ServerPart { job } => {
                self.jobs.remove(&job);
                self.in_flight.retain(|_, f| !matches!(f.pending, Pending::ServerPart { job: j } if j == job));
            }
            _ => {}
        }
        self.undo(flight.shard, &flight.pending);
    }

    /// Gives back what a command reserved that did not come to be.
    fn undo(&mut self, shard: u8, pending: &Pending) {
        match pending {
            Pending::Consume { transport, mid, .. } => self.registry.release_mid(*transport, mid),
            Pending::Router { .. } | Pending::Server => self.placement.take(shard, 1),
            Pending::Transport { router, .. } => {
                self.placement.take(shard, 1);
                self.registry.release_transport(*router, shard);
            }
            _ => {}
        }
    }

    /// Takes what the runtime says; messages for the caller go to `out`.
    pub(crate) fn output(&mut self, output: Output, out: &mut VecDeque<Vec<u8>>) {
        match output {
            Output::Reply { token, result } => out.extend(self.reply(token, result)),
            Output::Event(event) => {
                if let Event::Closed { object, .. } | Event::RouterFailed { router: object, .. } = &event {
                    self.forget(*object);
                }
                out.push_back(encode::shard_event(event));
            }
            Output::ShardFailed { shard, restarts: true, text } => {
                self.shard_emptied(shard, true, &text, out);
                self.restore_servers(shard);
            }
            Output::ShardFailed { shard, restarts: false, text } => self.shard_failed(shard, &text, out),
            Output::EventsLost(count) => out.push_back(encode::events_lost(count)),
        }
    }

    /// A shard's reply; the message for the caller, if the request is complete by it.
    pub(crate) fn reply(&mut self, token: u64, result: Result<Reply, CommandError>) -> Option<Vec<u8>> {
        // A reply after the shard was given up: its request is answered.
        let flight = self.in_flight.remove(&token)?;
        match flight.pending {
            Pending::Part { gathering } => return self.part(gathering, flight.shard, result),
            Pending::ServerPart { job } => return self.job_part(job, flight.shard, result),
            Pending::ServerAgain { server } => {
                self.server_again((server, flight.shard), token, result);
                return None;
            }
            Pending::Unasked => return None,
            _ => {}
        }
        self.requests.remove(&flight.request);
        let body = match result {
            Ok(reply) => self.finish(flight.shard, flight.pending, reply),
            Err(error) => {
                self.undo(flight.shard, &flight.pending);
                Err(CommandError { field: schema_words(&error.field), ..error })
            }
        };
        Some(encode::reply(flight.request, body))
    }

    /// The message that the engine drains and its last router is gone, once.
    pub(crate) fn poll_drained(&mut self) -> Option<Vec<u8>> {
        let coming = self.in_flight.values().any(|f| matches!(f.pending, Pending::Router { .. }));
        if self.draining != Some(false) || coming || self.registry.counts()[0] > 0 {
            return None;
        }
        self.draining = Some(true);
        Some(encode::drained())
    }

    fn forget(&mut self, object: ObjectId) {
        for gone in self.registry.remove(object) {
            self.placement.take(gone.shard(), 1);
        }
    }

    fn shard_failed(&mut self, shard: u8, text: &str, out: &mut VecDeque<Vec<u8>>) {
        self.placement.fail(shard);
        let error = CommandError::new(ErrorCode::Closed, "", format!("shard {shard} failed: {text}"));
        let tokens: Vec<u64> = self.in_flight.iter().filter(|(_, f)| f.shard == shard).map(|(t, _)| *t).collect();
        for token in tokens {
            out.extend(self.reply(token, Err(error.clone())));
        }
        self.shard_emptied(shard, false, text, out);
    }

    /// All objects of a shard are gone. What it had accepted is answered by the runtime, if the shard goes on. What its
    /// rooms have elsewhere is closed, and told, by the shards there.
    fn shard_emptied(&mut self, shard: u8, restarts: bool, text: &str, out: &mut VecDeque<Vec<u8>>) {
        let gone = self.registry.remove_shard(shard, restarts);
        gone.iter().for_each(|object| self.placement.take(object.shard(), 1));
        let events = gone.into_iter().map(|object| encode::closed(object, fb::CloseReason::shard_failed, text));
        out.extend(events);
    }

    /// Answers all that is in flight.
    pub(crate) fn fail_all(&mut self, error: &CommandError, out: &mut VecDeque<Vec<u8>>) {
        let tokens: Vec<u64> = self.in_flight.keys().copied().collect();
        for token in tokens {
            out.extend(self.reply(token, Err(error.clone())));
        }
    }

    /// Entries of all tables: zero when nothing lives and nothing is in flight.
    pub(crate) fn footprint(&self) -> usize {
        let waiting = self.in_flight.len() + self.gatherings.len() + self.jobs.len() + self.own.len();
        self.registry.footprint() + waiting + self.requests.len()
    }
}

#[cfg(test)]
mod tests {
    use super::schema_words;

    #[test]
    fn fields_are_told_in_the_words_of_the_schema() {
        for (told, wanted) in [
            ("listenInfos[0].portRange", "listen_infos[0].port_range"),
            ("srtpParameters.keyBase64", "srtp_parameters.key_base64"),
            ("rtp_parameters.codecs[0]", "rtp_parameters.codecs[0]"),
            ("", ""),
        ] {
            assert_eq!(schema_words(told), wanted);
        }
    }
}

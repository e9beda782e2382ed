//! WebRTC servers that all shards listen for: one object to the caller, a part of it on each shard.
//!
//! Told: requests about such servers, the parts' replies, shards that were made anew. Tells: requests to shards, and the
//! one reply. The server is known by the id of its first part. It is made on all shards or on none; when a shard is
//! made anew, so is its part, without the caller's doing. Where that fails, the shard is avoided, and it is tried again with each
//! transport that is made on the server. Limits: those of the requests that they are made of.

use sfu_core::command::{Command, CommandError, ErrorCode, Reply};
use sfu_core::stats::{Dump, WebRtcServerDump};
use sfu_runtime::{ListenInfo, ShardRequest};
use sfu_wire::id::ObjectId;

use super::{Controller, Pending, schema_words};
use crate::encode;
use crate::schema as fb;

/// What is to be done on all shards.
#[derive(Debug)]
pub(super) enum Job {
    /// Make a server.
    Create(Vec<ListenInfo>),
    /// Close it.
    Close(ObjectId),
    /// Dump it.
    Dump(ObjectId),
    /// Tell its statistics.
    Stats(ObjectId),
}

/// A job under way.
#[derive(Debug)]
pub(super) struct ServerJob {
    request: u64,
    job: Job,
    waiting: usize,
    error: Option<CommandError>,
    replies: Vec<Reply>,
}

impl Controller {
    /// Starts a job: what to ask of which shard, at least one.
    pub(super) fn begin_job(&mut self, request: u64, job: Job) -> Vec<(u8, ShardRequest)> {
        let commands: Vec<(u8, Command)> = match &job {
            Job::Create(_) => self.placement.alive().map(|shard| (shard, Command::CreateWebRtcServer)).collect(),
            Job::Close(server) => self.of_parts(*server, |object| Command::Close { object }),
            Job::Dump(server) => self.of_parts(*server, |object| Command::Dump { object }),
            Job::Stats(server) => self.of_parts(*server, |object| Command::Stats { object }),
        };
        let listen = match &job {
            Job::Create(listen) => listen.clone(),
            _ => Vec::new(),
        };
        let key = self.next_token;
        self.next_token += 1;
        let waiting = commands.len();
        self.jobs.insert(key, ServerJob { request, job, waiting, error: None, replies: Vec::new() });
        let ask = |(shard, command)| {
            let token = self.fly(request, shard, Pending::ServerPart { job: key });
            (shard, ShardRequest { token, listen: listen.clone(), command })
        };
        commands.into_iter().map(ask).collect()
    }

    fn of_parts(&self, server: ObjectId, command: fn(ObjectId) -> Command) -> Vec<(u8, Command)> {
        self.registry.parts(server).into_iter().map(|part| (part.shard(), command(part))).collect()
    }

    /// A shard's part of a job; the reply, if it was the last one.
    pub(super) fn job_part(&mut self, key: u64, shard: u8, result: Result<Reply, CommandError>) -> Option<Vec<u8>> {
        let job = self.jobs.get_mut(&key)?;
        let mut left = None;
        match result {
            Ok(reply) => job.replies.push(reply),
            Err(error) => {
                // A shard that was too busy to be told has its part still; one that is no more has closed it.
                left = match job.job {
                    Job::Close(server) if error.code == ErrorCode::Busy => Some(server),
                    _ => None,
                };
                let (field, text) = (schema_words(&error.field), format!("shard {shard}: {}", error.text));
                job.error = Some(CommandError { field, text, ..error });
            }
        }
        job.waiting -= 1;
        let ended = job.waiting == 0;
        let parts = left.map(|server| self.registry.parts(server)).unwrap_or_default();
        parts.into_iter().filter(|part| part.shard() == shard).for_each(|part| self.close_unasked(part));
        if !ended {
            return None;
        }
        let done = self.jobs.remove(&key)?;
        self.requests.remove(&done.request);
        let request = done.request;
        Some(encode::reply(request, self.finish_job(done)))
    }

    fn finish_job(&mut self, done: ServerJob) -> Result<fb::ReplyBodyT, CommandError> {
        match done.job {
            Job::Create(listen) => self.server_created(listen, &done.replies, done.error),
            Job::Close(server) => {
                // A shard that is no more has closed its part already.
                self.forget(server);
                Ok(fb::ReplyBodyT::Done(Box::default()))
            }
            Job::Dump(server) => {
                let parts = done.replies.iter().filter_map(|reply| match reply {
                    Reply::Dump(dump) => match &**dump {
                        Dump::WebRtcServer(dump) => Some(dump),
                        _ => None,
                    },
                    _ => None,
                });
                let sum = parts.fold(None, |sum: Option<WebRtcServerDump>, part| match sum {
                    None => Some(WebRtcServerDump { id: server, ..part.clone() }),
                    Some(mut sum) => {
                        // The ports are one for all, but for a part that had to bind another.
                        let more = part.local_addresses.iter().filter(|one| !sum.local_addresses.contains(one));
                        let more: Vec<_> = more.copied().collect();
                        sum.local_addresses.extend(more);
                        sum.transports.extend(&part.transports);
                        sum.username_fragments.extend(part.username_fragments.iter().cloned());
                        Some(sum)
                    }
                });
                let dump = sum.ok_or_else(|| none_left(server, done.error))?;
                Ok(fb::ReplyBodyT::WebRtcServerDump(Box::new(encode::server_dump(&dump))))
            }
            Job::Stats(server) => {
                let mut sum: Option<fb::StatsReportT> = None;
                for reply in &done.replies {
                    let Reply::Stats(stats) = reply else { continue };
                    let part = encode::stats_report(server.to_u64(), stats);
                    match &mut sum {
                        Some(sum) => encode::add_stats(sum, part),
                        None => sum = Some(part),
                    }
                }
                let report = sum.ok_or_else(|| none_left(server, done.error))?;
                Ok(fb::ReplyBodyT::StatsReport(Box::new(report)))
            }
        }
    }

    fn server_created(
        &mut self,
        listen: Vec<ListenInfo>,
        replies: &[Reply],
        error: Option<CommandError>,
    ) -> Result<fb::ReplyBodyT, CommandError> {
        let created = |reply: &Reply| match reply {
            Reply::Created(id) => Some(*id),
            _ => None,
        };
        let mut parts: Vec<ObjectId> = replies.iter().filter_map(created).collect();
        parts.sort_unstable();
        match (error, parts.first().copied()) {
            (None, Some(id)) => {
                self.registry.add_shared_server(id, listen, &parts);
                self.placement.add(id.shard());
                Ok(fb::ReplyBodyT::Created(Box::new(fb::CreatedT { id: id.to_u64(), rtp_capabilities: None })))
            }
            (error, _) => {
                // On all shards or on none.
                parts.into_iter().for_each(|part| self.close_unasked(part));
                Err(error.unwrap_or_else(|| CommandError::new(ErrorCode::Closed, "", "no shard is left")))
            }
        }
    }

    /// A shard was made anew: it gets its parts again.
    pub(super) fn restore_servers(&mut self, shard: u8) {
        for (server, listen) in self.registry.shared_servers() {
            self.ask_part(server, listen, shard);
        }
    }

    /// Tries again where a part of a server could not be made.
    pub(super) fn retry_parts(&mut self, server: ObjectId) {
        let shards = self.registry.failed_parts(server);
        if shards.is_empty() {
            return;
        }
        let listen = self.registry.shared_servers().into_iter().find(|(id, _)| *id == server).map(|(_, listen)| listen);
        for (shard, listen) in shards.into_iter().zip(std::iter::repeat(listen.unwrap_or_default())) {
            self.ask_part(server, listen, shard);
        }
    }

    fn ask_part(&mut self, server: ObjectId, listen: Vec<ListenInfo>, shard: u8) {
        let token = self.fly(0, shard, Pending::ServerAgain { server });
        self.registry.part_asked(server, shard, token);
        self.own.push_back((shard, ShardRequest { token, listen, command: Command::CreateWebRtcServer }));
    }

    /// Such a part is there, or cannot be: then its shard serves no transports of the server for now, which those who ask
    /// for one there are told.
    pub(super) fn server_again(
        &mut self,
        (server, shard): (ObjectId, u8),
        token: u64,
        result: Result<Reply, CommandError>,
    ) {
        match result {
            Ok(Reply::Created(part)) if !self.registry.add_part(server, part) => self.close_unasked(part),
            Ok(_) => {}
            Err(error) => self.registry.part_failed(server, shard, token, error.text),
        }
    }

    fn close_unasked(&mut self, object: ObjectId) {
        let token = self.fly(0, object.shard(), Pending::Unasked);
        let request = ShardRequest { token, listen: Vec::new(), command: Command::Close { object } };
        self.own.push_back((object.shard(), request));
    }

    /// The next request of our own, for a shard.
    pub(crate) fn poll_request(&mut self) -> Option<(u8, ShardRequest)> {
        self.own.pop_front()
    }

    /// Its shard was busy: it is the next one again.
    pub(crate) fn put_back(&mut self, shard: u8, request: ShardRequest) {
        self.own.push_front((shard, request));
    }
}

fn none_left(server: ObjectId, error: Option<CommandError>) -> CommandError {
    error.unwrap_or_else(|| CommandError::not_found(super::plan::TARGET, server))
}

//! The whole command path without threads or sockets: decoder, controller and pure shards, one step at a time. For
//! tests and fuzz targets only; it panics on bugs of ours.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use sfu_core::command::{BoundSocket, CommandError};
use sfu_core::limits::Limits;
use sfu_core::shard::{Shard, ShardConfig};
use sfu_proto::crypto::Certificate;
use sfu_proto::srtp::SrtpProfile;
use sfu_runtime::{ListenInfo, Output, ShardRequest};
use sfu_wire::net::SocketId;
use sfu_wire::time::Time;

use crate::controller::{Controller, Step};
use crate::schema as fb;
use crate::{decode, encode};

/// One certificate for all: making them is the slow part.
fn certificate() -> Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    CERTIFICATE.get_or_init(|| Certificate::generate().expect("OpenSSL makes a certificate")).clone()
}

fn config(index: u8, life: u8) -> ShardConfig {
    ShardConfig {
        index,
        life,
        seed: [index; 32],
        epoch_unix_nanos: 1_700_000_000_000_000_000,
        certificate: certificate(),
        srtp_profiles: SrtpProfile::ALL.to_vec(),
        limits: Limits::default(),
    }
}

/// An engine without a runtime.
pub(crate) struct Offline {
    pub(crate) controller: Controller,
    shards: Vec<Shard>,
    queue: VecDeque<(u8, ShardRequest)>,
    /// Encoded messages for the caller.
    pub(crate) ready: VecDeque<Vec<u8>>,
    now: Time,
    sockets: u32,
    /// Replies that are still owed, by request id.
    owed: HashMap<u64, u32>,
    next_request: u64,
    /// This shard's ports are somebody else's.
    #[cfg(test)]
    pub(crate) deaf: Option<u8>,
}

impl Offline {
    pub(crate) fn new(shards: u8) -> Self {
        let shard = |index| Shard::new(config(index, 0)).expect("a shard starts");
        Self {
            controller: Controller::new((0..shards).map(|i| Some(usize::from(i))).collect()),
            shards: (0..shards).map(shard).collect(),
            queue: VecDeque::new(),
            ready: VecDeque::new(),
            now: Time::from_nanos(0),
            sockets: 0,
            owed: HashMap::new(),
            next_request: 1 << 40,
            #[cfg(test)]
            deaf: None,
        }
    }

    /// Decodes and accepts; commands wait for [`run`](Self::run).
    pub(crate) fn submit(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        let request = decode::request(bytes)?;
        let id = request.id;
        match self.controller.accept(request.into())? {
            Step::Answer(message) => self.ready.push_back(message),
            Step::Dispatch(requests) => self.queue.extend(requests),
        }
        *self.owed.entry(id).or_default() += 1;
        Ok(())
    }

    /// Lets the shards do what waits.
    pub(crate) fn run(&mut self) {
        self.queue.extend(std::iter::from_fn(|| self.controller.poll_request()));
        while let Some((shard, request)) = self.queue.pop_front() {
            let sockets: Vec<BoundSocket> = request.listen.iter().map(|info| self.bind(info)).collect();
            self.now += Duration::from_millis(1);
            let result = match self.refusal(shard, &request) {
                Some(error) => Err(error),
                None => self.shards[usize::from(shard)].handle_command(self.now, &sockets, request.command),
            };
            // Events of a command come before its reply or after it; the runtime gives the reply first.
            self.controller.output(Output::Reply { token: request.token, result }, &mut self.ready);
            self.drain();
            self.queue.extend(std::iter::from_fn(|| self.controller.poll_request()));
        }
    }

    /// As if binding had failed.
    #[cfg(test)]
    fn refusal(&self, shard: u8, request: &ShardRequest) -> Option<CommandError> {
        let text = "cannot bind UDP 127.0.0.1:40000: the port is taken; choose another, or stop what holds it";
        let error = || CommandError::new(sfu_core::command::ErrorCode::AddressUnavailable, "listenInfos[0].port", text);
        (self.deaf == Some(shard) && !request.listen.is_empty()).then(error)
    }

    #[cfg(not(test))]
    fn refusal(&self, _: u8, _: &ShardRequest) -> Option<CommandError> {
        None
    }

    /// As if a shard had panicked.
    #[cfg(test)]
    pub(crate) fn fail_shard(&mut self, shard: u8) {
        for (index, other) in self.shards.iter_mut().enumerate().filter(|(i, _)| *i != usize::from(shard)) {
            assert!(index < 256);
            other.handle_peer_lost(self.now, shard);
        }
        let output = Output::ShardFailed { shard, restarts: false, text: "a test".to_owned() };
        self.controller.output(output, &mut self.ready);
        self.drain();
    }

    /// No shard holds anything, or has anything to say.
    pub(crate) fn check_empty(&self) {
        for shard in &self.shards {
            assert_eq!(shard.object_counts(), [0; 4], "something is left on a shard");
            assert!(!shard.has_peer_output());
        }
    }

    /// As if a shard had panicked and been made anew, by its second life.
    #[cfg(test)]
    pub(crate) fn restart_shard(&mut self, shard: u8) {
        self.shards[usize::from(shard)] = Shard::new(config(shard, 1)).expect("a shard starts");
        let output = Output::ShardFailed { shard, restarts: true, text: "a test".to_owned() };
        self.controller.output(output, &mut self.ready);
        self.queue.extend(std::iter::from_fn(|| self.controller.poll_request()));
    }

    /// Time passes in all shards.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        for shard in &mut self.shards {
            shard.handle_timeout(self.now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        self.carry();
        for shard in &mut self.shards {
            while let Some(event) = shard.poll_event() {
                self.controller.output(Output::Event(event), &mut self.ready);
            }
            while shard.poll_release().is_some() {}
            shard.outbox().clear();
        }
    }

    /// Messages from shard to shard, until there are none.
    fn carry(&mut self) {
        let all: Vec<u8> = (0..self.shards.len()).map(|i| i as u8).collect();
        while self.shards.iter().any(Shard::has_peer_output) {
            for (from, to) in all.iter().flat_map(|from| all.iter().map(move |to| (*from, *to))) {
                while let Some(out) = self.shards[usize::from(from)].poll_peer(to) {
                    let packet = out.packet.as_deref().unwrap_or_default();
                    self.shards[usize::from(to)].handle_peer(self.now, from, &out.message, packet);
                }
            }
        }
    }

    fn bind(&mut self, info: &ListenInfo) -> BoundSocket {
        self.sockets += 1;
        let number = info.shared.unwrap_or(u64::from(self.sockets));
        let port = if info.port == 0 { 1024 + (number % 60_000) as u16 } else { info.port };
        BoundSocket {
            socket: SocketId(self.sockets),
            protocol: info.protocol,
            local: SocketAddr::new(info.ip, port),
            announced: info.announced.clone(),
            expose_internal_ip: info.expose_internal_ip,
        }
    }

    /// Takes what the caller would poll. Every message must be whole and every reply owed.
    pub(crate) fn messages(&mut self) -> Vec<fb::ContentT> {
        let mut out = Vec::new();
        for bytes in self.ready.drain(..) {
            let mut messages: Vec<_> = decode::messages(&bytes).collect();
            assert_eq!(messages.len(), 1, "one buffer holds one message");
            let content = messages.remove(0).expect("we encode what we can decode");
            if let fb::ContentT::Reply(reply) = &content {
                let owed = self.owed.get_mut(&reply.id).expect("a reply has its request");
                *owed = owed.checked_sub(1).expect("a request is answered once");
            }
            out.push(content);
        }
        self.owed.retain(|_, owed| *owed > 0);
        out
    }

    /// Requests without a reply yet.
    pub(crate) fn owed(&self) -> usize {
        self.owed.len()
    }

    /// One request to its end; other replies and events are dropped.
    pub(crate) fn call(&mut self, target: u64, body: fb::RequestBodyT) -> Result<fb::ReplyBodyT, CommandError> {
        self.next_request += 1;
        let id = self.next_request;
        self.submit(&encode::request(id, target, body))?;
        self.run();
        let find = |content| match content {
            fb::ContentT::Reply(reply) if reply.id == id => Some(reply),
            _ => None,
        };
        let reply = self.messages().into_iter().find_map(find).expect("an accepted request is answered");
        match encode::error_code(reply.code) {
            None => Ok(reply.body),
            Some(code) => Err(CommandError::new(code, reply.field.unwrap_or_default(), reply.text.unwrap_or_default())),
        }
    }
}

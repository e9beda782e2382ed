//! The shovel between the kernel and one pure shard.
//!
//! One turn: take what other shards say, receive a batch, take a bounded number of commands, timers, tell other
//! shards, drain events and released sockets, send, publish, sleep. One clock reading per turn. It knows nothing of what it carries.
//!
//! A port that all shards listen on may bring datagrams and TCP connections of other shards: those are handed over, and what
//! others hand over is taken like what the kernel brings ([`crate::shared_port`]).
//!
//! Limits per turn: [`DATAGRAMS_PER_TURN`] of each, [`COMMANDS_PER_TURN`], one `handle_timeout`. A shard whose
//! deadline lies in the past right after `handle_timeout` is called again after [`MIN_NAP`], so that
//! a wrong deadline cannot turn into a spinning core.

mod peers;

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sfu_core::command::{BoundSocket, Command, CommandError, ErrorCode, Event, Reply};
use sfu_core::shared_port::Whose;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::net::{Protocol, SocketId};
use sfu_wire::time::Time;

use crate::backlog::Backlog;
use crate::clock::{Clock, Epoch};
use crate::core::{ShardCore, ShardSeed};
use crate::host::{Host, Yielding};
use crate::listen::{Binder, is_tcp};
use crate::load::Traffic;
use crate::media_io::runs::Runs;
use crate::media_io::{Datagram, MediaIo, Sent};
use crate::media_queue::records;
use crate::memory::makes_something;
use crate::mesh::Port;
use crate::options::TcpLimits;
use crate::runtime::{Output, ShardRequest, Shared};
use crate::shared_port::SharedPort;
use crate::tcp::TcpIo;
use crate::usage;
use peers::{hand_connection, hand_peers};

/// Most datagrams between two looks at the mailbox.
const DATAGRAMS_PER_TURN: usize = 512;
/// Most commands between two looks at the sockets.
const COMMANDS_PER_TURN: usize = 32;
/// Room for packets of the application between two looks at the sockets; each packet fits.
const MEDIA_PER_TURN: usize = 256 << 10;
/// After so many packets of a source that may bring thousands in a turn, other shards get theirs: nothing is given up
/// while the ways to them are free.
const PEERS_HANDED_AFTER: u64 = 256;
/// Most outputs gathered before they are published.
const OUTPUTS_PER_TURN: usize = 256;
/// The last first byte of STUN (RFC 7983, section 7).
const LAST_STUN: u8 = 3;
/// Longest time that a stopping shard spends on telling its peers.
const FAREWELL: Duration = Duration::from_secs(1);
/// Shortest sleep when the shard's deadline does not move.
const MIN_NAP: Duration = Duration::from_millis(1);

/// A turn that begins so much too late is counted as a stall: a core that others use, a quota that is used up, a task on
/// the executor, or a turn that does not end.
const STALL: Duration = Duration::from_millis(250);

/// One shard with its sockets.
pub(crate) struct ShardLoop<S> {
    core: S,
    io: Box<dyn MediaIo>,
    clock: Clock,
    binder: Binder,
    /// Made when the first listening socket comes.
    tcp: Option<Box<TcpIo>>,
    tcp_limits: TcpLimits,
    /// The last sleep ended for the sake of TCP connections.
    tcp_ready: bool,
    runs: Runs,
    /// What the kernel had no room for.
    backlog: Backlog,
    outputs: Vec<Output>,
    /// Packets of the application; made when the first ones come.
    media: Vec<u8>,
    /// Sockets whose ports other shards listen on too.
    ports: Vec<(SocketId, Arc<SharedPort>)>,
    /// Datagrams that other shards have handed over, and how far they are read.
    handed: Vec<u8>,
    handed_at: usize,
    /// The ways to and from other shards.
    port: Rc<RefCell<Port>>,
    traffic: Traffic,
    /// When the turn should begin at the latest; unknown after a sleep without end.
    expected: Option<Time>,
    yielding: Yielding,
    /// The request at work, so that a panic on its way still answers it.
    executing: Option<u64>,
    shared: Arc<Shared>,
    index: u8,
}

/// What a turn leaves to do.
struct Rest {
    now: Time,
    /// More is waiting: do not sleep.
    busy: bool,
    /// The shard's deadline did not move although it was served.
    stuck: bool,
}

impl<S: ShardCore> ShardLoop<S> {
    pub(crate) fn new(
        (core, io): (S, Box<dyn MediaIo>),
        epoch: Epoch,
        seed: ShardSeed,
        shared: Arc<Shared>,
        port: Rc<RefCell<Port>>,
        host: Host,
        tcp_limits: TcpLimits,
    ) -> Self {
        let random = seed.seed.iter().fold(1u64, |all, byte| all.rotate_left(7) ^ u64::from(*byte));
        Self {
            core,
            io,
            clock: Clock::new(epoch),
            binder: Binder::sharing(random, Arc::clone(&shared.ports), seed.index),
            tcp: None,
            tcp_limits,
            tcp_ready: false,
            runs: Runs::default(),
            backlog: Backlog::default(),
            outputs: Vec::with_capacity(OUTPUTS_PER_TURN),
            media: Vec::new(),
            ports: Vec::new(),
            handed: Vec::new(),
            handed_at: 0,
            port,
            traffic: Traffic::default(),
            expected: None,
            yielding: Yielding::new(host),
            executing: None,
            shared,
            index: seed.index,
        }
    }

    /// Runs until asked to stop. A panic of the core ends the shard, after what it had said before
    /// has been published; the thread's owner reports it.
    pub(crate) async fn run(mut self) {
        let mut ring_ready = false;
        self.core.started(self.yielding.host());
        loop {
            let rest = match catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(rest) => rest,
                Err(panic) => {
                    if let Some(token) = self.executing.take() {
                        let error = CommandError::new(ErrorCode::Internal, "", "a bug ended the shard at this request");
                        self.outputs.push(Output::Reply { token, result: Err(error) });
                    }
                    self.publish();
                    resume_unwind(panic);
                }
            };
            if self.inbox().is_stopping() {
                self.say_goodbye();
                return;
            }
            if self.yielding.is_due(rest.now, ring_ready) {
                self.yielding.yield_now(rest.now).await;
            }
            ring_ready = self.park(&rest);
        }
    }

    fn inbox(&self) -> &crate::mailbox::Inbox<ShardRequest> {
        &self.shared.inboxes[usize::from(self.index)]
    }

    fn turn(&mut self) -> Rest {
        self.traffic.turns += 1;
        let now = self.clock.now();
        let late = self.expected.map_or(Duration::ZERO, |at| now.saturating_since(at));
        if late >= STALL {
            self.traffic.stalls += 1;
            self.traffic.stalled_ms += u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
        }
        self.take_peers(now);
        let more_handed = self.take_handed(now);
        let more_datagrams = self.receive(now);
        self.receive_by_tcp(now);
        let commands = self.take_commands(now);
        self.take_media(now);
        let due = self.core.next_timeout().is_some_and(|at| at <= now);
        if due {
            self.core.handle_timeout(now);
        }
        // Others begin while this one sends.
        self.hand_peers();
        self.drain();
        self.flush();
        self.hand_media();
        self.publish();
        if commands > 0 || due {
            self.shared.loads[usize::from(self.index)].publish_counts(self.core.counts());
        }
        self.shared.loads[usize::from(self.index)].publish(self.traffic);
        let stuck = due && self.core.next_timeout().is_some_and(|at| at <= now);
        Rest { now, busy: more_datagrams || more_handed || self.inbox().has_work(), stuck }
    }

    /// Feeds what has arrived to the core; says whether more is waiting.
    fn receive(&mut self, now: Time) -> bool {
        let mut taken = 0;
        while taken < DATAGRAMS_PER_TURN {
            if self.io.recv_batch() == 0 {
                break;
            }
            while taken < DATAGRAMS_PER_TURN
                && let Some(datagram) = self.io.next_datagram()
            {
                let arrival = match datagram.stamp {
                    Some(stamp) => self.clock.arrival(now, stamp),
                    None => now,
                };
                taken += 1;
                let (core, here) = (&mut self.core, (&*self.shared, self.index));
                match self.ports.iter().find(|(socket, _)| *socket == datagram.socket) {
                    Some((_, port)) => take_shared(core, here, &mut self.traffic, port, (now, arrival), datagram),
                    // All of it is ours.
                    None => _ = core.handle_datagram(now, arrival, datagram.socket, datagram.from, datagram.bytes),
                }
                if self.core.outbox().is_nearly_full() {
                    self.hand_peers();
                    self.flush();
                }
            }
        }
        self.traffic.datagrams_in += taken as u64;
        taken >= DATAGRAMS_PER_TURN
    }

    /// Feeds what has come by TCP connections to the core, and tells it which of them have closed.
    fn receive_by_tcp(&mut self, now: Time) {
        let Some(tcp) = self.tcp.as_deref_mut() else { return };
        // Whatever closed while sending: its address may come again.
        tell_closed(&mut self.core, tcp, now);
        tcp.begin(now, std::mem::take(&mut self.tcp_ready));
        while let Some(packet) = tcp.next_packet() {
            let (socket, from, verified) = (packet.tuple.socket, packet.tuple.remote, packet.verified);
            match self.core.handle_datagram(now, now, socket, from, packet.bytes) {
                Whose::Shard(shard) if !verified => {
                    let port = self.ports.iter().find(|(own, _)| *own == socket).map(|(_, port)| port.key());
                    hand_connection(&mut self.core, tcp, (&self.shared, &mut self.traffic), port, shard);
                }
                Whose::Ours if !verified => tcp.judge(self.core.is_verified(socket, from)),
                Whose::Ours => {}
                // What a transport has given up is closed soon.
                _ => self.core.count_drop(DropReason::UnknownTuple, 1),
            }
            self.traffic.datagrams_in += 1;
            if self.traffic.datagrams_in.is_multiple_of(PEERS_HANDED_AFTER) {
                hand_peers(&mut self.core, &self.port, &self.shared);
            }
            if self.core.outbox().is_nearly_full() {
                hand_peers(&mut self.core, &self.port, &self.shared);
                flush(
                    &mut self.core,
                    &mut *self.io,
                    Some(&mut *tcp),
                    &mut self.runs,
                    &mut self.backlog,
                    &mut self.traffic,
                );
            }
        }
        tell_closed(&mut self.core, tcp, now);
    }

    /// Gives a bound socket to whoever serves its protocol.
    fn add_socket(&mut self, info: &BoundSocket, fd: OwnedFd) -> std::io::Result<()> {
        if info.protocol == Protocol::Udp {
            return self.io.add_socket(info.socket, info.local, fd);
        }
        let tcp = match &mut self.tcp {
            Some(tcp) => tcp,
            none => {
                let tcp = TcpIo::new(self.tcp_limits)?;
                self.io.watch_tcp(tcp.fd())?;
                none.insert(Box::new(tcp))
            }
        };
        tcp.add_listener(info.socket, fd)
    }

    fn remove_socket(&mut self, socket: SocketId) {
        match &mut self.tcp {
            Some(tcp) if is_tcp(socket) => tcp.remove_listener(socket),
            _ => self.io.remove_socket(socket),
        }
        self.binder.released(socket);
    }

    /// Gives packets of the application to the core.
    fn take_media(&mut self, now: Time) {
        let inbox = &self.shared.inboxes[usize::from(self.index)];
        if !inbox.has_media() {
            return;
        }
        if self.media.is_empty() {
            self.media.resize(MEDIA_PER_TURN, 0);
        }
        let (written, lost) = inbox.take_media(&mut self.media);
        if lost > 0 {
            self.core.count_drop(DropReason::MediaQueueFull, lost);
        }
        for (n, (target, packet)) in (1u64..).zip(records(&self.media[..written]).flatten()) {
            self.core.handle_media(now, target, packet);
            if n.is_multiple_of(PEERS_HANDED_AFTER) {
                hand_peers(&mut self.core, &self.port, &self.shared);
            }
            if self.core.outbox().is_nearly_full() {
                flush(
                    &mut self.core,
                    &mut *self.io,
                    self.tcp.as_deref_mut(),
                    &mut self.runs,
                    &mut self.backlog,
                    &mut self.traffic,
                );
            }
        }
    }

    fn take_commands(&mut self, now: Time) -> usize {
        for taken in 0..COMMANDS_PER_TURN {
            let Some(request) = self.inbox().pop() else { return taken };
            let token = request.token;
            // A command may be about what others have had since they were made anew.
            let port = Rc::clone(&self.port);
            self.note_lost(now, &mut port.borrow_mut());
            // What happened before this command is told before its reply, what it causes after.
            self.drain();
            self.executing = Some(token);
            let result = self.execute(now, request);
            self.executing = None;
            self.outputs.push(Output::Reply { token, result });
        }
        COMMANDS_PER_TURN
    }

    fn execute(&mut self, now: Time, request: ShardRequest) -> Result<sfu_core::command::Reply, CommandError> {
        if self.inbox().is_stopping() {
            return Err(CommandError::new(ErrorCode::Closed, "", "the engine is shutting down"));
        }
        if makes_something(&request.command)
            && let Some(refusal) = self.shared.memory.refusal()
        {
            return Err(refusal);
        }
        let bound = self.binder.bind_all(&request.listen)?;
        let mut sockets: Vec<BoundSocket> = Vec::with_capacity(bound.len());
        let mut ports = Vec::new();
        let mut result = Ok(());
        for socket in bound {
            let added = self.add_socket(&socket.info, socket.fd);
            ports.extend(socket.shared.map(|port| (socket.info.socket, port)));
            sockets.push(socket.info);
            if let Err(error) = added {
                let text = format!("the socket could not be watched: {error}");
                result = Err(CommandError::new(ErrorCode::ResourceExhausted, "", text));
            }
        }
        let tap = match (&request.command, &self.shared.taps) {
            (Command::StartTap { .. }, None) => {
                let text = "taps are off: start the engine with the option tap_directory";
                result = Err(CommandError::new(ErrorCode::Unsupported, "target", text));
                None
            }
            (Command::StartTap { transport, options }, _) => Some((*transport, options.clone())),
            _ => None,
        };
        let about_itself = matches!(request.command, Command::ShardStats);
        let mut result = result.and_then(|()| self.core.handle_command(now, &sockets, request.command));
        if let (Some((transport, options)), Ok(_), Some(sink)) = (tap, &result, &self.shared.taps) {
            sink.start(transport, options);
        }
        if let (true, Ok(Reply::Stats(stats))) = (about_itself, &mut result) {
            stats.counters.extend(usage::counters(&self.shared, usize::from(self.index), &self.traffic));
            stats.counters.extend(self.tcp.iter().flat_map(|tcp| tcp.counters()));
        }
        if result.is_err() {
            for socket in &sockets {
                self.remove_socket(socket.socket);
            }
        } else {
            ports.iter().for_each(|(socket, _)| self.core.share_socket(*socket));
            self.ports.extend(ports);
        }
        result
    }

    /// Gives copies of tapped packets to whoever writes them, and takes back what cannot be written.
    fn hand_taps(&mut self) {
        let Some(sink) = &self.shared.taps else { return };
        self.inbox().answer_call();
        while let Some(transport) = sink.failure(self.index) {
            self.core.handle_tap_failure(transport);
        }
        if self.core.has_taps() {
            let mut batch = sink.batch();
            self.core.take_taps(&mut |packet| batch.add(packet));
            batch.send();
        }
    }

    /// Collects events, and closes sockets that nothing uses any more.
    fn drain(&mut self) {
        self.hand_taps();
        while let Some(event) = self.core.poll_event() {
            // The end of a tap is told when its file is closed.
            match (event, &self.shared.taps) {
                (Event::TapClosed { transport, reason, packets, dropped, .. }, Some(sink)) => {
                    sink.close(self.index, transport, reason, packets + dropped);
                }
                (event, _) => self.outputs.push(Output::Event(event)),
            }
            if self.outputs.len() >= OUTPUTS_PER_TURN {
                self.publish();
            }
        }
        // Farewells to peers may still be in the outbox: what closes, closes after it is sent.
        while let Some(tuple) = self.core.poll_disconnect() {
            self.flush();
            if let Some(tcp) = &mut self.tcp {
                tcp.disconnect(&tuple);
            }
        }
        self.tell_claims();
        while let Some(release) = self.core.poll_release() {
            self.flush();
            self.ports.retain(|(socket, _)| *socket != release.0);
            self.remove_socket(release.0);
        }
    }

    /// Hands the outbox to the kernel.
    fn flush(&mut self) {
        flush(
            &mut self.core,
            &mut *self.io,
            self.tcp.as_deref_mut(),
            &mut self.runs,
            &mut self.backlog,
            &mut self.traffic,
        );
    }

    /// Hands packets for the application over.
    fn hand_media(&mut self) {
        if !self.core.has_media() {
            return;
        }
        let core = &mut self.core;
        let lost = self.shared.media.publish(|queue| core.take_media(&mut |source, packet| queue.push(source, packet)));
        if lost > 0 {
            self.core.count_drop(DropReason::MediaQueueFull, lost);
        }
    }

    /// Lets the core tell its peers that this is the end. Whom it has not told in time learns it by silence.
    fn say_goodbye(&mut self) {
        let end = self.clock.now() + FAREWELL;
        loop {
            let now = self.clock.now();
            let more = self.core.handle_shutdown(now);
            self.flush();
            if !more && self.backlog.is_empty() || now >= end {
                return;
            }
        }
    }

    fn publish(&mut self) {
        self.shared.outlet.publish(usize::from(self.index), &mut self.outputs);
    }

    /// Sleeps until something happens; says whether a ring of glommio's is ready.
    fn park(&mut self, rest: &Rest) -> bool {
        let mut timeout = None;
        let tcp = self.tcp.as_deref();
        if rest.busy || self.io.has_backlog() || tcp.is_some_and(TcpIo::has_work) {
            timeout = Some(Duration::ZERO);
        } else {
            let deadlines = [self.core.next_timeout(), self.yielding.deadline(), tcp.and_then(TcpIo::next_timeout)];
            // What the kernel had no room for is tried again soon.
            let retry = (!self.backlog.is_empty()).then(|| self.clock.now() + MIN_NAP);
            if let Some(deadline) = deadlines.into_iter().chain([retry]).flatten().min() {
                let floor = if rest.stuck { MIN_NAP } else { Duration::ZERO };
                timeout = Some(deadline.saturating_since(self.clock.now()).max(floor));
            }
        }
        self.io.watch_rings(self.yielding.watches_rings());
        if timeout != Some(Duration::ZERO) && !self.inbox().prepare_to_park() {
            timeout = Some(Duration::ZERO);
        }
        self.expected = timeout.map(|sleep| rest.now + sleep);
        let woken = self.io.park(timeout);
        self.inbox().unparked(woken.by_mailbox);
        self.tcp_ready = woken.by_tcp;
        woken.by_ring
    }
}

/// Tells the core which connections are gone, and what was lost.
fn tell_closed(core: &mut impl ShardCore, tcp: &mut TcpIo, now: Time) {
    while let Some(tuple) = tcp.poll_closed() {
        core.handle_disconnect(now, tuple.socket, tuple.remote);
    }
    if let Some(losses) = tcp.take_losses() {
        losses.nonzero().for_each(|(reason, n)| core.count_drop(reason, n));
    }
}

/// Takes a datagram of a port that other shards listen on too: it is this shard's, or goes to the one whose it is.
fn take_shared(
    core: &mut impl ShardCore,
    (shared, index): (&Shared, u8),
    traffic: &mut Traffic,
    port: &SharedPort,
    (now, arrival): (Time, Time),
    datagram: Datagram<'_>,
) {
    let Datagram { socket, from, bytes, .. } = datagram;
    let owner = || port.owner(from).filter(|owner| *owner != index);
    // A check names a shard by itself, but one that comes from an address of another shard's is for that one to
    // judge: nobody takes over an address that is somebody's.
    let is_check = bytes.first().is_some_and(|byte| *byte <= LAST_STUN);
    let elsewhere =
        is_check.then(owner).flatten().or_else(|| match core.handle_datagram(now, arrival, socket, from, bytes) {
            Whose::Ours => Some(index),
            Whose::Shard(shard) => Some(shard),
            Whose::Unknown => owner(),
        });
    let inbox = elsewhere.and_then(|shard| shared.inboxes.get(usize::from(shard)));
    match inbox {
        _ if elsewhere == Some(index) => {}
        None => core.count_drop(DropReason::UnknownTuple, 1),
        Some(inbox) if inbox.handed.push(port.key(), from, arrival, bytes) => {
            traffic.handed_over += 1;
            inbox.notify();
        }
        Some(_) => {
            traffic.hand_overs_lost += 1;
            core.count_drop(DropReason::HandOverFull, 1);
        }
    }
}

/// Hands the outbox to the kernel.
fn flush(
    core: &mut impl ShardCore,
    io: &mut dyn MediaIo,
    mut tcp: Option<&mut TcpIo>,
    runs: &mut Runs,
    backlog: &mut Backlog,
    traffic: &mut Traffic,
) {
    let outbox = core.outbox();
    if outbox.transmits().is_empty() && backlog.is_empty() {
        return;
    }
    let mut failed = 0;
    let shed = backlog.pass(outbox, |outbox, held| {
        runs.group(outbox, io.routes());
        let mut sent = if runs.runs().is_empty() { Sent::default() } else { io.send_runs(outbox, runs, held) };
        if let (Some(tcp), false) = (tcp.as_deref_mut(), runs.by_connection().is_empty()) {
            let by_tcp = tcp.send_runs(outbox, runs);
            sent.datagrams += by_tcp.datagrams;
            sent.messages += by_tcp.messages;
        }
        traffic.datagrams_out += sent.datagrams;
        traffic.messages_out += sent.messages;
        failed += sent.failed;
    });
    outbox.clear();
    failed += shed.control;
    traffic.send_failures += failed;
    for (reason, n) in
        [(DropReason::SendFailed, failed), (DropReason::ShedVideo, shed.video), (DropReason::ShedAudio, shed.audio)]
    {
        if n > 0 {
            core.count_drop(reason, n);
        }
    }
}

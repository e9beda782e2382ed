//! Producers of one router made to be consumed in another, of the same engine or of another one of the process.
//!
//! Told: a producer, and where it is wanted. Tells: the producer that stands for it there. All that is between is made on
//! the way and kept: one pair of pipe transports for two routers, whichever way media goes, one consumer and one producer
//! for each producer piped. Asking twice, or at the same time, gets the same. Pausing, resuming and closing of the origin
//! are passed on; closing what stands for it stops its being carried. An id says which shard made it, so that a producer
//! has another one over there; [`Piped::origin`] leads back.
//!
//! Between machines each does its half by hand: [`Client::create_pipe_transport`], [`Client::connect_pipe_transport`],
//! [`Client::consume_by_pipe`] here, [`Client::produce`] with its parameters there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use sfu_core::command::ErrorCode;

use super::call::lock;
use super::mirrors::{join_media, join_transports};
use super::{Client, ClientError, Id, Inner, ListenInfo, PipeTransportOptions, ProduceOptions, unexpected};
use crate::schema as fb;

/// What is piped, and where to.
#[derive(Debug, Clone)]
pub struct PipeToRouter {
    /// The producer.
    pub producer: Id,
    /// Its router.
    pub from: Id,
    /// The engine that is to have it; absent: the producer's own.
    pub engine: Option<Client>,
    /// The router that is to have it.
    pub to: Id,
    /// Of both pipe transports, if there are none between the two routers yet.
    pub transports: PipeTransportOptions,
}

impl PipeToRouter {
    /// Within one engine, by the loopback interface, with everything that the producer sends.
    pub fn new(producer: Id, from: Id, to: Id) -> Self {
        Self { producer, from, engine: None, to, transports: PipeTransportOptions::new(ListenInfo::udp("127.0.0.1")) }
    }
}

/// A producer that stands for one of another router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piped {
    /// The producer in the router that it was piped to.
    pub producer: Id,
    /// The producer that it stands for.
    pub origin: Id,
    /// The consumer of the origin, on the pipe.
    pub consumer: Id,
}

/// Names an end as long as its engine lives.
type EndKey = (usize, Id);

/// One end of a pair: an engine and a router of it.
#[derive(Clone)]
struct End {
    client: Client,
    router: Id,
}

impl End {
    fn inner(&self) -> &Arc<Inner> {
        &self.client.guard.inner
    }

    fn key(&self) -> EndKey {
        (Arc::as_ptr(self.inner()) as usize, self.router)
    }
}

/// Two routers, and what is between them.
#[derive(Default)]
pub(super) struct Pair {
    /// Transports of the ends, in the order of their keys. Who asks for a pipe holds this until it is there, so that others
    /// wait for it; events never take it.
    transports: Mutex<Option<[Id; 2]>>,
    piped: Mutex<HashMap<(usize, Id), Piped>>,
    /// A transport closed: this pair is over.
    over: AtomicBool,
}

impl Pair {
    /// An object of the pair is gone.
    pub(super) fn forget(&self, object: Id) {
        let mut piped = lock(&self.piped);
        let before = piped.len();
        piped.retain(|_, one| one.consumer != object && one.producer != object);
        if piped.len() == before {
            // It was a transport, and with it everything.
            self.over.store(true, Ordering::Release);
        }
    }
}

/// Pairs by the keys of their ends, the lesser first, whose engine has them.
#[derive(Default)]
pub(super) struct Pipes(Mutex<Pairs>);

type Pairs = HashMap<[EndKey; 2], Arc<Pair>>;

impl Pipes {
    fn pair(&self, key: [EndKey; 2]) -> Arc<Pair> {
        let mut pairs = lock(&self.0);
        // A pair whose first request was refused has no transports, and nobody is at it any more.
        let used = |pair: &Arc<Pair>| Arc::strong_count(pair) > 1 || lock(&pair.transports).is_some();
        pairs.retain(|_, pair| !pair.over.load(Ordering::Acquire) && used(pair));
        Arc::clone(pairs.entry(key).or_default())
    }
}

impl Client {
    /// Makes a producer of one router to be consumed in another. See the module for what comes of it. Blocks for a few
    /// round trips to the engines, so call it neither from an event callback nor on a thread that drives futures.
    ///
    /// # Errors
    /// Those of the requests behind it; then nothing stays of what was made for this call.
    pub fn pipe_to_router(&self, wanted: &PipeToRouter) -> Result<Piped, ClientError> {
        let from = End { client: self.clone(), router: wanted.from };
        let to = End { client: wanted.engine.clone().unwrap_or_else(|| self.clone()), router: wanted.to };
        if from.key() == to.key() {
            let text = format!("{:016x} is the producer's own router; consume it there", wanted.to);
            return Err(ClientError { code: ErrorCode::InvalidArgument, field: "to".to_owned(), text });
        }
        refuse_loop(&from, &to, wanted.producer)?;
        let (pair, ordered) = (pair_of(&from, &to), from.key() < to.key());
        let mut transports = lock(&pair.transports);
        if pair.over.load(Ordering::Acquire) {
            let text = "the pipe between the two routers has just closed; ask again".to_owned();
            return Err(ClientError { code: ErrorCode::Closed, field: String::new(), text });
        }
        let origin = (from.key().0, wanted.producer);
        if let Some(known) = lock(&pair.piped).get(&origin) {
            return Ok(*known);
        }
        let [here, there] = match *transports {
            Some([a, b]) => [if ordered { a } else { b }, if ordered { b } else { a }],
            None => {
                let [here, there] = make_transports(&from, &to, &wanted.transports, &Arc::downgrade(&pair))?;
                *transports = Some(if ordered { [here, there] } else { [there, here] });
                [here, there]
            }
        };
        carry(&pair, (&from, here), (&to, there), wanted.producer)
    }
}

/// What came from a router is not carried back to it: it is there already.
fn refuse_loop(from: &End, to: &End, producer: Id) -> Result<(), ClientError> {
    let (mut engine, mut producer) = (Arc::clone(from.inner()), producer);
    // Each step goes to an older producer, so this ends.
    while let Some((before, router, origin)) = engine.origin_of(producer) {
        if (Arc::as_ptr(&before) as usize, router) == to.key() {
            let text = format!("{producer:016x} stands for {origin:016x} of that router: consume that there");
            return Err(ClientError { code: ErrorCode::InvalidArgument, field: "producer".to_owned(), text });
        }
        (engine, producer) = (before, origin);
    }
    Ok(())
}

/// The pair of two ends, made if there is none.
fn pair_of(from: &End, to: &End) -> Arc<Pair> {
    let mut ends = [from.key(), to.key()];
    ends.sort_unstable();
    // Whoever asks, and for whichever direction, looks at the engine of the lesser end.
    let first = if from.key() < to.key() { from } else { to };
    first.inner().pipes.pair(ends)
}

/// Makes and connects a transport at each end.
fn make_transports(
    from: &End,
    to: &End,
    options: &PipeTransportOptions,
    pair: &Weak<Pair>,
) -> Result<[Id; 2], ClientError> {
    let here = from.client.create_pipe_transport(from.router, options).wait()?;
    let there = match to.client.create_pipe_transport(to.router, options).wait() {
        Ok(there) => there,
        Err(error) => {
            drop(from.client.close(here.id));
            return Err(error);
        }
    };
    // From here on each goes with the other.
    join_transports((from.inner(), here.id), (to.inner(), there.id), pair);
    let there_srtp = there.srtp_parameters.as_ref();
    let first = from.client.connect_pipe_transport(here.id, &there.address, there.port, there_srtp);
    let here_srtp = here.srtp_parameters.as_ref();
    let second = to.client.connect_pipe_transport(there.id, &here.address, here.port, here_srtp);
    let connected = match first.wait() {
        Ok(()) => second.wait(),
        Err(error) => Err(error),
    };
    if let Err(error) = connected {
        drop(from.client.close(here.id));
        return Err(error);
    }
    Ok([here.id, there.id])
}

/// Whether the payload of a producer must not be looked into, there as here.
fn is_opaque(client: &Client, producer: Id) -> Result<bool, ClientError> {
    match client.dump(producer).wait()? {
        fb::ReplyBodyT::ProducerDump(dump) => Ok(dump.opaque_payload),
        _ => Err(unexpected("another dump than a producer's")),
    }
}

/// Consumes at one end and produces at the other.
fn carry(
    pair: &Arc<Pair>,
    (from, here): (&End, Id),
    (to, there): (&End, Id),
    origin: Id,
) -> Result<Piped, ClientError> {
    let opaque_payload = is_opaque(&from.client, origin)?;
    let consumer = from.client.consume_by_pipe(here, origin).wait()?;
    let mut options = ProduceOptions::new(consumer.kind, consumer.rtp_parameters.clone());
    options.paused = consumer.producer_paused;
    options.opaque_payload = opaque_payload;
    let producer = match to.client.produce(there, &options).wait() {
        Ok(producer) => producer,
        Err(error) => {
            drop(from.client.close(consumer.id));
            return Err(error);
        }
    };
    let piped = Piped { producer: producer.id, origin, consumer: consumer.id };
    lock(&pair.piped).insert((from.key().0, origin), piped);
    let ends = ((from.inner(), consumer.id), (to.inner(), producer.id));
    join_media(ends.0, ends.1, (from.router, origin), &Arc::downgrade(pair));
    // What happened to the consumer before it was followed shows in its state.
    match from.client.dump(consumer.id).wait() {
        Ok(fb::ReplyBodyT::ConsumerDump(dump)) => {
            if dump.producer_paused != consumer.producer_paused {
                let change = if dump.producer_paused { Client::pause } else { Client::resume };
                change(&to.client, producer.id).wait()?;
            }
            Ok(piped)
        }
        Ok(_) => Err(unexpected("another dump than a consumer's")),
        Err(error) => {
            drop(to.client.close(producer.id));
            Err(error)
        }
    }
}

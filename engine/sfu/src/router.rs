//! A router: the room within which media may flow. It holds ids; what they mean is in the shard's
//! tables, so that forwarding from one transport to another never passes through it.

use sfu_wire::id::ObjectId;

/// The objects of one room, or of the part of it that is on this shard. Producers and consumers are found through
/// their transports.
#[derive(Debug, Default)]
pub struct Router {
    /// In order of creation.
    pub transports: Vec<ObjectId>,
    /// In order of creation.
    pub observers: Vec<ObjectId>,
    /// The router of another shard that it is a branch of.
    pub(crate) home: Option<ObjectId>,
    /// Its branches on other shards.
    pub(crate) branches: Vec<ObjectId>,
    /// The transport that carries its mirrors, once there was one.
    pub(crate) carrier: Option<ObjectId>,
}

//! A router: the room within which media may flow. It holds ids; what they mean is in the shard's
//! tables, so that forwarding from one transport to another never passes through it.

use sfu_wire::id::ObjectId;

/// The objects of one room. Producers and consumers are found through their transports.
#[derive(Debug, Default)]
pub struct Router {
    /// In order of creation.
    pub transports: Vec<ObjectId>,
    /// In order of creation.
    pub observers: Vec<ObjectId>,
}

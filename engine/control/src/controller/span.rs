//! Rooms on several shards: where a transport goes, and what its shard has to be told of others.
//!
//! Told: what a request wants. Tells: a plan for one shard. The shards find each other by what is in these commands; no
//! request becomes more than one command. Limits: those of the shards.

use sfu_core::command::{Command, CommandError};
use sfu_runtime::ListenInfo;
use sfu_wire::id::ObjectId;

use super::plan::Planned;
use super::{Controller, Pending, Plan};
use crate::ortc::convert::invalid;

/// So many transports of a room stay on its router's shard: packets that stay on a shard cost least.
pub(crate) const TOGETHER: usize = 64;

impl Controller {
    /// A new transport of a router, on the shard that the caller or its server wants, else on the router's as long as few
    /// are there, and then on the least loaded.
    pub(super) fn spread(
        &mut self,
        (router, server, wanted): (ObjectId, Option<ObjectId>, Option<u8>),
        listen: Vec<ListenInfo>,
        command: Command,
    ) -> Planned {
        let shard = self.shard_for(router, server, wanted)?;
        Ok(self.place_transport(shard, (router, server), listen, command))
    }

    /// A new transport of a router on a shard.
    pub(super) fn place_transport(
        &mut self,
        shard: u8,
        (router, server): (ObjectId, Option<ObjectId>),
        listen: Vec<ListenInfo>,
        command: Command,
    ) -> Plan {
        self.registry.reserve_transport(router, shard);
        self.placement.add(shard);
        let command = match shard == router.shard() {
            true => command,
            false => Command::InBranch { home: router, command: Box::new(command) },
        };
        Plan::One { shard, listen, command, pending: Pending::Transport { router, server } }
    }

    /// A server of all shards leaves the choice among those where it listens; if it listens nowhere, so be it: there the
    /// caller is told why.
    pub(super) fn shard_for(
        &self,
        router: ObjectId,
        server: Option<ObjectId>,
        wanted: Option<u8>,
    ) -> Result<u8, CommandError> {
        let home = router.shard();
        let listens = server.filter(|server| !self.registry.is_shared(*server));
        match (listens.map(ObjectId::shard), wanted) {
            (Some(listens), Some(wanted)) if listens != wanted => {
                let text = format!("{wanted}, and the server is on shard {listens}; give that, or none");
                Err(invalid("shard", text))
            }
            (Some(listens), _) => Ok(listens),
            (None, Some(_)) => self.place(wanted),
            (None, None) => {
                let listens = |shard| server.is_none_or(|server| self.registry.listens_on(server, shard));
                if self.registry.transports_on(router, home) < TOGETHER && listens(home) {
                    return Ok(home);
                }
                self.least_loaded(listens).or(Ok(home))
            }
        }
    }

    /// A command to the shard of `target` about the media of a producer, which may be on another one.
    pub(super) fn across(&self, target: ObjectId, producer: ObjectId, command: Command) -> Command {
        match self.registry.producer(producer) {
            Some(entry) if producer.shard() != target.shard() => {
                Command::Across { producer, source: entry.config.clone(), command: Box::new(command) }
            }
            _ => command,
        }
    }
}

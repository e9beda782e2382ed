//! What commands do about layers: which of them a consumer wants, and whose.

use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::scalability::Layers;
use sfu_wire::time::Time;

use crate::command::{CommandError, ErrorCode, Reply};
use crate::commands::wrong_kind;
use crate::config::{ConsumerConfig, LOWEST_PRIORITY};
use crate::consumer::Consumer;
use crate::shard::Shard;

impl Shard {
    pub(crate) fn set_preferred_layers(
        &mut self,
        _now: Time,
        id: ObjectId,
        _layers: Option<Layers>,
    ) -> Result<Reply, CommandError> {
        self.named_consumer(id)?;
        Err(CommandError::new(ErrorCode::Unsupported, "", "this build forwards the first encoding with all its layers"))
    }

    pub(crate) fn set_priority(&mut self, id: ObjectId, priority: u8) -> Result<Reply, CommandError> {
        if priority < LOWEST_PRIORITY {
            let text = format!("{priority} is no priority: give 1 (the least) to 255");
            return Err(CommandError::new(ErrorCode::InvalidArgument, "priority", text));
        }
        self.named_consumer(id)?.set_priority(priority);
        Ok(Reply::Done)
    }

    pub(crate) fn switch_producer(
        &mut self,
        _now: Time,
        id: ObjectId,
        _config: ConsumerConfig,
    ) -> Result<Reply, CommandError> {
        self.named_consumer(id)?;
        let text = "this build does not switch sources: close the consumer and make one of the other producer";
        Err(CommandError::new(ErrorCode::Unsupported, "", text))
    }

    fn named_consumer(&mut self, id: ObjectId) -> Result<&mut Consumer, CommandError> {
        if id.kind() != Some(ObjectKind::Consumer) {
            return Err(wrong_kind(id, "a consumer"));
        }
        let held = self.consumers.get_mut(id).ok_or_else(|| CommandError::not_found("target", id))?;
        Ok(&mut held.it)
    }
}

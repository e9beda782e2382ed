//! Consumers on pipe transports: what passes there is the router's, whatever the caller's peers can do.

use sfu_core::command::Command;
use sfu_core::config::StreamType;
use sfu_wire::id::ObjectId;

use super::plan::{Planned, one};
use super::plan_layers::priority;
use super::{Controller, Pending};
use crate::ortc::consumer::Share;
use crate::ortc::{convert, pipe, validate};
use crate::schema as fb;

impl Controller {
    /// Plans a pipe consumer of a producer of the transport's router.
    pub(super) fn consume_by_pipe(
        &mut self,
        transport: ObjectId,
        producer: ObjectId,
        body: &fb::ConsumeT,
        rtx: bool,
    ) -> Planned {
        if let Some(mid) = &body.mid {
            validate::mid(mid, "mid")?;
        }
        let share = Share {
            preferred_layers: body.preferred_layers.as_deref().map(convert::layers_from),
            priority: priority(body.priority)?,
            ignore_dtx: body.ignore_dtx,
            pad_frames: body.pad_frames,
        };
        let Some(entry) = self.registry.producer(producer) else {
            return Err(sfu_core::command::CommandError::not_found("producer", producer));
        };
        let (consumable, kind) = (entry.consumable.clone(), entry.consumable.kind);
        let mid = self.registry.reserve_mid(transport, body.mid.as_deref())?;
        let wish = pipe::Wish { producer, mid: &mid, paused: body.paused, rtx, share };
        match pipe::negotiate(&consumable, &wish) {
            Ok((config, parameters)) => {
                let stream_type = StreamType::Pipe;
                let command = Command::Consume { transport, config: Box::new(config) };
                let command = self.across(transport, producer, command);
                let pending = Pending::Consume { transport, producer, mid, parameters, kind, stream_type, share };
                Ok(one(transport, command, pending))
            }
            Err(error) => {
                self.registry.release_mid(transport, &mid);
                Err(error)
            }
        }
    }
}

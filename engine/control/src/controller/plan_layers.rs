//! Requests about what a consumer gets, and of which codecs a router is made.
//!
//! Told: decoded requests. Tells: a plan, or the error that the reply will carry. A switch of the source is negotiated
//! here against what the consumer's peer was told, so that the caller names nothing but the new producer.

use sfu_core::command::{Command, CommandError};
use sfu_wire::id::{ObjectId, ObjectKind};

use super::plan::{Planned, TARGET, capabilities_answer, one};
use super::{Controller, Pending};
use crate::ortc::convert::{self, invalid};
use crate::ortc::{capabilities, switch};
use crate::schema as fb;

/// A consumer's weight as the schema has it.
pub(super) fn priority(value: u8) -> Result<u8, CommandError> {
    if value == 0 { Err(invalid("priority", "0; give 1 (the least) to 255")) } else { Ok(value) }
}

impl Controller {
    pub(super) fn update_media_codecs(&mut self, target: u64, body: fb::UpdateMediaCodecsT) -> Planned {
        let id = self.object(target, &[ObjectKind::Router])?;
        let router = self.registry.router_mut(id).ok_or_else(|| CommandError::not_found(TARGET, id))?;
        let media_codecs = convert::codec_capabilities_from(body.media_codecs, "media_codecs")?;
        router.capabilities = capabilities::updated(&media_codecs, &router.capabilities)?;
        Ok(capabilities_answer(&router.capabilities))
    }

    pub(super) fn set_preferred_layers(&self, target: u64, body: fb::SetPreferredLayersT) -> Planned {
        let consumer = self.object(target, &[ObjectKind::Consumer])?;
        let layers = body.layers.map(|l| convert::layers_from(&l));
        let command = Command::SetPreferredLayers { consumer, layers };
        Ok(one(consumer, command, Pending::PreferredLayers { consumer, layers }))
    }

    pub(super) fn set_priority(&self, target: u64, body: fb::SetPriorityT) -> Planned {
        let consumer = self.object(target, &[ObjectKind::Consumer])?;
        let priority = priority(body.priority)?;
        let command = Command::SetPriority { consumer, priority };
        Ok(one(consumer, command, Pending::Priority { consumer, priority }))
    }

    pub(super) fn switch_producer(&self, target: u64, body: fb::SwitchProducerT) -> Planned {
        const FIELD: &str = "producer";
        let id = self.object(target, &[ObjectKind::Consumer])?;
        let unknown = || CommandError::not_found(TARGET, id);
        let consumer = self.registry.consumer(id).ok_or_else(unknown)?;
        let router = self.registry.transport(consumer.transport).map(|t| t.router).ok_or_else(unknown)?;
        let producer = self.producer_of(body.producer, router)?;
        let entry = self.registry.producer(producer).ok_or_else(|| CommandError::not_found(FIELD, producer))?;
        if entry.consumable.kind != consumer.kind {
            let text = format!(
                "{producer} is {}, the consumer {}; give one of the same kind",
                entry.consumable.kind, consumer.kind
            );
            return Err(invalid(FIELD, text));
        }
        let (config, parameters) =
            switch::negotiate(&consumer.parameters, &entry.consumable, producer, consumer.share)?;
        let pending = Pending::Switch { consumer: id, producer, parameters, stream_type: config.stream_type };
        let command = Command::SwitchProducer { consumer: id, config: Box::new(config) };
        Ok(one(id, self.across(id, producer, command), pending))
    }

    /// A living consumer's new source; nothing if either went meanwhile.
    pub(super) fn switched(
        &mut self,
        consumer: ObjectId,
        producer: ObjectId,
        parameters: crate::ortc::RtpParameters,
        stream_type: sfu_core::config::StreamType,
    ) -> fb::ReplyBodyT {
        let rtp_parameters = Some(Box::new(convert::parameters_of_stream_to(&parameters)));
        self.registry.switch(consumer, producer, parameters);
        let type_ = crate::ortc::layers::type_name(stream_type);
        fb::ReplyBodyT::ProducerSwitched(Box::new(fb::ProducerSwitchedT { type_, rtp_parameters }))
    }
}

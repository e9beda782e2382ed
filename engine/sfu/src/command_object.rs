//! What a command is about.
//!
//! Told: a command. Tells: the object that it names first, whose router answers for a bug on the way.

use sfu_wire::id::ObjectId;

use crate::command::Command;

impl Command {
    /// The object that it is about; `None`: the shard itself.
    pub fn object(&self) -> Option<ObjectId> {
        match self {
            Self::InBranch { home, .. } => Some(*home),
            Self::Across { command, .. } => command.object(),
            Self::CreateRouter | Self::CreateWebRtcServer | Self::DumpShard | Self::ShardStats => None,
            Self::CreateWebRtcTransport { router, .. }
            | Self::CreatePlainTransport { router, .. }
            | Self::CreatePipeTransport { router, .. }
            | Self::CreateDirectTransport { router, .. }
            | Self::CreateObserver { router, .. } => Some(*router),
            Self::ConnectWebRtcTransport { transport, .. }
            | Self::RestartIce { transport }
            | Self::SetMaxIncomingBitrate { transport, .. }
            | Self::ConnectPlainTransport { transport, .. }
            | Self::ConnectPipeTransport { transport, .. }
            | Self::Produce { transport, .. }
            | Self::StartTap { transport, .. }
            | Self::StopTap { transport }
            | Self::Consume { transport, .. } => Some(*transport),
            Self::RequestKeyFrame { consumer }
            | Self::SetPreferredLayers { consumer, .. }
            | Self::SetPriority { consumer, .. }
            | Self::SwitchProducer { consumer, .. } => Some(*consumer),
            Self::Observe { observer, .. } | Self::Unobserve { observer, .. } => Some(*observer),
            Self::Pause { object }
            | Self::Resume { object }
            | Self::SetTrace { object, .. }
            | Self::KeepDecisions { object, .. }
            | Self::DumpDecisions { object }
            | Self::Close { object }
            | Self::Dump { object }
            | Self::Stats { object }
            | Self::Summary { object } => Some(*object),
        }
    }

    /// The router that it makes a transport in.
    pub(crate) fn router_mut(&mut self) -> Option<&mut ObjectId> {
        match self {
            Self::CreateWebRtcTransport { router, .. }
            | Self::CreatePlainTransport { router, .. }
            | Self::CreatePipeTransport { router, .. }
            | Self::CreateDirectTransport { router, .. } => Some(router),
            _ => None,
        }
    }

    /// The producer whose media it is about.
    pub(crate) fn source_mut(&mut self) -> Option<&mut ObjectId> {
        match self {
            Self::Consume { config, .. } | Self::SwitchProducer { config, .. } => Some(&mut config.producer),
            Self::Observe { producer, .. } => Some(producer),
            _ => None,
        }
    }
}

//! One command, one method. No logic here.

use sfu_wire::time::Time;

use crate::command::{BoundSocket, Command, CommandError, Reply};
use crate::shard::Shard;

/// Carries out a command.
pub(crate) fn dispatch(
    shard: &mut Shard,
    now: Time,
    sockets: &[BoundSocket],
    command: Command,
) -> Result<Reply, CommandError> {
    if let Some(object) = command.object() {
        shard.work_for_object(object);
    }
    match command {
        Command::CreateRouter => shard.create_router(),
        Command::CreateWebRtcServer => shard.create_webrtc_server(sockets),
        Command::CreateWebRtcTransport { router, options } => {
            shard.create_webrtc_transport(now, sockets, router, options)
        }
        Command::ConnectWebRtcTransport { transport, dtls } => shard.connect_webrtc_transport(now, transport, dtls),
        Command::CreatePlainTransport { router, options } => {
            shard.create_plain_transport(now, sockets, router, &options)
        }
        Command::ConnectPlainTransport { transport, remote } => shard.connect_plain_transport(now, transport, &remote),
        Command::CreatePipeTransport { router, options } => shard.create_pipe_transport(now, sockets, router, options),
        Command::ConnectPipeTransport { transport, remote } => shard.connect_pipe_transport(now, transport, &remote),
        Command::CreateDirectTransport { router, max_incoming_bitrate } => {
            shard.create_direct_transport(now, router, max_incoming_bitrate)
        }
        Command::InBranch { home, command } => shard.in_branch(now, sockets, home, *command),
        Command::Across { producer, source, command } => shard.across(now, sockets, producer, *source, *command),
        Command::RestartIce { transport } => shard.restart_ice(now, transport),
        Command::SetMaxIncomingBitrate { transport, bitrate } => {
            shard.set_max_incoming_bitrate(now, transport, bitrate)
        }
        Command::Produce { transport, config } => shard.produce(now, transport, *config),
        Command::Consume { transport, config } => shard.consume(now, transport, *config),
        Command::Pause { object } => shard.set_paused(now, object, true),
        Command::Resume { object } => shard.set_paused(now, object, false),
        Command::RequestKeyFrame { consumer } => shard.request_key_frame(now, consumer),
        Command::SetPreferredLayers { consumer, layers } => shard.set_preferred_layers(now, consumer, layers),
        Command::SetPriority { consumer, priority } => shard.set_priority(consumer, priority),
        Command::SwitchProducer { consumer, config } => shard.switch_producer(now, consumer, *config),
        Command::CreateObserver { router, options } => shard.create_observer(now, router, options),
        Command::Observe { observer, producer } => shard.observe(now, observer, producer),
        Command::Unobserve { observer, producer } => shard.unobserve(observer, producer),
        Command::SetTrace { object, kinds } => shard.set_trace(object, kinds),
        Command::KeepDecisions { object, rows } => shard.keep_decisions(object, rows),
        Command::DumpDecisions { object } => shard.dump_decisions(object),
        Command::StartTap { transport, options } => shard.start_tap(now, transport, options),
        Command::StopTap { transport } => shard.stop_tap(transport),
        Command::Close { object } => shard.close(now, object),
        Command::Dump { object } => shard.dump(object),
        Command::Stats { object } => shard.stats(now, object),
        Command::Summary { object } => shard.summary(now, object),
        Command::DumpShard => Ok(shard.dump_shard()),
        Command::ShardStats => Ok(shard.shard_stats(now)),
    }
}

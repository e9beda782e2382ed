//! Two publishers of several encodings, and a consumer that is moved between their layers.

use std::collections::HashMap;
use std::time::Duration;

use sfu_wire::codec::CodecKind;
use sfu_wire::dependency_descriptor::samples;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::rtcp::Nack;
use sfu_wire::rtp::{RtpHeaderFields, RtpView, write_header};
use sfu_wire::scalability::Layers;

use super::{Choices, MAX_STEPS};
use crate::command::Command;
use crate::config::{ConsumerConfig, EncodingConfig};
use crate::stats::Dump;
use crate::testing::world::{VP8, VP8_RTX, World, consumer_config};

/// Id of the dependency descriptor.
const DESCRIPTOR: u8 = 5;

/// Whatever publishers send in their descriptors, and however the consumer is moved about: two packets never
/// have one number, each producer knows its consumers, and layers that are told exist.
///
/// # Panics
/// If an invariant is broken.
pub fn layers(data: &[u8]) {
    run(data);
}

/// Answers how many packets the consumer's peer got.
fn run(data: &[u8]) -> usize {
    let mut choices = Choices { rest: data };
    let codec = [CodecKind::Vp8, CodecKind::Vp9, CodecKind::Av1, CodecKind::H264, CodecKind::H265]
        [usize::from(choices.byte() % 5)];
    let mut world = World::new(3);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producers = [10, 20].map(|ssrc| publish(&mut world, alice, ssrc, codec, choices.byte()));
    let mut config = follow(&mut world, producers[0], codec);
    config.mid = sfu_wire::media::Mid::new(b"v").expect("a letter is legal");
    let transport = world.members[bob].transport.id;
    let reply = world.command(Command::Consume { transport, config: Box::new(config) });
    let Ok(crate::command::Reply::Consumer(consumer)) = reply else { panic!("{reply:?}") };
    let mut sent: HashMap<u16, Vec<u8>> = HashMap::new();
    let mut sequences = [0u16; 4];
    for _ in 0..MAX_STEPS {
        if choices.is_empty() {
            break;
        }
        match choices.byte() % 16 {
            0 => {
                let layers = (choices.byte() & 3 != 0).then(|| Layers::new(choices.byte() & 7, choices.byte() & 7));
                let _ = world.command(Command::SetPreferredLayers { consumer: consumer.id, layers });
            }
            1 => {
                let config = Box::new(follow(&mut world, producers[usize::from(choices.byte() & 1)], codec));
                let _ = world.command(Command::SwitchProducer { consumer: consumer.id, config });
            }
            2 => {
                let object = [consumer.id, producers[0], producers[1]][usize::from(choices.byte() % 3)];
                let pause = choices.byte() & 1 == 0;
                let _ = world.command(if pause { Command::Pause { object } } else { Command::Resume { object } });
            }
            3 => world.run(Duration::from_millis(u64::from(choices.byte()) * 8)),
            4 => {
                let mut buf = [0; 64];
                let numbers: Vec<u16> = sent.keys().copied().take(8).collect();
                if let Ok(len) = Nack::write(&mut buf, 1, consumer.ssrc, &numbers) {
                    world.send_rtcp(bob, &buf[..len]);
                }
            }
            _ => send(&mut world, alice, codec, &mut choices, &mut sequences),
        }
        world.settle();
        take(&mut world, bob, consumer.ssrc, &mut sent);
        check(&mut world, consumer.id, &producers);
    }
    sent.len()
}

fn publish(world: &mut World, member: usize, ssrc: u32, codec: CodecKind, flags: u8) -> ObjectId {
    let mut config = world.video_config(member, ssrc);
    config.codecs[0].kind = codec;
    config.encodings = [0, 2].map(|at| EncodingConfig { ssrc: Some(ssrc + at), ..EncodingConfig::default() }).to_vec();
    if flags & 1 == 0 {
        config.encodings[0].scalability = "L3T3_KEY".parse().expect("a mode");
    }
    config.opaque_payload = flags & 14 == 14;
    config.key_frame_cache = flags & 16 == 0;
    config.extensions.set(ExtensionKind::DependencyDescriptor, DESCRIPTOR);
    world.produce(member, config)
}

fn follow(world: &mut World, producer: ObjectId, codec: CodecKind) -> ConsumerConfig {
    let Some(Dump::Producer(dump)) = world.dump(producer) else { panic!("the producer is gone") };
    let mid = sfu_wire::media::Mid::new(b"v").expect("a letter is legal");
    let mut config = consumer_config(producer, dump.kind, mid, false);
    config.codecs[0].kind = codec;
    config.extensions.set(ExtensionKind::DependencyDescriptor, DESCRIPTOR);
    config
}

/// A packet with a payload that begins as the script says, and perhaps a descriptor: one of the script's, or a
/// structure.
fn send(world: &mut World, member: usize, codec: CodecKind, choices: &mut Choices<'_>, sequences: &mut [u16; 4]) {
    let which = usize::from(choices.byte() & 3);
    let step = choices.byte();
    sequences[which] = sequences[which].wrapping_add(if step & 0xf0 == 0 { u16::from(step & 15) } else { 1 });
    let ssrc = [10, 12, 20, 22][which];
    let timestamp = u32::from(sequences[which]) / 2 * 3_000 + (which as u32) * 777_777;
    let own = payload(codec, choices);
    let structure = samples::structure("L3T3").expect("a sample");
    let mut value = own.clone();
    if step & 3 == 0 {
        let mut buf = [0; 255];
        let number = choices.word();
        let [high, low] = number.to_be_bytes();
        let rewrite = sfu_wire::dependency_descriptor::DescriptorRewrite {
            frame_number: number,
            active_targets: None,
            structure: true,
            template_shift: 0,
        };
        let plain = sfu_wire::dependency_descriptor::DependencyDescriptor::parse_known(&[0xfd, high, low], &structure);
        if let Some(len) = plain.ok().and_then(|d| d.write(&mut buf, &structure, &rewrite).ok()) {
            value = buf[..len].to_vec();
        }
    }
    let exts: &[(u8, &[u8])] = if step & 4 == 0 { &[(DESCRIPTOR, value.as_slice())] } else { &[] };
    let mut packet = vec![0; 600];
    let marker = step & 8 == 0;
    let fields = RtpHeaderFields { marker, payload_type: VP8, sequence: sequences[which], timestamp, ssrc };
    let Ok(len) = write_header(&mut packet, &fields, exts) else { return };
    packet.truncate(len);
    packet.extend_from_slice(&own);
    // What the peer's own SRTP takes for a replay is not sent.
    if world.members[member].peer.try_send_rtp(&packet) {
        world.settle();
    }
}

/// A payload of the codec, with layers and numbers of the script's, one time in eight with a byte of the
/// script's in it.
fn payload(codec: CodecKind, choices: &mut Choices<'_>) -> Vec<u8> {
    let (flags, layer, number) = (choices.byte(), choices.byte(), choices.word() | 0x8000);
    let [high, low] = number.to_be_bytes();
    let key = flags & 3 == 0;
    let bit = |set: bool, mask: u8| if set { mask } else { 0 };
    let mut payload = match codec {
        CodecKind::Vp8 => vec![0x90, 0xe0, high, low, low, layer & 0xe0, u8::from(!key)],
        CodecKind::Vp9 => vec![0xac | bit(!key, 0x40), high, low, bit(!key, 0x02) & layer | layer & 0x30, low, 7],
        CodecKind::H264 => vec![if key { 0x65 } else { 0x41 }, low],
        CodecKind::H265 => vec![if key { 0x26 } else { 0x02 }, 1 + (layer & 3), low],
        _ => vec![0x10 | bit(key, 0x08), low],
    };
    payload.extend_from_slice(&[flags, layer, high, low]);
    if flags & 0x38 == 0x38 {
        let at = usize::from(choices.byte()) % payload.len();
        payload[at] = choices.byte();
    }
    payload
}

/// Notes what came; a number that comes again, by RTX or not, has the same payload.
fn take(world: &mut World, member: usize, ssrc: u32, sent: &mut HashMap<u16, Vec<u8>>) {
    for packet in world.rtp(member) {
        let view = RtpView::parse(&packet).expect("what we write is well-formed");
        let payload = &packet[view.payload_range()];
        if view.ssrc == ssrc {
            assert_ne!(view.payload_type, VP8_RTX);
            assert!(sent.insert(view.sequence, payload.to_vec()).is_none(), "{} comes twice", view.sequence);
        } else if let Some((number, rest)) = payload.split_first_chunk() {
            let number = u16::from_be_bytes(*number);
            assert_eq!(sent.get(&number).map(Vec::as_slice), Some(rest), "another packet under {number}");
        }
    }
}

fn check(world: &mut World, consumer: ObjectId, producers: &[ObjectId; 2]) {
    let Some(Dump::Consumer(dump)) = world.dump(consumer) else { panic!("the consumer is gone") };
    for producer in producers {
        let Some(Dump::Producer(producer_dump)) = world.dump(*producer) else { panic!("the producer is gone") };
        let listed = producer_dump.consumers.iter().filter(|c| **c == consumer).count();
        assert!(listed <= 1 && (listed == 1 || dump.producer != *producer), "{listed}");
    }
    let layers = [dump.preferred_layers, dump.target_layers, dump.current_layers];
    assert!(layers.iter().flatten().all(|l| l.spatial < 8 && l.temporal < 8), "{layers:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{RngCore, SeedableRng};

    #[test]
    fn random_scripts_keep_the_invariants() {
        let mut sent = 0;
        for seed in 0..60 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut data = vec![0; 4_000];
            rng.fill_bytes(&mut data);
            data.iter_mut().filter(|b| **b & 32 == 0).for_each(|b| *b &= 31);
            data[0] = seed as u8;
            sent += run(&data);
        }
        assert!(sent > 400, "{sent} packets went through");
    }
}

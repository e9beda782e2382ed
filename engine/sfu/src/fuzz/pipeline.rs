//! Redundancy of every kind through the whole way of a packet: RTX, RED and FEC, sound, broken and nested, of audio and
//! video, to peers that speak all of it and to one that speaks none, with NACKs for what came of it.

use std::collections::HashMap;
use std::time::Duration;

use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtcp::{Nack, Pli};
use sfu_wire::rtp::RtpView;
use sfu_wire::scalability::Layers;

use super::{Choices, MAX_STEPS};
use crate::command::{Command, ConsumerCreated, Reply};
use crate::config::{CodecConfig, ConsumerConfig};
use crate::testing::world::{OPUS, VP8, VP8_RTX, World, consumer_config, opus, producer_config, rtp, vp8, vp8_frame};

const AUDIO_RED: u8 = 63;
const VIDEO_RED: u8 = 116;
const VIDEO_RED_RTX: u8 = 118;
const ULPFEC: u8 = 117;
const FLEXFEC: u8 = 35;
const AUDIO_SSRC: u32 = 5;
const VIDEO_SSRC: u32 = 7;
const RTX_SSRC: u32 = 8;
/// Packets that one packet may make for one peer: itself, and what it repeats.
const MOST: usize = 10;

/// A call with all of it.
struct Pipeline {
    world: World,
    alice: usize,
    watchers: [usize; 2],
    consumers: [[ConsumerCreated; 2]; 2],
    /// Bytes behind the header of each packet that was received, by who, SSRC and number.
    seen: HashMap<(usize, u32, u16), Vec<u8>>,
    sequence: [u16; 3],
    forwarded: usize,
}

/// Redundancy into a call; whatever it is, what comes out is sound, of what was negotiated, and no number stands for two packets.
///
/// # Panics
/// If an invariant is broken.
pub fn pipeline(data: &[u8]) {
    run(data);
}

/// Answers how many packets came out.
pub(super) fn run(data: &[u8]) -> usize {
    let mut pipeline = Pipeline::new();
    let mut choices = Choices { rest: data };
    for _ in 0..MAX_STEPS {
        if choices.is_empty() {
            break;
        }
        pipeline.step(&mut choices);
    }
    pipeline.forwarded
}

/// A few bytes, so that most of an input is operations.
fn some(choices: &mut Choices<'_>) -> Vec<u8> {
    let len = choices.byte() & 31;
    (0..len).map(|_| choices.byte()).collect()
}

fn codec(slot: u8, kind: CodecKind, payload_type: u8, rtx: Option<u8>, of: CodecConfig) -> CodecConfig {
    CodecConfig { slot, kind, payload_type, rtx_payload_type: rtx, ..of }
}

fn consume(world: &mut World, member: usize, config: ConsumerConfig) -> ConsumerCreated {
    let transport = world.members[member].transport.id;
    match world.command(Command::Consume { transport, config: Box::new(config) }) {
        Ok(Reply::Consumer(created)) => created,
        other => panic!("no consumer: {other:?}"),
    }
}

impl Pipeline {
    fn new() -> Self {
        let mut world = World::new(39);
        let router = world.router();
        let alice = world.join(router);
        let watchers = [world.join(router), world.join(router)];
        let audio = vec![opus(), codec(10, CodecKind::Red, AUDIO_RED, None, opus())];
        let video = vec![
            vp8(),
            codec(11, CodecKind::Red, VIDEO_RED, Some(VIDEO_RED_RTX), vp8()),
            codec(12, CodecKind::UlpFec, ULPFEC, None, vp8()),
            codec(13, CodecKind::FlexFec, FLEXFEC, None, vp8()),
        ];
        let mid = |name: &[u8]| Mid::new(name).expect("legal");
        let kinds =
            [(MediaKind::Audio, audio, AUDIO_SSRC, None), (MediaKind::Video, video, VIDEO_SSRC, Some(RTX_SSRC))];
        let producers = kinds.clone().map(|(kind, codecs, ssrc, rtx)| {
            let name: &[u8] = if kind == MediaKind::Audio { b"a" } else { b"v" };
            world.produce(alice, producer_config(kind, mid(name), codecs, Some(ssrc), rtx))
        });
        let consumers = [0, 1].map(|who| {
            [0, 1].map(|k| {
                let (kind, codecs, ..) = kinds[k].clone();
                let plain = consumer_config(producers[k], kind, mid(&[b'0' + k as u8]), false);
                let mut config = if who == 0 { ConsumerConfig { codecs, ..plain } } else { plain };
                config.extensions.set(ExtensionKind::AbsSendTime, 4);
                consume(&mut world, watchers[who], config)
            })
        });
        let (seen, sequence) = (HashMap::new(), [65_500, 65_500, 0]);
        Self { world, alice, watchers, consumers, seen, sequence, forwarded: 0 }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let mut most = MOST;
        match choices.byte() % 16 {
            0..=3 => self.send_audio(choices),
            4..=9 => self.send_video(choices),
            10 => self.send_rtx(choices),
            11 => {
                self.ask(choices);
                most = 512;
            }
            12 => {
                self.command(choices);
                most = 512;
            }
            13 => {
                // FlexFEC has an SSRC of its own.
                let payload = if choices.byte() & 3 == 0 { self.fec(choices) } else { self.flexfec(choices) };
                self.send(&rtp(FLEXFEC, 99, choices.word(), 0, &[], &payload));
            }
            14 => {
                self.send(&rtp(choices.byte() & 127, VIDEO_SSRC, choices.word(), choices.number(), &[], &some(choices)))
            }
            _ => {
                self.world.run(Duration::from_millis(u64::from(choices.word() & 0x1ff)));
                most = 512;
            }
        }
        self.check(most);
    }

    fn send(&mut self, packet: &[u8]) {
        let sent = self.world.members[self.alice].peer.try_send_rtp(packet);
        if sent {
            self.world.settle();
        }
    }

    /// Mostly the next number, sometimes a gap, a packet from before, or any number.
    fn number(&mut self, of: usize, choices: &mut Choices<'_>) -> u16 {
        let step = match choices.byte() & 31 {
            0 => choices.word(),
            1 => 0u16.wrapping_sub(u16::from(choices.byte() & 31)),
            2..=4 => 2 + u16::from(choices.byte() & 7),
            _ => 1,
        };
        let number = self.sequence[of].wrapping_add(step);
        if step < 1 << 15 {
            self.sequence[of] = number;
        }
        number
    }

    /// Blocks of RED, the last one primary, mostly sound.
    fn red(choices: &mut Choices<'_>, inner: u8, primary: &[u8]) -> Vec<u8> {
        let mut headers = Vec::new();
        let mut blocks = Vec::new();
        for k in 0..choices.byte() % 4 {
            let block = vec![0x78; usize::from(choices.byte() & 63)];
            let offset = if choices.byte() & 7 == 0 { choices.word() & 0x3fff } else { 960 * (u16::from(k) + 1) };
            let len = block.len() as u32 + u32::from(choices.byte() & 31 == 31) * 900;
            headers.push(0x80 | inner);
            headers.extend_from_slice(&(u32::from(offset) << 10 | len).to_be_bytes()[1..]);
            blocks.extend(block);
        }
        headers.push(if choices.byte() & 31 == 31 { choices.byte() } else { inner & 0x7f });
        [headers, blocks, primary.to_vec()].concat()
    }

    fn send_audio(&mut self, choices: &mut Choices<'_>) {
        let number = self.number(0, choices);
        let time = 960u32.wrapping_mul(u32::from(number));
        let primary = [&[0x78][..], &number.to_be_bytes(), &some(choices)].concat();
        let nested = choices.byte() & 15 == 15;
        let payload = Self::red(choices, if nested { AUDIO_RED } else { OPUS }, &primary);
        self.send(&rtp(AUDIO_RED, AUDIO_SSRC, number, time, &[], &payload));
    }

    /// What a repair packet says of the packets lately sent, or anything.
    fn fec(&self, choices: &mut Choices<'_>) -> Vec<u8> {
        if choices.byte() & 7 == 0 {
            return some(choices);
        }
        let base = self.sequence[1].wrapping_sub(u16::from(choices.byte() & 31));
        let long = choices.byte() & 1 == 0;
        let mut out = vec![if long { 0x40 } else { 0 } | choices.byte() & 0x3f, choices.byte()];
        out.extend(base.to_be_bytes());
        out.extend([choices.number().to_be_bytes(), choices.number().to_be_bytes()].concat());
        out.extend(choices.word().to_be_bytes());
        if long {
            out.extend(choices.number().to_be_bytes());
        }
        out.extend(vec![0x55; usize::from(choices.word() & 0x5ff)]);
        out
    }

    /// The same as FlexFEC, with a mask of one to three parts.
    fn flexfec(&self, choices: &mut Choices<'_>) -> Vec<u8> {
        let base = self.sequence[1].wrapping_sub(u16::from(choices.byte() & 63));
        let mut out = vec![choices.byte() & 0x3f, choices.byte()];
        out.extend(choices.word().to_be_bytes());
        out.extend(choices.number().to_be_bytes());
        out.extend([1, 0, 0, 0]);
        out.extend(VIDEO_SSRC.to_be_bytes());
        out.extend(base.to_be_bytes());
        out.extend(choices.word().to_be_bytes());
        out.extend([choices.number().to_be_bytes(), choices.number().to_be_bytes()].concat());
        out.extend(vec![0x55; usize::from(choices.word() & 0x5ff)]);
        out
    }

    fn video_payload(&mut self, number: u16, choices: &mut Choices<'_>) -> (u8, Vec<u8>) {
        let frame = |choices: &mut Choices<'_>| {
            let mut frame = vp8_frame(choices.byte() & 15 == 0, number);
            frame.extend(some(choices));
            frame
        };
        match choices.byte() & 7 {
            0..=2 => {
                let frame = frame(choices);
                (VIDEO_RED, Self::red(choices, VP8, &frame))
            }
            3 => (VIDEO_RED, [&[VP8][..], &frame(choices)].concat()),
            4 => (VIDEO_RED, [&[ULPFEC][..], &self.fec(choices)].concat()),
            5 => (ULPFEC, self.fec(choices)),
            6 => (VIDEO_RED, [&[VIDEO_RED, ULPFEC][..], &self.fec(choices)].concat()),
            _ => (VP8, frame(choices)),
        }
    }

    fn send_video(&mut self, choices: &mut Choices<'_>) {
        let number = self.number(1, choices);
        let (payload_type, payload) = self.video_payload(number, choices);
        self.send(&rtp(payload_type, VIDEO_SSRC, number, 3_000u32.wrapping_mul(u32::from(number)), &[], &payload));
    }

    /// RTX of what was lost, of what was not, of RTX, of nothing.
    fn send_rtx(&mut self, choices: &mut Choices<'_>) {
        let own = self.number(2, choices);
        let original = self.sequence[1].wrapping_sub(u16::from(choices.byte() & 15));
        let payload_type = [VP8_RTX, VIDEO_RED_RTX, VP8, ULPFEC][usize::from(choices.byte() & 3)];
        let (_, inner) = self.video_payload(original, choices);
        let payload = [&original.to_be_bytes()[..], &inner].concat();
        let len = if choices.byte() & 15 == 0 { usize::from(choices.byte() & 3) } else { payload.len() };
        let time = 3_000u32.wrapping_mul(u32::from(original));
        self.send(&rtp(payload_type, RTX_SSRC, own, time, &[], &payload[..len.min(payload.len())]));
    }

    fn ask(&mut self, choices: &mut Choices<'_>) {
        let who = usize::from(choices.byte() & 1);
        let consumer = &self.consumers[who][usize::from(choices.byte() & 1)];
        let mut buf = [0; 256];
        let last = self.seen.keys().filter(|(w, ssrc, _)| (*w, *ssrc) == (who, consumer.ssrc)).map(|key| key.2).max();
        let first = last.unwrap_or(0).wrapping_sub(u16::from(choices.byte() & 63));
        let sequences: Vec<u16> = (0..1 + u16::from(choices.byte() & 15)).map(|k| first.wrapping_add(k)).collect();
        let len = if choices.byte() & 3 == 0 {
            Pli { sender_ssrc: 1, media_ssrc: consumer.ssrc }.write(&mut buf).expect("fits")
        } else {
            Nack::write(&mut buf, 1, consumer.ssrc, &sequences).expect("fits")
        };
        self.world.send_rtcp(self.watchers[who], &buf[..len]);
    }

    fn command(&mut self, choices: &mut Choices<'_>) {
        let consumer = &self.consumers[usize::from(choices.byte() & 1)][usize::from(choices.byte() & 1)];
        let object: ObjectId = consumer.id;
        let command = match choices.byte() % 7 {
            0 => Command::Pause { object },
            1..=3 => Command::Resume { object },
            4 => Command::Summary { object },
            5 => Command::Dump { object },
            _ => {
                let layers = Some(Layers::new(0, choices.byte() & 3));
                Command::SetPreferredLayers { consumer: object, layers }
            }
        };
        self.world.command(command).expect("the consumer lives");
        self.world.settle();
    }

    /// What came out is sound, of what was negotiated, and not too much.
    fn check(&mut self, most: usize) {
        for (who, member) in self.watchers.into_iter().enumerate() {
            let packets = self.world.rtp(member);
            assert!(packets.len() <= most * 2, "{} packets of one", packets.len());
            for packet in packets {
                self.forwarded += 1;
                let view = RtpView::parse(&packet).expect("the engine sends valid RTP");
                let [audio, video] = &self.consumers[who];
                let allowed: &[u8] = match view.ssrc {
                    ssrc if ssrc == audio.ssrc => {
                        if who == 0 {
                            &[OPUS, AUDIO_RED]
                        } else {
                            &[OPUS]
                        }
                    }
                    ssrc if ssrc == video.ssrc => {
                        if who == 0 {
                            &[VP8, VIDEO_RED]
                        } else {
                            &[VP8]
                        }
                    }
                    ssrc if Some(ssrc) == video.rtx_ssrc => {
                        if who == 0 {
                            &[VP8_RTX, VIDEO_RED_RTX]
                        } else {
                            &[VP8_RTX]
                        }
                    }
                    ssrc if Some(ssrc) == video.streams[0].fec_ssrc => &[FLEXFEC],
                    ssrc => panic!("nobody's SSRC {ssrc}"),
                };
                assert!(allowed.contains(&view.payload_type), "payload type {} to {who}", view.payload_type);
                let key = (who, view.ssrc, view.sequence);
                let body = packet[view.payload_range()].to_vec();
                if let Some(before) = self.seen.insert(key, body.clone()) {
                    assert_eq!(before, body, "two packets under one number");
                }
            }
        }
        assert!(self.world.strays.is_empty(), "a stranger got an answer");
        self.world.events.clear();
    }
}

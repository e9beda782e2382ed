//! The role that sends: Opus every 20 ms, VP8 at a frame rate, a key frame whenever one is asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer};
use str0m::rtp::{RtpWrite, SeqNo};
use str0m::{Event, Rtc};

use super::args::BenchArgs;
use super::meter::{Meter, now};
use super::payload::{self, Frame};
use super::peer::{Role, Sections};

const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
/// 32 kbit/s.
const AUDIO_SIZE: usize = 80;
const OPUS_CLOCK: u32 = 48_000;
const VIDEO_CLOCK: u32 = 90_000;
/// A key frame is so many times as large as others.
const KEY_FRAME_SIZE: usize = 4;
/// Names of the layers, lowest first.
const RIDS: [&str; 3] = ["q", "h", "f"];
/// The full picture.
const WIDTH: u16 = 1_280;
const HEIGHT: u16 = 720;

/// What one publisher sends.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    audio: bool,
    /// Bytes of a frame of each layer, lowest first.
    layers: Vec<usize>,
    frame_interval: Duration,
}

impl Recipe {
    pub(super) fn new(args: &BenchArgs) -> Self {
        let layers = if args.video_bitrate == 0 { 0 } else { args.layers };
        let full = args.video_bitrate / 8 / args.fps;
        let layers = (0..layers).rev().map(|below| (full >> (2 * below)) as usize).collect();
        Self { audio: !args.no_audio, layers, frame_interval: Duration::from_secs(1) / args.fps }
    }

    /// Nothing would be sent.
    pub(super) fn is_empty(&self) -> bool {
        !self.audio && self.layers.is_empty()
    }

    /// Sections of a viewer's offer for one publisher.
    pub(super) fn kinds(&self) -> impl Iterator<Item = MediaKind> {
        let audio = self.audio.then_some(MediaKind::Audio);
        audio.into_iter().chain((!self.layers.is_empty()).then_some(MediaKind::Video))
    }

    /// Adds the sections of the publisher's offer.
    pub(super) fn offer(&self, api: &mut str0m::change::SdpApi<'_>) -> Sections {
        let simulcast = (self.layers.len() > 1).then(|| {
            let layer = |rid: &str| SimulcastLayer { rid: Rid::from(rid), attributes: None };
            Simulcast { send: RIDS[..self.layers.len()].iter().map(|rid| layer(rid)).collect(), recv: Vec::new() }
        });
        let mut add = |kind, simulcast| api.add_media(kind, Direction::SendOnly, None, None, simulcast);
        self.kinds().map(|kind| add(kind, simulcast.clone().filter(|_| kind.is_video()))).collect()
    }
}

/// One stream of packets.
struct Stream {
    mid: Mid,
    rid: Option<Rid>,
    pt: Pt,
    sequence: u64,
    timestamp: u32,
}

impl Stream {
    fn new(mid: Mid, rid: Option<Rid>, pt: Pt) -> Self {
        Self { mid, rid, pt, sequence: fastrand::u64(0..0x7FFF), timestamp: fastrand::u32(..) }
    }

    fn write(&mut self, rtc: &mut Rtc, now: Instant, payload: Vec<u8>, marker: bool, nackable: bool) {
        let mut api = rtc.direct_api();
        let Some(out) = api.stream_tx_by_mid(self.mid, self.rid) else { return };
        let write = RtpWrite::new(self.pt, SeqNo::from(self.sequence), self.timestamp, now, payload);
        out.write_rtp(write.marker(marker).nackable(nackable));
        self.sequence += 1;
    }
}

struct Layer {
    stream: Stream,
    size: usize,
    picture_id: u16,
    key_wanted: bool,
    shrink: u32,
}

/// See the module's head.
pub(super) struct Publisher {
    start: Instant,
    meter: Arc<Meter>,
    audio: Option<Stream>,
    layers: Vec<Layer>,
    frame_interval: Duration,
    next_audio: Instant,
    next_frame: Instant,
}

impl Publisher {
    /// For an answered offer of `recipe`.
    pub(super) fn new(recipe: &Recipe, sections: &Sections, rtc: &Rtc, meter: Arc<Meter>) -> Result<Self, String> {
        let now = now();
        let pt = |mid: Mid, codec: Codec| {
            let taken = rtc.media(mid).map(|media| media.remote_pts()).unwrap_or_default();
            let params = rtc.codec_config().params().iter().filter(|one| one.spec().codec == codec).map(|one| one.pt());
            params.into_iter().find(|pt| taken.contains(pt)).ok_or_else(|| format!("the server takes no {codec}"))
        };
        let mut sections = sections.iter().copied();
        let mut audio = None;
        if recipe.audio
            && let Some(mid) = sections.next()
        {
            audio = Some(Stream::new(mid, None, pt(mid, Codec::Opus)?));
        }
        let mut layers = Vec::new();
        if let Some(mid) = sections.next() {
            let pt = pt(mid, Codec::Vp8)?;
            for (index, size) in recipe.layers.iter().enumerate() {
                let rid = (recipe.layers.len() > 1).then(|| Rid::from(RIDS[index]));
                let shrink = u32::try_from(recipe.layers.len() - 1 - index).unwrap_or(0);
                let picture_id = fastrand::u16(0..0x8000);
                layers.push(Layer {
                    stream: Stream::new(mid, rid, pt),
                    size: *size,
                    picture_id,
                    key_wanted: true,
                    shrink,
                });
            }
        }
        let start = meter.start();
        // Publishers do not send at the same instant, as people do not.
        let phase = recipe.frame_interval.mul_f64(fastrand::f64());
        let (next_audio, next_frame) = (now + AUDIO_INTERVAL.mul_f64(fastrand::f64()), now + phase);
        Ok(Self { start, meter, audio, layers, frame_interval: recipe.frame_interval, next_audio, next_frame })
    }

    fn send_audio(&mut self, rtc: &mut Rtc, now: Instant) {
        let Some(stream) = &mut self.audio else { return };
        let payload = payload::opus(AUDIO_SIZE, self.start, now);
        self.meter.count_sent(payload.len());
        stream.write(rtc, now, payload, false, false);
        stream.timestamp = stream.timestamp.wrapping_add(OPUS_CLOCK / 50);
    }

    fn send_frame(&mut self, rtc: &mut Rtc, now: Instant) {
        let step = (self.frame_interval.as_secs_f64() * f64::from(VIDEO_CLOCK)).round() as u32;
        for layer in &mut self.layers {
            let key = std::mem::take(&mut layer.key_wanted);
            let frame = Frame {
                size: if key { layer.size * KEY_FRAME_SIZE } else { layer.size },
                key,
                picture_id: layer.picture_id,
                width: WIDTH >> layer.shrink,
                height: HEIGHT >> layer.shrink,
            };
            let payloads = payload::vp8(&frame, self.start, now);
            let last = payloads.len() - 1;
            for (index, payload) in payloads.into_iter().enumerate() {
                self.meter.count_sent(payload.len());
                layer.stream.write(rtc, now, payload, index == last, true);
            }
            layer.picture_id = (layer.picture_id + 1) & 0x7FFF;
            layer.stream.timestamp = layer.stream.timestamp.wrapping_add(step);
        }
    }
}

impl Role for Publisher {
    fn handle_event(&mut self, event: Event) {
        if let Event::KeyframeRequest(request) = event {
            let asked = self.layers.iter_mut().filter(|layer| request.rid.is_none() || layer.stream.rid == request.rid);
            asked.for_each(|layer| layer.key_wanted = true);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let audio = self.audio.is_some().then_some(self.next_audio);
        let video = (!self.layers.is_empty()).then_some(self.next_frame);
        audio.into_iter().chain(video).min()
    }

    fn handle_due(&mut self, rtc: &mut Rtc, now: Instant) {
        if self.audio.is_some() && self.next_audio <= now {
            self.meter.count_late(now - self.next_audio);
            self.send_audio(rtc, now);
            self.next_audio = later(self.next_audio, AUDIO_INTERVAL, now);
        }
        if !self.layers.is_empty() && self.next_frame <= now {
            self.meter.count_late(now - self.next_frame);
            self.send_frame(rtc, now);
            self.next_frame = later(self.next_frame, self.frame_interval, now);
        }
    }
}

/// The next instant of a series; one that is far behind starts anew.
fn later(at: Instant, interval: Duration, now: Instant) -> Instant {
    let next = at + interval;
    if next + interval * 5 < now { now + interval } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn recipe(line: &[&str]) -> Recipe {
        let line = crate::args::CommandLine::try_parse_from(["sfu", "bench"].iter().chain(line)).unwrap();
        let crate::args::Command::Bench(args) = line.command else { panic!("not bench") };
        Recipe::new(&args)
    }

    #[test]
    fn layers_have_a_quarter_of_the_next_one() {
        let three = recipe(&["--layers", "3", "--video-bitrate", "1920000", "--fps", "30"]);
        assert_eq!(three.layers, [500, 2_000, 8_000]);
        assert_eq!(three.kinds().count(), 2);
        let mute = recipe(&["--no-audio", "--video-bitrate", "0"]);
        assert!(mute.is_empty());
    }

    #[test]
    fn a_series_that_fell_behind_starts_anew() {
        let now = now();
        let interval = Duration::from_millis(20);
        assert_eq!(later(now, interval, now), now + interval);
        assert_eq!(later(now, interval, now + interval * 2), now + interval);
        assert_eq!(later(now, interval, now + interval * 10), now + interval * 11);
    }
}

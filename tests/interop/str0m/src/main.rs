//! A str0m publisher by WHIP or watcher by WHEP: `str0m-peer publish|watch URL`.
//!
//! The publisher sends VP8 from an IVF file and Opus from an Ogg file that `PEER_MEDIA` names (video.ivf, audio.ogg), over
//! and over. The watcher counts frames that str0m puts together. A line of JSON tells of it twice a second. It ends, with a
//! DELETE, when its standard input closes. Limits: fifteen seconds to connect.

mod frames;
mod http;

use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::format::Codec;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// From the answer to the end of the DTLS handshake.
const CONNECT: Duration = Duration::from_secs(15);
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// The longest wait for a datagram: how soon the end of standard input is seen.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[expect(clippy::disallowed_methods, reason = "a peer lives in real time")]
fn now() -> Instant {
    Instant::now()
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (publishes, url) = match words.as_slice() {
        [role, url] if role == "publish" => (true, url),
        [role, url] if role == "watch" => (false, url),
        _ => return Err("give publish or watch, and a URL".to_owned()),
    };
    str0m::crypto::from_feature_flags().install_process_default();
    let server = http::Address::parse(url)?;
    let mut peer = Peer::new(server.local()?)?;
    let direction = if publishes { Direction::SendOnly } else { Direction::RecvOnly };
    let mut api = peer.rtc.sdp_api();
    let [audio, video] =
        [MediaKind::Audio, MediaKind::Video].map(|kind| api.add_media(kind, direction, None, None, None));
    let (offer, pending) = api.apply().ok_or("the offer is empty")?;
    let (resource, answer) = server.offer(&offer.to_sdp_string())?;
    let answer = SdpAnswer::from_sdp_string(&answer).map_err(|error| format!("the answer cannot be read: {error}"))?;
    peer.rtc.sdp_api().accept_answer(pending, answer).map_err(|error| format!("the answer: {error}"))?;
    peer.streams = [Stream::new(audio), Stream::new(video)];
    if publishes {
        peer.streams[0].source = Some(Source::new(Codec::Opus)?);
        peer.streams[1].source = Some(Source::new(Codec::Vp8)?);
    }
    peer.run(&closing())?;
    server.delete(&resource)
}

/// Hears of the end of standard input.
fn closing() -> Receiver<()> {
    let (tell, hear) = channel();
    std::thread::spawn(move || {
        // Whatever ends it: nobody is there any more.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(tell);
    });
    hear
}

/// What is sent in one section.
struct Source {
    codec: Codec,
    frames: Vec<Arc<[u8]>>,
    at: usize,
    interval: Duration,
    clock: Frequency,
    /// Of the RTP clock, for each frame.
    step: u64,
    due: Option<Instant>,
}

impl Source {
    fn new(codec: Codec) -> Result<Self, String> {
        let (frames, interval, clock) = if codec == Codec::Opus {
            (frames::ogg("audio.ogg")?, Duration::from_millis(20), Frequency::FORTY_EIGHT_KHZ)
        } else {
            (frames::ivf("video.ivf")?, Duration::from_nanos(66_666_667), Frequency::NINETY_KHZ)
        };
        let step = if codec == Codec::Opus { 960 } else { 6_000 };
        Ok(Self { codec, frames, at: 0, interval, clock, step, due: None })
    }
}

/// One section.
struct Stream {
    mid: Mid,
    source: Option<Source>,
    received: u64,
}

impl Stream {
    fn new(mid: Mid) -> Self {
        Self { mid, source: None, received: 0 }
    }
}

struct Peer {
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    /// Audio and video.
    streams: [Stream; 2],
    connected: bool,
}

impl Peer {
    fn new(bind: SocketAddr) -> Result<Self, String> {
        let socket = UdpSocket::bind(bind).map_err(|error| format!("no socket at {bind}: {error}"))?;
        let local = socket.local_addr().map_err(|error| error.to_string())?;
        let mut rtc = RtcConfig::new().clear_codecs().enable_opus(true, false).enable_vp8(true).build(now());
        rtc.add_local_candidate(Candidate::host(local, "udp").map_err(|error| format!("{local}: {error}"))?);
        let streams = [Stream::new("0".into()), Stream::new("1".into())];
        Ok(Self { rtc, socket, local, streams, connected: false })
    }

    /// Runs until nobody holds the other end of `closing`.
    fn run(&mut self, closing: &Receiver<()>) -> Result<(), String> {
        let patience = now() + CONNECT;
        let mut report_at = now();
        let mut buffer = vec![0; 2_048];
        while closing.try_recv() != Err(TryRecvError::Disconnected) {
            let wake = self.drain()?;
            let time = now();
            if !self.connected && time > patience {
                return Err(format!("not connected in {} s", CONNECT.as_secs()));
            }
            if time >= report_at {
                self.report();
                report_at = time + REPORT_EVERY;
            }
            let due = if self.connected { self.send(time)? } else { report_at };
            let next = wake.min(due).min(time + LOOK_EVERY);
            self.receive(next.saturating_duration_since(time), &mut buffer)?;
        }
        Ok(())
    }

    fn report(&self) {
        let kind = |stream: &Stream| serde_json::json!({ "frames": stream.received });
        let [audio, video] = &self.streams;
        let state = if self.connected { "connected" } else { "connecting" };
        println!("{}", serde_json::json!({ "state": state, "audio": kind(audio), "video": kind(video) }));
    }

    /// Sends what is due; tells when there is more.
    fn send(&mut self, time: Instant) -> Result<Instant, String> {
        let mut next = time + LOOK_EVERY;
        for Stream { mid, source, .. } in &mut self.streams {
            let Some(source) = source else { continue };
            let due = *source.due.get_or_insert(time);
            if due <= time {
                let writer = self.rtc.writer(*mid).ok_or("the server takes no such media")?;
                let spoken = writer.payload_params().find(|one| one.spec().codec == source.codec);
                let pt = spoken.map(|one| one.pt()).ok_or_else(|| format!("the server takes no {:?}", source.codec))?;
                let frame = source.frames[source.at % source.frames.len()].clone();
                let at = MediaTime::new(source.at as u64 * source.step, source.clock);
                writer.write(pt, time, at, frame).map_err(|error| format!("a frame: {error}"))?;
                source.at += 1;
                source.due = Some(due + source.interval);
                // More than one frame may be late.
                next = time;
            }
            next = next.min(source.due.unwrap_or(next));
        }
        Ok(next)
    }

    fn receive(&mut self, wait: Duration, buffer: &mut [u8]) -> Result<(), String> {
        // Zero would be no timeout.
        let wait = wait.max(Duration::from_micros(100));
        self.socket.set_read_timeout(Some(wait)).map_err(|error| error.to_string())?;
        // An error of the socket is of an earlier datagram (a port that is closed), or nothing came.
        if let Ok((length, source)) = self.socket.recv_from(buffer)
            && let Ok(contents) = buffer[..length].try_into()
        {
            let receive = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
            self.rtc.handle_input(Input::Receive(now(), receive)).map_err(|error| error.to_string())?;
        }
        self.rtc.handle_input(Input::Timeout(now())).map_err(|error| error.to_string())
    }

    /// Sends and tells everything; returns when the stack wants to be called again.
    fn drain(&mut self) -> Result<Instant, String> {
        loop {
            match self.rtc.poll_output().map_err(|error| error.to_string())? {
                Output::Timeout(at) => return Ok(at),
                Output::Transmit(transmit) => {
                    // A candidate of another network cannot be reached from this socket.
                    let _ = self.socket.send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::Closed) => return Err("the server closed the connection".to_owned()),
                Output::Event(Event::MediaData(data)) => {
                    if let Some(stream) = self.streams.iter_mut().find(|stream| stream.mid == data.mid) {
                        stream.received += 1;
                    }
                }
                Output::Event(_) => {}
            }
        }
    }
}

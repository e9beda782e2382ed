//! The command line of `sfu bench`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// Put a load on a WebRTC server: people who publish and people who watch, with real ICE, DTLS and SRTP.
///
/// The server takes publishers by WHIP and watchers by WHEP, as `sfu serve` does. Each publisher sends Opus and VP8 (packets of
/// the right shape and rate; nobody could look at the picture); each watcher watches all publishers of its room.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchArgs {
    /// The server: /whip/ROOM and /whep/ROOM are taken below it.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000", env = "SFU_BENCH_SERVER")]
    pub(crate) server: String,
    /// Where to publish instead, for servers with other addresses; {room} stands for the room's name.
    #[arg(long, value_name = "URL")]
    pub(crate) whip: Option<String>,
    /// Where to watch instead; {room} stands for the room's name.
    #[arg(long, value_name = "URL")]
    pub(crate) whep: Option<String>,
    /// Bearer token for publishing.
    #[arg(long, value_name = "TOKEN", env = "SFU_WHIP_TOKEN", hide_env_values = true)]
    pub(crate) whip_token: Option<String>,
    /// Bearer token for watching.
    #[arg(long, value_name = "TOKEN", env = "SFU_WHEP_TOKEN", hide_env_values = true)]
    pub(crate) whep_token: Option<String>,
    /// Take any certificate of an https server.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Local address that media leaves from; the one that leads to the server when absent.
    #[arg(long, value_name = "IP")]
    pub(crate) bind: Option<IpAddr>,
    /// Rooms; publishers and viewers are of each room.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) rooms: u16,
    /// Name of the rooms; a number is put behind it.
    #[arg(long, value_name = "NAME", default_value = "bench")]
    pub(crate) room: String,
    /// Publishers in each room.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) publishers: u16,
    /// Viewers in each room.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    pub(crate) viewers: u16,
    /// How long the whole load stays, in seconds (a load that grows by --ramp has --step instead).
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) duration: u32,
    /// Viewers that join in a second.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) join_rate: u32,
    /// Video of each publisher, bit/s (of the highest layer); 0 is none.
    #[arg(long, value_name = "BITRATE", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(0..=50_000_000))]
    pub(crate) video_bitrate: u32,
    /// Frames in a second.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub(crate) fps: u32,
    /// Simulcast layers of each publisher; each has a quarter of the next one's bitrate.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) layers: u8,
    /// Publish no sound.
    #[arg(long)]
    pub(crate) no_audio: bool,
    /// Media packets that are lost on the way to the server and from it, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    pub(crate) loss: f64,
    /// Find the largest load: add so many viewers to each room, again and again, until a bound below is crossed.
    #[arg(long, value_name = "VIEWERS", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) ramp: Option<u16>,
    /// How long each step of --ramp is looked at, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=600))]
    pub(crate) step: u32,
    /// Bound of --ramp: packets lost for good, in percent beyond --loss.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1, value_parser = percent)]
    pub(crate) max_loss: f64,
    /// Bound of --ramp: latency that 99 of 100 packets keep, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) max_latency: u32,
    /// Write the report as JSON to this file as well; - is standard output, instead of the text.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl BenchArgs {
    pub(super) fn whip_url(&self, room: &str) -> String {
        address(self.whip.as_deref(), &self.server, "whip", room)
    }

    pub(super) fn whep_url(&self, room: &str) -> String {
        address(self.whep.as_deref(), &self.server, "whep", room)
    }

    /// Name of the room at this place.
    pub(super) fn room_name(&self, index: u16) -> String {
        if self.rooms == 1 { self.room.clone() } else { format!("{}-{}", self.room, index + 1) }
    }

    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(self.duration.into())
    }
}

fn address(given: Option<&str>, server: &str, kind: &str, room: &str) -> String {
    match given {
        Some(url) => url.replace("{room}", room),
        None => format!("{}/{kind}/{room}", server.trim_end_matches('/')),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim_end_matches('%').parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.0..=50.0).contains(&number) { Ok(number) } else { Err("give 0 to 50".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, CommandLine};
    use clap::Parser;

    fn parse(line: &[&str]) -> Result<BenchArgs, clap::Error> {
        match CommandLine::try_parse_from(["sfu", "bench"].iter().chain(line))?.command {
            Command::Bench(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_are_those_of_the_server_or_the_given_ones() {
        let own = parse(&["--server", "https://sfu.example.org/", "--rooms", "2"]).unwrap();
        assert_eq!(own.whip_url(&own.room_name(1)), "https://sfu.example.org/whip/bench-2");
        let foreign = parse(&["--whep", "http://127.0.0.1:1/{room}/watch"]).unwrap();
        assert_eq!(foreign.whep_url(&foreign.room_name(0)), "http://127.0.0.1:1/bench/watch");
    }

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        for line in [["--loss", "51"], ["--loss", "x"], ["--viewers", "0"], ["--layers", "4"], ["--duration", "0"]] {
            assert!(parse(&line).is_err(), "{line:?}");
        }
        assert!((parse(&["--loss", "2.5%"]).unwrap().loss - 2.5).abs() < f64::EPSILON);
    }
}

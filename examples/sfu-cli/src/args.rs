//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A WebRTC room service on libsfu.
#[derive(Debug, Parser)]
#[command(name = "sfu", disable_version_flag = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the room service and its web page.
    Serve(Box<ServeArgs>),
    /// Check whether this machine is fit to run the engine.
    Doctor(DoctorArgs),
    /// Put a load on this or another server and measure how it is carried.
    Bench(Box<crate::bench::BenchArgs>),
    /// Print the versions of the program and of its contract.
    Version,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// Address of the web page and of signalling; may be given several times. Port 0 takes any free port.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:3000", env = "SFU_LISTEN", value_delimiter = ',')]
    pub(crate) listen: Vec<SocketAddr>,
    /// Address for media (IPv4 or IPv6); may be given several times.
    #[arg(long, value_name = "IP", default_values_t = [IpAddr::V4(Ipv4Addr::LOCALHOST)], env = "SFU_RTC_IP", value_delimiter = ',')]
    pub(crate) rtc_ip: Vec<IpAddr>,
    /// What browsers are told instead of the --rtc-ip at the same place (an address or a host name).
    #[arg(long, value_name = "ADDRESS", env = "SFU_ANNOUNCED_ADDRESS", value_delimiter = ',')]
    pub(crate) announced_address: Vec<String>,
    /// Port for media, one of UDP and one of TCP, which all shards share. 0 takes any free ones.
    #[arg(long, value_name = "PORT", default_value_t = 40000, env = "SFU_RTC_PORT")]
    pub(crate) rtc_port: u16,
    /// Protocols for media. TCP is for browsers whose network lets no UDP through.
    #[arg(long, value_name = "PROTOCOL", value_enum, default_values_t = [RtcProtocol::Udp, RtcProtocol::Tcp], env = "SFU_RTC_PROTOCOL", value_delimiter = ',')]
    pub(crate) rtc_protocol: Vec<RtcProtocol>,
    /// Number of shards; 0 is one for each core that the process may use.
    #[arg(long, value_name = "N", default_value_t = 0, env = "SFU_SHARDS")]
    pub(crate) shards: u16,
    /// Leave the shards unpinned (for containers with CPU quotas).
    #[arg(long)]
    pub(crate) unpinned: bool,
    /// Certificate chain (PEM) to serve the page over https; needs --tls-key.
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "SFU_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key (PEM) of --tls-cert.
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "SFU_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Further web origins that may signal (such as `https://app.example.org`); the page's own always may. * is any.
    #[arg(long, value_name = "ORIGIN", env = "SFU_ORIGIN", value_delimiter = ',')]
    pub(crate) origin: Vec<String>,
    /// SRTP profiles in order of preference; all four when absent.
    #[arg(long, value_name = "PROFILE", value_enum, value_delimiter = ',')]
    pub(crate) srtp_profile: Vec<Profile>,
    /// Routers of each room. Peers are spread over them, and over the shards with them; what is wanted in another router
    /// than its own goes there by a pipe.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) room_routers: u8,
    /// Most rooms at a time.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) max_rooms: usize,
    /// Most peers in a room.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) max_peers: usize,
    /// What the browser of each publisher is told to send at most, bit/s; 0 is no bound.
    #[arg(long, value_name = "BITRATE", default_value_t = 1_500_000)]
    pub(crate) max_incoming_bitrate: u32,
    /// Bearer token that publishing by WHIP needs; may be given several times. Without one everybody may.
    #[arg(long, value_name = "TOKEN", env = "SFU_WHIP_TOKEN", hide_env_values = true, value_delimiter = ',')]
    pub(crate) whip_token: Vec<String>,
    /// Bearer token that watching by WHEP needs; may be given several times. Without one everybody may.
    #[arg(long, value_name = "TOKEN", env = "SFU_WHEP_TOKEN", hide_env_values = true, value_delimiter = ',')]
    pub(crate) whep_token: Vec<String>,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,sfu::session=debug (parts: sfu::web,
    /// sfu::session, sfu::room, sfu::engine). Without it RUST_LOG counts, and without that info.
    #[arg(long, value_name = "FILTER", env = "SFU_LOG")]
    pub(crate) log: Option<String>,
    /// Rooms that /metrics names, those with the most peers. Names of rooms open their doors: give 0 (the default) unless
    /// only you can read it.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=200))]
    pub(crate) metrics_rooms: u16,
    /// How long open rooms may go on after SIGTERM or Ctrl-C, in seconds; new ones are refused. A second signal ends at
    /// once.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, env = "SFU_DRAIN_TIMEOUT", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) drain_timeout: u64,
    /// Write the media of every transport there, DECRYPTED, each to a pcapng file named by its id, for its first minute and
    /// at most 16 MiB. For finding faults, with the consent of those who are heard. Off by default.
    #[arg(long, value_name = "DIRECTORY", env = "SFU_TAP_DIRECTORY")]
    pub(crate) tap_directory: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// Address for media to try; may be given several times.
    #[arg(long, value_name = "IP", default_values_t = [IpAddr::V4(Ipv4Addr::LOCALHOST)], env = "SFU_RTC_IP", value_delimiter = ',')]
    pub(crate) rtc_ip: Vec<IpAddr>,
    /// Port for media, of UDP and of TCP.
    #[arg(long, value_name = "PORT", default_value_t = 40000, env = "SFU_RTC_PORT")]
    pub(crate) rtc_port: u16,
    /// Protocols for media.
    #[arg(long, value_name = "PROTOCOL", value_enum, default_values_t = [RtcProtocol::Udp, RtcProtocol::Tcp], env = "SFU_RTC_PROTOCOL", value_delimiter = ',')]
    pub(crate) rtc_protocol: Vec<RtcProtocol>,
    /// Number of shards; 0 is one for each core that the process may use.
    #[arg(long, value_name = "N", default_value_t = 0, env = "SFU_SHARDS")]
    pub(crate) shards: u16,
}

/// What media travels by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RtcProtocol {
    /// UDP.
    Udp,
    /// TCP: browsers connect to the service (RFC 6544).
    Tcp,
}

/// An SRTP protection profile by its IANA name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    #[value(name = "AEAD_AES_256_GCM")]
    AeadAes256Gcm,
    #[value(name = "AEAD_AES_128_GCM")]
    AeadAes128Gcm,
    #[value(name = "AES_CM_128_HMAC_SHA1_80", alias = "AES128_CM_SHA1_80")]
    Aes128CmSha1_80,
    #[value(name = "AES_CM_128_HMAC_SHA1_32", alias = "AES128_CM_SHA1_32")]
    Aes128CmSha1_32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn defaults_stay_on_this_machine() {
        let line = CommandLine::try_parse_from(["sfu", "serve"]).unwrap();
        let Command::Serve(serve) = line.command else { panic!("not serve") };
        assert!(serve.listen.iter().all(|address| address.ip().is_loopback()));
        assert!(serve.rtc_ip.iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        assert!(CommandLine::try_parse_from(["sfu", "serve", "--tls-cert", "x.pem"]).is_err());
        assert!(CommandLine::try_parse_from(["sfu", "serve", "--tls-key", "x.pem"]).is_err());
    }

    #[test]
    fn media_goes_by_udp_and_tcp_unless_told_otherwise() {
        let protocols = |line: &[&str]| match CommandLine::try_parse_from(line).unwrap().command {
            Command::Serve(serve) => serve.rtc_protocol,
            other => panic!("{other:?}"),
        };
        assert_eq!(protocols(&["sfu", "serve"]), [RtcProtocol::Udp, RtcProtocol::Tcp]);
        assert_eq!(protocols(&["sfu", "serve", "--rtc-protocol", "tcp"]), [RtcProtocol::Tcp]);
        assert!(CommandLine::try_parse_from(["sfu", "serve", "--rtc-protocol", "sctp"]).is_err());
    }

    #[test]
    fn taps_are_off_without_a_directory() {
        let directory = |line: &[&str]| match CommandLine::try_parse_from(line).unwrap().command {
            Command::Serve(serve) => serve.tap_directory,
            _ => panic!("not serve"),
        };
        assert_eq!(directory(&["sfu", "serve"]), None);
        assert_eq!(directory(&["sfu", "serve", "--tap-directory", "/tmp"]), Some(PathBuf::from("/tmp")));
    }

    #[test]
    fn profiles_go_by_their_registered_names() {
        let line = ["sfu", "serve", "--srtp-profile", "AEAD_AES_128_GCM,AES_CM_128_HMAC_SHA1_32"];
        let Command::Serve(serve) = CommandLine::try_parse_from(line).unwrap().command else { panic!("not serve") };
        assert_eq!(serve.srtp_profile, [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_32]);
    }
}

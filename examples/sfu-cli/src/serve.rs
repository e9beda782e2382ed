//! `sfu serve`: starts the engine, its WebRTC server and the web side; ends all of them in the opposite order.

use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sfu_control::client::{Client, Event, Id, ListenInfo};
use sfu_control::ortc::Protocol;
use sfu_control::{Engine, EngineOptions, SrtpProfile};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::args::{Profile, RtcProtocol, ServeArgs};
use crate::codecs;
use crate::log::Log;
use crate::service::{Limits, Service};
use crate::streams::Streams;
use crate::tls::{Identity, TlsListener};
use crate::web::{self, Web};

/// How long peers may take to leave when the service stops.
const FAREWELL: Duration = Duration::from_secs(3);

/// Runs the service until it is told to stop.
pub(crate) fn run(args: &ServeArgs) -> ExitCode {
    let filter = args.log.clone().or_else(|| std::env::var("RUST_LOG").ok()).unwrap_or_else(|| "info".to_owned());
    let log = match Log::start(&filter) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("sfu: --log: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("sfu-web").enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(serve(args, log.clone())),
        Err(error) => Err(format!("the threads of the web side do not start: {error}")),
    };
    log.flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("sfu: {text}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: &ServeArgs, log: Log) -> Result<(), String> {
    // From here on a signal stops the service in order, also while it starts.
    let told_to_stop = wait_for_signal();
    // The web side comes first: a taken port is found before anything is started.
    let identity = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(Identity::read(certificate, key)?),
        _ => None,
    };
    let listeners = bind(&args.listen).await?;
    let engine = Engine::with_options(&engine_options(args)).map_err(|error| error.to_string())?;
    let shards = engine.shard_count();
    let (sender, events) = mpsc::unbounded_channel();
    let client = Client::start_with(engine, move |event| {
        // Nobody listens any more once the service stops.
        let _ = sender.send(event);
    });
    let started = start_server(&client, args).await;
    let server = match started {
        Ok(server) => server,
        Err(text) => {
            stop_engine(client).await;
            return Err(text);
        }
    };
    let limits = Limits {
        rooms: args.max_rooms.max(1),
        peers: args.max_peers.max(1),
        room_routers: args.room_routers.max(1),
        incoming_bitrate: args.max_incoming_bitrate,
        taps: args.tap_directory.is_some(),
    };
    let service = Service::new(client.clone(), (server, shards), codecs::of_a_room(), limits);
    let pump = tokio::spawn(pump(Arc::clone(&service), events));
    banner(args, &listeners, shards, &service).await;

    let (stop, stopping) = watch::channel(false);
    let origins = Arc::new(args.origin.clone());
    let streams = Streams::new(Arc::clone(&service), Arc::clone(&origins), &args.whip_token, &args.whep_token);
    let web = Web {
        service: Arc::clone(&service),
        origins,
        streams,
        log,
        metrics_rooms: args.metrics_rooms,
        plain: plain_listen(args),
        broadcasters: Arc::default(),
    };
    let serving: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(serve_one(listener, identity.clone(), web.clone(), stopping.clone())))
        .collect();
    told_to_stop.await;
    drain(&service, Duration::from_secs(args.drain_timeout)).await;
    let _ = stop.send(true);
    service.close_all(FAREWELL).await;
    for server in serving {
        let _ = tokio::time::timeout(FAREWELL, server).await;
    }
    pump.abort();
    stop_engine(client).await;
    tracing::info!(target: "sfu::web", "stopped");
    Ok(())
}

/// The way out: who is in a call may end it. A second signal ends all of it at once.
async fn drain(service: &Service, limit: Duration) {
    let once_more = wait_for_signal();
    tracing::info!(target: "sfu::web", "stopping; once more to stop at once");
    tokio::spawn(async {
        once_more.await;
        std::process::exit(130);
    });
    service.drain(limit).await;
}

fn engine_options(args: &ServeArgs) -> EngineOptions {
    let profile = |profile: &Profile| match profile {
        Profile::AeadAes256Gcm => SrtpProfile::AeadAes256Gcm,
        Profile::AeadAes128Gcm => SrtpProfile::AeadAes128Gcm,
        Profile::Aes128CmSha1_80 => SrtpProfile::Aes128CmSha1_80,
        Profile::Aes128CmSha1_32 => SrtpProfile::Aes128CmSha1_32,
    };
    EngineOptions {
        shards: args.shards,
        unpinned: args.unpinned,
        srtp_profiles: args.srtp_profile.iter().map(profile).collect(),
        tap_directory: args.tap_directory.as_ref().map(|path| path.to_string_lossy().into_owned()),
        ..EngineOptions::default()
    }
}

async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, String> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            format!("--listen: {address} cannot be had: {error}; stop what uses it or choose another address")
        })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// The WebRTC server that all calls share, whichever shard they are on.
async fn start_server(client: &Client, args: &ServeArgs) -> Result<Id, String> {
    if args.announced_address.len() > args.rtc_ip.len() {
        return Err("--announced-address: more of them than of --rtc-ip".into());
    }
    let infos: Vec<ListenInfo> = protocols(args)
        .into_iter()
        .flat_map(|protocol| args.rtc_ip.iter().enumerate().map(move |(at, ip)| (protocol, at, ip)))
        .map(|(protocol, at, ip)| listen_info(protocol, ip, args.announced_address.get(at), args.rtc_port))
        .collect();
    let server = client.create_webrtc_server(&infos, None).await;
    server.map_err(|error| format!("media port {}: {error}", args.rtc_port))
}

/// The protocols for media, each once.
fn protocols(args: &ServeArgs) -> Vec<Protocol> {
    let has = |wanted| args.rtc_protocol.contains(&wanted);
    let all = [(RtcProtocol::Udp, Protocol::Udp), (RtcProtocol::Tcp, Protocol::Tcp)];
    all.into_iter().filter(|(wanted, _)| has(*wanted)).map(|(_, protocol)| protocol).collect()
}

fn listen_info(protocol: Protocol, ip: &IpAddr, announced: Option<&String>, port: u16) -> ListenInfo {
    let mut info = ListenInfo { protocol, ..ListenInfo::udp(ip.to_string()) };
    info.announced_address = announced.filter(|address| !address.is_empty()).cloned();
    info.port = port;
    info.ipv6_only = ip.is_ipv6();
    info
}

/// Plain transports listen on the first address for media, each on free ports of its own.
fn plain_listen(args: &ServeArgs) -> ListenInfo {
    let ip = args.rtc_ip.first().copied().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    listen_info(Protocol::Udp, &ip, args.announced_address.first(), 0)
}

async fn pump(service: Arc<Service>, mut events: mpsc::UnboundedReceiver<Event>) {
    while let Some(event) = events.recv().await {
        service.on_event(&event);
    }
}

async fn serve_one(listener: TcpListener, identity: Option<Identity>, web: Web, mut stopping: watch::Receiver<bool>) {
    let stop = async move {
        // An ended sender means stopping too.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let routes = web::routes(web);
    let served = match identity {
        None => axum::serve(listener, routes).with_graceful_shutdown(stop).await,
        Some(identity) => match TlsListener::start(listener, identity) {
            Ok(listener) => axum::serve(listener, routes).with_graceful_shutdown(stop).await,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = served {
        tracing::error!(target: "sfu::web", "the web side ended: {error}");
    }
}

async fn banner(args: &ServeArgs, listeners: &[TcpListener], shards: usize, service: &Service) {
    let scheme = if args.tls_cert.is_some() { "https" } else { "http" };
    let media = service.media_addresses().await.join(", ");
    let mut text = format!("sfu {}: a room service on libsfu\n", env!("CARGO_PKG_VERSION"));
    for address in listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
        text += &format!("  open    {scheme}://{address}/\n");
    }
    text += &format!("  media   {media} ({shards} {})\n", if shards == 1 { "shard" } else { "shards" });
    if args.rtc_ip.iter().all(IpAddr::is_loopback) {
        text += "  reach   this machine only; see --listen, --rtc-ip and --announced-address for more\n";
    }
    text += "  stop    Ctrl-C\n";
    // Whoever started it may have closed the pipe; the service goes on.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

async fn stop_engine(client: Client) {
    // It joins threads, which is nothing for a thread of tokio.
    let stopped = tokio::task::spawn_blocking(move || client.shutdown()).await;
    if stopped.is_err() {
        tracing::error!(target: "sfu::web", "the engine did not stop cleanly");
    }
}

/// SIGINT or SIGTERM, from the moment of this call.
fn wait_for_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    async move {
        match (interrupt, terminate) {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            _ => tracing::error!(target: "sfu::web", "signals cannot be caught; the service stops"),
        }
    }
}

//! Where the packets go: the networks that a run makes for itself.
//!
//! All of it lives in a network namespace that the process makes before its first thread, so that nothing is left
//! behind, however the run ends. Addresses are those set aside for benchmarks (RFC 2544, 198.18.0.0/15).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use crate::sys;

/// Our address on a device of the run.
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The viewers' address behind the veth pair.
const BEYOND: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Buffers of the viewers' sockets.
const BUFFER: i32 = 4 << 20;

/// A kind of way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Egress {
    /// Sockets on the loopback device: needs no rights, and includes the receivers' cost.
    Loopback,
    /// A tun device that nobody reads: what sending costs, and nothing else.
    Tun {
        /// The device takes runs whole.
        uso: bool,
    },
    /// A veth pair, the viewers in a namespace of their own.
    Veth,
}

impl Egress {
    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Egress::Loopback => "loopback",
            Egress::Tun { uso: true } => "tun+uso",
            Egress::Tun { uso: false } => "tun",
            Egress::Veth => "veth",
        }
    }

    /// Somebody counts what arrives.
    pub fn counts(self) -> bool {
        !matches!(self, Egress::Tun { .. })
    }
}

/// The viewers' end.
pub enum Far {
    /// A socket for each viewer.
    Sockets(Vec<UdpSocket>),
    /// A device; the viewers are addresses on it.
    Device(OwnedFd),
}

/// A network in being.
pub struct Site {
    /// Where the server listens for viewers.
    pub server: IpAddr,
    /// Addresses of the viewers.
    pub viewers: Vec<SocketAddr>,
    /// Their end.
    pub far: Far,
}

/// Takes the process into a namespace of its own. Call before any thread starts. An error says why only loopback is left.
pub fn enter() -> Result<(), String> {
    sys::new_network().map_err(|e| format!("a network namespace is refused: {e}"))?;
    ip(&["link", "set", "lo", "up"])
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|e| format!("`ip` cannot be run: {e}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("ip {}: {}", arguments.join(" "), text.trim())) }
}

/// Makes the network for `viewers`. `number` keeps devices of one process apart.
pub fn make(egress: Egress, viewers: usize, number: usize) -> Result<Site, String> {
    match egress {
        Egress::Loopback => sockets(IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST), viewers),
        Egress::Tun { uso } => tun(uso, viewers, number),
        Egress::Veth => veth(viewers, number),
    }
}

fn open(at: IpAddr, viewers: usize) -> io::Result<Vec<UdpSocket>> {
    let socket = |_| {
        let socket = UdpSocket::bind((at, 0))?;
        socket.set_nonblocking(true)?;
        sys::set_buffers(socket.as_fd(), BUFFER);
        Ok(socket)
    };
    (0..viewers).map(socket).collect()
}

fn sockets(server: IpAddr, at: IpAddr, viewers: usize) -> Result<Site, String> {
    let sockets = open(at, viewers).map_err(|e| format!("{viewers} sockets: {e}"))?;
    site(server, sockets)
}

fn site(server: IpAddr, sockets: Vec<UdpSocket>) -> Result<Site, String> {
    let viewers = sockets.iter().map(UdpSocket::local_addr).collect::<io::Result<_>>().map_err(|e| e.to_string())?;
    Ok(Site { server, viewers, far: Far::Sockets(sockets) })
}

/// Each site has a network of its own, so that several can stand side by side.
fn server_address(number: usize) -> (Ipv4Addr, Ipv4Addr, String) {
    let third = |ip: Ipv4Addr, by: u8| {
        let [a, b, c, d] = ip.octets();
        Ipv4Addr::new(a, b, c + by, d)
    };
    let by = (number % 32) as u8 * 8;
    (third(SERVER, by), third(BEYOND, by), format!("{}/21", third(SERVER, by)))
}

fn tun(uso: bool, viewers: usize, number: usize) -> Result<Site, String> {
    let name = format!("sfutun{number}");
    let device = sys::open_tun(&name, uso).map_err(|e| format!("a tun device: {e}"))?;
    let (server, _, network) = server_address(number);
    ip(&["addr", "add", &network, "dev", &name])?;
    ip(&["link", "set", &name, "up", "txqueuelen", "200"])?;
    let [a, b, c, _] = server.octets();
    let address = |n: usize| {
        let ip = Ipv4Addr::new(a, b, c + 1 + (n / 250) as u8, 1 + (n % 250) as u8);
        SocketAddr::from((ip, 40_000))
    };
    Ok(Site { server: server.into(), viewers: (0..viewers).map(address).collect(), far: Far::Device(device) })
}

fn veth(viewers: usize, number: usize) -> Result<Site, String> {
    let (near, far) = (format!("sfu{number}a"), format!("sfu{number}b"));
    let (server, beyond, network) = server_address(number);
    ip(&["link", "add", &near, "type", "veth", "peer", "name", &far])?;
    ip(&["addr", "add", &network, "dev", &near])?;
    ip(&["link", "set", &near, "up"])?;
    let (tell, hear) = mpsc::channel();
    let (moved, wait) = mpsc::channel();
    let far_name = far.clone();
    // Sockets stay in the namespace in which they were made, whoever reads them.
    let maker = thread::spawn(move || -> Result<Vec<UdpSocket>, String> {
        sys::new_network().map_err(|e| format!("a second network namespace: {e}"))?;
        tell.send(sys::thread_id()).map_err(|e| e.to_string())?;
        wait.recv().map_err(|_| "the device was not moved".to_owned())?;
        ip(&["addr", "add", &format!("{beyond}/21"), "dev", &far_name])?;
        ip(&["link", "set", "lo", "up"])?;
        ip(&["link", "set", &far_name, "up"])?;
        open(IpAddr::V4(beyond), viewers).map_err(|e| format!("{viewers} sockets: {e}"))
    });
    if let Ok(thread) = hear.recv() {
        ip(&["link", "set", &far, "netns", &thread.to_string()])?;
        // The thread may have failed meanwhile; its result says so.
        let _ = moved.send(());
    }
    let sockets = maker.join().map_err(|_| "the namespace's thread panicked".to_owned())??;
    site(server.into(), sockets)
}

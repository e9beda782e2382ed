//! Frames of a tun device: a `virtio_net_hdr` of ten bytes, IPv4, UDP.

use std::net::{Ipv4Addr, SocketAddrV4};

/// `virtio_net_hdr` without the count of buffers.
const VNET: usize = 10;
const IP: usize = 20;
const UDP: usize = 8;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`.
const GSO_UDP: u8 = 5;

/// The frame of a datagram. IPv4 lets the UDP checksum be left out.
pub fn write(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0u8; VNET + IP + UDP];
    let ip = &mut frame[VNET..VNET + IP];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&((IP + UDP + payload.len()) as u16).to_be_bytes());
    (ip[8], ip[9]) = (64, 17);
    ip[12..16].copy_from_slice(&from.ip().octets());
    ip[16..20].copy_from_slice(&to.ip().octets());
    let mut sum: u32 = ip.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let udp = &mut frame[VNET + IP..];
    udp[..2].copy_from_slice(&from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&((UDP + payload.len()) as u16).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Destination and datagrams of a frame: several if it is a run. `None` for anything but UDP over IPv4.
pub fn read(frame: &mut [u8]) -> Option<(SocketAddrV4, impl Iterator<Item = &mut [u8]>)> {
    let (vnet, packet) = frame.split_at_mut_checked(VNET)?;
    let run = vnet[1] & 0x7f == GSO_UDP;
    let segment = usize::from(u16::from_ne_bytes([vnet[4], vnet[5]]));
    if packet.len() < IP + UDP || packet[0] != 0x45 || packet[9] != 17 {
        return None;
    }
    let ip = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
    let (header, payload) = packet.split_at_mut(IP + UDP);
    let to = SocketAddrV4::new(ip, u16::from_be_bytes([header[IP + 2], header[IP + 3]]));
    let size = if run && segment > 0 { segment } else { payload.len().max(1) };
    Some((to, payload.chunks_mut(size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_run_comes_apart() {
        let (a, b) = (SocketAddrV4::new([198, 18, 0, 1].into(), 7), SocketAddrV4::new([198, 18, 1, 2].into(), 9));
        let mut frame = write(a, b, &[1, 2, 3, 4, 5]);
        let (to, datagrams) = read(&mut frame).expect("UDP");
        assert_eq!((to, datagrams.map(|d| d.to_vec()).collect::<Vec<_>>()), (b, vec![vec![1, 2, 3, 4, 5]]));
        frame[1] = GSO_UDP;
        frame[4..6].copy_from_slice(&2u16.to_ne_bytes());
        let (_, datagrams) = read(&mut frame).expect("UDP");
        assert_eq!(datagrams.map(|d| d.len()).collect::<Vec<_>>(), [2, 2, 1]);
        assert!(read(&mut [0; 37]).is_none() && read(&mut []).is_none());
    }
}

//! What a datagram is, told from its first two bytes (RFC 7983, section 7; RFC 5761, section 4).

/// The protocol of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatagramKind {
    /// First byte 0 to 3.
    Stun,
    /// First byte 16 to 19.
    Zrtp,
    /// First byte 20 to 63.
    Dtls,
    /// First byte 64 to 79.
    TurnChannel,
    /// First byte 128 to 191, second byte outside 192 to 223.
    Rtp,
    /// First byte 128 to 191, second byte, the RTCP packet type, 192 to 223.
    Rtcp,
}

/// Tells the protocol; `None` for an empty datagram, an RTP or RTCP datagram of one byte, and first
/// bytes that belong to no protocol. This is a guess by two bytes: the parsers decide.
#[inline]
pub fn classify(datagram: &[u8]) -> Option<DatagramKind> {
    match (*datagram.first()?, datagram.get(1)) {
        (0..=3, _) => Some(DatagramKind::Stun),
        (16..=19, _) => Some(DatagramKind::Zrtp),
        (20..=63, _) => Some(DatagramKind::Dtls),
        (64..=79, _) => Some(DatagramKind::TurnChannel),
        (128..=191, Some(192..=223)) => Some(DatagramKind::Rtcp),
        (128..=191, Some(_)) => Some(DatagramKind::Rtp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_001_first_bytes_outside_the_ranges_are_nothing() {
        assert_eq!(classify(&[]), None);
        for first in 0..=255_u8 {
            let expected = match first {
                0..=3 => Some(DatagramKind::Stun),
                16..=19 => Some(DatagramKind::Zrtp),
                20..=63 => Some(DatagramKind::Dtls),
                64..=79 => Some(DatagramKind::TurnChannel),
                128..=191 => Some(DatagramKind::Rtp),
                4..=15 | 80..=127 | 192..=255 => None,
            };
            assert_eq!(classify(&[first, 0]), expected);
            let mut huge = vec![0; 65_507];
            huge[0] = first;
            assert_eq!(classify(&huge), expected);
            let alone = expected.filter(|kind| *kind != DatagramKind::Rtp);
            assert_eq!(classify(&[first]), alone);
        }
    }

    #[test]
    fn row_028_payload_types_64_to_95_are_rtcp_under_mux() {
        for second in 0..=255_u8 {
            let rtcp = (192..=223).contains(&second);
            assert_eq!(classify(&[0x80, second]) == Some(DatagramKind::Rtcp), rtcp);
            // The marker bit plus a payload type of 64 to 95 is what falls into that range.
            assert_eq!(rtcp, second & 0x80 != 0 && (64..=95).contains(&(second & 0x7f)));
        }
    }
}

//! What an eavesdropper must never see: two byte strings under one key and one index (RFC 3711, section 9.1;
//! RFC 7714, section 8.4). Everything that the shard sends in a rough call is looked at, for each profile.

use std::collections::HashMap;
use std::time::Duration;

use sfu_core::command::Command;
use sfu_proto::srtp::SrtpProfile;
use sfu_sim::call::{Call, Start};
use sfu_sim::net::LinkConfig;
use sfu_sim::world::World;
use sfu_wire::demux::{DatagramKind, classify};
use sfu_wire::rtp::RtpView;
use sfu_wire::seq::SeqExtender;

/// Packets by key (each member has its own), SSRC and index, RTP and RTCP apart.
#[derive(Default)]
struct Nonces {
    seen: HashMap<(usize, bool, u32, u64), Vec<u8>>,
    indices: HashMap<(usize, u32), SeqExtender>,
    sequences: HashMap<(usize, u32), u16>,
}

impl Nonces {
    fn take(&mut self, profile: SrtpProfile, member: usize, bytes: &[u8]) {
        let key = match classify(bytes) {
            Some(DatagramKind::Rtp) => {
                let view = RtpView::parse(bytes).expect("the header is not encrypted");
                let first = *self.sequences.entry((member, view.ssrc)).or_insert(view.sequence);
                assert!(first < 0x8000, "streams begin far from the first wrap");
                let index = self.indices.entry((member, view.ssrc)).or_default().extend(view.sequence);
                (member, false, view.ssrc, index.expect("no jumps"))
            }
            Some(DatagramKind::Rtcp) => {
                let ssrc = u32::from_be_bytes(bytes[4..8].try_into().expect("four bytes"));
                // The index stands before the tag; with GCM the tag is within the ciphertext.
                let tag = if profile.openssl_name().contains("GCM") { 0 } else { 10 };
                let end = bytes.len() - tag;
                let index = u32::from_be_bytes(bytes[end - 4..end].try_into().expect("four bytes")) & 0x7fff_ffff;
                (member, true, ssrc, u64::from(index))
            }
            _ => return,
        };
        if let Some(before) = self.seen.insert(key, bytes.to_vec()) {
            assert_eq!(before, bytes, "{profile:?}: two byte strings under one index {key:?}");
        }
    }
}

#[test]
fn h12_no_index_covers_two_byte_strings_in_a_call_with_loss_resends_pauses_and_restarts() {
    let link = LinkConfig {
        delay: Duration::from_millis(40),
        jitter: Duration::from_millis(20),
        loss: 80,
        duplicate: 30,
        reorder: 60,
        ..LinkConfig::default()
    };
    for profile in SrtpProfile::ALL {
        println!("{profile:?}");
        let mut world = World::with_profiles(12, vec![profile]);
        world.tap = Some(Vec::new());
        let mut call = Call::new(world, link, 2, Start { sequence: 65_500, timestamp: u32::MAX - 9_000 });
        call.send_frames(60, 4);
        let (first, second) = (call.subscribers[0].consumer, call.subscribers[1].consumer);
        for paused in [true, false] {
            let command = |object| if paused { Command::Pause { object } } else { Command::Resume { object } };
            call.command(command(first));
            call.send_frames(10, 4);
        }
        // A consumer goes and another comes, on the same transport and under the same key.
        call.command(Command::Close { object: second });
        let member = call.subscribers[1].member;
        let again = call.world.consume(member, sfu_sim::call::consumer_config(call.producer));
        call.send_frames(40, 4);
        // The publisher starts over, far from where it was.
        call.source.sequence = call.source.sequence.wrapping_add(20_000);
        call.send_frames(60, 4);
        call.pass(Duration::from_secs(2));
        let repaired: u64 = call.subscribers.iter().map(|s| s.sink.repaired).sum();
        assert!(repaired > 10, "{repaired} resends");
        let mut nonces = Nonces::default();
        for (member, bytes) in call.world.tap.take().expect("the tap") {
            nonces.take(profile, member, &bytes);
        }
        let sent = |ssrc: u32| nonces.seen.keys().filter(|(_, rtcp, s, _)| !rtcp && *s == ssrc).count();
        assert!(sent(again.ssrc) > 100, "the new consumer flows");
        assert!(nonces.seen.keys().any(|(_, rtcp, ..)| *rtcp));
    }
}

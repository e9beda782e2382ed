//! What of an encoding goes to a mirror: the layers that somebody there wants, in a stream without gaps.
//!
//! Told: packets of the encoding, and the highest layers wanted there. Tells: whether a packet goes there, and how it then
//! differs from what its publisher sent ([`Sifted`]). It is a consumer's choice of layers, made once for all who are there:
//! lower layers pass too, since each of them chooses again; what is left out has no number, so that nobody misses it; what
//! is asked for again is found by its number.
//! Limits: the last [`NUMBERS`] packets that went there. Left out: repair packets, once anything was left out, since
//! they are about numbers that nobody there knows.

use sfu_proto::layers::{Selector, TargetTable};
use sfu_proto::rewrite::SequenceMap;
use sfu_wire::scalability::{Layers, ScalabilityMode};

use super::Ingress;
use crate::peer::Sifted;

/// As many as a mirror asks for before it gives up.
const NUMBERS: usize = 1_024;
/// Bits of a note that are the pictures left out before; the highest one is the marker.
const PICTURES: u16 = 0x7fff;

/// See the module.
#[derive(Debug)]
pub(super) struct Sieve {
    selector: Selector,
    numbers: SequenceMap,
    epoch: u32,
    /// Numbers are not those of the publisher (any more): something was left out.
    is_cut: bool,
}

impl Sieve {
    /// A sieve whose stream begins with this packet.
    pub(super) fn new(ingress: &Ingress, mode: ScalabilityMode, target: Layers) -> Self {
        let mut selector = Selector::new();
        selector.set_below(true);
        selector.set_target(target);
        let numbers = SequenceMap::new(ingress.position as u16, NUMBERS);
        let mut sieve = Self { selector, numbers, epoch: ingress.epoch, is_cut: false };
        sieve.begin(ingress, mode);
        sieve
    }

    /// The stream begins anew with this packet.
    pub(super) fn begin(&mut self, ingress: &Ingress, mode: ScalabilityMode) {
        self.selector.start(mode);
        self.numbers.start(ingress.position);
        self.epoch = ingress.epoch;
        self.is_cut = self.numbers.next_number() != ingress.position as u16;
    }

    /// The source was restarted before this packet.
    pub(super) fn is_restarted(&self, ingress: &Ingress) -> bool {
        ingress.epoch != self.epoch && ingress.epoch.wrapping_sub(self.epoch) < 1 << 31
    }

    /// The highest layers wanted from now on, of those that there are.
    pub(super) fn set_target(&mut self, target: Layers) {
        self.selector.set_target(target);
    }

    /// A layer that is wanted can only be had with a key frame.
    pub(super) fn wants_key_frame(&self) -> bool {
        self.selector.wants_key_frame()
    }

    /// How a packet goes there; `None`: it does not.
    pub(super) fn pass(&mut self, ingress: &Ingress, table: &TargetTable) -> Option<Sifted> {
        if ingress.epoch != self.epoch {
            return None;
        }
        if ingress.blank.is_some() && self.is_cut {
            return self.leave_out(ingress);
        }
        let mut note = if ingress.marker { !PICTURES } else { 0 };
        if ingress.blank.is_none() && !ingress.undecided {
            let verdict = self.selector.select(&ingress.layer, ingress.timestamp, table);
            if !verdict.forward {
                return self.leave_out(ingress);
            }
            note |= verdict.dropped & PICTURES | if verdict.marker { !PICTURES } else { 0 };
        }
        let (sequence, note) = self.numbers.map(ingress.position, note)?;
        Some(self.sifted(sequence, note, table, ingress))
    }

    /// How a packet went there that is asked for again; `None`: it did not.
    pub(super) fn pass_again(&self, ingress: &Ingress, table: &TargetTable) -> Option<Sifted> {
        let (sequence, note) = self.numbers.number_of(ingress.position).filter(|_| ingress.epoch == self.epoch)?;
        Some(self.sifted(sequence, note, table, ingress))
    }

    /// The position of what went there under a number, if it was lately; `newest` is that of the encoding.
    pub(super) fn locate(&self, sequence: u16, newest: u64) -> Option<u64> {
        let origin = self.numbers.locate(sequence).filter(|origin| origin.stretch == self.numbers.stretch())?;
        newest.checked_sub(u64::from((newest as u32).wrapping_sub(origin.position)))
    }

    /// Leaves a packet out. Where its number was passed already, nothing goes there under it.
    fn leave_out(&mut self, ingress: &Ingress) -> Option<Sifted> {
        self.is_cut = true;
        if self.numbers.skip(ingress.position, 0) {
            return None;
        }
        let sequence = self.numbers.fill(ingress.position)?;
        Some(Sifted { sequence, marker: false, pictures: 0, targets: None, blank: true })
    }

    fn sifted(&self, sequence: u16, note: u16, table: &TargetTable, ingress: &Ingress) -> Sifted {
        let targets = (table.count() > 0).then(|| self.selector.active_targets(table, ingress.layer.frame).0);
        Sifted { sequence, marker: note & !PICTURES != 0, pictures: note & PICTURES, targets, blank: false }
    }
}

#[cfg(test)]
mod tests {
    use sfu_wire::codec::CodecKind;
    use sfu_wire::drop_reason::DropReason;
    use sfu_wire::rtp::RtpView;
    use sfu_wire::time::Time;

    use super::*;
    use crate::consumer::rig::{In, PT, SSRC, producer_config};
    use crate::producer::Producer;

    const LOWEST: Layers = Layers::new(0, 0);
    const FIRST: u16 = 65_530;

    /// A publisher of two temporal layers in turns, those above referring to the ones below alone.
    struct Publisher(Producer);

    impl Publisher {
        fn new() -> Self {
            let id = sfu_wire::id::ObjectId::new(0, sfu_wire::id::ObjectKind::Producer, 1, 1);
            Self(Producer::new(Time::ZERO, id, id, producer_config(CodecKind::Vp8)).expect("a producer"))
        }

        /// Its `n`th picture, of one packet; each tenth is a key frame.
        fn picture(&mut self, n: u16) -> Ingress {
            let layer = if n.is_multiple_of(2) { 0 } else { 0x60 };
            let [high, low] = n.to_be_bytes();
            let payload =
                vec![0x90, 0xe0, 0x80 | high, low, (n / 2) as u8, layer, u8::from(!n.is_multiple_of(10)), 2, 0];
            let seq = FIRST.wrapping_add(n);
            let packet =
                In { ssrc: SSRC, pt: PT, seq, ts: 3_000 * u32::from(n), marker: true, exts: &[], payload, padding: 0 };
            let bytes = packet.bytes();
            let view = RtpView::parse(&bytes).expect("RTP");
            let now = Time::from_millis(33 * u64::from(n));
            self.0.handle_rtp(now, now, &bytes, &view).expect("it is sound")
        }
    }

    fn sieve(first: &Ingress) -> Sieve {
        Sieve::new(first, ScalabilityMode::default(), LOWEST)
    }

    fn told(sifted: Option<Sifted>) -> Option<(u16, u16, bool)> {
        sifted.map(|s| (s.sequence.wrapping_sub(FIRST), s.pictures, s.blank))
    }

    #[test]
    fn what_is_left_out_has_no_number_and_what_went_is_found_by_its_own() {
        let mut publisher = Publisher::new();
        let pictures: Vec<Ingress> = (0..40).map(|n| publisher.picture(n)).collect();
        let mut sieve = sieve(&pictures[0]);
        let none = TargetTable::default();
        for (n, ingress) in (0..).zip(&pictures) {
            let expected = (n % 2 == 0).then_some((n / 2, n / 2, false));
            assert_eq!(told(sieve.pass(ingress, &none)), expected, "picture {n}");
        }
        let newest = pictures[39].position;
        for n in 0..20_u16 {
            let ingress = &pictures[usize::from(2 * n)];
            assert_eq!(sieve.locate(FIRST.wrapping_add(n), newest), Some(ingress.position));
            assert_eq!(told(sieve.pass_again(ingress, &none)), Some((n, n, false)));
        }
        assert_eq!(sieve.locate(FIRST.wrapping_add(20), newest), None, "nothing went there under it");
        assert_eq!(sieve.pass_again(&pictures[1], &none), None);
        // All is wanted: from the next picture of the upper layer on, which refers to nothing that was left out.
        sieve.set_target(Layers::new(0, 1));
        let more: Vec<_> = (40..44).map(|n| told(sieve.pass(&publisher.picture(n), &none))).collect();
        assert_eq!(more, (20..24).map(|n| Some((n, 20, false))).collect::<Vec<_>>());
    }

    #[test]
    fn what_comes_late_has_the_number_that_was_left_for_it_and_is_blank_if_nobody_wants_it() {
        let mut publisher = Publisher::new();
        let none = TargetTable::default();
        let first = publisher.picture(0);
        let mut sieve = sieve(&first);
        assert_eq!(told(sieve.pass(&first, &none)), Some((0, 0, false)));
        // 1 and 4 are late.
        for (n, expected) in [(2, Some((2, 0, false))), (3, None), (5, None), (6, Some((4, 2, false)))] {
            assert_eq!(told(sieve.pass(&publisher.picture(n), &none)), expected, "picture {n}");
        }
        let (unwanted, wanted) = (publisher.picture(1), publisher.picture(4));
        assert_eq!(told(sieve.pass(&unwanted, &none)), Some((1, 0, true)), "a number that nobody is to wait for");
        assert_eq!(told(sieve.pass(&unwanted, &none)), None, "told once");
        assert_eq!(told(sieve.pass(&wanted, &none)), Some((3, 1, false)));
        assert_eq!(told(sieve.pass_again(&wanted, &none)), Some((3, 1, false)));
    }

    #[test]
    fn a_source_that_starts_anew_goes_on_with_the_next_number() {
        let mut publisher = Publisher::new();
        let none = TargetTable::default();
        let pictures: Vec<Ingress> = (0..4).map(|n| publisher.picture(n)).collect();
        let mut sieve = sieve(&pictures[0]);
        for ingress in &pictures {
            sieve.pass(ingress, &none);
        }
        let mut anew = publisher.picture(10);
        (anew.epoch, anew.position) = (1, anew.position + 0x1_0000);
        assert!(sieve.is_restarted(&anew) && !sieve.is_restarted(&pictures[3]));
        assert_eq!(sieve.pass(&anew, &none), None, "before it is begun with");
        sieve.begin(&anew, ScalabilityMode::default());
        let repair = |n: u64| Ingress { blank: Some(DropReason::RtpFec), position: anew.position + n, ..anew.clone() };
        assert_eq!(told(sieve.pass(&anew, &none)), Some((2, 0, false)));
        assert_eq!(sieve.pass(&repair(1), &none), None, "it is about other numbers");
        let mut whole = Sieve::new(&anew, ScalabilityMode::default(), LOWEST);
        assert!(
            whole.pass(&anew, &none).is_some() && whole.pass(&repair(1), &none).is_some(),
            "and this about the same"
        );
        assert_eq!(sieve.pass(&pictures[3], &none), None, "what is late of the one before belongs to nothing");
        assert_eq!(sieve.locate(FIRST, anew.position), None);
    }
}

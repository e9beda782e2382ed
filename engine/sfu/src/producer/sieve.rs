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
    /// Something was left out since the stream began.
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
        self.is_cut = false;
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

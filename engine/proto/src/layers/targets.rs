//! Layers told by the dependency descriptor: decode targets, known by what frames are to them.

use sfu_wire::dependency_descriptor::{DependencyDescriptor, Indication, MAX_DECODE_TARGETS, TemplateStructure};
use sfu_wire::scalability::Layers;

use super::PacketLayer;

/// Frames that are remembered, by number.
const WINDOW: u16 = 128;

/// Decode targets that can be decoded from the frame on, one bit each.
pub(super) fn switches(descriptor: &DependencyDescriptor) -> u32 {
    let present = descriptor.indications.present();
    let mut rest = present;
    let mut switches = 0;
    while rest != 0 {
        let target = rest.trailing_zeros();
        rest &= rest - 1;
        if descriptor.indications.of(target as usize) == Indication::Switch {
            switches |= 1 << target;
        }
    }
    switches
}

/// What the choice among decode targets needs to know of a structure: made once per structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetTable {
    /// Counts structures of the stream.
    pub generation: u8,
    count: u8,
    /// Targets that are produced now, one bit each.
    active: u32,
    layers: [(u8, u8); MAX_DECODE_TARGETS],
    /// For each target the targets that consist of frames of it alone, itself included.
    within: [u32; MAX_DECODE_TARGETS],
}

impl Default for TargetTable {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl TargetTable {
    /// That of a stream without a structure.
    pub const EMPTY: Self = Self {
        generation: 0,
        count: 0,
        active: 0,
        layers: [(0, 0); MAX_DECODE_TARGETS],
        within: [0; MAX_DECODE_TARGETS],
    };

    /// The table of a structure.
    pub fn new(structure: &TemplateStructure, generation: u8) -> Self {
        let count = structure.target_count();
        let mut this = Self { generation, count, active: structure.all_targets(), ..Self::default() };
        for target in 0..usize::from(count) {
            this.layers[target] = structure.target_layers(target).unwrap_or_default();
            // Out goes whatever has a frame that this one has not.
            let without = structure.templates().iter().filter(|t| t.indications.present() >> target & 1 == 0);
            let others = without.fold(0, |others, template| others | template.indications.present());
            this.within[target] = structure.all_targets() & !others;
        }
        this
    }

    /// The stream says which targets are produced from here on.
    pub fn set_active(&mut self, active: u32) {
        self.active = active;
    }

    /// Targets that are produced now.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// How many targets there are; none without a structure.
    pub fn count(&self) -> u8 {
        self.count
    }

    /// The highest layers that any active target has.
    pub fn highest(&self) -> Layers {
        let active = (0..usize::from(self.count)).filter(|t| self.active >> t & 1 == 1);
        active.fold(Layers::default(), |top, target| {
            let (spatial, temporal) = self.layers[target];
            Layers::new(top.spatial.max(spatial), top.temporal.max(temporal))
        })
    }

    /// All targets within these layers that are produced; where there is none, the one that is best.
    fn all_within(&self, wanted: Layers) -> u32 {
        let within = (0..self.count).filter(|t| {
            let (spatial, temporal) = self.layers[usize::from(*t)];
            spatial <= wanted.spatial && temporal <= wanted.temporal
        });
        let within = within.fold(0, |all, target| all | 1 << target) & self.active;
        if within == 0 { self.best(wanted).map_or(0, |best| 1 << best) } else { within }
    }

    /// The highest of these targets.
    fn top(&self, targets: u32) -> Option<u8> {
        let among = (0..self.count).filter(|t| targets >> t & 1 == 1);
        among.max_by_key(|t| (self.layers[usize::from(*t)], std::cmp::Reverse(*t)))
    }

    /// The best target within these layers: of those that are produced, else of all; none without a
    /// structure.
    fn best(&self, wanted: Layers) -> Option<u8> {
        let all = 0..self.count;
        let fits = |t: &u8| {
            let (spatial, temporal) = self.layers[usize::from(*t)];
            spatial <= wanted.spatial && temporal <= wanted.temporal
        };
        let rank = |t: &u8| (self.layers[usize::from(*t)], std::cmp::Reverse(*t));
        let active = |t: &u8| self.active >> t & 1 == 1;
        let lowest = all.clone().filter(active).min_by_key(rank);
        all.clone().filter(|t| fits(t) && active(t)).max_by_key(rank).or(lowest).or(all.filter(fits).max_by_key(rank))
    }
}

/// The state of one receiver.
#[derive(Debug, Clone, Copy, Default)]
pub struct Targets {
    started: bool,
    generation: u8,
    /// The target that flows, and the one that is wanted.
    current: u8,
    best: u8,
    /// All targets whose frames pass, and all that are wanted: these alone, or those below them too.
    flowing: u32,
    wanted: u32,
    /// What `best` was found for.
    asked: (Layers, u32),
    newest: u16,
    /// Bit k: frame `newest - k` was decided on.
    decided: u128,
    /// Bit k: frame `newest - k` is forwarded.
    forwarded: u128,
    /// Where the current target changed last.
    changed_at: u16,
}

/// What is known of a frame.
enum Place {
    /// It was decided on, or is now.
    Decided(bool),
    /// It is newer than all; perhaps with a new structure, or the first of all.
    New { anew: bool },
}

impl Targets {
    /// Whether a packet is forwarded. Where its picture is not open any more, nothing is added to it.
    pub(super) fn select(&mut self, layer: &PacketLayer, table: &TargetTable, wanted: Layers, is_open: bool) -> bool {
        let anew = match self.place(layer, table) {
            Place::Decided(forward) => return forward,
            Place::New { anew } => anew,
        };
        if anew || self.asked != (wanted, table.active) {
            self.asked = (wanted, table.active);
            self.best = table.best(wanted).unwrap_or(0);
        }
        if anew || self.best != self.current && is_open && self.may_switch(layer, table) {
            self.current = self.best;
            self.changed_at = layer.frame;
        }
        self.flowing = 1 << self.current;
        self.decide(layer)
    }

    /// The same for a receiver that chooses among the targets itself: all within the layers wanted flow, each from where it
    /// can be decoded. They end where a picture begins.
    pub(super) fn select_below(
        &mut self,
        layer: &PacketLayer,
        table: &TargetTable,
        wanted: Layers,
        (begins, is_open): (bool, bool),
    ) -> bool {
        let anew = match self.place(layer, table) {
            Place::Decided(forward) => return forward,
            Place::New { anew } => anew,
        };
        if anew || self.asked != (wanted, table.active) {
            self.asked = (wanted, table.active);
            self.best = table.best(wanted).unwrap_or(0);
            self.wanted = table.all_within(wanted);
        }
        let before = self.flowing;
        let may_begin = match () {
            () if anew || layer.key => self.wanted,
            () if is_open && self.has_references(layer) => layer.switch & self.wanted,
            () => 0,
        };
        let goes_on = if begins { before & self.wanted } else { before };
        self.flowing = if anew { self.wanted } else { goes_on | may_begin };
        if anew || self.flowing != before {
            self.current = table.top(self.flowing).unwrap_or(self.current);
            self.changed_at = layer.frame;
        }
        self.decide(layer)
    }

    /// Where a packet's frame is; what has been decided on it stays so.
    fn place(&mut self, layer: &PacketLayer, table: &TargetTable) -> Place {
        if table.count == 0 || table.generation != layer.generation {
            return Place::Decided(false);
        }
        let back = self.newest.wrapping_sub(layer.frame);
        if self.started && back < WINDOW && self.decided >> back & 1 == 1 {
            return Place::Decided(self.forwarded >> back & 1 == 1);
        }
        if self.started && back < 1 << 15 {
            return Place::Decided(back < WINDOW && self.decide_late(layer, back));
        }
        self.advance(layer.frame);
        let anew = !self.started || self.generation != layer.generation;
        (self.started, self.generation) = (true, layer.generation);
        Place::New { anew }
    }

    fn decide(&mut self, layer: &PacketLayer) -> bool {
        let forward = layer.present & self.flowing != 0;
        self.note(0, forward);
        forward
    }

    /// The layers that flow.
    pub(super) fn layers(&self, table: &TargetTable) -> Layers {
        let (spatial, temporal) = table.layers[usize::from(self.current) % MAX_DECODE_TARGETS];
        Layers::new(spatial, temporal)
    }

    /// The wanted spatial layer begins with a key frame only.
    pub(super) fn wants_key_frame(&self, table: &TargetTable) -> bool {
        let spatial = |target: u8| table.layers[usize::from(target) % MAX_DECODE_TARGETS].0;
        self.started && spatial(self.best) != spatial(self.current)
    }

    /// The targets that can be decoded of what is forwarded; `true`: they changed at this frame.
    pub(super) fn active(&self, table: &TargetTable, frame: u16) -> (u32, bool) {
        let mut within = 0;
        let mut rest = self.flowing;
        while rest != 0 {
            within |= table.within[rest.trailing_zeros() as usize % MAX_DECODE_TARGETS];
            rest &= rest - 1;
        }
        (within & table.active, self.started && self.changed_at == frame)
    }

    fn may_switch(&self, layer: &PacketLayer, table: &TargetTable) -> bool {
        let within = table.within[usize::from(self.current) % MAX_DECODE_TARGETS] >> self.best & 1 == 1;
        within || layer.key || layer.switch >> self.best & 1 == 1 && self.has_references(layer)
    }

    /// All frames that a new frame refers to are forwarded.
    fn has_references(&self, layer: &PacketLayer) -> bool {
        let needed = u128::from(layer.references) << 1;
        !layer.refers_far && needed & !self.forwarded == 0
    }

    fn decide_late(&mut self, layer: &PacketLayer, back: u16) -> bool {
        let forward = layer.generation == self.generation && layer.present & self.flowing != 0;
        self.note(back, forward);
        forward
    }

    fn advance(&mut self, frame: u16) {
        let by = frame.wrapping_sub(self.newest);
        let shifted = |bits: u128| if by < WINDOW && self.started { bits << by } else { 0 };
        (self.decided, self.forwarded) = (shifted(self.decided), shifted(self.forwarded));
        self.newest = frame;
    }

    fn note(&mut self, back: u16, forward: bool) {
        self.decided |= 1 << back;
        self.forwarded |= u128::from(forward) << back;
    }
}

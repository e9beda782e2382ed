//! The template dependency structure: what all frames of a coded video sequence have in common
//! (AV1 RTP specification, appendix A.8.3). Sent with key frames, kept by whoever reads the rest.

use super::{MAX_CHAINS, MAX_DECODE_TARGETS, MAX_FRAME_DIFFS, MAX_SPATIAL_LAYERS, MAX_TEMPLATES, MAX_TEMPORAL_LAYERS};
use crate::bits::{BitReader, BitWriter};
use crate::error::ParseError;

/// What a frame is to a decode target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Indication {
    /// `-`: no part of it.
    NotPresent = 0,
    /// `D`: part of it, and nothing later of it refers to the frame.
    Discardable = 1,
    /// `S`: part of it, and the target can be decoded from here on if all before it of the chain
    /// was received.
    Switch = 2,
    /// `R`: part of it, and needed later.
    Required = 3,
}

/// An [`Indication`] for each decode target, two bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Indications(u64);

impl Indications {
    /// For one target; [`Indication::NotPresent`] for one that does not exist.
    #[inline]
    pub const fn of(self, target: usize) -> Indication {
        if target >= MAX_DECODE_TARGETS {
            return Indication::NotPresent;
        }
        match self.0 >> (2 * target) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    /// Targets that the frame is part of, one bit each, target 0 lowest.
    #[inline]
    pub const fn present(self) -> u32 {
        // The lower bit of each pair is set for any that is not 0; then the pairs close up.
        let mut bits = (self.0 | self.0 >> 1) & 0x5555_5555_5555_5555;
        bits = (bits | bits >> 1) & 0x3333_3333_3333_3333;
        bits = (bits | bits >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
        bits = (bits | bits >> 4) & 0x00ff_00ff_00ff_00ff;
        bits = (bits | bits >> 8) & 0x0000_ffff_0000_ffff;
        (bits | bits >> 16) as u32
    }

    /// Reads the letters of the specification, `-DSR`, target 0 first; `None` for any other letter
    /// and for more than 32 of them.
    pub fn from_letters(letters: &str) -> Option<Self> {
        if letters.len() > MAX_DECODE_TARGETS {
            return None;
        }
        let mut value = 0;
        for (target, letter) in letters.bytes().enumerate() {
            value |= (b"-DSR".iter().position(|known| *known == letter)? as u64) << (2 * target);
        }
        Some(Self(value))
    }

    pub(super) fn read(bits: &mut BitReader<'_>, targets: u8) -> Result<Self, ParseError> {
        let mut value = 0;
        for target in 0..u32::from(targets) {
            value |= u64::from(bits.bits(2)?) << (2 * target);
        }
        Ok(Self(value))
    }

    pub(super) fn write(self, out: &mut BitWriter<'_>, targets: u8) {
        for target in 0..u32::from(targets) {
            out.bits((self.0 >> (2 * target) & 3) as u32, 2);
        }
    }
}

/// Distances to the frames that a frame refers to, in frame numbers, none of them 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameDiffs {
    diffs: [u16; MAX_FRAME_DIFFS],
    len: u8,
}

impl FrameDiffs {
    /// Takes a list; `None` for more than eight, for 0 and for more than twelve bits.
    pub fn new(diffs: &[u16]) -> Option<Self> {
        let mut this = Self::default();
        diffs.iter().try_for_each(|diff| if (1..=4096).contains(diff) { this.push(*diff).ok() } else { None })?;
        Some(this)
    }

    /// The list.
    #[inline]
    pub fn as_slice(&self) -> &[u16] {
        self.diffs.get(..usize::from(self.len)).unwrap_or(&[])
    }

    pub(super) fn push(&mut self, diff: u16) -> Result<(), ParseError> {
        let slot = self.diffs.get_mut(usize::from(self.len));
        *slot.ok_or(ParseError::new("dependency descriptor refers to too many frames", 0))? = diff;
        self.len += 1;
        Ok(())
    }
}

/// What all frames that name a template have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Template {
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// What the frame is to each decode target.
    pub indications: Indications,
    /// Frames that it refers to, each at most 16 back.
    pub frame_diffs: FrameDiffs,
    /// Distance to the last frame of each chain, four bits each.
    chain_diffs: u128,
}

impl Template {
    /// Makes a template; `None` for a layer above 7, a reference more than 16 back, more than 32
    /// chains or a chain distance above 15.
    pub fn new(spatial: u8, temporal: u8, indications: Indications, diffs: &[u16], chains: &[u8]) -> Option<Self> {
        let layers = usize::from(spatial) < MAX_SPATIAL_LAYERS && usize::from(temporal) < MAX_TEMPORAL_LAYERS;
        let near = diffs.iter().all(|diff| *diff <= 16) && chains.iter().all(|diff| *diff <= 15);
        if !layers || !near || chains.len() > MAX_CHAINS {
            return None;
        }
        let chain_diffs = chains.iter().rev().fold(0, |all, diff| all << 4 | u128::from(*diff));
        Some(Self { spatial, temporal, indications, frame_diffs: FrameDiffs::new(diffs)?, chain_diffs })
    }

    /// Distance to the last frame of a chain; 0 for none.
    #[inline]
    pub const fn chain_diff(&self, chain: usize) -> u8 {
        if chain < MAX_CHAINS { (self.chain_diffs >> (4 * chain)) as u8 & 15 } else { 0 }
    }
}

/// A structure; without templates until one was read.
#[derive(Clone, PartialEq, Eq)]
pub struct TemplateStructure {
    /// `template_id_offset`: the id of the first template.
    offset: u8,
    template_count: u8,
    target_count: u8,
    chain_count: u8,
    has_resolutions: bool,
    templates: [Template; MAX_TEMPLATES],
    /// Spatial and temporal layer of each decode target.
    target_layers: [(u8, u8); MAX_DECODE_TARGETS],
    protected_by: [u8; MAX_DECODE_TARGETS],
    resolutions: [(u16, u16); MAX_SPATIAL_LAYERS],
}

impl Default for TemplateStructure {
    fn default() -> Self {
        Self {
            offset: 0,
            template_count: 0,
            target_count: 0,
            chain_count: 0,
            has_resolutions: false,
            templates: [Template::default(); MAX_TEMPLATES],
            target_layers: [(0, 0); MAX_DECODE_TARGETS],
            protected_by: [0; MAX_DECODE_TARGETS],
            resolutions: [(0, 0); MAX_SPATIAL_LAYERS],
        }
    }
}

impl std::fmt::Debug for TemplateStructure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TemplateStructure")
            .field("offset", &self.offset)
            .field("templates", &self.templates())
            .field("targets", &self.target_count)
            .field("chains", &self.chain_count)
            .field("resolutions", &self.resolutions())
            .finish_non_exhaustive()
    }
}

impl TemplateStructure {
    /// Makes a structure, for those who publish: simulated senders, tests and players. `protected_by`
    /// has the chain of each decode target, or is empty without chains; templates are sorted by
    /// layer; `resolutions` has one entry per spatial layer, width and height less one, or is empty.
    pub fn new(
        offset: u8,
        templates: &[Template],
        target_count: u8,
        protected_by: &[u8],
        resolutions: &[(u16, u16)],
    ) -> Result<Self, ParseError> {
        let refused = |what| Err(ParseError::new(what, 0));
        let mut this = Self { offset, target_count, ..Self::default() };
        if offset >= 64 || target_count == 0 || usize::from(target_count) > MAX_DECODE_TARGETS {
            return refused("template offset or count of decode targets out of range");
        }
        // Each is of the layer of the one before, or one step up in time, or the first of the next.
        let sorted = templates.first().is_some_and(|first| (first.spatial, first.temporal) == (0, 0))
            && templates.is_sorted_by(|before, after| {
                (after.spatial == before.spatial && matches!(after.temporal.wrapping_sub(before.temporal), 0 | 1))
                    || (after.spatial == before.spatial + 1 && after.temporal == 0)
            });
        let Some(slots) = this.templates.get_mut(..templates.len()).filter(|_| sorted) else {
            return refused("templates missing, too many, or not in the order of their layers");
        };
        slots.copy_from_slice(templates);
        this.template_count = templates.len() as u8;
        if !protected_by.is_empty() {
            let Some(slots) = this.protected_by.get_mut(..protected_by.len()) else {
                return refused("more chains than decode targets");
            };
            slots.copy_from_slice(protected_by);
            this.chain_count = protected_by.iter().max().map_or(0, |chain| chain.saturating_add(1));
            if protected_by.len() != usize::from(target_count) || this.chain_count > target_count {
                return refused("one chain for each decode target, and no more chains than those");
            }
        }
        if !resolutions.is_empty() {
            if resolutions.len() != usize::from(this.spatial_layers()) {
                return refused("one resolution for each spatial layer");
            }
            this.has_resolutions = true;
            for (slot, resolution) in this.resolutions.iter_mut().zip(resolutions) {
                *slot = *resolution;
            }
        }
        this.find_target_layers();
        Ok(this)
    }

    /// Was none read yet?
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.template_count == 0
    }

    /// The id of the first template.
    pub const fn offset(&self) -> u8 {
        self.offset
    }

    /// The templates, sorted by layer.
    pub fn templates(&self) -> &[Template] {
        self.templates.get(..usize::from(self.template_count)).unwrap_or(&[])
    }

    /// The template with this id, which counts from [`TemplateStructure::offset`] modulo 64.
    #[inline]
    pub fn template(&self, id: u8) -> Option<&Template> {
        self.templates().get(usize::from(id.wrapping_sub(self.offset) & 63))
    }

    /// How many decode targets there are, 1 to 32.
    #[inline]
    pub const fn target_count(&self) -> u8 {
        self.target_count
    }

    /// How many chains there are, at most as many as decode targets.
    #[inline]
    pub const fn chain_count(&self) -> u8 {
        self.chain_count
    }

    /// All decode targets, one bit each.
    #[inline]
    pub const fn all_targets(&self) -> u32 {
        ((1_u64 << self.target_count) - 1) as u32
    }

    /// The highest spatial and temporal layer that a decode target contains.
    #[inline]
    pub fn target_layers(&self, target: usize) -> Option<(u8, u8)> {
        self.target_layers.get(..usize::from(self.target_count))?.get(target).copied()
    }

    /// The decode target that contains this spatial and temporal layer and nothing above: the one
    /// with the highest layers of those that contain nothing above.
    pub fn target_for(&self, spatial: u8, temporal: u8) -> Option<usize> {
        let layers = self.target_layers.get(..usize::from(self.target_count))?.iter().enumerate();
        let within = layers.filter(|(_, layers)| layers.0 <= spatial && layers.1 <= temporal);
        within.max_by_key(|(index, layers)| (**layers, std::cmp::Reverse(*index))).map(|(index, _)| index)
    }

    /// The chain that protects a decode target; `None` without chains.
    #[inline]
    pub fn protected_by(&self, target: usize) -> Option<u8> {
        if self.chain_count == 0 || target >= usize::from(self.target_count) {
            return None;
        }
        self.protected_by.get(target).copied()
    }

    /// How many spatial layers there are.
    pub fn spatial_layers(&self) -> u8 {
        self.templates().iter().map(|template| template.spatial + 1).max().unwrap_or(0)
    }

    /// How many temporal layers there are.
    pub fn temporal_layers(&self) -> u8 {
        self.templates().iter().map(|template| template.temporal + 1).max().unwrap_or(0)
    }

    /// Width and height of each spatial layer, less one each; empty if not written.
    pub fn resolutions(&self) -> &[(u16, u16)] {
        let len = if self.has_resolutions { usize::from(self.spatial_layers()) } else { 0 };
        self.resolutions.get(..len).unwrap_or(&[])
    }

    /// Can frames of these two be told apart? Not if a template id of one means something else in
    /// the other.
    pub fn shares_ids_with(&self, other: &Self) -> bool {
        (0..64).any(|id| self.template(id).is_some() && other.template(id).is_some())
    }

    pub(super) fn read(bits: &mut BitReader<'_>) -> Result<Self, ParseError> {
        let mut this = Self { offset: bits.bits(6)? as u8, ..Self::default() };
        this.target_count = bits.bits(5)? as u8 + 1;
        this.read_layers(bits)?;
        let (count, targets) = (usize::from(this.template_count), this.target_count);
        for template in this.templates.iter_mut().take(count) {
            template.indications = Indications::read(bits, targets)?;
        }
        for template in this.templates.iter_mut().take(count) {
            while bits.flag()? {
                template.frame_diffs.push(bits.bits(4)? as u16 + 1)?;
            }
        }
        this.chain_count = bits.below(u32::from(targets) + 1)? as u8;
        if this.chain_count > 0 {
            for chain in this.protected_by.iter_mut().take(usize::from(targets)) {
                *chain = bits.below(u32::from(this.chain_count))? as u8;
            }
            for template in this.templates.iter_mut().take(count) {
                for chain in 0..u32::from(this.chain_count) {
                    template.chain_diffs |= u128::from(bits.bits(4)?) << (4 * chain);
                }
            }
        }
        this.has_resolutions = bits.flag()?;
        if this.has_resolutions {
            let layers = usize::from(this.spatial_layers());
            for resolution in this.resolutions.iter_mut().take(layers) {
                *resolution = (bits.bits(16)? as u16, bits.bits(16)? as u16);
            }
        }
        this.find_target_layers();
        Ok(this)
    }

    fn read_layers(&mut self, bits: &mut BitReader<'_>) -> Result<(), ParseError> {
        let (mut spatial, mut temporal) = (0, 0);
        for template in &mut self.templates {
            (template.spatial, template.temporal) = (spatial, temporal);
            self.template_count += 1;
            match bits.bits(2)? {
                0 => {}
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => return Ok(()),
            }
            if usize::from(spatial) >= MAX_SPATIAL_LAYERS || usize::from(temporal) >= MAX_TEMPORAL_LAYERS {
                return Err(ParseError::new("dependency structure with too many layers", bits.byte()));
            }
        }
        Err(ParseError::new("dependency structure with too many templates", bits.byte()))
    }

    /// `decode_target_layers()`: a target's layers are the highest of the templates that are part of it.
    fn find_target_layers(&mut self) {
        self.target_layers = [(0, 0); MAX_DECODE_TARGETS];
        let templates = self.templates.iter().take(usize::from(self.template_count));
        for template in templates {
            let present = template.indications.present();
            for (target, layers) in self.target_layers.iter_mut().enumerate() {
                if present >> target & 1 == 1 {
                    *layers = (layers.0.max(template.spatial), layers.1.max(template.temporal));
                }
            }
        }
    }

    /// Writes the structure as one whose first template has the id `offset`.
    pub(super) fn write(&self, out: &mut BitWriter<'_>, offset: u8) {
        out.bits(u32::from(offset & 63), 6);
        out.bits(u32::from(self.target_count.saturating_sub(1)), 5);
        for pair in self.templates().windows(2) {
            let [before, after] = pair else { continue };
            out.bits(
                match (after.spatial == before.spatial, after.temporal == before.temporal) {
                    (true, true) => 0,
                    (true, false) => 1,
                    (false, _) => 2,
                },
                2,
            );
        }
        out.bits(3, 2);
        self.templates().iter().for_each(|template| template.indications.write(out, self.target_count));
        for template in self.templates() {
            for diff in template.frame_diffs.as_slice() {
                out.flag(true);
                out.bits(u32::from(diff - 1) & 15, 4);
            }
            out.flag(false);
        }
        out.below(u32::from(self.chain_count), u32::from(self.target_count) + 1);
        if self.chain_count > 0 {
            for chain in self.protected_by.iter().take(usize::from(self.target_count)) {
                out.below(u32::from(*chain), u32::from(self.chain_count));
            }
            for template in self.templates() {
                (0..usize::from(self.chain_count)).for_each(|chain| out.bits(template.chain_diff(chain).into(), 4));
            }
        }
        out.flag(self.has_resolutions);
        for (width, height) in self.resolutions() {
            out.bits(u32::from(*width), 16);
            out.bits(u32::from(*height), 16);
        }
    }
}

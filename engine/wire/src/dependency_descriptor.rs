//! Dependency descriptor (AV1 RTP specification 1.0, appendix A): layers, references and decode
//! targets of a frame, readable without its payload, whatever the codec.
//!
//! ```text
//!  0                   1                   2
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |S|E| template  |         frame number          |   all there is of most packets
//! |T|A|I|F|C|  structure (T), active targets (A), |   with more than three bytes
//! |  indications (I), frame diffs (F), chains (C) |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! It is told the bytes and the [`TemplateStructure`] that the stream's last key frame carried; it
//! tells a [`DependencyDescriptor`], and writes one again with another frame number, another set of
//! active targets, and with or without the structure. Limits: 64 templates, 32 decode targets and
//! chains, 8 spatial and 8 temporal layers, 8 references to frames; more is malformed. Nothing
//! allocates. Left out on purpose: following the chains, which is the business of who chooses layers.

pub mod samples;
mod structure;

pub use structure::{FrameDiffs, Indication, Indications, Template, TemplateStructure};

use crate::bits::{BitReader, BitWriter};
use crate::error::ParseError;

/// Most decode targets: five bits of their number less one.
pub const MAX_DECODE_TARGETS: usize = 32;
/// Most chains: no more than decode targets.
pub const MAX_CHAINS: usize = 32;
/// Most templates: six bits of an id.
pub const MAX_TEMPLATES: usize = 64;
/// Most spatial layers that are taken.
pub const MAX_SPATIAL_LAYERS: usize = 8;
/// Most temporal layers that are taken.
pub const MAX_TEMPORAL_LAYERS: usize = 8;
/// Most references of a frame that are taken; AV1 keeps eight frames.
pub const MAX_FRAME_DIFFS: usize = 8;
/// Bytes of the mandatory fields, which many packets have alone.
pub const MANDATORY_LEN: usize = 3;

/// Why a descriptor says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DescriptorError {
    /// The bytes are not a descriptor.
    Malformed(ParseError),
    /// No structure was read yet: it comes with a key frame.
    NoStructure,
    /// The structure has no such template: one was missed, and a new one comes with a key frame.
    UnknownTemplate,
}

impl From<ParseError> for DescriptorError {
    fn from(error: ParseError) -> Self {
        Self::Malformed(error)
    }
}

impl std::fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::NoStructure => f.write_str("dependency descriptor before its structure"),
            Self::UnknownTemplate => f.write_str("dependency descriptor of an unknown template"),
        }
    }
}

impl std::error::Error for DescriptorError {}

/// The fields that every descriptor has, readable without a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MandatoryFields {
    /// First packet of the frame.
    pub start_of_frame: bool,
    /// Last packet of the frame.
    pub end_of_frame: bool,
    /// The template that the frame follows.
    pub template_id: u8,
    /// Counts frames of all layers, modulo 65,536.
    pub frame_number: u16,
    /// A structure follows.
    pub has_structure: bool,
}

impl MandatoryFields {
    /// Reads them alone.
    #[inline]
    pub fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let &[first, high, low] =
            value.first_chunk().ok_or(ParseError::new("dependency descriptor too short", value.len()))?;
        Ok(Self {
            start_of_frame: first & 0x80 != 0,
            end_of_frame: first & 0x40 != 0,
            template_id: first & 0x3f,
            frame_number: u16::from_be_bytes([high, low]),
            has_structure: value.get(MANDATORY_LEN).is_some_and(|flags| flags & 0x80 != 0),
        })
    }
}

/// What a descriptor says, its template already applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DependencyDescriptor {
    /// First packet of the frame.
    pub start_of_frame: bool,
    /// Last packet of the frame.
    pub end_of_frame: bool,
    /// Carries the structure: the first packet of a coded video sequence.
    pub has_structure: bool,
    /// The template that the frame follows.
    pub template_id: u8,
    /// Counts frames of all layers, modulo 65,536.
    pub frame_number: u16,
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Decode targets that are produced from here on, one bit each, if that is said here. A
    /// structure without them means all.
    pub active_targets: Option<u32>,
    /// What the frame is to each decode target.
    pub indications: Indications,
    /// Frames that it refers to; none for a key frame.
    pub frame_diffs: FrameDiffs,
    /// Distances to the last frame of each chain, where they differ from the template's.
    custom_chain_diffs: Option<[u8; MAX_CHAINS]>,
    custom_indications: bool,
    custom_frame_diffs: bool,
}

/// What a rewritten descriptor says otherwise than the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorRewrite {
    /// The new frame number.
    pub frame_number: u16,
    /// Active decode targets to write, one bit each; `None` leaves them out, which after a structure
    /// means all, and else means as before.
    pub active_targets: Option<u32>,
    /// Write the structure.
    pub structure: bool,
    /// Added to all template ids, modulo 64, so that those of two sources are not the same.
    pub template_shift: u8,
}

impl DependencyDescriptor {
    /// Reads a descriptor against the structure that the stream carried last, and puts a structure
    /// that it carries itself in that one's place. On an error the structure is as it was.
    pub fn parse(value: &[u8], structure: &mut TemplateStructure) -> Result<Self, DescriptorError> {
        let mandatory = MandatoryFields::parse(value)?;
        if !mandatory.has_structure {
            return Self::parse_with(value, mandatory, structure);
        }
        Self::parse_new(value, mandatory, structure)
    }

    /// As [`Self::parse`] for a descriptor that carries no structure, or whose structure is known
    /// already.
    pub fn parse_known(value: &[u8], structure: &TemplateStructure) -> Result<Self, DescriptorError> {
        let mandatory = MandatoryFields::parse(value)?;
        if mandatory.has_structure {
            let mut own = TemplateStructure::default();
            return Self::parse_new(value, mandatory, &mut own);
        }
        Self::parse_with(value, mandatory, structure)
    }

    /// As [`Self::parse`] with a structure inside; apart, since the new structure lies on the stack.
    #[inline(never)]
    fn parse_new(
        value: &[u8],
        mandatory: MandatoryFields,
        structure: &mut TemplateStructure,
    ) -> Result<Self, DescriptorError> {
        let mut bits = BitReader::new(value);
        bits.bits(24 + 5)?;
        let new = TemplateStructure::read(&mut bits)?;
        let descriptor = Self::read(bits, value, mandatory, &new)?;
        *structure = new;
        Ok(descriptor)
    }

    #[inline]
    fn parse_with(
        value: &[u8],
        mandatory: MandatoryFields,
        structure: &TemplateStructure,
    ) -> Result<Self, DescriptorError> {
        if structure.is_empty() {
            return Err(DescriptorError::NoStructure);
        }
        let mut bits = BitReader::new(value);
        bits.bits(if value.len() > MANDATORY_LEN { 24 + 5 } else { 24 })?;
        Self::read(bits, value, mandatory, structure)
    }

    /// The rest, behind the flags and the structure.
    fn read(
        mut bits: BitReader<'_>,
        value: &[u8],
        mandatory: MandatoryFields,
        structure: &TemplateStructure,
    ) -> Result<Self, DescriptorError> {
        let flags = value.get(MANDATORY_LEN).copied().unwrap_or(0);
        let flag = |mask: u8| flags & mask != 0;
        let template = structure.template(mandatory.template_id).ok_or(DescriptorError::UnknownTemplate)?;
        let targets = structure.target_count();
        let mut this = Self {
            start_of_frame: mandatory.start_of_frame,
            end_of_frame: mandatory.end_of_frame,
            has_structure: mandatory.has_structure,
            template_id: mandatory.template_id,
            frame_number: mandatory.frame_number,
            spatial: template.spatial,
            temporal: template.temporal,
            active_targets: None,
            indications: template.indications,
            frame_diffs: template.frame_diffs,
            custom_chain_diffs: None,
            custom_indications: flag(0x20),
            custom_frame_diffs: flag(0x10),
        };
        if flag(0x40) {
            this.active_targets = Some(bits.bits(u32::from(targets))?);
        }
        if this.custom_indications {
            this.indications = Indications::read(&mut bits, targets)?;
        }
        if this.custom_frame_diffs {
            this.frame_diffs = FrameDiffs::default();
            loop {
                let size = bits.bits(2)?;
                if size == 0 {
                    break;
                }
                this.frame_diffs.push(bits.bits(4 * size)? as u16 + 1)?;
            }
        }
        if flag(0x08) {
            let mut diffs = [0; MAX_CHAINS];
            for diff in diffs.iter_mut().take(usize::from(structure.chain_count())) {
                *diff = bits.bits(8)? as u8;
            }
            this.custom_chain_diffs = Some(diffs);
        }
        Ok(this)
    }

    /// Distance to the last frame of a chain, in frame numbers; 0 if there is none, as at a key frame.
    #[inline]
    pub fn chain_diff(&self, structure: &TemplateStructure, chain: usize) -> u8 {
        match &self.custom_chain_diffs {
            Some(diffs) => diffs.get(chain).copied().unwrap_or(0),
            None => structure.template(self.template_id).map_or(0, |template| template.chain_diff(chain)),
        }
    }

    /// Does a decoder that knows nothing yet start at this packet? It carries the structure and
    /// refers to no frame.
    #[inline]
    pub fn is_key_frame(&self) -> bool {
        self.has_structure && self.start_of_frame && self.frame_diffs.as_slice().is_empty()
    }

    /// Writes the descriptor with what `rewrite` says otherwise, and returns its length. `structure`
    /// is the one that it was read with; without it in the bytes, the reader is expected to know it.
    pub fn write(
        &self,
        buf: &mut [u8],
        structure: &TemplateStructure,
        rewrite: &DescriptorRewrite,
    ) -> Result<usize, ParseError> {
        let mut out = BitWriter::new(buf);
        out.flag(self.start_of_frame);
        out.flag(self.end_of_frame);
        out.bits(u32::from(self.template_id.wrapping_add(rewrite.template_shift) & 63), 6);
        out.bits(u32::from(rewrite.frame_number), 16);
        // All active is what a structure means by itself.
        let targets = rewrite.active_targets.map(|mask| mask & structure.all_targets());
        let targets = targets.filter(|mask| !rewrite.structure || *mask != structure.all_targets());
        let custom = self.custom_indications || self.custom_frame_diffs || self.custom_chain_diffs.is_some();
        if !rewrite.structure && targets.is_none() && !custom {
            return out.finish();
        }
        out.flag(rewrite.structure);
        out.flag(targets.is_some());
        out.flag(self.custom_indications);
        out.flag(self.custom_frame_diffs);
        out.flag(self.custom_chain_diffs.is_some());
        if rewrite.structure {
            structure.write(&mut out, structure.offset().wrapping_add(rewrite.template_shift));
        }
        if let Some(targets) = targets {
            out.bits(targets, u32::from(structure.target_count()));
        }
        if self.custom_indications {
            self.indications.write(&mut out, structure.target_count());
        }
        if self.custom_frame_diffs {
            for diff in self.frame_diffs.as_slice() {
                let less = u32::from(diff.wrapping_sub(1)) & 0xfff;
                let size = [16, 256].iter().filter(|bound| less >= **bound).count() as u32 + 1;
                out.bits(size, 2);
                out.bits(less, 4 * size);
            }
            out.bits(0, 2);
        }
        if let Some(diffs) = &self.custom_chain_diffs {
            diffs.iter().take(usize::from(structure.chain_count())).for_each(|diff| out.bits(u32::from(*diff), 8));
        }
        out.finish()
    }
}

#[cfg(test)]
mod tests;

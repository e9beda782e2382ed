//! What a packet is: key frame, layer, numbers of its picture. Told by its payload descriptor, or by its
//! dependency descriptor where the payload says nothing of layers, or is not to be looked into.
//!
//! An opaque payload without a dependency descriptor says nothing at all: the first packet of a picture
//! counts as one to start with, so that consumers begin and change encodings at picture boundaries, and
//! their decoders ask for the key frame that they need.

use sfu_proto::layers::{PacketLayer, TargetTable};
use sfu_wire::codec::vp8::Vp8Descriptor;
use sfu_wire::codec::vp9::Vp9Descriptor;
use sfu_wire::codec::{CodecKind, opus};
use sfu_wire::dependency_descriptor::{DependencyDescriptor, MandatoryFields};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::rtp::RtpView;

use super::Ingress;
use super::encoding::Encoding;

impl Encoding {
    /// Looks into a packet. Where it has nothing to forward, its number is to be left out.
    pub(super) fn look(
        &mut self,
        ingress: &mut Ingress,
        opaque: bool,
        begins_picture: bool,
        bytes: &[u8],
        view: &RtpView<'_>,
    ) {
        let range = usize::from(ingress.payload_start)..usize::from(ingress.payload_end);
        let payload = bytes.get(range).unwrap_or_default();
        if payload.is_empty() && view.padding_len > 0 {
            ingress.blank = Some(DropReason::RtpPaddingOnly);
            return;
        }
        if !ingress.codec.is_video() {
            ingress.key_frame = true;
            ingress.is_dtx = !opaque && ingress.codec == CodecKind::Opus && opus::is_dtx(payload);
            return;
        }
        let described = self.structure.is_some() && self.read_descriptor(ingress, bytes);
        match ingress.codec {
            _ if opaque => {
                ingress.key_frame = if described { ingress.layer.key } else { begins_picture };
            }
            CodecKind::Vp8 => look_vp8(ingress, payload),
            CodecKind::Vp9 => look_vp9(ingress, payload),
            codec => {
                ingress.key_frame = codec.is_key_frame(payload) || described && ingress.layer.key;
                if !described && codec == CodecKind::H265 {
                    ingress.layer = PacketLayer::of_h265(payload, ingress.key_frame);
                }
            }
        }
        ingress.undecided &= ingress.codec == CodecKind::Av1 || opaque;
    }

    /// Reads the dependency descriptor, if there is one; `false`: it says nothing.
    fn read_descriptor(&mut self, ingress: &mut Ingress, bytes: &[u8]) -> bool {
        let (Some(value), Some(structure)) = (descriptor_of(ingress, bytes), self.structure.as_deref_mut()) else {
            return false;
        };
        ingress.has_structure = MandatoryFields::parse(value).is_ok_and(|fields| fields.has_structure);
        let Ok(descriptor) = DependencyDescriptor::parse(value, structure) else {
            ingress.has_structure = false;
            ingress.undecided = true;
            return false;
        };
        if ingress.has_structure {
            self.targets = TargetTable::new(structure, self.targets.generation.wrapping_add(1));
        }
        if let Some(active) = descriptor.active_targets {
            let before = self.targets.highest();
            self.targets.set_active(active);
            self.layers_changed |= before != self.targets.highest();
        }
        ingress.layer = PacketLayer::of_descriptor(&descriptor, self.targets.generation);
        true
    }

    /// Looks again at a packet that was undecided, now that there may be a structure.
    pub(super) fn look_again(&self, ingress: &mut Ingress, bytes: &[u8]) {
        let (Some(value), Some(structure)) = (descriptor_of(ingress, bytes), self.structure.as_deref()) else { return };
        let carries = MandatoryFields::parse(value).is_ok_and(|fields| fields.has_structure);
        if carries {
            return;
        }
        if let Ok(descriptor) = DependencyDescriptor::parse_known(value, structure) {
            ingress.layer = PacketLayer::of_descriptor(&descriptor, self.targets.generation);
            ingress.undecided = false;
        }
    }
}

/// The bytes of a packet's dependency descriptor.
pub(crate) fn descriptor_of<'a>(ingress: &Ingress, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let span = ingress.extensions.iter().find(|s| s.kind == ExtensionKind::DependencyDescriptor)?;
    bytes.get(usize::from(span.start)..usize::from(span.start) + usize::from(span.len))
}

fn look_vp8(ingress: &mut Ingress, payload: &[u8]) {
    let Ok(descriptor) = Vp8Descriptor::parse(payload) else {
        ingress.blank = Some(DropReason::RtpPayload);
        return;
    };
    ingress.key_frame = descriptor.is_key_frame;
    ingress.numbers = descriptor.numbers();
    ingress.layer = PacketLayer { frame: ingress.layer.frame, ..PacketLayer::of_vp8(&descriptor) };
}

fn look_vp9(ingress: &mut Ingress, payload: &[u8]) {
    let Ok(descriptor) = Vp9Descriptor::parse(payload) else {
        ingress.blank = Some(DropReason::RtpPayload);
        return;
    };
    ingress.key_frame = descriptor.is_key_frame() && payload.len() > descriptor.len;
    ingress.numbers = descriptor.numbers();
    ingress.layer = PacketLayer { frame: ingress.layer.frame, ..PacketLayer::of_vp9(&descriptor) };
}

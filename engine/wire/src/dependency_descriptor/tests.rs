//! Dependency descriptors read and written: real samples, every cut, and what must be refused.

use super::samples::structure as sample;
use super::*;

fn structure(mode: &str) -> TemplateStructure {
    sample(mode).unwrap()
}

const MODES: [&str; 3] = ["L1T3", "L3T3", "L3T3_KEY"];

/// A descriptor that follows a template, and the bytes of it with the structure.
fn with_structure(structure: &TemplateStructure, template: u8) -> Vec<u8> {
    let base = plain(structure, template);
    let rewrite = DescriptorRewrite { frame_number: 7, active_targets: None, structure: true, template_shift: 0 };
    let mut buf = [0; 255];
    let len = base.write(&mut buf, structure, &rewrite).unwrap();
    buf[..len].to_vec()
}

fn plain(structure: &TemplateStructure, template: u8) -> DependencyDescriptor {
    let id = structure.offset().wrapping_add(template) & 63;
    DependencyDescriptor::parse(&[0xc0 | id, 0, 7], &mut structure.clone()).unwrap()
}

/// Bytes from bits, written as the specification's syntax goes.
fn packed(fields: &[&str]) -> Vec<u8> {
    let bits = fields.concat().into_bytes();
    bits.chunks(8)
        .map(|byte| byte.iter().enumerate().fold(0, |value, (i, bit)| value | (bit - b'0') << (7 - i)))
        .collect()
}

#[test]
fn a_descriptor_laid_out_by_hand_is_read() {
    let mut structure = TemplateStructure::default();
    let value = packed(&[
        "11",
        "000000",
        "0000000100000010",
        "10000", // start, end, template 0, frame 258, structure
        "000000",
        "00001",
        "01",
        "11", // offset 0, two targets, layers T0 and T1
        "1010",
        "0001", // SS, -D
        "0",
        "100000", // no reference, one frame back
        "0",
        "0", // no chains, no sizes
    ]);
    let descriptor = DependencyDescriptor::parse(&value, &mut structure).unwrap();
    assert!(descriptor.is_key_frame() && descriptor.start_of_frame && descriptor.end_of_frame);
    assert_eq!((descriptor.frame_number, descriptor.active_targets), (258, None));
    assert_eq!((structure.target_count(), structure.chain_count(), structure.templates().len()), (2, 0, 2));
    assert_eq!(structure.templates()[1].frame_diffs.as_slice(), [1]);
    assert_eq!(descriptor.indications, Indications::from_letters("SS").unwrap());
    assert_eq!(structure.templates()[1].indications.of(1), Indication::Discardable);
    assert_eq!((structure.target_layers(0), structure.target_layers(1)), (Some((0, 0)), Some((0, 1))));

    let value = packed(&[
        "01",
        "000001",
        "0000000100000011",
        "01110", // end, template 1, frame 259; targets, indications, references
        "01",
        "0011",
        "01",
        "0001",
        "10",
        "00010000",
        "00", // target 0; -R; 2 and 17 back
    ]);
    let descriptor = DependencyDescriptor::parse(&value, &mut structure).unwrap();
    assert_eq!((descriptor.spatial, descriptor.temporal, descriptor.active_targets), (0, 1, Some(1)));
    assert_eq!(descriptor.indications, Indications::from_letters("-R").unwrap());
    assert_eq!(descriptor.frame_diffs.as_slice(), [2, 17]);
    let same = DescriptorRewrite { frame_number: 259, active_targets: Some(1), structure: false, template_shift: 0 };
    let mut buf = [0; 20];
    let len = descriptor.write(&mut buf, &structure, &same).unwrap();
    assert_eq!(buf[..len], value);
}

#[test]
fn structures_of_every_mode_are_read_as_they_were_written() {
    for mode in MODES {
        let known = structure(mode);
        for template in 0..known.templates().len() as u8 {
            let bytes = with_structure(&known, template);
            let mut read = TemplateStructure::default();
            let descriptor = DependencyDescriptor::parse(&bytes, &mut read).unwrap();
            assert_eq!(read, known, "{mode}");
            assert!(descriptor.has_structure && descriptor.start_of_frame);
            assert_eq!(
                descriptor.is_key_frame(),
                known.templates()[usize::from(template)].frame_diffs.as_slice().is_empty()
            );
            for len in (0..3).chain(4..bytes.len()) {
                assert!(DependencyDescriptor::parse(&bytes[..len], &mut read).is_err(), "{mode} {len}");
                assert_eq!(read, known);
            }
        }
    }
}

#[test]
fn targets_contain_the_layers_below_them() {
    let known = structure("L3T3");
    let layers: Vec<_> = (0..10).map_while(|target| known.target_layers(target)).collect();
    assert_eq!(layers, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]);
    assert_eq!((known.spatial_layers(), known.temporal_layers(), known.all_targets()), (3, 3, 0x1ff));
    assert_eq!((known.target_for(1, 1), known.target_for(7, 7), known.target_for(0, 0)), (Some(4), Some(8), Some(0)));
    assert_eq!((known.protected_by(4), known.protected_by(9)), (Some(1), None));
    assert_eq!(known.resolutions()[1], (639, 359));
    assert_eq!(structure("L1T3").target_for(2, 1), Some(1));
    let enhancement = &known.templates()[7];
    assert_eq!(enhancement.indications.present(), 0b1_1011_0000);
    assert_eq!((enhancement.chain_diff(0), enhancement.chain_diff(2), enhancement.chain_diff(40)), (7, 5, 0));
}

#[test]
fn row_060_without_its_structure_a_descriptor_says_nothing() {
    let mut none = TemplateStructure::default();
    assert_eq!(DependencyDescriptor::parse(&[0xc0, 0, 1], &mut none), Err(DescriptorError::NoStructure));
    let mut known = structure("L1T3");
    for id in 0..64_u8 {
        let exists = (id.wrapping_sub(60) & 63) < 5;
        let read = DependencyDescriptor::parse(&[0xc0 | id, 0, 1], &mut known);
        assert_eq!(read.is_ok(), exists, "{id}");
        assert!(exists || read == Err(DescriptorError::UnknownTemplate));
    }
    assert_eq!(known, structure("L1T3"));
    assert!(MandatoryFields::parse(&[0xc0, 1]).is_err());
    let fields = MandatoryFields::parse(&[0x85, 1, 2]).unwrap();
    assert_eq!((fields.template_id, fields.frame_number, fields.has_structure), (5, 258, false));
}

#[test]
fn row_060_the_largest_structure_is_read_and_a_larger_one_is_not() {
    let letters = "S".repeat(32);
    let indications = Indications::from_letters(&letters).unwrap();
    let template = Template::new(0, 0, indications, &[1, 2, 3, 4, 5, 6, 7, 16], &[15; 32]).unwrap();
    let chains: Vec<u8> = (0..32).collect();
    let known = TemplateStructure::new(63, &[template; 64], 32, &chains, &[(9, 9)]).unwrap();
    let base = plain(&known, 63);
    let rewrite = DescriptorRewrite { frame_number: 1, active_targets: Some(5), structure: true, template_shift: 0 };
    let mut buf = vec![0; 4096];
    let len = base.write(&mut buf, &known, &rewrite).unwrap();
    assert!(base.write(&mut buf[..255], &known, &rewrite).is_err(), "more than an extension carries");
    let mut read = TemplateStructure::default();
    let descriptor = DependencyDescriptor::parse(&buf[..len], &mut read).unwrap();
    assert_eq!((&read, descriptor.active_targets, read.all_targets()), (&known, Some(5), u32::MAX));
    assert_eq!(read.template(62).unwrap().chain_diff(31), 15);

    let one_too_many = packed(&["11", "000000", "0000000000000001", "10000", "000000", "00000", &"00".repeat(70)]);
    let layers_too_many = packed(&["11", "000000", "0000000000000001", "10000", "000000", "00000", &"10".repeat(70)]);
    let references_too_many = packed(&[
        "11",
        "000000",
        "0000000000000001",
        "10000",
        "000000",
        "00000",
        "11",
        "10",
        &"10000".repeat(9),
        "0",
        "0",
        "0",
    ]);
    for bad in [one_too_many, layers_too_many, references_too_many] {
        let read = DependencyDescriptor::parse(&bad, &mut read);
        assert!(matches!(read, Err(DescriptorError::Malformed(_))), "{read:?}");
    }
    assert_eq!(read, known, "what is malformed changes nothing");
}

#[test]
fn structures_that_cannot_be_written_are_not_made() {
    let all = Indications::from_letters("SS").unwrap();
    let at = |spatial, temporal| Template::new(spatial, temporal, all, &[], &[]).unwrap();
    assert!(TemplateStructure::new(0, &[at(0, 0), at(0, 1), at(1, 0)], 2, &[], &[]).is_ok());
    assert!(TemplateStructure::new(0, &[], 2, &[], &[]).is_err());
    assert!(TemplateStructure::new(64, &[at(0, 0)], 2, &[], &[]).is_err());
    assert!(TemplateStructure::new(0, &[at(0, 0)], 33, &[], &[]).is_err());
    assert!(TemplateStructure::new(0, &[at(0, 0)], 0, &[], &[]).is_err());
    assert!(TemplateStructure::new(0, &[at(0, 1)], 2, &[], &[]).is_err());
    assert!(TemplateStructure::new(0, &[at(0, 0), at(0, 2)], 2, &[], &[]).is_err());
    assert!(TemplateStructure::new(0, &[at(0, 0), at(1, 1)], 2, &[], &[]).is_err());
    assert!(TemplateStructure::new(0, &[at(0, 0); 65], 2, &[], &[]).is_err());
    assert!(TemplateStructure::new(0, &[at(0, 0)], 2, &[0], &[]).is_err());
    assert!(TemplateStructure::new(0, &[at(0, 0)], 2, &[0, 2], &[]).is_err());
    assert!(TemplateStructure::new(0, &[at(0, 0)], 2, &[0, 0], &[(1, 1), (2, 2)]).is_err());
    assert!(Template::new(8, 0, all, &[], &[]).is_none() && Template::new(0, 0, all, &[17], &[]).is_none());
    assert!(Template::new(0, 0, all, &[], &[16]).is_none() && Template::new(0, 0, all, &[0], &[]).is_none());
    assert!(Indications::from_letters("SX").is_none() && FrameDiffs::new(&[1; 9]).is_none());
}

#[test]
fn ids_of_two_sources_are_kept_apart() {
    let (one, mut other) = (structure("L3T3"), structure("L1T3"));
    assert!(one.shares_ids_with(&other));
    let base = plain(&other, 2);
    let rewrite = DescriptorRewrite { frame_number: 9, active_targets: Some(3), structure: true, template_shift: 20 };
    let mut buf = [0; 255];
    let len = base.write(&mut buf, &other, &rewrite).unwrap();
    let descriptor = DependencyDescriptor::parse(&buf[..len], &mut other).unwrap();
    assert_eq!((other.offset(), descriptor.template_id, descriptor.temporal), (16, 18, 1));
    assert!(!one.shares_ids_with(&other));
}

proptest::proptest! {
    #[test]
    fn a_rewrite_changes_what_it_says_and_nothing_else(
        mode in 0..3_usize, template in 0..5_u8, frame_number: u16, targets in proptest::option::of(0..=u32::MAX),
        with: bool, shift in 0..64_u8,
        custom in proptest::option::of(proptest::collection::vec(1..=4096_u16, 0..=8)),
        chains in proptest::option::of(0..=255_u8), indications in proptest::option::of("[DSR-]{9}"),
    ) {
        let known = structure(MODES[mode]);
        let mut base = plain(&known, template);
        if let Some(diffs) = custom {
            (base.custom_frame_diffs, base.frame_diffs) = (true, FrameDiffs::new(&diffs).unwrap());
        }
        if let Some(letters) = indications {
            base.custom_indications = true;
            base.indications = Indications::from_letters(&letters[..usize::from(known.target_count())]).unwrap();
        }
        if let Some(diff) = chains {
            let mut diffs = [0; MAX_CHAINS];
            diffs[..usize::from(known.chain_count())].fill(diff);
            base.custom_chain_diffs = Some(diffs);
        }
        let rewrite = DescriptorRewrite { frame_number, active_targets: targets, structure: with, template_shift: shift };
        let mut buf = [0xee; 255];
        let len = base.write(&mut buf, &known, &rewrite).unwrap();
        // The reader knows the structure under the ids that are written.
        let mut kept = TemplateStructure::default();
        let first = DescriptorRewrite { structure: true, active_targets: None, ..rewrite };
        let mut whole = [0; 255];
        let whole_len = base.write(&mut whole, &known, &first).unwrap();
        DependencyDescriptor::parse(&whole[..whole_len], &mut kept).unwrap();
        let again = DependencyDescriptor::parse(&buf[..len], &mut kept).unwrap();
        let all = known.all_targets();
        let expected = DependencyDescriptor {
            frame_number,
            has_structure: with,
            template_id: base.template_id.wrapping_add(shift) & 63,
            active_targets: targets.map(|mask| mask & all).filter(|mask| !with || *mask != all),
            ..base
        };
        assert_eq!(again, expected);
        assert_eq!((kept.templates(), kept.resolutions()), (known.templates(), known.resolutions()));
        for chain in 0..usize::from(known.chain_count()) {
            assert_eq!(again.chain_diff(&kept, chain), base.chain_diff(&known, chain));
        }
        for short in 0..len {
            assert!(base.write(&mut buf[..short], &known, &rewrite).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(value in proptest::collection::vec(0..=255_u8, 0..200)) {
        crate::fuzz::dependency_descriptor(&value);
    }
}

//! Second readings of formats, after their specifications, beside those that [`crate::oracle_published_tests`] has of other people
//! (there is none of the first): the dependency descriptor after the pseudo-code of
//! the AV1 RTP specification (appendix A.8), redundancy after RFC 2198, the layers allocation after its description. Bit by
//! bit, with lists that grow, and without a line in common with what they judge.

use crate::codec::red::RedPayload;
use crate::dependency_descriptor::{DependencyDescriptor, DescriptorError, TemplateStructure, samples};
use crate::layers_allocation::LayersAllocation;
use crate::testing::{Rng, corpus, mutate};

const MUTATIONS: usize = 30_000;

/// Calls `judge` with each seed, with mutations of it, with mutations of the corpus, and with random bytes.
fn for_each_input(seed: u64, seeds: &[Vec<u8>], mut judge: impl FnMut(&[u8])) {
    let mut rng = Rng(seed);
    for start in seeds {
        judge(start);
        (0..MUTATIONS / seeds.len()).for_each(|_| judge(&mutate(&mut rng, start)));
    }
    for start in corpus() {
        (0..50).for_each(|_| judge(&mutate(&mut rng, &start)));
    }
    for _ in 0..MUTATIONS {
        let len = rng.below(60);
        judge(&rng.bytes(len));
    }
}

/// f(n) of the specification: `None` past the end.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn f(&mut self, n: usize) -> Option<u64> {
        let mut value = 0;
        for _ in 0..n {
            let byte = *self.data.get(self.at / 8)?;
            value = value << 1 | u64::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn ns(&mut self, n: u64) -> Option<u64> {
        let mut w = 0;
        while n >> w > 0 {
            w += 1;
        }
        let m = (1 << w) - n;
        let v = self.f(w - 1)?;
        if v < m {
            return Some(v);
        }
        Some((v << 1) - m + self.f(1)?)
    }
}

#[derive(Debug, Clone, Default)]
struct Structure {
    offset: u64,
    targets: u64,
    layers: Vec<(u64, u64)>,
    dtis: Vec<Vec<u64>>,
    fdiffs: Vec<Vec<u64>>,
    chains: u64,
    protected_by: Vec<u64>,
    chain_fdiffs: Vec<Vec<u64>>,
    resolutions: Vec<(u64, u64)>,
}

impl Structure {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let mut this = Self { offset: bits.f(6)?, targets: bits.f(5)? + 1, ..Self::default() };
        let (mut spatial, mut temporal) = (0, 0);
        loop {
            this.layers.push((spatial, temporal));
            match bits.f(2)? {
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                3 => break,
                _ => {}
            }
        }
        for _ in 0..this.layers.len() {
            let dtis: Option<Vec<u64>> = (0..this.targets).map(|_| bits.f(2)).collect();
            this.dtis.push(dtis?);
        }
        for _ in 0..this.layers.len() {
            let mut diffs = Vec::new();
            while bits.f(1)? == 1 {
                diffs.push(bits.f(4)? + 1);
            }
            this.fdiffs.push(diffs);
        }
        this.chains = bits.ns(this.targets + 1)?;
        if this.chains > 0 {
            for _ in 0..this.targets {
                this.protected_by.push(bits.ns(this.chains)?);
            }
            for _ in 0..this.layers.len() {
                let diffs: Option<Vec<u64>> = (0..this.chains).map(|_| bits.f(4)).collect();
                this.chain_fdiffs.push(diffs?);
            }
        }
        if bits.f(1)? == 1 {
            for _ in 0..=spatial {
                this.resolutions.push((bits.f(16)?, bits.f(16)?));
            }
        }
        Some(this)
    }

    /// Within what libsfu takes.
    fn fits(&self) -> bool {
        self.layers.len() <= 64
            && self.layers.iter().all(|(spatial, temporal)| *spatial < 8 && *temporal < 8)
            && self.fdiffs.iter().all(|diffs| diffs.len() <= 8)
    }
}

#[derive(Debug)]
struct Read {
    template: u64,
    number: u64,
    layer: (u64, u64),
    active: Option<u64>,
    dtis: Vec<u64>,
    fdiffs: Vec<u64>,
    chain_fdiffs: Vec<u64>,
}

/// `None`: it is none, or of a template that there is not.
fn read(data: &[u8], known: &mut Option<Structure>) -> Option<Read> {
    let mut bits = Bits { data, at: 0 };
    bits.f(2)?;
    let (template, number) = (bits.f(6)?, bits.f(16)?);
    let flags: Vec<u64> = if data.len() > 3 { (0..5).map(|_| bits.f(1)).collect::<Option<_>>()? } else { vec![0; 5] };
    let fresh = if flags[0] == 1 { Some(Structure::read(&mut bits)?) } else { None };
    let s = fresh.as_ref().or(known.as_ref())?.clone();
    let active = if flags[1] == 1 { Some(bits.f(s.targets as usize)?) } else { None };
    let index = ((template + 64 - s.offset) % 64) as usize;
    let layer = *s.layers.get(index)?;
    let dtis = match flags[2] {
        1 => (0..s.targets).map(|_| bits.f(2)).collect::<Option<Vec<u64>>>()?,
        _ => s.dtis[index].clone(),
    };
    let mut fdiffs = s.fdiffs[index].clone();
    if flags[3] == 1 {
        fdiffs.clear();
        loop {
            match bits.f(2)? {
                0 => break,
                size => fdiffs.push(bits.f(4 * size as usize)? + 1),
            }
        }
    }
    let chain_fdiffs = match flags[4] {
        1 => (0..s.chains).map(|_| bits.f(8)).collect::<Option<Vec<u64>>>()?,
        _ => s.chain_fdiffs.get(index).cloned().unwrap_or_default(),
    };
    if !s.fits() || fdiffs.len() > 8 {
        return None;
    }
    *known = Some(s);
    Some(Read { template, number, layer, active, dtis, fdiffs, chain_fdiffs })
}

fn same_structure(ours: &TemplateStructure, theirs: &Structure) {
    assert_eq!((u64::from(ours.offset()), u64::from(ours.target_count())), (theirs.offset, theirs.targets));
    assert_eq!((ours.templates().len(), u64::from(ours.chain_count())), (theirs.layers.len(), theirs.chains));
    for (at, template) in ours.templates().iter().enumerate() {
        assert_eq!((u64::from(template.spatial), u64::from(template.temporal)), theirs.layers[at]);
        let diffs: Vec<u64> = template.frame_diffs.as_slice().iter().map(|d| u64::from(*d)).collect();
        assert_eq!(diffs, theirs.fdiffs[at]);
        for target in 0..theirs.targets as usize {
            assert_eq!(template.indications.of(target) as u64, theirs.dtis[at][target]);
        }
    }
    for target in 0..theirs.targets as usize {
        assert_eq!(ours.protected_by(target).map(u64::from), theirs.protected_by.get(target).copied());
    }
    let sizes: Vec<(u64, u64)> = ours.resolutions().iter().map(|(w, h)| (u64::from(*w), u64::from(*h))).collect();
    assert_eq!(sizes, theirs.resolutions);
}

#[test]
fn row_060_dependency_descriptors_are_read_as_the_specification_says() {
    for mode in ["L1T3", "L3T3", "L3T3_KEY"] {
        let structure = samples::structure(mode).expect("a sample");
        let mut seeds: Vec<Vec<u8>> = Vec::new();
        let id = structure.offset() & 63;
        for plain in [
            vec![0x80 | id, 1, 2],
            vec![0xc0 | id, 1, 3, 0x40, 0xff, 0xff],
            vec![id, 1, 4, 0x38, 0x5a, 0x5a, 0x5a, 0x5a, 0x12, 0x34, 0, 0, 7, 7, 7, 7],
        ] {
            let Ok(descriptor) = DependencyDescriptor::parse_known(&plain, &structure) else { continue };
            for with in [false, true] {
                let rewrite = crate::dependency_descriptor::DescriptorRewrite {
                    frame_number: 77,
                    active_targets: None,
                    structure: with,
                    template_shift: 0,
                };
                let mut buf = [0; 255];
                let len = descriptor.write(&mut buf, &structure, &rewrite).expect("it fits");
                seeds.push(buf[..len].to_vec());
            }
        }
        assert!(seeds.len() >= 4, "{mode}");
        let mut agreed = 0;
        let (mut ours_known, mut theirs_known) = (structure.clone(), None);
        // What both know is what the first seed with a structure says.
        for seed in seeds.clone() {
            if read(&seed, &mut theirs_known).is_some() {
                DependencyDescriptor::parse(&seed, &mut ours_known).expect("both read it");
            }
        }
        for_each_input(17, &seeds, |bytes| {
            let (mut own, mut known) = (ours_known.clone(), theirs_known.clone());
            let ours = DependencyDescriptor::parse(bytes, &mut own);
            let theirs = read(bytes, &mut known);
            let (ours, theirs) = match (ours, theirs) {
                (Ok(ours), Some(theirs)) => (ours, theirs),
                (Err(DescriptorError::NoStructure), _) => panic!("there is one"),
                (Err(_), None) => return,
                (ours, theirs) => panic!("{ours:?} {theirs:?} of {bytes:02x?}"),
            };
            agreed += 1;
            assert_eq!((u64::from(ours.template_id), u64::from(ours.frame_number)), (theirs.template, theirs.number));
            assert_eq!((u64::from(ours.spatial), u64::from(ours.temporal)), theirs.layer, "{bytes:02x?}");
            // Target 0 is the lowest bit of both.
            assert_eq!(ours.active_targets.map(u64::from), theirs.active, "{bytes:02x?}");
            let diffs: Vec<u64> = ours.frame_diffs.as_slice().iter().map(|d| u64::from(*d)).collect();
            assert_eq!(diffs, theirs.fdiffs, "{bytes:02x?}");
            for (target, dti) in theirs.dtis.iter().enumerate() {
                assert_eq!(ours.indications.of(target) as u64, *dti, "{bytes:02x?}");
            }
            for (chain, diff) in theirs.chain_fdiffs.iter().enumerate() {
                assert_eq!(u64::from(ours.chain_diff(&own, chain)), *diff, "{bytes:02x?}");
            }
            same_structure(&own, known.as_ref().expect("it was read"));
        });
        assert!(agreed > 5_000, "{mode}: {agreed}");
    }
}

/// Blocks as (payload type, offset, data), the primary one last, with offset 0.
fn blocks(data: &[u8]) -> Option<Vec<(u8, u64, Vec<u8>)>> {
    let mut bits = Bits { data, at: 0 };
    let mut heads = Vec::new();
    while bits.f(1)? == 1 {
        heads.push((bits.f(7)? as u8, bits.f(14)?, bits.f(10)? as usize));
    }
    let primary = bits.f(7)? as u8;
    let mut rest = &data[bits.at / 8..];
    let mut out = Vec::new();
    for (payload_type, offset, len) in heads {
        let (block, after) = rest.split_at_checked(len)?;
        out.push((payload_type, offset, block.to_vec()));
        rest = after;
    }
    out.push((primary, 0, rest.to_vec()));
    (out.len() <= 33).then_some(out)
}

#[test]
fn h39_row_032_redundancy_is_read_as_the_rfc_says() {
    let seeds = [
        vec![0xef, 0x0f, 0x00, 0x03, 0xef, 0x07, 0x80, 0x02, 0x6f, 0xfc, 1, 2, 0xfc, 3, 0xfc, 4, 5],
        vec![0x6f, 1, 2, 3],
        vec![0x80; 200],
    ];
    let mut agreed = 0;
    for_each_input(18, &seeds, |bytes| {
        let (ours, theirs) = (RedPayload::parse(bytes).ok(), blocks(bytes));
        assert_eq!(ours.is_some(), theirs.is_some(), "{bytes:02x?}");
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return };
        agreed += 1;
        let mut read: Vec<(u8, u64, Vec<u8>)> = ours
            .redundant()
            .map(|block| (block.payload_type, u64::from(block.timestamp_offset), block.data.to_vec()))
            .collect();
        read.push((ours.payload_type, 0, ours.primary.to_vec()));
        assert_eq!(read, theirs, "{bytes:02x?}");
        assert_eq!(&bytes[ours.primary_range()], ours.primary);
    });
    assert!(agreed > 10_000, "{agreed}");
}

/// Streams of this packet and all, and (stream, spatial layer, bitrates in kbit/s, size) of each layer.
type Allocation = (u64, u64, Vec<(u64, u64, Vec<u64>, Option<(u64, u64, u64)>)>);

fn allocation(data: &[u8]) -> Option<Allocation> {
    let mut bits = Bits { data, at: 0 };
    let (stream, count, shared) = (bits.f(2)?, bits.f(2)? + 1, bits.f(4)?);
    if data == [0] {
        return Some((0, 1, Vec::new()));
    }
    if stream >= count {
        return None;
    }
    let mut layers = Vec::new();
    for of in 0..count {
        let mask = if shared > 0 { shared } else { bits.f(4)? };
        layers.extend((0..4).filter(|spatial| mask >> spatial & 1 == 1).map(|spatial| (of, spatial)));
    }
    bits.at = bits.at.next_multiple_of(8);
    let counts: Vec<u64> = layers.iter().map(|_| Some(bits.f(2)? + 1)).collect::<Option<_>>()?;
    bits.at = bits.at.next_multiple_of(8);
    let mut out = Vec::new();
    for ((of, spatial), temporal) in layers.into_iter().zip(counts) {
        let mut rates = Vec::new();
        for _ in 0..temporal {
            let (mut value, mut shift) = (0, 0);
            loop {
                let (more, low) = (bits.f(1)?, bits.f(7)?);
                value |= low << shift;
                shift += 7;
                match more {
                    0 => break,
                    _ if shift == 56 => return None,
                    _ => {}
                }
            }
            rates.push(value);
        }
        out.push((of, spatial, rates, None));
    }
    if bits.at < data.len() * 8 {
        for layer in &mut out {
            layer.3 = Some((bits.f(16)? + 1, bits.f(16)? + 1, bits.f(8)?));
        }
    }
    Some((stream, count, out))
}

#[test]
fn row_061_layers_allocations_are_read_as_described() {
    let seeds = [
        vec![0x51, 0x40, 100, 0x96, 0x01, 0x80, 0x08, 1, 63, 0, 179, 15, 4, 255, 2, 207, 30],
        vec![0x07, 0, 10, 20, 30],
        vec![0x20, 0x01, 0x30, 0, 1, 2, 3],
        vec![0],
    ];
    let mut agreed = 0;
    for_each_input(19, &seeds, |bytes| {
        let (ours, theirs) = (LayersAllocation::parse(bytes).ok(), allocation(bytes));
        assert_eq!(ours.is_some(), theirs.is_some(), "{bytes:02x?}");
        let (Some(ours), Some((stream, count, layers))) = (ours, theirs) else { return };
        agreed += 1;
        assert_eq!((u64::from(ours.stream), u64::from(ours.stream_count)), (stream, count));
        let read: Vec<_> = ours
            .layers()
            .iter()
            .map(|layer| {
                let rates: Vec<u64> =
                    layer.bitrates[..usize::from(layer.temporal_layers)].iter().map(|b| b / 1_000).collect();
                let size = layer.size.map(|(w, h, fps)| (u64::from(w), u64::from(h), u64::from(fps)));
                (u64::from(layer.stream), u64::from(layer.spatial), rates, size)
            })
            .collect();
        // Rates beyond 2^64 bit/s are clamped.
        let clamp = |rate: &u64| rate.saturating_mul(1_000) / 1_000;
        let layers: Vec<_> = layers
            .into_iter()
            .map(|(s, l, rates, size)| (s, l, rates.iter().map(clamp).collect::<Vec<u64>>(), size))
            .collect();
        assert_eq!(read, layers, "{bytes:02x?}");
    });
    assert!(agreed > 5_000, "{agreed}");
}

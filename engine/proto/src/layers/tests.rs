//! Publishers of layers, selectors, and a decoder that knows what each frame refers to.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use sfu_wire::dependency_descriptor::{TemplateStructure, samples};

use super::*;

/// A packet as published: one frame of a layer each. `needs` are the names of frames that it refers to.
#[derive(Debug, Clone)]
struct Frame {
    name: (u32, u8),
    needs: Vec<(u32, u8)>,
    layer: PacketLayer,
    timestamp: u32,
    /// As published: the last of its picture.
    marker: bool,
}

/// Temporal layer of picture `k` in patterns of one, two and three layers.
fn temporal_of(k: u32, layers: u8) -> u8 {
    match layers {
        1 => 0,
        2 => (k % 2) as u8,
        _ => [0, 2, 1, 2][(k % 4) as usize],
    }
}

/// VP8 with three temporal layers; every `sync`-th frame of a layer above the base refers to the base only.
fn vp8(count: u32, layers: u8, keys: &HashSet<u32>, sync: u32) -> Vec<Frame> {
    let mut last: HashMap<u8, (u32, u8)> = HashMap::new();
    let mut seen = [0u32; 3];
    let mut position = 0;
    let mut frames = Vec::new();
    for k in 0..count {
        let key = keys.contains(&k);
        position = if key { 0 } else { position + 1 };
        let temporal = temporal_of(position, layers);
        seen[usize::from(temporal)] += 1;
        let is_sync = temporal > 0 && (seen[usize::from(temporal)] % sync == 0 || !last.contains_key(&temporal));
        let needs: Vec<_> = match () {
            () if key => vec![],
            () if is_sync => vec![last[&0]],
            () => (0..=temporal).filter_map(|t| last.get(&t).copied()).collect(),
        };
        if key {
            last.clear();
        }
        last.insert(temporal, (k, 0));
        let layer = PacketLayer {
            scheme: Scheme::Vp8,
            temporal,
            key,
            inter: !key,
            switch_up: is_sync,
            ..PacketLayer::default()
        };
        frames.push(Frame {
            name: (k, 0),
            needs,
            layer,
            timestamp: k.wrapping_mul(3_000).wrapping_sub(90_000),
            marker: true,
        });
    }
    frames
}

/// VP9: spatial layers that depend on each other always, in key frames, or never.
fn vp9(count: u32, mode: ScalabilityMode, keys: &HashSet<u32>) -> Vec<Frame> {
    let mut last: HashMap<(u8, u8), u32> = HashMap::new();
    let mut position = 0;
    let mut frames = Vec::new();
    for k in 0..count {
        let key = keys.contains(&k);
        position = if key { 0 } else { position + 1 };
        let temporal = temporal_of(position, mode.temporal);
        // A new group of pictures refers to its base layer alone, so all layers may begin with it.
        for spatial in 0..mode.spatial {
            let within = spatial > 0 && mode.simulcast == 1 && (key || !mode.key);
            let mut needs = Vec::new();
            if !key {
                needs.extend((0..=temporal).filter_map(|t| last.get(&(spatial, t)).map(|n| (*n, spatial))).max());
            }
            if within {
                needs.push((k, spatial - 1));
            }
            let layer = PacketLayer {
                scheme: Scheme::Vp9,
                spatial,
                temporal,
                key: key && spatial == 0,
                inter: !key,
                inter_layer: within,
                // No later picture of a higher layer refers to one before this of a higher layer.
                switch_up: temporal == 0,
                ends_frame: true,
                ..PacketLayer::default()
            };
            frames.push(Frame {
                name: (k, spatial),
                needs,
                layer,
                timestamp: k * 3_000,
                marker: spatial + 1 == mode.spatial,
            });
        }
        for spatial in 0..mode.spatial {
            if temporal == 0 {
                last.retain(|(s, _), _| *s != spatial);
            }
            last.insert((spatial, temporal), k);
        }
    }
    frames
}

/// A stream with a dependency descriptor: templates of the sample structures in Chromium's order.
fn described(count: u32, structure: &TemplateStructure, keys: &HashSet<u32>) -> Vec<Frame> {
    let (spatial_layers, mut generation) = (structure.spatial_layers(), 0u8);
    let mut number = 65_500u32;
    let mut position = 0;
    let mut frames = Vec::new();
    for k in 0..count {
        let key = keys.contains(&k);
        position = if key { 0 } else { position + 1 };
        generation = generation.wrapping_add(u8::from(key));
        let temporal = temporal_of(position, structure.temporal_layers());
        for spatial in 0..spatial_layers {
            number += 1;
            let alike: Vec<_> =
                structure.templates().iter().filter(|t| (t.spatial, t.temporal) == (spatial, temporal)).collect();
            let far = |t: &&&sfu_wire::dependency_descriptor::Template| {
                t.frame_diffs.as_slice().iter().map(|d| u32::from(*d)).max().unwrap_or(0) >= u32::from(spatial_layers)
            };
            // Key frames have the template that refers to no earlier picture.
            let template = alike.iter().find(|t| far(t) != key).or(alike.first()).expect("a template");
            let diffs = template.frame_diffs.as_slice();
            let mut references = 0;
            diffs.iter().for_each(|d| references |= 1u64 << (d - 1));
            let letters = template.indications;
            let switch = (0..32)
                .filter(|t| letters.of(*t) == sfu_wire::dependency_descriptor::Indication::Switch)
                .fold(0, |all, t| all | 1 << t);
            let layer = PacketLayer {
                scheme: Scheme::Targets,
                spatial,
                temporal,
                key: key && spatial == 0,
                inter: !key,
                ends_frame: true,
                frame: number as u16,
                generation,
                present: letters.present(),
                switch,
                references,
                ..PacketLayer::default()
            };
            let needs = diffs.iter().map(|d| (number - u32::from(*d), 0)).collect();
            frames.push(Frame {
                name: (number, 0),
                needs,
                layer,
                timestamp: k * 3_000,
                marker: spatial + 1 == spatial_layers,
            });
        }
    }
    frames
}

/// Lets frames through, with other targets on the way, and checks what comes out: everything can be decoded,
/// there is one marker per picture and nothing behind it, and layers above the target stop.
fn check(
    frames: &[Frame],
    mode: ScalabilityMode,
    tables: &[TargetTable],
    changes: &[(u32, Layers)],
) -> Vec<(u32, Layers)> {
    let mut selector = Selector::new();
    selector.set_target(HIGHEST);
    selector.start(mode);
    let mut decoded: HashSet<(u32, u8)> = HashSet::new();
    let mut ended: HashSet<u32> = HashSet::new();
    let mut reached = Vec::new();
    for frame in frames {
        let picture = frame.timestamp.wrapping_add(if frame.layer.scheme == Scheme::Vp8 { 90_000 } else { 0 }) / 3_000;
        for (_, target) in changes.iter().filter(|(at, _)| *at == picture) {
            selector.set_target(*target);
        }
        let table = tables.iter().find(|t| t.generation == frame.layer.generation).copied().unwrap_or_default();
        let verdict = selector.select(&frame.layer, frame.timestamp, &table);
        if verdict.forward {
            for need in &frame.needs {
                assert!(decoded.contains(need), "{:?} needs {need:?}: {:?}", frame.name, frame.layer);
            }
            assert!(!ended.contains(&picture), "after the marker of {picture}");
            decoded.insert(frame.name);
            if verdict.marker || frame.marker {
                ended.insert(picture);
            }
        }
        if reached.last().is_none_or(|(_, layers)| *layers != selector.current()) {
            reached.push((picture, selector.current()));
        }
    }
    // Each picture of which anything came out has its end.
    let open = frames.iter().filter(|f| decoded.contains(&f.name)).find(|f| {
        let picture = f.timestamp.wrapping_add(if f.layer.scheme == Scheme::Vp8 { 90_000 } else { 0 }) / 3_000;
        !ended.contains(&picture)
    });
    assert!(open.is_none(), "{open:?} has no end");
    reached
}

fn keys(at: &[u32]) -> HashSet<u32> {
    at.iter().copied().chain([0]).collect()
}

fn tables(structure: &TemplateStructure, count: usize) -> Vec<TargetTable> {
    (1..=count).map(|g| TargetTable::new(structure, g as u8)).collect()
}

#[test]
fn vp8_goes_down_at_once_and_up_one_layer_at_a_sync_picture() {
    let frames = vp8(80, 3, &keys(&[]), 4);
    let reached = check(&frames, ScalabilityMode::default(), &[], &[(8, Layers::new(0, 0)), (24, Layers::new(0, 2))]);
    let steps: Vec<_> = reached.iter().map(|(_, l)| l.temporal).collect();
    assert_eq!(steps, [7, 0, 1, 2], "{reached:?}");
    assert_eq!(reached[1].0, 8);
    assert!(reached[2].0 > 24, "{reached:?}");
}

#[test]
fn vp8_picture_ids_have_no_hole_where_pictures_are_left_out() {
    for target in 0..3 {
        let mut selector = Selector::new();
        selector.set_target(Layers::new(0, target));
        selector.start(ScalabilityMode::default());
        let mut next = None;
        for (id, frame) in vp8(200, 3, &keys(&[]), 4).iter().enumerate() {
            let verdict = selector.select(&frame.layer, frame.timestamp, &TargetTable::default());
            if verdict.forward {
                let out = (id as u16).wrapping_sub(verdict.dropped);
                assert!(next.is_none_or(|next| next == out), "{id}");
                next = Some(out.wrapping_add(1));
            }
        }
        assert_eq!(next, Some([50, 100, 200][usize::from(target)]));
    }
}

#[test]
fn a_late_picture_has_the_number_that_it_would_have_had() {
    let mut selector = Selector::new();
    selector.set_target(Layers::new(0, 1));
    selector.start(ScalabilityMode::default());
    let frames = vp8(12, 3, &keys(&[]), 4);
    let mut select = |k: usize| selector.select(&frames[k].layer, frames[k].timestamp, &TargetTable::default());
    // 0 T0, 1 T2, 2 T1, 3 T2, 4 T0, 5 T2, 6 T1 ...
    assert!(select(0).forward && !select(1).forward);
    assert!(!select(3).forward, "2 is late");
    assert_eq!((select(4).forward, select(4).dropped), (true, 2));
    assert_eq!((select(2).forward, select(2).dropped), (true, 1), "as if it had come in time");
    assert_eq!((select(6).forward, select(6).dropped), (true, 2), "5 is late");
    assert!(!select(5).forward);
    assert_eq!(select(2).dropped, 1);
}

#[test]
fn row_063_without_switching_points_no_wrong_layer_is_sent() {
    let mut frames = vp8(60, 3, &keys(&[40]), 4);
    frames.iter_mut().for_each(|f| f.layer.switch_up = false);
    let reached = check(&frames, ScalabilityMode::default(), &[], &[(8, Layers::new(0, 0)), (12, Layers::new(0, 2))]);
    assert_eq!(reached.last(), Some(&(40, Layers::new(0, 2))), "the key frame is the next chance");
    let mut frames = vp9(60, "L1T3".parse().unwrap(), &keys(&[40]));
    frames.iter_mut().for_each(|f| f.layer.switch_up = false);
    let reached = check(&frames, "L1T3".parse().unwrap(), &[], &[(8, Layers::new(0, 0)), (12, Layers::new(0, 2))]);
    assert_eq!(reached.last(), Some(&(40, Layers::new(0, 2))));
}

#[test]
fn vp9_full_svc_goes_down_at_a_picture_and_up_at_a_key_frame() {
    let mode: ScalabilityMode = "L3T3".parse().unwrap();
    let frames = vp9(80, mode, &keys(&[50]));
    let changes = [(0, Layers::new(2, 2)), (10, Layers::new(0, 2)), (30, Layers::new(2, 2))];
    let reached = check(&frames, mode, &[], &changes);
    assert!(reached.contains(&(10, Layers::new(0, 2))), "{reached:?}");
    assert_eq!(reached.last(), Some(&(50, Layers::new(2, 2))), "{reached:?}");
}

#[test]
fn k_svc_waits_for_a_key_frame_in_both_directions_and_sends_one_layer_between() {
    let mode: ScalabilityMode = "L3T3_KEY".parse().unwrap();
    let frames = vp9(90, mode, &keys(&[40, 70]));
    let changes = [(0, Layers::new(2, 2)), (10, Layers::new(0, 2)), (50, Layers::new(1, 2))];
    let reached = check(&frames, mode, &[], &changes);
    assert!(reached.contains(&(40, Layers::new(0, 2))), "{reached:?}");
    assert_eq!(reached.last(), Some(&(70, Layers::new(1, 2))), "{reached:?}");
    let mut selector = Selector::new();
    selector.set_target(Layers::new(2, 2));
    selector.start(mode);
    for frame in &frames[..60] {
        let forward = selector.select(&frame.layer, frame.timestamp, &TargetTable::default()).forward;
        assert_eq!(forward, frame.name.0 == 0 || frame.layer.spatial == 2, "{:?}", frame.name);
    }
    selector.set_target(Layers::new(0, 2));
    selector.select(&frames[60].layer, frames[60].timestamp, &TargetTable::default());
    assert!(selector.wants_key_frame());
}

#[test]
fn s_modes_send_the_one_layer() {
    let mode: ScalabilityMode = "S3T3".parse().unwrap();
    let frames = vp9(60, mode, &keys(&[30]));
    let reached = check(&frames, mode, &[], &[(0, Layers::new(1, 2)), (10, Layers::new(2, 2))]);
    assert_eq!(reached.iter().map(|(at, l)| (*at, l.spatial)).collect::<Vec<_>>(), [(0, 1), (30, 2)]);
}

#[test]
fn descriptors_go_down_and_up_where_they_may() {
    let structure = samples::structure("L1T3").unwrap();
    let frames = described(60, &structure, &keys(&[]));
    let reached =
        check(&frames, ScalabilityMode::default(), &tables(&structure, 1), &[(8, Layers::new(0, 0)), (20, HIGHEST)]);
    assert_eq!(reached.iter().map(|(_, l)| l.temporal).collect::<Vec<_>>(), [2, 0, 2], "{reached:?}");
    for (mode, down_at) in [("L3T3", 10), ("L3T3_KEY", 50)] {
        let structure = samples::structure(mode).unwrap();
        let frames = described(110, &structure, &keys(&[50, 90]));
        let changes = [(10, Layers::new(0, 2)), (60, HIGHEST)];
        let reached = check(&frames, mode.parse().unwrap(), &tables(&structure, 3), &changes);
        assert!(reached.contains(&(down_at, Layers::new(0, 2))), "{mode} {reached:?}");
        assert_eq!(reached.last(), Some(&(90, Layers::new(2, 2))), "{mode} {reached:?}");
    }
}

#[test]
fn row_060_packets_of_another_structure_are_not_forwarded() {
    let structure = samples::structure("L3T3").unwrap();
    let frames = described(40, &structure, &keys(&[]));
    let mut selector = Selector::new();
    selector.start(ScalabilityMode::default());
    assert!(!selector.select(&frames[0].layer, 0, &TargetTable::default()).forward, "no structure");
    assert!(!selector.select(&frames[0].layer, 0, &TargetTable::new(&structure, 9)).forward, "another one");
    assert!(selector.select(&frames[0].layer, 0, &tables(&structure, 1)[0]).forward);
}

#[test]
fn the_active_targets_are_those_within_the_current_one() {
    let structure = samples::structure("L3T3").unwrap();
    let frames = described(20, &structure, &keys(&[]));
    let mut table = tables(&structure, 1)[0];
    let mut selector = Selector::new();
    selector.set_target(Layers::new(1, 1));
    selector.start(ScalabilityMode::default());
    selector.select(&frames[0].layer, 0, &table);
    // Targets count temporal layers first: S0T0, S0T1, S0T2, S1T0, S1T1.
    assert_eq!(selector.active_targets(&table, frames[0].layer.frame), (0b01_1011, true));
    assert_eq!(selector.active_targets(&table, frames[1].layer.frame), (0b01_1011, false));
    // The publisher stops its upper layers: what is left is chosen from.
    table.set_active(0b111);
    selector.select(&frames[3].layer, 0, &table);
    assert_eq!(
        (selector.current(), selector.active_targets(&table, frames[3].layer.frame).0),
        (Layers::new(0, 1), 0b011)
    );
    assert_eq!(table.highest(), Layers::new(0, 2));
}

/// One of several receivers behind a selector that lets all layers pass which any of them wants.
struct Behind {
    selector: Selector,
    decoded: HashSet<(u32, u8)>,
    ended: HashSet<u32>,
    pictures: HashSet<u32>,
    next_id: Option<u16>,
}

impl Behind {
    fn new(mode: ScalabilityMode, target: Layers) -> Self {
        let mut selector = Selector::new();
        selector.set_target(target);
        selector.start(mode);
        let (decoded, ended, pictures) = (HashSet::new(), HashSet::new(), HashSet::new());
        Self { selector, decoded, ended, pictures, next_id: None }
    }

    /// Takes a frame that has passed, which may end its picture, and before which so many were left out.
    fn take(&mut self, frame: &Frame, (marker, dropped): (bool, u16), table: &TargetTable) {
        let verdict = self.selector.select(&frame.layer, frame.timestamp, table);
        if !verdict.forward {
            return;
        }
        for need in &frame.needs {
            assert!(self.decoded.contains(need), "{:?} needs {need:?}: {:?}", frame.name, frame.layer);
        }
        assert!(!self.ended.contains(&frame.timestamp), "after the marker: {:?}", frame.name);
        if frame.layer.scheme == Scheme::Vp8 {
            let id = (frame.name.0 as u16).wrapping_sub(dropped).wrapping_sub(verdict.dropped);
            assert!(self.next_id.is_none_or(|next| next == id), "picture {id} after {:?}", self.next_id);
            self.next_id = Some(id.wrapping_add(1));
        }
        self.decoded.insert(frame.name);
        self.pictures.insert(frame.timestamp);
        if marker || verdict.marker {
            self.ended.insert(frame.timestamp);
        }
    }
}

/// Lets receivers with changing targets choose from what one selector lets pass for all of them, one of whom comes when
/// there has been a key frame already. All that comes out can be decoded, every picture has its end, and nothing passes
/// that is above what all of them want. Answers how many frames have passed, and the layers that flow to each at the end.
fn check_behind(
    frames: &[Frame],
    mode: ScalabilityMode,
    tables: &[TargetTable],
    (first, changes): ([Layers; 2], &[(u32, usize, Layers)]),
) -> (usize, Vec<Layers>) {
    let zero = frames[0].timestamp;
    let mut near = Selector::new();
    near.set_below(true);
    near.start(mode);
    let mut wanted = first.to_vec();
    let mut behind: Vec<Behind> = first.iter().map(|target| Behind::new(mode, *target)).collect();
    let mut kept: Vec<(&Frame, (bool, u16))> = Vec::new();
    let mut passed = 0;
    for frame in frames {
        let picture = frame.timestamp.wrapping_sub(zero) / 3_000;
        let begins = frame.layer.spatial == 0;
        for (_, who, target) in changes.iter().filter(|(at, ..)| begins && *at == picture) {
            wanted[who % 2] = *target;
            behind[who % 2].selector.set_target(*target);
        }
        let most = |of: fn(&Layers) -> u8| wanted.iter().map(of).max().unwrap_or_default();
        let most = Layers::new(most(|l| l.spatial), most(|l| l.temporal));
        near.set_target(most);
        let mut table = tables.iter().find(|t| t.generation == frame.layer.generation).copied().unwrap_or_default();
        let verdict = near.select(&frame.layer, frame.timestamp, &table);
        if !verdict.forward {
            continue;
        }
        passed += 1;
        let reached = near.current();
        let above = frame.layer.spatial > most.spatial || frame.layer.temporal > most.temporal;
        assert!(!above, "{:?} passes, wanted is {most:?}, flowing {reached:?}", frame.layer);
        if table.count() > 0 {
            table.set_active(near.active_targets(&table, frame.layer.frame).0);
        }
        if frame.layer.key {
            kept.clear();
        }
        let said = (frame.marker || verdict.marker, verdict.dropped);
        kept.push((frame, said));
        behind.iter_mut().for_each(|receiver| receiver.take(frame, said, &table));
        if picture % 7 == 6 && behind.len() == 2 {
            // Somebody comes who wants what the first one wants.
            let mut late = Behind::new(mode, wanted[0]);
            kept.iter().for_each(|(frame, said)| late.take(frame, *said, &table));
            behind.push(late);
            wanted.push(wanted[0]);
        }
    }
    for receiver in &behind {
        let last = frames.last().map_or(0, |frame| frame.timestamp);
        let open = receiver.pictures.iter().find(|at| **at != last && !receiver.ended.contains(at));
        assert!(open.is_none(), "the picture at {open:?} has no end");
    }
    (passed, behind.iter().map(|receiver| receiver.selector.current()).collect())
}

#[test]
fn what_passes_for_several_is_what_the_highest_of_them_needs_and_those_below() {
    let low = Layers::new(0, 0);
    let change = [(30, 1, HIGHEST), (60, 1, low)];
    let (all, low_only) = (vp8(90, 3, &keys(&[]), 4), (low, low));
    let (passed, _) = check_behind(&all, ScalabilityMode::default(), &[], ([low_only.0, low_only.1], &[]));
    assert_eq!(passed, 23, "every fourth of 90");
    let (passed, flowing) = check_behind(&all, ScalabilityMode::default(), &[], ([low, low], &change));
    assert!((40..=56).contains(&passed), "{passed}");
    assert_eq!(flowing[0].temporal, 0);
    for name in ["L3T3", "L3T3_KEY", "S3T3"] {
        let mode: ScalabilityMode = name.parse().unwrap();
        let frames = vp9(90, mode, &keys(&[40]));
        let (passed, _) = check_behind(&frames, mode, &[], ([low, low], &[]));
        assert_eq!(passed, 23, "{name}: the base of 90 pictures");
        let (passed, flowing) = check_behind(&frames, mode, &[], ([low, Layers::new(2, 2)], &[]));
        assert_eq!((passed, flowing[0], flowing[1]), (270, low, Layers::new(2, 2)), "{name}");
    }
    for name in ["L1T3", "L3T3", "L3T3_KEY"] {
        let structure = samples::structure(name).unwrap();
        let frames = described(90, &structure, &keys(&[40]));
        let tables = tables(&structure, 2);
        let (passed, _) = check_behind(&frames, name.parse().unwrap(), &tables, ([low, low], &[]));
        assert_eq!(passed, 23, "{name}");
        let (passed, flowing) = check_behind(&frames, name.parse().unwrap(), &tables, ([low, HIGHEST], &[]));
        let spatial = structure.spatial_layers();
        assert_eq!((passed, flowing[1]), (90 * usize::from(spatial), Layers::new(spatial - 1, 2)), "{name}");
        let (_, flowing) = check_behind(&frames, name.parse().unwrap(), &tables, ([low, low], &[(20, 1, HIGHEST)]));
        assert_eq!(flowing[1], Layers::new(spatial - 1, 2), "{name}: with the key frame at the latest");
    }
}

fn layers() -> impl Strategy<Value = Layers> {
    (0u8..4, 0u8..4).prop_map(|(spatial, temporal)| Layers::new(spatial, temporal))
}

proptest! {
    /// Whatever is wanted when, and wherever key frames are: all that comes out can be decoded.
    #[test]
    fn everything_forwarded_can_be_decoded(
        key_at in prop::collection::hash_set(1u32..120, 0..4),
        sync in 1u32..6,
        changes in prop::collection::vec((0u32..120, layers()), 0..12),
    ) {
        let keys: HashSet<u32> = key_at.into_iter().chain([0]).collect();
        for layers in 1..=3 {
            check(&vp8(120, layers, &keys, sync), ScalabilityMode::default(), &[], &changes);
        }
        for mode in ["L1T1", "L1T3", "L2T2", "L3T3", "L3T1_KEY", "L3T3_KEY", "L2T3_KEY"] {
            let mode: ScalabilityMode = mode.parse().unwrap();
            // A target above what exists is what the consumer never asks for.
            let changes: Vec<_> = changes.iter().map(|(at, l)| (*at, Layers::new(l.spatial.min(mode.spatial - 1), l.temporal))).collect();
            check(&vp9(120, mode, &keys), mode, &[], &changes);
        }
        for mode in ["L1T3", "L3T3", "L3T3_KEY"] {
            let structure = samples::structure(mode).unwrap();
            check(&described(120, &structure, &keys), mode.parse().unwrap(), &tables(&structure, keys.len()), &changes);
        }
    }

    /// The same behind a selector that passes what several want, for each of them.
    #[test]
    fn everything_behind_a_shared_way_can_be_decoded(
        key_at in prop::collection::hash_set(1u32..90, 0..4),
        sync in 1u32..6,
        first in [layers(), layers()],
        changes in prop::collection::vec((0u32..90, 0usize..2, layers()), 0..10),
    ) {
        let keys: HashSet<u32> = key_at.into_iter().chain([0]).collect();
        for layers in 1..=3 {
            check_behind(&vp8(90, layers, &keys, sync), ScalabilityMode::default(), &[], (first, &changes));
        }
        for mode in ["L1T1", "L1T3", "L2T2", "L3T3", "L3T1_KEY", "L3T3_KEY", "S3T3"] {
            let mode: ScalabilityMode = mode.parse().unwrap();
            let clamp = |l: Layers| Layers::new(l.spatial.min(mode.spatial - 1), l.temporal);
            let changes: Vec<_> = changes.iter().map(|(at, who, l)| (*at, *who, clamp(*l))).collect();
            check_behind(&vp9(90, mode, &keys), mode, &[], (first.map(clamp), &changes));
        }
        for mode in ["L1T3", "L3T3", "L3T3_KEY"] {
            let structure = samples::structure(mode).unwrap();
            let frames = described(90, &structure, &keys);
            check_behind(&frames, mode.parse().unwrap(), &tables(&structure, keys.len()), (first, &changes));
        }
    }
}

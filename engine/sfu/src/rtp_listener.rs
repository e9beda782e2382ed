//! Which producer of a transport an RTP packet is for (RFC 9143, section 9.2; RFC 8852).
//!
//! Told: producers with their signalled SSRCs, MID, RIDs, payload types and extension ids; then
//! packets whose tag has been verified. Tells: the producer, the encoding, and whether the packet is its media, a
//! retransmission or FlexFEC. In order: the SSRC, unless the packet carries another MID than the one it came
//! with (then the stream moves); MID with RID or repaired RID; MID alone; the payload type, if only
//! one producer has it. An SSRC found by the last three is learned. Limits: signalled SSRCs by the
//! caps on producers, learned ones by a cap of their own, the oldest learned one making room. A stream has one
//! SSRC at a time, so that a peer which changes them for ever keeps few here; that it has brought more than the
//! cap is told all the same, once.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;
use sfu_wire::codec::CodecKind;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::{ExtensionIds, ExtensionKind};
use sfu_wire::id::ObjectId;
use sfu_wire::media::{Mid, Rid};
use sfu_wire::rtp::RtpView;

use crate::config::{CodecConfig, ProducerConfig};
use crate::producer::StreamPart;
use crate::transport_streams::{ProducerLine, ReceivedSsrc};

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The producer.
    pub producer: ObjectId,
    /// Index into its encodings.
    pub encoding: usize,
    /// Which of the encoding's streams.
    pub part: StreamPart,
}

/// What routing a packet did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routed {
    /// Where it goes.
    pub route: Route,
    /// The SSRC was learned by this packet.
    pub learned: bool,
    /// The oldest learned SSRC was forgotten to make room.
    pub evicted: bool,
    /// With this one the peer has brought more SSRCs than the cap, for the first time.
    pub beyond_limit: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    route: Route,
    signalled: bool,
}

#[derive(Debug)]
struct Line {
    producer: ObjectId,
    mid: Option<Mid>,
    rids: Vec<Option<Rid>>,
    /// Primary and RTX payload types.
    payload_types: Vec<(u8, Option<u8>)>,
    /// Payload types of FlexFEC, which has a stream of its own.
    repairs: Vec<u8>,
    extensions: ExtensionIds,
}

/// The tables of one transport.
#[derive(Debug)]
pub struct RtpListener {
    ssrcs: HashMap<u32, Entry, FixedState>,
    learned: VecDeque<u32>,
    max_learned: usize,
    /// SSRCs learned so far, less those that were signalled later or went with their producer.
    brought: u64,
    told_of_limit: bool,
    lines: Vec<Line>,
    extensions: ExtensionIds,
}

/// Why a producer cannot join a transport: the path of the field and what is wrong with it.
pub type Conflict = (String, String);

impl RtpListener {
    /// Makes empty tables.
    pub fn new(seed: u64, max_learned: usize) -> Self {
        Self {
            ssrcs: HashMap::with_hasher(FixedState::with_seed(seed)),
            learned: VecDeque::new(),
            max_learned,
            brought: 0,
            told_of_limit: false,
            lines: Vec::new(),
            extensions: ExtensionIds::default(),
        }
    }

    /// Whether a producer's streams can be told from those already here.
    pub fn check(&self, config: &ProducerConfig) -> Result<(), Conflict> {
        let mut own: Vec<u32> = Vec::new();
        for (i, encoding) in config.encodings.iter().enumerate() {
            for (ssrc, field) in
                [(encoding.ssrc, "ssrc"), (encoding.rtx_ssrc, "rtx.ssrc"), (encoding.fec_ssrc, "fec.ssrc")]
            {
                let Some(ssrc) = ssrc else { continue };
                let taken = self.ssrcs.get(&ssrc).is_some_and(|e| e.signalled) || own.contains(&ssrc);
                if taken {
                    let text = format!("SSRC {ssrc} is already in use on this transport: choose another");
                    return Err((format!("encodings[{i}].{field}"), text));
                }
                own.push(ssrc);
            }
            let rid_twice = encoding.rid.is_some() && config.encodings[..i].iter().any(|e| e.rid == encoding.rid);
            if rid_twice {
                return Err((format!("encodings[{i}].rid"), "the RID is in use by an earlier encoding".into()));
            }
        }
        let mid_taken = config.mid.is_some() && self.lines.iter().any(|l| l.mid == config.mid);
        if mid_taken {
            return Err(("mid".into(), "the MID is in use by another producer of this transport".into()));
        }
        Ok(())
    }

    /// Adds a producer that passed [`RtpListener::check`]. A learned SSRC that turns out to be
    /// signalled for it moves to it.
    pub fn add(&mut self, producer: ObjectId, config: &ProducerConfig) {
        let before = self.learned.len();
        for (encoding, e) in config.encodings.iter().enumerate() {
            let parts = [(e.ssrc, StreamPart::Media), (e.rtx_ssrc, StreamPart::Rtx), (e.fec_ssrc, StreamPart::Fec)];
            for (ssrc, part) in parts {
                let Some(ssrc) = ssrc else { continue };
                let route = Route { producer, encoding, part };
                self.ssrcs.insert(ssrc, Entry { route, signalled: true });
                self.learned.retain(|s| *s != ssrc);
            }
        }
        self.brought = self.brought.saturating_sub((before - self.learned.len()) as u64);
        let is_repair = |c: &&CodecConfig| c.kind == CodecKind::FlexFec;
        self.lines.push(Line {
            producer,
            mid: config.mid,
            rids: config.encodings.iter().map(|e| e.rid).collect(),
            payload_types: config
                .codecs
                .iter()
                .filter(|c| !is_repair(c))
                .map(|c| (c.payload_type, c.rtx_payload_type))
                .collect(),
            repairs: config.codecs.iter().filter(is_repair).map(|c| c.payload_type).collect(),
            extensions: config.extensions,
        });
        self.merge_extensions();
    }

    /// Removes a producer and all SSRCs that led to it.
    pub fn remove(&mut self, producer: ObjectId) {
        self.ssrcs.retain(|_, e| e.route.producer != producer);
        let before = self.learned.len();
        self.learned.retain(|s| self.ssrcs.contains_key(s));
        self.brought = self.brought.saturating_sub((before - self.learned.len()) as u64);
        self.lines.retain(|l| l.producer != producer);
        self.merge_extensions();
    }

    /// Finds the producer of a packet whose tag has been verified.
    pub fn route(&mut self, view: &RtpView<'_>) -> Result<Routed, DropReason> {
        if let Some(entry) = self.ssrcs.get(&view.ssrc)
            && self.stays(view, entry)?
        {
            return Ok(Routed { route: entry.route, learned: false, evicted: false, beyond_limit: false });
        }
        let route = self.find(view)?;
        if self.max_learned == 0 {
            return Err(DropReason::RtpStreamLimit);
        }
        self.learned.retain(|s| *s != view.ssrc);
        let oldest = if self.learned.len() >= self.max_learned { self.learned.pop_front() } else { None };
        let evicted = oldest.and_then(|ssrc| self.ssrcs.remove(&ssrc)).is_some();
        self.learned.push_back(view.ssrc);
        self.ssrcs.insert(view.ssrc, Entry { route, signalled: false });
        self.brought = self.brought.saturating_add(1);
        let beyond_limit = self.brought > self.max_learned as u64 && !std::mem::replace(&mut self.told_of_limit, true);
        Ok(Routed { route, learned: true, evicted, beyond_limit })
    }

    /// A learned SSRC leads nowhere any more; a signalled one stays.
    pub fn forget(&mut self, ssrc: u32) {
        if self.ssrcs.get(&ssrc).is_some_and(|e| !e.signalled) {
            self.ssrcs.remove(&ssrc);
            self.learned.retain(|s| *s != ssrc);
        }
    }

    /// The route of a known SSRC.
    pub fn by_ssrc(&self, ssrc: u32) -> Option<Route> {
        self.ssrcs.get(&ssrc).map(|e| e.route)
    }

    /// SSRCs of media, without what repairs it.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + '_ {
        self.ssrcs.iter().filter(|(_, e)| e.route.part == StreamPart::Media).map(|(ssrc, _)| *ssrc)
    }

    /// SSRCs that were signalled, retransmissions included.
    pub fn signalled(&self) -> impl Iterator<Item = u32> + '_ {
        self.ssrcs.iter().filter(|(_, e)| e.signalled).map(|(ssrc, _)| *ssrc)
    }

    /// Every known SSRC and where it leads, in the order of the SSRCs.
    pub fn received(&self) -> Vec<ReceivedSsrc> {
        let one = |(ssrc, entry): (&u32, &Entry)| ReceivedSsrc {
            ssrc: *ssrc,
            producer: entry.route.producer,
            encoding: entry.route.encoding as u8,
            rtx: entry.route.part == StreamPart::Rtx,
            fec: entry.route.part == StreamPart::Fec,
            signalled: entry.signalled,
        };
        let mut all: Vec<ReceivedSsrc> = self.ssrcs.iter().map(one).collect();
        all.sort_unstable_by_key(|r| r.ssrc);
        all
    }

    /// What packets of each producer are known by before their SSRC is.
    pub fn producer_lines(&self) -> Vec<ProducerLine> {
        let one = |line: &Line| ProducerLine {
            producer: line.producer,
            mid: line.mid,
            rids: line.rids.clone(),
            payload_types: line.payload_types.clone(),
        };
        self.lines.iter().map(one).collect()
    }

    /// Ids of header extensions on this transport, all producers together.
    pub fn extensions(&self) -> &ExtensionIds {
        &self.extensions
    }

    /// SSRCs learned from packets.
    pub fn learned(&self) -> usize {
        self.learned.len()
    }

    /// How many of them may be kept.
    pub fn max_learned(&self) -> usize {
        self.max_learned
    }

    /// How many were learned so far, those that others replaced included, those that were signalled later or went
    /// with their producer not.
    pub fn brought(&self) -> u64 {
        self.brought
    }

    /// Whether a known SSRC still leads where it did. With the MID of another producer it has moved
    /// there (the latest MID counts); with a MID that nobody has, its packets are discarded.
    fn stays(&self, view: &RtpView<'_>, entry: &Entry) -> Result<bool, DropReason> {
        let Some(mid) = self.mid(view) else { return Ok(true) };
        let own = self.lines.iter().find(|l| l.producer == entry.route.producer).and_then(|l| l.mid);
        if own.is_none_or(|own| own == mid) {
            return Ok(true);
        }
        if self.lines.iter().any(|l| l.mid == Some(mid)) { Ok(false) } else { Err(DropReason::RtpUnroutable) }
    }

    fn find(&self, view: &RtpView<'_>) -> Result<Route, DropReason> {
        if self.lines.iter().all(|l| l.mid.is_none()) {
            // No MID was signalled: what packets say of it means nothing.
            return self.by_rid_or_payload_type(view);
        }
        match self.mid(view) {
            Some(mid) => {
                let line = self.lines.iter().find(|l| l.mid == Some(mid)).ok_or(DropReason::RtpUnroutable)?;
                self.within(line, view)
            }
            // A MID that is present but illegal leads nowhere.
            None if self.extension(view, ExtensionKind::Mid).is_some() => Err(DropReason::RtpUnroutable),
            None => self.by_rid_or_payload_type(view),
        }
    }

    /// The encoding within the m-line that the MID named.
    fn within(&self, line: &Line, view: &RtpView<'_>) -> Result<Route, DropReason> {
        let part = line.part(view.payload_type).ok_or(DropReason::RtpPayloadType)?;
        let route = |encoding| Route { producer: line.producer, encoding, part };
        if let Some(rid) = self.rid(view, part != StreamPart::Media) {
            return line.rids.iter().position(|r| *r == Some(rid)).map(route).ok_or(DropReason::RtpUnroutable);
        }
        // Without a RID only a single encoding is meant beyond doubt.
        if line.rids.len() == 1 { Ok(route(0)) } else { Err(DropReason::RtpUnroutable) }
    }

    /// Without MID: a RID, if only one producer has it; else the payload type, if only one producer
    /// has it.
    fn by_rid_or_payload_type(&self, view: &RtpView<'_>) -> Result<Route, DropReason> {
        let mut fits = self.lines.iter().filter(|l| l.part(view.payload_type).is_some());
        let first = fits.next().ok_or(DropReason::RtpUnroutable)?;
        let rid = self.rid(view, false).or_else(|| self.rid(view, true));
        let Some(rid) = rid else {
            return if fits.next().is_none() { self.within(first, view) } else { Err(DropReason::RtpUnroutable) };
        };
        let mut with_rid = self.lines.iter().filter(|l| l.rids.contains(&Some(rid)));
        match (with_rid.next(), with_rid.next()) {
            (Some(line), None) => self.within(line, view),
            _ => Err(DropReason::RtpUnroutable),
        }
    }

    fn mid(&self, view: &RtpView<'_>) -> Option<Mid> {
        Mid::new(self.extension(view, ExtensionKind::Mid)?).ok()
    }

    fn rid(&self, view: &RtpView<'_>, repaired: bool) -> Option<Rid> {
        let kind = if repaired { ExtensionKind::RepairedRid } else { ExtensionKind::Rid };
        Rid::new(self.extension(view, kind)?).ok()
    }

    fn extension<'a>(&self, view: &RtpView<'a>, kind: ExtensionKind) -> Option<&'a [u8]> {
        view.extension(self.extensions.get(kind)?)
    }

    /// Ids are the same for all m-lines of a bundle (RFC 8843, section 9.2); where a controller says
    /// otherwise, the latest producer counts.
    fn merge_extensions(&mut self) {
        let mut merged = ExtensionIds::default();
        for line in &self.lines {
            for (kind, id) in line.extensions.iter() {
                let _ = merged.set(kind, id);
            }
        }
        self.extensions = merged;
    }
}

impl Line {
    /// `None`: the payload type is not of this producer.
    fn part(&self, payload_type: u8) -> Option<StreamPart> {
        if self.payload_types.iter().any(|(primary, _)| *primary == payload_type) {
            return Some(StreamPart::Media);
        }
        if self.repairs.contains(&payload_type) {
            return Some(StreamPart::Fec);
        }
        self.payload_types.iter().any(|(_, rtx)| *rtx == Some(payload_type)).then_some(StreamPart::Rtx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EncodingConfig, Feedback, StreamType};
    use sfu_wire::id::ObjectKind;
    use sfu_wire::media::MediaKind;
    use sfu_wire::rtp::{RtpHeaderFields, write_header};
    use std::time::Duration;

    const MID: u8 = 1;
    const RID: u8 = 2;
    const REPAIRED: u8 = 3;

    fn id(n: u32) -> ObjectId {
        ObjectId::new(0, ObjectKind::Producer, 1, n)
    }

    fn config(mid: Option<&str>, payload_type: u8, encodings: Vec<EncodingConfig>) -> ProducerConfig {
        let mut extensions = ExtensionIds::default();
        extensions.set(ExtensionKind::Mid, MID);
        extensions.set(ExtensionKind::Rid, RID);
        extensions.set(ExtensionKind::RepairedRid, REPAIRED);
        ProducerConfig {
            kind: MediaKind::Video,
            mid: mid.map(|m| Mid::new(m.as_bytes()).unwrap()),
            codecs: vec![CodecConfig {
                slot: 0,
                kind: CodecKind::Vp8,
                payload_type,
                rtx_payload_type: Some(payload_type + 1),
                clock_rate: 90_000,
                feedback: Feedback::default(),
            }],
            encodings,
            extensions,
            cname: String::new(),
            reduced_size_rtcp: true,
            paused: false,
            key_frame_request_delay: Duration::ZERO,
            stream_type: StreamType::Simple,
            opaque_payload: false,
            key_frame_cache: true,
        }
    }

    fn ssrc(ssrc: u32) -> EncodingConfig {
        EncodingConfig { ssrc: Some(ssrc), ..EncodingConfig::default() }
    }

    fn rid(name: &str) -> EncodingConfig {
        EncodingConfig { rid: Some(Rid::new(name.as_bytes()).unwrap()), ..EncodingConfig::default() }
    }

    fn route(
        listener: &mut RtpListener,
        ssrc: u32,
        payload_type: u8,
        exts: &[(u8, &[u8])],
    ) -> Result<Routed, DropReason> {
        let mut buf = [0; 128];
        let fields = RtpHeaderFields { marker: false, payload_type, sequence: 1, timestamp: 1, ssrc };
        let len = write_header(&mut buf, &fields, exts).unwrap();
        listener.route(&RtpView::parse(&buf[..len + 4]).unwrap())
    }

    fn listener(configs: &[ProducerConfig], max_learned: usize) -> RtpListener {
        let mut listener = RtpListener::new(1, max_learned);
        for (n, config) in configs.iter().enumerate() {
            listener.check(config).unwrap();
            listener.add(id(n as u32), config);
        }
        listener
    }

    #[test]
    fn row_059_the_latest_mid_moves_a_stream_and_an_unknown_one_discards_it() {
        let mut l = listener(&[config(Some("a"), 96, vec![ssrc(1)]), config(Some("b"), 96, vec![ssrc(2)])], 8);
        assert_eq!(route(&mut l, 1, 96, &[]).unwrap().route.producer, id(0));
        assert_eq!(route(&mut l, 1, 96, &[(MID, b"z")]), Err(DropReason::RtpUnroutable));
        let moved = route(&mut l, 1, 96, &[(MID, b"b")]).unwrap();
        assert_eq!((moved.route.producer, moved.learned), (id(1), true));
        assert_eq!(route(&mut l, 1, 96, &[]).unwrap().route.producer, id(1));
        assert_eq!(route(&mut l, 9, 96, &[(MID, b"")]), Err(DropReason::RtpUnroutable));
        assert_eq!(route(&mut l, 9, 96, &[(MID, &[0xff; 16])]), Err(DropReason::RtpUnroutable));
    }

    #[test]
    fn row_059_of_two_ssrcs_with_one_mid_and_rid_both_are_known_and_the_table_is_capped() {
        let mut l = listener(&[config(Some("a"), 96, vec![rid("h"), rid("q")])], 4);
        for n in 0..100 {
            let routed = route(&mut l, n, 96, &[(MID, b"a"), (RID, b"q")]).unwrap();
            assert_eq!((routed.route.encoding, routed.learned, routed.evicted), (1, true, n >= 4));
            assert_eq!(routed.beyond_limit, n == 4, "told once");
        }
        assert_eq!(l.learned(), 4);
        assert!(!route(&mut l, 99, 96, &[]).unwrap().learned);
        assert_eq!(route(&mut l, 0, 96, &[(MID, b"a")]), Err(DropReason::RtpUnroutable), "which encoding?");
        assert_eq!(route(&mut l, 0, 96, &[(MID, b"a"), (RID, b"no/rid")]), Err(DropReason::RtpUnroutable));
    }

    #[test]
    fn row_035_streams_that_went_with_their_producer_bring_no_peer_to_its_limit() {
        let mut l = listener(&[], 4);
        let config = config(Some("a"), 96, vec![rid("h"), rid("q")]);
        for n in 0..20 {
            l.add(id(n), &config);
            for (ssrc, rid) in [(2 * n, b"h"), (2 * n + 1, b"q")] {
                assert!(!route(&mut l, ssrc, 96, &[(MID, b"a"), (RID, rid)]).unwrap().beyond_limit);
            }
            assert_eq!(l.brought(), 2);
            l.remove(id(n));
        }
        l.add(id(20), &config);
        for ssrc in 100..110 {
            let routed = route(&mut l, ssrc, 96, &[(MID, b"a"), (RID, b"h")]).unwrap();
            // What its stream does with an SSRC that another replaces.
            l.forget(ssrc.wrapping_sub(1));
            assert_eq!((routed.evicted, routed.beyond_limit), (false, ssrc == 104));
        }
    }

    #[test]
    fn retransmissions_are_found_by_repaired_rid_and_by_payload_type() {
        let mut l = listener(&[config(Some("a"), 96, vec![rid("h"), rid("q")])], 8);
        let routed = route(&mut l, 5, 97, &[(MID, b"a"), (REPAIRED, b"q")]).unwrap();
        assert_eq!(routed.route, Route { producer: id(0), encoding: 1, part: StreamPart::Rtx });
        let mut single = listener(&[config(Some("a"), 96, vec![EncodingConfig::default()])], 8);
        assert_eq!(route(&mut single, 5, 97, &[(MID, b"a")]).unwrap().route.part, StreamPart::Rtx);
    }

    #[test]
    fn flexfec_is_found_by_its_ssrc_and_by_its_payload_type() {
        let mut flexfec = config(Some("a"), 96, vec![EncodingConfig { fec_ssrc: Some(9), ..ssrc(1) }]);
        let codec = CodecConfig { slot: 1, kind: CodecKind::FlexFec, payload_type: 35, ..flexfec.codecs[0].clone() };
        flexfec.codecs.push(CodecConfig { rtx_payload_type: None, ..codec });
        let twice = config(Some("b"), 96, vec![EncodingConfig { fec_ssrc: Some(1), ..ssrc(1) }]);
        assert_eq!(listener(&[], 8).check(&twice).unwrap_err().0, "encodings[0].fec.ssrc");
        let fec = Route { producer: id(0), encoding: 0, part: StreamPart::Fec };
        let mut l = listener(&[flexfec.clone()], 8);
        assert_eq!(route(&mut l, 9, 35, &[]).unwrap().route, fec);
        assert!(l.signalled().any(|ssrc| ssrc == 9) && l.ssrcs().eq([1]));
        flexfec.encodings[0].fec_ssrc = None;
        let mut l = listener(&[flexfec], 8);
        let routed = route(&mut l, 44, 35, &[]).unwrap();
        assert_eq!((routed.route, routed.learned), (fec, true));
        assert_eq!(route(&mut l, 1, 96, &[]).unwrap().route.part, StreamPart::Media);
    }

    #[test]
    fn the_payload_type_alone_decides_only_if_one_producer_has_it() {
        let one = config(None, 96, vec![EncodingConfig::default()]);
        let mut l = listener(&[one.clone(), config(None, 100, vec![EncodingConfig::default()])], 8);
        assert_eq!(route(&mut l, 5, 100, &[(MID, b"unsignalled")]).unwrap().route.producer, id(1));
        assert_eq!(route(&mut l, 6, 110, &[]), Err(DropReason::RtpUnroutable));
        let mut twice = listener(&[one.clone(), one], 8);
        assert_eq!(route(&mut twice, 5, 96, &[]), Err(DropReason::RtpUnroutable));
    }

    #[test]
    fn a_learned_ssrc_that_is_signalled_later_moves_and_a_removed_producer_leaves_nothing() {
        let mut l = listener(&[config(Some("a"), 96, vec![EncodingConfig::default()])], 8);
        route(&mut l, 5, 96, &[(MID, b"a")]).unwrap();
        let late = config(Some("b"), 96, vec![ssrc(5)]);
        l.check(&late).unwrap();
        l.add(id(7), &late);
        assert_eq!(route(&mut l, 5, 96, &[]).unwrap().route.producer, id(7));
        assert_eq!(l.learned(), 0);
        l.remove(id(7));
        l.remove(id(0));
        assert_eq!(route(&mut l, 5, 96, &[(MID, b"a")]), Err(DropReason::RtpUnroutable));
        assert!(l.extensions().is_empty() && l.ssrcs().next().is_none());
    }
}

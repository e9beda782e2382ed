//! Which producer of a transport an RTP packet is for (RFC 9143, section 9.2; RFC 8852).
//!
//! Told: producers with their signalled SSRCs, MID, RIDs, payload types and extension ids; then
//! packets whose tag has been verified. Tells: the producer, the encoding, and whether the packet is a
//! retransmission. In order: the SSRC, unless the packet carries another MID than the one it came
//! with (then the stream moves); MID with RID or repaired RID; MID alone; the payload type, if only
//! one producer has it. An SSRC found by the last three is learned. Limits: signalled SSRCs by the
//! caps on producers, learned ones by a cap of their own, the oldest learned one making room.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::{ExtensionIds, ExtensionKind};
use sfu_wire::id::ObjectId;
use sfu_wire::media::{Mid, Rid};
use sfu_wire::rtp::RtpView;

use crate::config::ProducerConfig;

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The producer.
    pub producer: ObjectId,
    /// Index into its encodings.
    pub encoding: usize,
    /// A retransmission (RFC 4588).
    pub is_rtx: bool,
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
    extensions: ExtensionIds,
}

/// The tables of one transport.
#[derive(Debug)]
pub struct RtpListener {
    ssrcs: HashMap<u32, Entry, FixedState>,
    learned: VecDeque<u32>,
    max_learned: usize,
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
            lines: Vec::new(),
            extensions: ExtensionIds::default(),
        }
    }

    /// Whether a producer's streams can be told from those already here.
    pub fn check(&self, config: &ProducerConfig) -> Result<(), Conflict> {
        let mut own: Vec<u32> = Vec::new();
        for (i, encoding) in config.encodings.iter().enumerate() {
            for (ssrc, field) in [(encoding.ssrc, "ssrc"), (encoding.rtx_ssrc, "rtx.ssrc")] {
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
        for (encoding, e) in config.encodings.iter().enumerate() {
            for (ssrc, is_rtx) in [(e.ssrc, false), (e.rtx_ssrc, true)] {
                let Some(ssrc) = ssrc else { continue };
                let route = Route { producer, encoding, is_rtx };
                self.ssrcs.insert(ssrc, Entry { route, signalled: true });
                self.learned.retain(|s| *s != ssrc);
            }
        }
        self.lines.push(Line {
            producer,
            mid: config.mid,
            rids: config.encodings.iter().map(|e| e.rid).collect(),
            payload_types: config.codecs.iter().map(|c| (c.payload_type, c.rtx_payload_type)).collect(),
            extensions: config.extensions,
        });
        self.merge_extensions();
    }

    /// Removes a producer and all SSRCs that led to it.
    pub fn remove(&mut self, producer: ObjectId) {
        self.ssrcs.retain(|_, e| e.route.producer != producer);
        self.learned.retain(|s| self.ssrcs.contains_key(s));
        self.lines.retain(|l| l.producer != producer);
        self.merge_extensions();
    }

    /// Finds the producer of a packet whose tag has been verified.
    pub fn route(&mut self, view: &RtpView<'_>) -> Result<Routed, DropReason> {
        let known = self.ssrcs.get(&view.ssrc).copied();
        if let Some(entry) = known
            && !self.has_moved(view, &entry)
        {
            return Ok(Routed { route: entry.route, learned: false, evicted: false });
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
        Ok(Routed { route, learned: true, evicted })
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

    /// SSRCs of media, retransmissions left out.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + '_ {
        self.ssrcs.iter().filter(|(_, e)| !e.route.is_rtx).map(|(ssrc, _)| *ssrc)
    }

    /// Ids of header extensions on this transport, all producers together.
    pub fn extensions(&self) -> &ExtensionIds {
        &self.extensions
    }

    /// SSRCs learned from packets.
    pub fn learned(&self) -> usize {
        self.learned.len()
    }

    /// A known SSRC that carries the MID of another producer has moved there (RFC 9143: the latest
    /// MID counts). An unknown MID on a known SSRC changes nothing.
    fn has_moved(&self, view: &RtpView<'_>, entry: &Entry) -> bool {
        let Some(mid) = self.mid(view) else { return false };
        self.lines.iter().any(|l| l.mid == Some(mid) && l.producer != entry.route.producer)
    }

    fn find(&self, view: &RtpView<'_>) -> Result<Route, DropReason> {
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
        let is_rtx = line.is_rtx(view.payload_type).ok_or(DropReason::RtpPayloadType)?;
        let route = |encoding| Route { producer: line.producer, encoding, is_rtx };
        if let Some(rid) = self.rid(view, is_rtx) {
            return line.rids.iter().position(|r| *r == Some(rid)).map(route).ok_or(DropReason::RtpUnroutable);
        }
        // Without a RID only a single encoding is meant beyond doubt.
        if line.rids.len() == 1 { Ok(route(0)) } else { Err(DropReason::RtpUnroutable) }
    }

    /// Without MID: a RID, if only one producer has it; else the payload type, if only one producer
    /// has it.
    fn by_rid_or_payload_type(&self, view: &RtpView<'_>) -> Result<Route, DropReason> {
        let mut fits = self.lines.iter().filter(|l| l.is_rtx(view.payload_type).is_some());
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
    fn is_rtx(&self, payload_type: u8) -> Option<bool> {
        if self.payload_types.iter().any(|(primary, _)| *primary == payload_type) {
            return Some(false);
        }
        self.payload_types.iter().any(|(_, rtx)| *rtx == Some(payload_type)).then_some(true)
    }
}

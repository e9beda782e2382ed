//! What a producer whose streams come by a pipe wants of them, said to the router at the other end.
//!
//! Told: the highest layers wanted of each encoding, and whether all that is wanted comes. Tells: an RTCP packet
//! ([`WantedStreams`]) at once when that changes, twice more soon after, since it may be lost, and then in each
//! [`PERIOD`]; and whether something that is wanted has not come for [`PATIENCE`]: perhaps the publisher sends
//! other encodings than those, and only the far router knows which. Left out: who wants what.

use std::time::Duration;

use arrayvec::ArrayVec;
use sfu_wire::rtcp::{WantedStream, WantedStreams};
use sfu_wire::scalability::Layers;
use sfu_wire::time::Time;

use super::{MAX_ENCODINGS, Producer};

/// Distance of repetitions.
const PERIOD: Duration = Duration::from_secs(1);
/// Distance of the first repetitions, and their number.
const SOON: Duration = Duration::from_millis(60);
const SOON_REPEATS: u8 = 2;
/// What is wanted should come within this time: a round trip and a key frame.
const PATIENCE: Duration = Duration::from_millis(500);

/// The highest layers wanted of each encoding; `None`: nothing of it.
pub(crate) type WishList = [Option<Layers>; MAX_ENCODINGS];

/// See the module.
#[derive(Debug)]
pub(super) struct Wishes {
    of: WishList,
    next: Time,
    repeats: u8,
    /// Since when something that is wanted does not come.
    lacking: Option<Time>,
    /// That has lasted too long: everything is wanted.
    widened: bool,
}

impl Wishes {
    /// Something is to be said now.
    pub(super) fn poll(&mut self, now: Time) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + if self.repeats > 0 { SOON } else { PERIOD };
        self.repeats = self.repeats.saturating_sub(1);
        true
    }

    /// When to ask again.
    pub(super) fn next_timeout(&self) -> Time {
        // The time to lose patience counts once: what follows from it is said at once.
        let patience = self.lacking.map(|since| since + PATIENCE).filter(|_| !self.widened);
        patience.map_or(self.next, |at| at.min(self.next))
    }
}

impl Producer {
    /// The other end of its pipe is told what is wanted.
    pub(crate) fn tell_wishes_from(&mut self, now: Time) {
        self.wishes =
            Some(Box::new(Wishes { of: [None; MAX_ENCODINGS], next: now, repeats: 0, lacking: None, widened: false }));
    }

    /// The other end is told what is wanted.
    #[inline]
    pub(crate) fn has_wishes(&self) -> bool {
        self.wishes.is_some()
    }

    /// This is wanted. Where something of it has not come for long, everything is wanted, as much as of what is.
    /// `true`: there is something to say.
    pub(crate) fn set_wishes(&mut self, now: Time, mut list: WishList) -> bool {
        let lacks = |(wish, encoding): (&Option<Layers>, &super::Encoding)| wish.is_some() && !encoding.is_active(now);
        let lacking = list.iter().zip(&self.encodings).any(lacks);
        let Some(wishes) = &mut self.wishes else { return false };
        wishes.lacking = if lacking { wishes.lacking.or(Some(now)) } else { None };
        wishes.widened = wishes.lacking.is_some_and(|since| now.saturating_since(since) >= PATIENCE);
        if wishes.widened {
            let most = list.iter().flatten().fold(Layers::default(), |most, layers| {
                Layers::new(most.spatial.max(layers.spatial), most.temporal.max(layers.temporal))
            });
            list.iter_mut().take(self.encodings.len()).for_each(|wish| *wish = Some(wish.unwrap_or(most)));
        }
        if wishes.of == list {
            return false;
        }
        wishes.of = list;
        wishes.next = now;
        wishes.repeats = SOON_REPEATS;
        true
    }

    /// Writes what is wanted of the streams whose SSRCs are known.
    pub(super) fn write_wishes(&self, buf: &mut [u8]) -> Option<usize> {
        let wishes = self.wishes.as_ref()?;
        let named = self.encodings.iter().zip(wishes.of).filter_map(|(e, layers)| Some((e.ssrc?, layers)));
        let streams: ArrayVec<WantedStream, MAX_ENCODINGS> =
            named.map(|(ssrc, layers)| WantedStream { ssrc, layers }).take(MAX_ENCODINGS).collect();
        WantedStreams::write(buf, self.rtcp_ssrc, &streams).ok()
    }
}

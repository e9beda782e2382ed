//! Maps from what a source numbers to what a receiver sees, so that pauses, restarts and packets left
//! out do not show: sequence numbers, timestamps, picture ids.
//!
//! Told: numbers of packets as they come. Tells: numbers to write. No bytes, no time of their own.
//! Limits: constant memory per map. RFC 3550 (sequence numbers and timestamps), RFC 7741 (VP8), RFC 9628
//! (VP9). Left out: frame numbers of the dependency descriptor, which need no more than an addition.

mod picture_id;
mod sequence;
mod timestamp;
mod timestamp_shift;

pub use picture_id::{PictureId, PictureIdMap, PictureShift};
pub use sequence::{Origin, SequenceMap};
pub use timestamp::TimestampLine;
pub use timestamp_shift::TimestampShift;

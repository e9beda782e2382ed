//! ORTC: the dictionaries that browsers' clients speak, their validation, and the negotiation between a router and
//! its publishers and subscribers.
//!
//! Told: RTP capabilities and parameters. Tells: router capabilities, consumable parameters, consumer parameters, and
//! the numbers that a shard needs. Limits: [`limits`]. Leaves out: SDP (see [`sdp`](crate::sdp)).

pub mod capabilities;
pub mod codec;
pub mod consumer;
pub mod convert;
pub mod h264;
pub mod h265;
pub mod layers;
pub mod limits;
pub mod numbering;
pub mod pipe;
pub mod producer;
pub mod red;
pub mod switch;
pub mod types;
pub mod validate;

#[cfg(test)]
mod browser_tests;
#[cfg(test)]
mod json_tests;
#[cfg(test)]
mod layer_tests;
#[cfg(test)]
mod red_tests;
#[cfg(test)]
mod tests;

pub use types::*;

//! Tests of the whole command path: bytes in, messages out, over pure shards.

mod commands;
mod every_field;
mod layers;
mod life;
mod live;
mod live_sdp;
mod malformed;
mod options;
mod pipes;
mod room;
mod schema_text;
mod servers;
mod span;
mod taps;
mod transports;
mod watching;

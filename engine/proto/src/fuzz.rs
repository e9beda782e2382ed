//! Entry points for fuzzers: arbitrary bytes in, nothing may panic, nothing may loop.

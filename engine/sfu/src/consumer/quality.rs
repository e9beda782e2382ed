//! What the peer's reports say about how well a consumer's stream arrives.

use sfu_proto::score::Totals;
use sfu_wire::rtcp::ReportBlock;
use sfu_wire::time::{NtpTime, Time};

use super::Consumer;

impl Consumer {
    /// A report of the peer about one of the two streams. `ntp` is our wall clock. `true`: the score
    /// is another now.
    pub fn handle_report_block(&mut self, _now: Time, ntp: NtpTime, block: &ReportBlock) -> bool {
        if block.ssrc != self.ssrc {
            return false;
        }
        self.stream.handle_report_block(ntp, block);
        let expected = self.stream.packets();
        // What was asked for and sent again is taken to have arrived; a peer that asks twice shows it
        // by the number of resends.
        let lost = u64::try_from(block.cumulative_lost).unwrap_or(0).min(expected);
        let totals = Totals {
            expected,
            received: expected - lost,
            repaired: self.cold.resent.min(lost),
            repairs: self.cold.resent,
        };
        self.cold.score.handle_report(totals)
    }

    /// How well the stream arrives, 0 to 10.
    pub fn score(&self) -> u8 {
        self.cold.score.score()
    }
}

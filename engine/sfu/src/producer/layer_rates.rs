//! Bit rates of the layers within one encoding.
//!
//! Told: arrival, layer and size of each packet whose layer is known. Tells: bit/s over the last second of each
//! layer seen, of that layer alone: those below it are not added. Limits: [`MAX_SPATIAL`] times
//! [`MAX_TEMPORAL`] layers; memory for a layer is taken when it is first seen, and kept. Left out: retransmissions, as in
//! the stream's own rate, and encodings without layers, for which that says it all.

use sfu_proto::layers::{PacketLayer, Scheme};
use sfu_wire::rate::RateMeter;
use sfu_wire::scalability::{Layers, MAX_SPATIAL, MAX_TEMPORAL};
use sfu_wire::time::Time;

use crate::stats::LayerBitrate;

/// The meters, in order of first sight: few, so that they are searched.
#[derive(Debug, Default)]
pub(super) struct LayerRates {
    meters: Vec<(Layers, RateMeter)>,
}

impl LayerRates {
    /// Counts a packet of `bytes`. A packet of no layer counts nowhere.
    #[inline]
    pub(super) fn add(&mut self, now: Time, layer: &PacketLayer, bytes: usize) {
        if layer.scheme == Scheme::None || layer.spatial >= MAX_SPATIAL || layer.temporal >= MAX_TEMPORAL {
            return;
        }
        let layers = Layers::new(layer.spatial, layer.temporal);
        match self.meters.iter_mut().find(|(known, _)| *known == layers) {
            Some((_, meter)) => meter.add(now, bytes),
            None => self.first(now, layers, bytes),
        }
    }

    #[cold]
    fn first(&mut self, now: Time, layers: Layers, bytes: usize) {
        let mut meter = RateMeter::new();
        meter.add(now, bytes);
        self.meters.push((layers, meter));
    }

    /// Each layer seen, the lowest first; one that rests has 0.
    pub(super) fn stats(&self, now: Time) -> Vec<LayerBitrate> {
        let rate = |(layers, meter): &(Layers, RateMeter)| LayerBitrate {
            layers: *layers,
            bitrate: u32::try_from(meter.bitrate(now)).unwrap_or(u32::MAX),
        };
        let mut rates: Vec<_> = self.meters.iter().map(rate).collect();
        rates.sort_unstable_by_key(|rate| (rate.layers.spatial, rate.layers.temporal));
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(spatial: u8, temporal: u8) -> PacketLayer {
        PacketLayer { scheme: Scheme::Vp9, spatial, temporal, ..PacketLayer::default() }
    }

    #[test]
    fn each_layer_has_its_own_rate_in_order() {
        let mut rates = LayerRates::default();
        for ms in (0..1_000).step_by(10) {
            let now = Time::from_millis(ms);
            rates.add(now, &layer(1, 0), 400);
            rates.add(now, &layer(0, 1), 50);
            rates.add(now, &layer(0, 0), 100);
        }
        let told =
            |ms| rates.stats(Time::from_millis(ms)).into_iter().map(|r| (r.layers, r.bitrate)).collect::<Vec<_>>();
        let all = [(0, 0), (0, 1), (1, 0)].map(|(s, t)| Layers::new(s, t));
        assert_eq!(told(999), [(all[0], 80_000), (all[1], 40_000), (all[2], 320_000)]);
        assert_eq!(told(5_000), all.map(|layers| (layers, 0)), "they rest");
    }

    #[test]
    fn packets_of_no_layer_and_of_none_that_there_can_be_count_nowhere() {
        let mut rates = LayerRates::default();
        rates.add(Time::ZERO, &PacketLayer::default(), 100);
        rates.add(Time::ZERO, &layer(MAX_SPATIAL, 0), 100);
        rates.add(Time::ZERO, &layer(0, MAX_TEMPORAL), 100);
        assert!(rates.stats(Time::ZERO).is_empty());
        for (spatial, temporal) in (0..=255).flat_map(|s| (0..=255).map(move |t| (s, t))) {
            rates.add(Time::ZERO, &layer(spatial, temporal), 1);
        }
        assert_eq!(rates.stats(Time::ZERO).len(), usize::from(MAX_SPATIAL * MAX_TEMPORAL));
    }
}

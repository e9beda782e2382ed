//! Scores as they change, told to whoever controls: one event per producer, and one for each of its
//! consumers, since what a viewer sees is the worse of the two.

use sfu_wire::id::ObjectId;

use crate::command::Event;
use crate::consumer::Consumer;
use crate::shard::Shard;

impl Shard {
    /// Tells the scores of a producer and of its consumers, if one of the producer's changed.
    #[inline]
    pub(crate) fn tell_producer_scores(&mut self, id: ObjectId) {
        if self.producers.get_mut(id).is_some_and(|held| held.it.take_score_change()) {
            self.tell_scores(id);
        }
    }

    #[cold]
    fn tell_scores(&mut self, id: ObjectId) {
        let Some(held) = self.producers.get(id) else { return };
        let scores = held.it.encoding_scores();
        let consumers = held.it.consumers.clone();
        self.out.events.push_back(Event::ProducerScore { producer: id, scores });
        self.tell_state(id);
        for consumer in consumers {
            self.tell_consumer_score(consumer);
        }
    }

    /// Tells the score of a consumer, and with it those of its producer.
    pub(crate) fn tell_consumer_score(&mut self, id: ObjectId) {
        let Some(consumer) = self.consumers.get(id).map(|held| &held.it) else { return };
        if consumer.is_hidden() {
            // The first lane speaks for all.
            return;
        }
        let Some(producer) = self.producers.get(consumer.producer()).map(|held| &held.it) else { return };
        let producer_scores: Vec<u8> = producer.scores().collect();
        let producer_score = producer_scores.get(usize::from(consumer.encoding())).copied().unwrap_or(0);
        let lanes = consumer.other_lanes().iter().filter_map(|lane| self.consumers.get(*lane));
        let lanes = lanes.map(|held| &held.it).filter(|lane| !lane.is_paused());
        let score = lanes.map(Consumer::score).fold(consumer.score(), u8::min);
        self.out.events.push_back(Event::ConsumerScore { consumer: id, score, producer_score, producer_scores });
    }
}

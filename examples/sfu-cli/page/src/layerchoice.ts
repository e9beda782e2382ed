// What the layer panels of tiles show, made of what the session knows.

import type { LayerChoice } from './layerpanel';
import type { Layers, RemoteStream } from './session';
import type { SendLimit } from './sendlimit';

const spoken = (layers: Layers, { spatial, temporal }: Layers): string => {
	const size = layers.spatial > 1 ? `size ${spatial + 1} of ${layers.spatial}` : '';
	const rate = layers.temporal > 1 ? `rate ${temporal + 1} of ${layers.temporal}` : '';
	return [size, rate].filter(Boolean).join(', ') || 'everything';
};

/// Of somebody else's picture.
export function receivedLayers(stream: RemoteStream | undefined): LayerChoice | undefined {
	if (!stream) return undefined;
	const { layers, current, score } = stream;
	const highest = { spatial: layers.spatial - 1, temporal: layers.temporal - 1 };
	const scores = score ? [{ name: 'to you', score: score.score }] : [];
	for (const [index, one] of (score?.producerScores ?? []).entries()) {
		scores.push({ name: (score?.producerScores.length ?? 0) > 1 ? `source ${index + 1}` : 'source', score: one });
	}
	let note = 'Nothing was told of its layers yet.';
	if (current === null) note = 'Nothing comes right now.';
	else if (current) note = `Comes: ${spoken(layers, current)}.`;
	return { ...layers, chosen: stream.preferred ?? highest, current, priority: stream.priority, scores, note };
}

/// Of one's own picture.
export function sentLayers(limit: SendLimit | undefined): LayerChoice | undefined {
	if (!limit) return undefined;
	const { layers, own, sent, wanted } = limit;
	const scores = limit.scores.map((one) => ({ name: limit.scores.length > 1 ? `size ${one.encodingIdx + 1}` : 'sent', score: one.score }));
	const current = sent === null ? null : { spatial: sent, temporal: 0 };
	let note = 'Nobody asked for less.';
	if (wanted === null) note = 'Nobody watches: nothing is sent.';
	else if (sent !== null && layers > 1) note = `Sent: size ${sent + 1} of ${layers}.`;
	return { spatial: layers, temporal: 1, chosen: { spatial: own, temporal: 0 }, current, priority: undefined, scores, note };
}

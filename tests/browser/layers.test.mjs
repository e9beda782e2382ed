// Simulcast and SVC of each codec: every size and rate is picked in turn, and what arrives changes as asked.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Person } from './chromium.mjs';
import { until, withService } from './service.mjs';

/// How long frames are counted for a rate.
const WINDOW_MS = 1500;

const QUIET = { produce: 'false', resolution: 'qvga' };

/// The one video stream of `person` that comes from `peerId`, as the page knows it.
const stream = async (person, peerId) =>
	(await person.state()).peers.find((peer) => peer.id === peerId)?.streams.find((one) => one.kind === 'video');

/// What the browser counts of it.
const numbers = async (person, peerId) => (await person.stats()).consumers.find((one) => one.peerId === peerId && one.kind === 'video');

const pick = (person, peerId, layers) =>
	person.page.evaluate(
		([id, wanted]) => {
			const { session } = window.sfu;
			const found = [...session.streams()].find((one) => one.peerId === id && one.consumer.kind === 'video');
			return session.setPreferredLayers(found, wanted);
		},
		[peerId, layers],
	);

async function rate(person, peerId) {
	const before = await numbers(person, peerId);
	const start = Date.now();
	await new Promise((resolve) => setTimeout(resolve, WINDOW_MS));
	const after = await numbers(person, peerId);
	return ((after.frames - before.frames) * 1000) / (Date.now() - start);
}

/// Picks layers and waits until the browser decodes pictures of that size and the server says so.
async function gets(person, peerId, layers, width) {
	await pick(person, peerId, layers);
	const what = `S${layers.spatial} T${layers.temporal}: ${width} wide`;
	let last;
	await until(
		() => `${what}; last ${JSON.stringify(last)}`,
		async () => {
			const [seen, known] = [await numbers(person, peerId), await stream(person, peerId)];
			last = { width: seen.width, frames: seen.frames, current: known.current };
			return seen.width === width && known.current?.spatial === layers.spatial;
		},
		20_000,
	);
}

/// The picture of the tests: the smallest of which browsers make three sizes. Their fake camera has 20 frames a second.
const WIDTHS = [240, 480, 960];
const FRAME_RATE = 20;

/// `also` looks further before the two of them leave.
async function eachLayer(params, { widths = WIDTHS, temporal = 3, codec, args = [], also = async () => {} }) {
	await withService({ args }, async (service) => {
		const ada = await Person.join(service, 'Ada', { params: { enableWebcamLayers: 'true', resolution: 'qhd', ...params } });
		// As if somebody else watched all of it: what is left out is left out by the server.
		await until('Ada publishes', async () => (await ada.state()).producers.webcam !== undefined);
		await ada.page.evaluate(() => {
			const limit = window.sfu.session.limits.get('webcam');
			limit.setWanted({ spatialLayer: limit.layers - 1, temporalLayer: null });
			limit.setWanted = () => Promise.resolve();
		});
		const grace = await Person.join(service, 'Grace', { params: QUIET });
		const adaId = await ada.peerId();
		const seen = await grace.sees(adaId, { codec });
		assert.ok(seen.width > 0);
		const known = await stream(grace, adaId);
		assert.deepEqual(known.layers.spatial, widths.length, 'the sizes that the page was told of');
		assert.equal(known.layers.temporal, temporal, 'the rates that the page was told of');
		const top = { spatial: widths.length - 1, temporal: temporal - 1 };
		for (const spatial of [2, 0, 1, 2, 1, 0].filter((one) => one <= top.spatial)) await gets(grace, adaId, { spatial, temporal: top.temporal }, widths[spatial]);
		if (temporal > 1) await eachRate(grace, adaId, temporal);
		await also(service, ada, grace);
		for (const person of [ada, grace]) await person.leave();
	});
}

/// Rates of the smallest size, which costs the machine least.
async function eachRate(person, peerId, temporal) {
	for (const layer of [temporal - 1, 0, ...Array.from({ length: temporal - 2 }, (_, index) => index + 1)]) {
		await pick(person, peerId, { spatial: 0, temporal: layer });
		const full = FRAME_RATE / 2 ** (temporal - 1 - layer);
		let measured = 0;
		await until(
			() => `T${layer} is about ${full}/s; last ${measured.toFixed(1)}`,
			async () => {
				measured = await rate(person, peerId);
				return measured > full * 0.6 && measured < full * 1.4;
			},
			20_000,
		);
	}
}

for (const codec of ['VP8', 'H264', 'VP9', 'AV1']) {
	test(`simulcast with ${codec}`, async () => {
		const params = { [`force${codec}`]: 'true', numSimulcastStreams: '3', webcamScalabilityMode: 'L1T3' };
		await eachLayer(params, { codec: `video/${codec}` });
	});
}

/// Objects of a kind in all shards.
async function count(service, kind) {
	const text = await (await fetch(new URL('metrics', service.url))).text();
	const values = [...text.matchAll(new RegExp(`^sfu_shard_objects\\{[^}]*kind="${kind}"[^}]*\\} (\\d+)`, 'gm'))];
	return values.reduce((sum, [, value]) => sum + Number(value), 0);
}

test('simulcast into one router, watched in another that a pipe joins to it', async () => {
	const params = { forceVP8: 'true', numSimulcastStreams: '3', webcamScalabilityMode: 'L1T3' };
	const args = ['--room-routers', '2', '--shards', '2'];
	await eachLayer(params, {
		codec: 'video/VP8',
		args,
		also: async (service, ada, grace) => {
			assert.equal(await count(service, 'routers'), 2);
			// Two of Ada's, one of Grace's, who publishes nothing, and the two ends of one pipe.
			assert.equal(await count(service, 'transports'), 5);
			await grace.hears(await ada.peerId());
		},
	});
});

for (const [codec, mode] of [['VP9', 'L3T3_KEY'], ['AV1', 'L3T3']]) {
	test(`SVC with ${codec}`, async () => {
		await eachLayer({ [`force${codec}`]: 'true', webcamScalabilityMode: mode }, { codec: `video/${codec}` });
	});
}

// What changes below a running call: the source of a picture, the layers that are sent, redundant audio.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meet, Person } from './chromium.mjs';
import { until, withService } from './service.mjs';

const video = async (person, peerId) => (await person.stats()).consumers.find((one) => one.peerId === peerId && one.kind === 'video');

/// Counts the descriptions that a page gives its connections: a negotiation shows in it.
const negotiations = (person) => person.page.evaluate(() => window.negotiations);

async function watcher(service, name, params = {}) {
	const person = await Person.open(service, name, { params: { produce: 'false', ...params }, blank: true });
	await person.context.addInitScript(() => {
		window.negotiations = 0;
		const native = RTCPeerConnection.prototype.setRemoteDescription;
		RTCPeerConnection.prototype.setRemoteDescription = function set(...args) {
			window.negotiations++;
			return native.apply(this, args);
		};
	});
	await person.go();
	return person.join();
}

const switchTo = (person, peerId, producerId) =>
	person.page.evaluate(
		([id, producer]) => {
			const { session } = window.sfu;
			const found = [...session.streams()].find((one) => one.peerId === id && one.consumer.kind === 'video');
			return session.switchSource(found, producer);
		},
		[peerId, producerId],
	);

test('a picture follows another publisher and comes back without a new negotiation', async () => {
	await withService({}, async (service) => {
		const ada = await Person.join(service, 'Ada', { params: { resolution: 'vga' } });
		const alan = await Person.join(service, 'Alan', { params: { resolution: 'qvga' } });
		const grace = await watcher(service, 'Grace');
		const adaId = await ada.peerId();
		await grace.sees(adaId, { width: 640, height: 480 });
		const [adas, alans] = [(await ada.state()).producers.webcam.id, (await alan.state()).producers.webcam.id];
		const before = await negotiations(grace);
		const follows = async (producer, width) => {
			await switchTo(grace, adaId, producer);
			await until(`the picture is ${width} wide`, async () => (await video(grace, adaId)).width === width);
			const { frames } = await video(grace, adaId);
			await until('it moves', async () => (await video(grace, adaId)).frames > frames + 15);
		};
		await follows(alans, 320);
		await follows(adas, 640);
		await follows(alans, 320);
		assert.equal(await negotiations(grace), before, 'nothing was negotiated');
		// The stream lives with its new source.
		await ada.leave();
		const alanId = await alan.peerId();
		const outlived = async () => (await grace.stats()).consumers.filter((one) => one.peerId === alanId && one.kind === 'video');
		await until('both pictures are of Alan', async () => (await outlived()).length === 2);
		const earlier = (await outlived()).map((one) => one.frames);
		await until('both move', async () => (await outlived()).every((one, index) => one.frames > earlier[index] + 10));
		for (const person of [alan, grace]) await person.leave();
	});
});

test('nobody watches, nothing is sent; somebody does, and it comes back', async () => {
	await withService({}, async (service) => {
		const ada = await Person.join(service, 'Ada', { params: { enableWebcamLayers: 'true', resolution: 'qhd' } });
		const sent = async () => (await ada.state()).producers.webcam?.sent;
		await until('nothing is sent', async () => (await sent()) === null);
		const grace = await Person.join(service, 'Grace', { params: { produce: 'false' } });
		const adaId = await ada.peerId();
		await grace.sees(adaId);
		await until('all sizes are sent', async () => (await sent()) === 2);
		const tile = grace.page.locator(`[data-tile="${adaId}"]`);
		await tile.hover();
		await tile.locator('[data-layers]').click();
		await tile.getByText('quarter').click();
		await until('only the smallest is sent', async () => (await sent()) === 0);
		await until('and seen', async () => (await video(grace, adaId)).width === 240);
		await grace.screenshot('layers');
		for (const person of [ada, grace]) await person.leave();
	});
});

test('a shared screen in layers', async () => {
	await withService({ args: ['--max-incoming-bitrate', '0'] }, async (service) => {
		const params = { resolution: 'qvga', enableSharingLayers: 'true', numSimulcastStreams: '2' };
		const ada = await Person.join(service, 'Ada', { params });
		const grace = await Person.join(service, 'Grace', { params: { produce: 'false' } });
		const adaId = await ada.peerId();
		await ada.page.click('[data-tool="screen"]');
		const screen = async () => (await grace.stats()).consumers.find((one) => one.peerId === adaId && one.source === 'screen');
		const shown = await until('the screen is shown', async () => {
			const seen = await screen();
			return seen?.frames > 3 && seen;
		});
		const pick = (spatial) =>
			grace.page.evaluate((wanted) => {
				const { session } = window.sfu;
				const found = [...session.streams()].find((one) => one.source === 'screen');
				return session.setPreferredLayers(found, { spatial: wanted, temporal: 2 });
			}, spatial);
		// What was shown first may be either layer: the larger of two widths is the whole screen.
		const widths = new Set([shown.width]);
		const differs = async () => widths.add((await screen()).width).size > 1;
		await pick(1);
		await until('the whole screen has come, or was there', async () => (await differs()) || (await screen()).frames > shown.frames + 60);
		await pick(0);
		await until('another layer comes', differs);
		const full = Math.max(...widths);
		await until('it is half as wide', async () => Math.abs((await screen()).width - full / 2) <= 8);
		for (const person of [ada, grace]) await person.leave();
	});
});

test('redundant audio', async () => {
	await withService({}, async (service) => {
		const ada = await Person.join(service, 'Ada', { params: { red: 'true', resolution: 'qvga' } });
		const grace = await Person.join(service, 'Grace', { params: { resolution: 'qvga' } });
		await meet([ada, grace]);
		const adaId = await ada.peerId();
		const ask = (person, method, data) => person.page.evaluate(([name, what]) => window.sfu.session.signalling.request(name, what), [method, data]);
		const mic = (await ada.state()).producers.mic.id;
		const [sent] = await ask(ada, 'getProducerStats', { producerId: mic });
		assert.equal(sent.mimeType, 'audio/red', 'what Ada sends');
		const stream = (await grace.state()).peers.find((peer) => peer.id === adaId).streams.find((one) => one.kind === 'audio');
		const [given] = await ask(grace, 'getConsumerStats', { consumerId: stream.id });
		assert.equal(given.mimeType, 'audio/red', 'what Grace gets');
		for (const person of [ada, grace]) await person.leave();
	});
});

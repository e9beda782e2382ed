// People in a room: they see and hear each other, come, go, mute, and lose their connection.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meet, Person } from './chromium.mjs';
import { Service, until, withService } from './service.mjs';

const SIZE = { width: 640, height: 480 };

test('two pages see and hear each other, and the tile of the one who leaves goes', async () => {
	await withService({}, async (service) => {
		const ada = await Person.join(service, 'Ada');
		const grace = await Person.join(service, 'Grace');
		await meet([ada, grace], SIZE);
		assert.deepEqual(await service.health().then(({ rooms, peers }) => ({ rooms, peers })), { rooms: 1, peers: 2 });
		await ada.screenshot('two-people');

		const graceId = await grace.peerId();
		assert.ok((await ada.state()).tiles.some((tile) => tile.id === graceId));
		await grace.leave();
		await until("Grace's tile is gone", async () => (await ada.state()).tiles.every((tile) => tile.id !== graceId));
		assert.equal(await ada.page.locator(`[data-tile="${graceId}"]`).count(), 0);

		await ada.leave();
		await until('the room closed with its last peer', async () => (await service.health()).rooms === 0);
	});
});

test('the service hears who speaks, and the tile of the speaker shows it', async () => {
	await withService({}, async (service) => {
		const params = { resolution: 'qvga' };
		const people = [await Person.join(service, 'Ada', { params }), await Person.join(service, 'Grace', { params })];
		await meet(people, { width: 320, height: 240 });
		const [ada, grace] = people;
		const [adaId, graceId] = [await ada.peerId(), await grace.peerId()];
		// Only Grace is left to be heard: the browser's fake microphone beeps.
		await ada.page.evaluate(() => window.sfu.session.toggle('mic'));
		const active = async (person) => (await person.state()).tiles.filter((tile) => tile.active).map((tile) => tile.id);
		const only = (ids, id) => ids.length === 1 && ids[0] === id;
		await until("Ada sees Grace's tile ringed", async () => only(await active(ada), graceId));
		await until('Grace sees her own tile ringed', async () => only(await active(grace), 'me'));
		assert.equal(await ada.page.locator(`[data-tile="${graceId}"].tile-active`).count(), 1);
		// Then nobody.
		await grace.page.evaluate(() => window.sfu.session.toggle('mic'));
		await until('nobody is ringed in silence', async () => (await active(ada)).length + (await active(grace)).length === 0);
		await ada.page.evaluate(() => window.sfu.session.toggle('mic'));
		await until("Grace sees Ada's tile ringed", async () => only(await active(grace), adaId));
		for (const person of people) await person.leave();
	});
});

test('three pages see and hear each other', async () => {
	await withService({}, async (service) => {
		const params = { resolution: 'qvga' };
		const people = [];
		for (const name of ['Ada', 'Grace', 'Alan']) people.push(await Person.join(service, name, { params }));
		await meet(people, { width: 320, height: 240 });
		await people[2].screenshot('three-people');
		for (const person of people) await person.leave();
	});
});

test('a call over IPv6', async () => {
	await withService({ host: '::1' }, async (service) => {
		assert.match(service.url, /\[::1\]/);
		const people = [await Person.join(service, 'Ada'), await Person.join(service, 'Grace')];
		await meet(people, SIZE);
		const { recv } = await people[0].stats();
		assert.equal(recv.remoteAddress.replace(/[[\]]/g, ''), '::1');
		for (const person of people) await person.leave();
	});
});

test('a call through an announced address while listening on all', async () => {
	await withService({ rtcIp: '0.0.0.0', args: ['--announced-address', '127.0.0.1'] }, async (service) => {
		const params = { resolution: 'qvga' };
		const people = [await Person.join(service, 'Ada', { params }), await Person.join(service, 'Grace', { params })];
		await meet(people);
		assert.equal((await people[0].stats()).recv.remoteAddress, '127.0.0.1');
		for (const person of people) await person.leave();
	});
});

test('a room whose service listens on IPv4 and IPv6', async () => {
	await withService({ rtcIp: '127.0.0.1,::1' }, async (service) => {
		const params = { resolution: 'qvga' };
		const people = [await Person.join(service, 'Ada', { params }), await Person.join(service, 'Grace', { params })];
		await meet(people);
		for (const person of people) await person.leave();
	});
});

test('muting, pausing and resuming reach the others and media goes on after it', async () => {
	await withService({}, async (service) => {
		const [ada, grace] = [await Person.join(service, 'Ada'), await Person.join(service, 'Grace')];
		await meet([ada, grace]);
		const adaId = await ada.peerId();
		const microphone = async () =>
			(await grace.state()).peers.find((peer) => peer.id === adaId).streams.find((stream) => stream.source === 'mic');

		await ada.page.click('[data-tool="mic"]');
		await until('Grace is told that Ada is muted', async () => (await microphone()).producerPaused);
		await until("Grace's tile says so", async () => (await grace.state()).tiles.some((tile) => tile.id === adaId && tile.label.includes('microphone off')));
		await ada.page.click('[data-tool="mic"]');
		await until('Grace is told that Ada speaks again', async () => (await microphone()).producerPaused === false);
		await grace.hears(adaId);

		const tile = grace.page.locator(`[data-tile="${adaId}"]`);
		await tile.hover();
		await tile.getByRole('button', { name: 'Pause the picture' }).click();
		await until('the picture stands still', async () => {
			const frames = async () => (await grace.stats()).consumers.find((one) => one.kind === 'video').frames;
			const before = await frames();
			await new Promise((resolve) => setTimeout(resolve, 500));
			return (await frames()) === before;
		});
		await tile.getByRole('button', { name: 'Resume the picture' }).click();
		await grace.sees(adaId);

		await ada.page.click('[data-tool="webcam"]');
		await until("Ada's picture is gone", async () => (await grace.state()).tiles.some((one) => one.id === adaId && !one.hasVideo));
		await ada.page.click('[data-tool="webcam"]');
		await grace.sees(adaId);
		for (const person of [ada, grace]) await person.leave();
	});
});

test('a shared screen has a tile of its own and goes when sharing ends', async () => {
	await withService({}, async (service) => {
		const params = { resolution: 'qvga' };
		const [ada, grace] = [await Person.join(service, 'Ada', { params }), await Person.join(service, 'Grace', { params })];
		await meet([ada, grace]);
		const adaId = await ada.peerId();
		const screen = async () => (await grace.state()).tiles.find((tile) => tile.id.startsWith(`${adaId}:`));
		await ada.page.click('[data-tool="screen"]');
		await until("Grace sees Ada's screen", async () => {
			const tile = await screen();
			return tile?.hasVideo && tile.frames > 5 && tile.label.includes("Ada's screen");
		});
		await grace.screenshot('shared-screen');
		await ada.page.click('[data-tool="screen"]');
		await until('the screen is gone', async () => (await screen()) === undefined);
		await meet([ada, grace]);
		for (const person of [ada, grace]) await person.leave();
	});
});

test('audio only stops pictures and keeps sound', async () => {
	await withService({}, async (service) => {
		const params = { resolution: 'qvga' };
		const [ada, grace] = [await Person.join(service, 'Ada', { params }), await Person.join(service, 'Grace', { params })];
		await meet([ada, grace]);
		const [adaId, graceId] = [await ada.peerId(), await grace.peerId()];
		await ada.page.keyboard.press('a');
		await until('no pictures with Ada', async () => (await ada.state()).tiles.every((tile) => !tile.hasVideo));
		await until('no picture of Ada', async () => (await grace.state()).tiles.some((tile) => tile.id === adaId && !tile.hasVideo));
		await ada.hears(graceId);
		await grace.hears(adaId);
		await ada.page.keyboard.press('a');
		await ada.sees(graceId);
		for (const person of [ada, grace]) await person.leave();
	});
});

test('an ICE restart keeps the call', async () => {
	await withService({}, async (service) => {
		const [ada, grace] = [await Person.join(service, 'Ada'), await Person.join(service, 'Grace')];
		await meet([ada, grace]);
		await ada.page.evaluate(() => window.sfu.session.restartIce());
		assert.ok((await ada.state()).notices.some((notice) => notice.includes('renewed')));
		await meet([ada, grace]);
		for (const person of [ada, grace]) await person.leave();
	});
});

test('a page that loses its signalling connection comes back by itself', async () => {
	await withService({}, async (service) => {
		const [ada, grace] = [await Person.join(service, 'Ada'), await Person.join(service, 'Grace')];
		await meet([ada, grace]);
		await ada.page.evaluate(() => window.sockets.at(-1).close(3000));
		await until('Ada opened another connection', async () => ada.page.evaluate(() => window.sockets.length > 1));
		await until('Ada is back', async () => (await ada.state()).phase === 'joined');
		await meet([ada, grace]);
		for (const person of [ada, grace]) await person.leave();
	});
});

test('pages come back when the service was killed and is started again on the same ports', async () => {
	const first = await Service.start();
	const port = new URL(first.url).port;
	const params = { resolution: 'qvga' };
	const people = [await Person.join(first, 'Ada', { params }), await Person.join(first, 'Grace', { params })];
	await meet(people);
	await first.kill();
	for (const person of people) await until(`${person.name} notices`, async () => (await person.state()).phase === 'reconnecting');
	await withService({ port }, async () => {
		for (const person of people) await until(`${person.name} is back`, async () => (await person.state()).phase === 'joined', 45_000);
		await meet(people);
		for (const person of people) await person.leave();
	});
});

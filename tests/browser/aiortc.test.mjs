// aiortc, which nobody here wrote, in one room with itself and with a browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Aiortc } from './aiortc.mjs';
import { Person } from './chromium.mjs';
import { until, withService } from './service.mjs';

test('two aiortc clients exchange audio and video', async () => {
	await withService({}, async (service) => {
		const [ada, grace] = [new Aiortc(service, 'ada'), new Aiortc(service, 'grace')];
		for (const [one, other] of [[ada, grace], [grace, ada]]) {
			const picture = await one.sees(other.peer);
			assert.deepEqual([picture.width, picture.height], [320, 240]);
			await one.hears(other.peer);
		}
		await ada.leave();
		await until('Grace is told that Ada left', () => grace.report.streams.length === 0);
		await grace.leave();
	});
});

test('aiortc and Chromium exchange audio and video', async () => {
	await withService({}, async (service) => {
		const params = { forceVP8: 'true', resolution: 'qvga' };
		const ada = await Person.join(service, 'Ada', { params });
		const robot = new Aiortc(service, 'robot');
		await ada.sees('robot', { width: 320, height: 240, codec: 'video/VP8' });
		await ada.hears('robot');
		const adaId = await ada.peerId();
		const picture = await robot.sees(adaId);
		assert.deepEqual([picture.width, picture.height], [320, 240]);
		await robot.hears(adaId);
		await robot.leave();
		await until("the robot's tile is gone", async () => (await ada.state()).tiles.every((tile) => tile.id !== 'robot'));
		await ada.leave();
	});
});

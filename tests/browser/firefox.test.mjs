// Firefox and Chromium in a call through the page.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Person, quit } from './chromium.mjs';
import { FirefoxPerson, quitFirefox } from './firefox.mjs';
import { until, withService } from './service.mjs';

const SIZE = { width: 320, height: 240 };
/// An address of this machine that is not a loopback one.
const MEDIA = process.env.SFU_MEDIA_IP;

after(async () => {
	await quitFirefox();
	await quit();
});

test('Firefox and Chromium see and hear each other, and one learns that the other left', async () => {
	assert.ok(MEDIA, 'SFU_MEDIA_IP: give an address that is not a loopback one, as firefox.sh does');
	await withService({ rtcIp: MEDIA }, async (service) => {
		const params = { resolution: 'qvga' };
		const chromium = await Person.join(service, 'Ada', { params });
		const firefox = await FirefoxPerson.join(service, 'Grace', { params });
		const [chromiumId, firefoxId] = [await chromium.peerId(), await firefox.peerId()];
		await firefox.sees(chromiumId, SIZE);
		await firefox.hears(chromiumId);
		// Firefox's fake camera has a size of its own.
		const { width, height } = await chromium.sees(firefoxId);
		assert.ok(width > 0 && height > 0);
		await chromium.hears(firefoxId);
		await firefox.screenshot('firefox');
		await firefox.leave();
		await until("Grace's tile is gone", async () => (await chromium.state()).tiles.every((tile) => tile.id !== firefoxId));
		await chromium.leave();
	});
});

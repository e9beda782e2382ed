// Media by TCP: for networks that let no UDP through.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meet, Person } from './chromium.mjs';
import { until, withService } from './service.mjs';

const SIZE = { width: 640, height: 480 };

/// What the browser says of its transport's path, and what the service says.
async function path(person, transport) {
	const { protocol, server } = (await person.stats())[transport];
	return { browser: protocol, service: server[0].iceSelectedTuple.protocol };
}

async function meetBy(protocol, options, params = {}, more = () => {}) {
	await withService(options, async (service) => {
		const people = [await Person.join(service, 'Ada', { params }), await Person.join(service, 'Grace', { params })];
		await meet(people, SIZE);
		for (const person of people) {
			for (const transport of ['send', 'recv']) {
				await until(`${person.name} ${transport}s by ${protocol}`, async () => {
					const { browser, service: said } = await path(person, transport);
					return browser === protocol && said === protocol;
				});
			}
		}
		await more(people);
		for (const person of people) await person.leave();
	});
}

test('a service without UDP: media goes by one TCP port to rooms on both shards, both ways', async () => {
	const options = { args: ['--rtc-protocol', 'tcp', '--shards', '2'] };
	await meetBy('tcp', options, {}, async ([ada]) => {
		// A second room is placed on the other shard.
		const service = { url: ada.url.replace(/\?.*/, '') };
		const alan = await Person.join(service, 'Alan', { room: 'cellar', params: { resolution: 'qvga' } });
		const sending = async (person) => (await person.stats()).send.server[0];
		await until('Alan sends', async () => (await sending(alan)).packetsReceived > 50);
		const [first, second] = [await sending(ada), await sending(alan)].map((one) => one.iceSelectedTuple);
		assert.equal(first.localPort, second.localPort, 'one port');
		assert.equal(second.protocol, 'tcp');
		await alan.leave();
	});
});

test('a service without UDP, over IPv6', async () => {
	await meetBy('tcp', { host: '::1', args: ['--rtc-protocol', 'tcp'] });
});

test('both are offered: UDP is taken', async () => {
	await meetBy('udp', {});
});

test('both are offered: a page that is told to takes TCP', async () => {
	await meetBy('tcp', {}, { forceTcp: 'true' });
});

test('a service without TCP says so to a page that insists', async () => {
	await withService({ args: ['--rtc-protocol', 'udp'] }, async (service) => {
		const ada = await Person.open(service, 'Ada', { params: { forceTcp: 'true' } });
		await ada.page.waitForFunction(() => document.querySelector('.preview video').videoWidth > 0);
		await ada.page.click('#join-submit');
		await until('Ada is told', async () => (await ada.state()).notices.some((notice) => notice.includes('forceTcp: this service')));
		assert.notEqual((await ada.state()).phase, 'joined');
		await ada.close();
	});
});

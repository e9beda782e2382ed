// Each video codec, and each SRTP profile.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Aiortc } from './aiortc.mjs';
import { meet, Person } from './chromium.mjs';
import { withService } from './service.mjs';

for (const codec of ['VP8', 'VP9', 'H264', 'AV1']) {
	test(`a call with ${codec}`, async () => {
		await withService({}, async (service) => {
			const params = { [`force${codec}`]: 'true', resolution: 'qvga', info: 'true' };
			const people = [await Person.join(service, 'Ada', { params }), await Person.join(service, 'Grace', { params })];
			await meet(people, { codec: `video/${codec}` });
			for (const person of people) await person.leave();
		});
	});
}

// The registered name, and what Chromium calls it.
for (const [profile, chromiums] of [
	['AEAD_AES_256_GCM', 'SRTP_AEAD_AES_256_GCM'],
	['AEAD_AES_128_GCM', 'SRTP_AEAD_AES_128_GCM'],
	['AES_CM_128_HMAC_SHA1_80', 'SRTP_AES128_CM_HMAC_SHA1_80'],
]) {
	test(`a call protected by ${profile}`, async () => {
		await withService({ args: ['--srtp-profile', profile] }, async (service) => {
			const params = { resolution: 'qvga' };
			const people = [await Person.join(service, 'Ada', { params }), await Person.join(service, 'Grace', { params })];
			await meet(people);
			for (const person of people) {
				const { send, recv } = await person.stats();
				for (const transport of [send, recv]) {
					assert.equal(transport.srtpCipher, chromiums, 'what the browser says');
					assert.equal(transport.server[0].srtpProfile, profile, 'what the server says');
				}
			}
			for (const person of people) await person.leave();
		});
	});
}

// Browsers do not offer this one any more; aiortc does when told to.
test('a call protected by AES_CM_128_HMAC_SHA1_32', async () => {
	const profile = 'AES_CM_128_HMAC_SHA1_32';
	await withService({ args: ['--srtp-profile', profile] }, async (service) => {
		const args = ['--srtp-profile', profile];
		const [ada, grace] = [new Aiortc(service, 'ada', { args }), new Aiortc(service, 'grace', { args })];
		for (const [one, other] of [[ada, grace], [grace, ada]]) {
			await one.sees(other.peer);
			await one.hears(other.peer);
			assert.deepEqual(one.report.profiles, ['SRTP_AES128_CM_SHA1_32', 'SRTP_AES128_CM_SHA1_32']);
		}
		await ada.leave();
		await grace.leave();
	});
});

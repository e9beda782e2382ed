// What WHIP and WHEP promise beyond media: statuses, headers, late producers, restarts, both flavours.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Person } from '../browser/chromium.mjs';
import { until, withService } from '../browser/service.mjs';
import { Chromium, receives } from './peers.mjs';

const SDP = { 'Content-Type': 'application/sdp' };
const FRAGMENT = { 'Content-Type': 'application/trickle-ice-sdpfrag' };

const at = (service, path) => new URL(path, service.url);

test('a publisher by WHIP is a peer of the room to the page, and leaves by DELETE', async () => {
	await withService({}, async (service) => {
		const ada = await Person.join(service, 'Ada', { params: { resolution: 'qvga' } });
		const robot = await Chromium.start(service, 'publish', 'atrium', { query: '?displayName=Tower%20camera' });
		const peer = async () => (await ada.state()).peers.find((one) => one.id.startsWith('whip-'));
		const { id, displayName } = await until('Ada is told of it', peer);
		assert.equal(displayName, 'Tower camera');
		await ada.sees(id);
		await ada.hears(id);
		const watcher = await Chromium.start(service, 'watch', 'atrium', { sections: 2 });
		let last;
		await until(() => `both publishers reach the watcher: ${JSON.stringify(last)}`, async () => {
			last = await watcher.read();
			return last.sections.filter((one) => one.frames > 15).length === 4;
		});
		assert.equal((await ada.state()).peers.length, 1, 'who watches is not told of');
		await robot.end();
		await until('Ada sees it leave', async () => (await peer()) === undefined);
		await watcher.end();
		await ada.leave();
		await until('the room closed', async () => (await service.health()).rooms === 0);
	});
});

test('a late producer takes free sections', async () => {
	await withService({}, async (service) => {
		const first = await Chromium.start(service, 'publish', 'hall');
		const watcher = await Chromium.start(service, 'watch', 'hall', { sections: 2 });
		await receives(watcher, 'the first publisher');
		let last;
		// Frames of each stream since it was looked at before.
		const look = async () => {
			const before = last ?? [];
			last = (await watcher.read()).sections.map((one) => {
				const known = before.find(({ ssrc }) => ssrc === one.ssrc);
				return { ...one, more: one.frames - (known?.frames ?? 0) };
			});
			return last;
		};
		const flowing = (what, count) => until(() => `${what}: ${JSON.stringify(last)}`, async () => {
			await look();
			await new Promise((resolve) => setTimeout(resolve, 1000));
			return (await look()).filter((one) => one.more > 5).length === count;
		});
		const second = await Chromium.start(service, 'publish', 'hall');
		await flowing('the second publisher fills the other two sections', 4);
		await second.end();
		await flowing('its sections fall silent', 2);
		await first.end();
		await watcher.end();
	});
});

test('?producer= restricts what is watched, and rooms that are not open cannot be watched', async () => {
	await withService({}, async (service) => {
		const missing = await fetch(at(service, 'whep/nowhere'), { method: 'POST', headers: SDP, body: 'v=0' });
		assert.deepEqual([missing.status, missing.headers.get('retry-after')], [404, '2']);
		const publisher = await Chromium.start(service, 'publish', 'hall');
		const ada = await Person.join(service, 'Ada', { room: 'hall', params: { resolution: 'qvga' } });
		const peer = await until('Ada is told of it', async () => (await ada.state()).peers[0]);
		await ada.sees(peer.id);
		const consumed = (await ada.stats()).consumers.find((one) => one.peerId === peer.id && one.kind === 'video');
		assert.ok(consumed);
		const watcher = await Chromium.start(service, 'watch', 'hall', { sections: 2, query: '?producer=0000000000000001' });
		const other = await Chromium.start(service, 'watch', 'hall', { sections: 2 });
		await receives(other, 'everything');
		assert.equal((await watcher.read()).sections.filter((one) => one.frames > 0).length, 0, 'no producer has this id');
		const wrong = await fetch(at(service, 'whep/hall?producer=x'), { method: 'POST', headers: SDP, body: 'v=0' });
		assert.equal(wrong.status, 400);
		for (const one of [watcher, other, publisher]) await one.end();
		await ada.leave();
	});
});

test('with an empty body the service offers, and the answer comes by PATCH', async () => {
	await withService({}, async (service) => {
		const publisher = await Chromium.start(service, 'publish', 'hall');
		const context = publisher.context;
		const page = await context.newPage();
		await page.goto(at(service, 'health').toString());
		await page.evaluate(async (url) => {
			const post = await fetch(url, { method: 'POST' });
			if (post.status !== 201) throw new Error(await post.text());
			window.resource = new URL(post.headers.get('Location'), url).toString();
			window.connection = new RTCPeerConnection();
			await window.connection.setRemoteDescription({ type: 'offer', sdp: await post.text() });
			await window.connection.setLocalDescription();
			const patch = await fetch(window.resource, { method: 'PATCH', headers: { 'Content-Type': 'application/sdp' }, body: window.connection.localDescription.sdp });
			if (patch.status !== 204) throw new Error(`${patch.status}: ${await patch.text()}`);
		}, at(service, 'whep/hall').toString());
		await until('both kinds arrive', () => page.evaluate(async () => {
			const stats = [...(await window.connection.getStats()).values()].filter((one) => one.type === 'inbound-rtp');
			return stats.length === 2 && stats.every((one) => one.packetsReceived > 30);
		}));
		assert.equal(await page.evaluate(async () => (await fetch(window.resource, { method: 'DELETE' })).status), 200);
		await page.close();
		await publisher.end();
		const nothing = await fetch(at(service, 'whep/hall'), { method: 'POST' });
		assert.equal(nothing.status, 404);
	});
});

test('trickled candidates, ICE restart and If-Match as RFC 9725 has them', async () => {
	await withService({}, async (service) => {
		const publisher = await Chromium.start(service, 'publish', 'hall');
		const watcher = await Chromium.start(service, 'watch', 'hall');
		await receives(watcher, 'before the restart');
		const tag = await publisher.page.evaluate(() => window.tag);
		const candidate = 'm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n';
		const patch = (body, headers) => publisher.request({ method: 'PATCH', headers: { ...FRAGMENT, ...headers }, body });
		assert.equal((await patch(candidate, { 'If-Match': tag })).status, 204);
		assert.equal((await patch(candidate, {})).status, 428);
		assert.equal((await patch(candidate, { 'If-Match': '"other"' })).status, 412);
		assert.equal((await patch(candidate, { 'If-Match': '*' })).status, 400);
		assert.equal((await patch('nonsense', { 'If-Match': tag })).status, 400);
		assert.equal((await publisher.request({ method: 'PATCH', headers: SDP, body: 'v=0' })).status, 415);
		const strange = `a=ice-ufrag:zzzz\r\na=ice-pwd:${'z'.repeat(24)}\r\n${candidate}`;
		assert.equal((await patch(strange, { 'If-Match': tag })).status, 409);
		// A restart as a client does it: new credentials out, those of the service into the answer that it has.
		const restarted = await publisher.page.evaluate(async () => {
			const { connection, resource } = window;
			connection.restartIce();
			const before = connection.remoteDescription.sdp;
			await connection.setLocalDescription();
			const sdp = connection.localDescription.sdp;
			const line = (text, name) => new RegExp(`a=${name}:(.*)`).exec(text)[1].trim();
			const fragment = `a=ice-ufrag:${line(sdp, 'ice-ufrag')}\r\na=ice-pwd:${line(sdp, 'ice-pwd')}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n`;
			const response = await fetch(resource, { method: 'PATCH', headers: { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' }, body: fragment });
			const text = await response.text();
			const answer = before
				.replace(/a=ice-ufrag:.*/g, `a=ice-ufrag:${line(text, 'ice-ufrag')}`)
				.replace(/a=ice-pwd:.*/g, `a=ice-pwd:${line(text, 'ice-pwd')}`);
			await connection.setRemoteDescription({ type: 'answer', sdp: answer });
			return { status: response.status, tag: response.headers.get('ETag'), type: response.headers.get('Content-Type'), ufrag: line(before, 'ice-ufrag') === line(text, 'ice-ufrag') };
		});
		assert.deepEqual([restarted.status, restarted.type, restarted.ufrag], [200, 'application/trickle-ice-sdpfrag', false]);
		assert.notEqual(restarted.tag, tag);
		assert.equal((await patch(candidate, { 'If-Match': tag })).status, 412, 'the old tag is over');
		const { video } = await watcher.read();
		await receives(watcher, 'media goes on after the restart', { frames: video.frames + 60 });
		await watcher.end();
		await publisher.end();
	});
});

test('what cannot be done is refused with a status and a reason', async () => {
	const args = ['--whip-token', 'secret,other', '--origin', 'https://studio.example.org'];
	await withService({ args }, async (service) => {
		const url = at(service, 'whip/hall');
		const auth = { Authorization: 'Bearer secret' };
		const cases = [
			[{ method: 'POST', headers: SDP, body: 'v=0' }, 401, 'bearer token'],
			[{ method: 'POST', headers: { ...SDP, Authorization: 'Bearer wrong' }, body: 'v=0' }, 401, 'bearer token'],
			[{ method: 'POST', headers: { ...SDP, Authorization: 'Basic secret' }, body: 'v=0' }, 401, 'bearer token'],
			[{ method: 'POST', headers: { ...auth, 'Content-Type': 'text/plain' }, body: 'v=0' }, 415, 'application/sdp'],
			[{ method: 'POST', headers: { ...auth, ...SDP }, body: 'hello' }, 400, 'line 1'],
			[{ method: 'POST', headers: { ...auth, ...SDP }, body: 'v=0\r\n' }, 400, 'm= line'],
			[{ method: 'POST', headers: { ...auth, ...SDP }, body: 'x'.repeat(300_000) }, 413, 'bytes'],
			[{ method: 'POST', headers: { ...auth, ...SDP, Origin: 'https://evil.example' }, body: 'v=0' }, 403, 'Origin'],
			[{ method: 'GET', headers: auth }, 405, 'POST'],
		];
		for (const [init, status, says] of cases) {
			const response = await fetch(url, init);
			const problem = await response.json();
			assert.deepEqual([response.status, problem.status], [status, status], JSON.stringify(problem));
			assert.equal(response.headers.get('content-type'), 'application/problem+json');
			assert.ok(problem.detail.includes(says), problem.detail);
			if (status === 401) assert.equal(response.headers.get('www-authenticate'), 'Bearer');
		}
		const audio = 'v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=rtcp-mux\r\na=sendonly\r\na=ice-ufrag:abcd\r\n' +
			`a=ice-pwd:${'p'.repeat(24)}\r\na=fingerprint:sha-256 ${Array(32).fill('AA').join(':')}\r\na=setup:actpass\r\na=group:BUNDLE 0\r\n`;
		const unfit = await fetch(url, { method: 'POST', headers: { ...auth, ...SDP }, body: audio });
		assert.equal(unfit.status, 422);
		assert.match((await unfit.json()).detail, /PCMU.*opus/);
		const gone = await fetch(at(service, 'whip/hall/0123'), { method: 'DELETE', headers: auth });
		assert.equal(gone.status, 404);
		const preflight = await fetch(url, { method: 'OPTIONS', headers: { Origin: 'https://studio.example.org' } });
		assert.equal(preflight.status, 204);
		assert.equal(preflight.headers.get('access-control-allow-origin'), 'https://studio.example.org');
		assert.match(preflight.headers.get('access-control-allow-methods'), /PATCH/);
		assert.match(preflight.headers.get('access-control-allow-headers'), /Authorization.*If-Match/);
		assert.equal(preflight.headers.get('accept-post'), 'application/sdp');
		assert.deepEqual((await service.health()).rooms, 0, 'what was refused left nothing');
	});
});

test('a publisher that vanishes leaves when nothing is heard of it', async () => {
	await withService({}, async (service) => {
		const publisher = await Chromium.start(service, 'publish', 'hall');
		await until('it is connected', async () => (await publisher.read()).state === 'connected');
		assert.equal((await service.health()).peers, 1);
		await publisher.page.evaluate(() => window.connection.close());
		await publisher.context.close();
		await until('the room closed', async () => (await service.health()).rooms === 0, 45_000);
	});
});

test('sections that are not served are rejected, and the others go on', async () => {
	await withService({}, async (service) => {
		const publisher = await Chromium.start(service, 'publish', 'hall', { data: true });
		const answer = await publisher.page.evaluate(() => window.connection.remoteDescription.sdp);
		assert.match(answer, /m=application 0 /);
		const watcher = await Chromium.start(service, 'watch', 'hall', { data: true });
		await receives(watcher, 'audio and video');
		await watcher.end();
		await publisher.end();
	});
});

test('a simulcast publisher is taken up whole and watched', async () => {
	await withService({}, async (service) => {
		const publisher = await Chromium.start(service, 'publish', 'hall', { simulcast: true });
		const answer = await publisher.page.evaluate(() => window.connection.remoteDescription.sdp);
		assert.match(answer, /a=simulcast:recv l;m;h/);
		const watcher = await Chromium.start(service, 'watch', 'hall');
		await receives(watcher, 'a simulcast publisher');
		await watcher.end();
		await publisher.end();
	});
});

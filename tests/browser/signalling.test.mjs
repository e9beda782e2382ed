// The protocol seen from a client that makes mistakes.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launch } from './chromium.mjs';
import { until, withService } from './service.mjs';

/// A page of the service that holds raw connections.
async function client(service) {
	const context = await (await launch()).newContext();
	const page = await context.newPage();
	await page.goto(new URL('health', service.url).toString());
	await page.evaluate(() => {
		window.open_ = (address, protocols = 'protoo') =>
			new Promise((resolve) => {
				const socket = new WebSocket(address, protocols);
				const connection = { socket, received: [], closed: undefined };
				socket.onmessage = (event) => connection.received.push(JSON.parse(event.data));
				socket.onclose = (event) => {
					connection.closed = { code: event.code, reason: event.reason };
					resolve(connection);
				};
				socket.onopen = () => resolve(connection);
			});
	});
	return { page, close: () => context.close() };
}

async function connect(page, service, name, query = `?roomId=r&peerId=${name}`) {
	const opened = await page.evaluate(
		async ([key, address]) => {
			window[key] = await window.open_(address);
			return window[key].socket.readyState === 1;
		},
		[name, service.webSocketUrl + query],
	);
	const send = (text) => page.evaluate(([key, frame]) => window[key].socket.send(frame), [name, text]);
	const received = (find) =>
		until(`${name} is told`, async () => {
			const all = await page.evaluate((key) => window[key].received, name);
			return all.find(find) ?? false;
		});
	let id = 0;
	const request = async (method, data) => {
		const number = ++id;
		await send(JSON.stringify({ request: true, id: number, method, data }));
		return received((message) => message.response && message.id === number);
	};
	const closed = () => until(`${name} is closed`, () => page.evaluate((key) => window[key].closed, name));
	return { opened, send, received, request, closed };
}

test('wrong requests are answered with the field at fault and the connection stays', async () => {
	await withService({}, async (service) => {
		const { page, close } = await client(service);
		const ada = await connect(page, service, 'ada');
		assert.ok(ada.opened);
		const wrong = [
			['noSuchThing', {}, 404, 'method'],
			['join', {}, 400, 'displayName'],
			['join', { displayName: 7 }, 400, 'displayName'],
			['join', { displayName: 'x'.repeat(1000) }, 400, 'displayName'],
			['join', { displayName: 'Ada', rtpCapabilities: [] }, 400, 'rtpCapabilities'],
			['createWebRtcTransport', { forceTcp: 'yes' }, 400, 'forceTcp'],
			['createWebRtcTransport', { consuming: 'yes' }, 400, 'consuming'],
			['connectWebRtcTransport', { transportId: 'nonsense' }, 404, 'transportId'],
			['connectWebRtcTransport', {}, 400, 'transportId'],
			['restartIce', { transportId: '0300000000000001' }, 404, 'transportId'],
			['produce', { transportId: 'x' }, 409, 'produce'],
			['closeProducer', { producerId: '0' }, 404, 'producerId'],
			['pauseConsumer', { consumerId: '' }, 400, 'consumerId'],
			['changeDisplayName', { displayName: 'x' }, 409, 'changeDisplayName'],
			['setConsumerPreferredLayers', { consumerId: 'x', spatialLayer: 1 }, 404, 'consumerId'],
			['produceData', {}, 501, 'produceData'],
		];
		for (const [method, data, code, field] of wrong) {
			const answer = await ada.request(method, data);
			assert.equal(answer.ok, false, method);
			assert.equal(answer.errorCode, code, `${method}: ${answer.errorReason}`);
			assert.ok(answer.errorReason.startsWith(field), `${method}: ${answer.errorReason}`);
		}
		await ada.send('{');
		await ada.received((message) => message.notification && message.method === 'error' && message.data.errorReason.startsWith('frame'));
		const capabilities = await ada.request('getRouterRtpCapabilities');
		assert.ok(capabilities.ok, 'the connection still works');
		assert.ok(capabilities.data.codecs.some((codec) => codec.mimeType === 'audio/opus'));
		await close();
	});
});

test('parameters that no engine could use are refused and nothing is left behind', async () => {
	await withService({}, async (service) => {
		const { page, close } = await client(service);
		const ada = await connect(page, service, 'ada');
		await ada.request('join', { displayName: 'Ada', device: {}, rtpCapabilities: { codecs: [], headerExtensions: [] } });
		const { data: transport } = await ada.request('createWebRtcTransport', { producing: true });
		assert.ok(transport.iceCandidates.length > 0 && transport.iceParameters.iceLite);
		const transportId = transport.id;
		const produce = (rtpParameters, kind = 'audio') => ada.request('produce', { transportId, kind, rtpParameters });
		for (const [answer, code] of [
			[await produce({}), 400],
			[await produce({ codecs: [], encodings: [] }), 400],
			[await produce({ codecs: [{ mimeType: 'audio/none', payloadType: 100, clockRate: 8000 }], encodings: [{ ssrc: 1 }] }), undefined],
			[await produce({ codecs: 'x' }), 400],
			[await produce({}, 'smell'), 400],
			[await ada.request('connectWebRtcTransport', { transportId, dtlsParameters: { fingerprints: [] } }), 400],
			[await ada.request('connectWebRtcTransport', { transportId, dtlsParameters: { fingerprints: [{ algorithm: 'sha-256', value: 'AA' }] } }), 400],
		]) {
			assert.equal(answer.ok, false);
			if (code) assert.equal(answer.errorCode, code, answer.errorReason);
			else assert.ok(answer.errorCode >= 400, answer.errorReason);
			assert.ok(answer.errorReason.length > 5);
		}
		const stats = await ada.request('getTransportStats', { transportId });
		assert.equal(stats.data[0].type, 'webrtc-transport');
		await close();
		await until('the room closed', async () => (await service.health()).rooms === 0);
	});
});

test('addresses without room or peer, foreign origins and other subprotocols are refused', async () => {
	await withService({}, async (service) => {
		const { page, close } = await client(service);
		for (const query of ['', '?roomId=r', '?peerId=p', '?roomId=&peerId=p', '?roomId=r&peerId=p&consumerReplicas=x']) {
			assert.equal((await connect(page, service, 'ada', query)).opened, false, query);
		}
		assert.equal(
			await page.evaluate(async (address) => (await window.open_(address, 'chat')).socket.readyState, `${service.webSocketUrl}?roomId=r&peerId=p`),
			3,
			'another subprotocol',
		);
		await withService({}, async (foreign) => {
			assert.equal((await connect(page, foreign, 'eve')).opened, false, 'a page of another origin');
		});
		const open = await withOrigin(page, new URL(service.url).origin);
		assert.equal(open, true, 'an origin that the operator named');
		await close();
	});

	async function withOrigin(page, origin) {
		let opened;
		await withService({ args: ['--origin', origin] }, async (service) => {
			opened = (await connect(page, service, 'bob')).opened;
		});
		return opened;
	}
});

test('too big a frame ends the connection, and a second connection of a peer replaces the first', async () => {
	await withService({}, async (service) => {
		const { page, close } = await client(service);
		const big = await connect(page, service, 'big');
		await big.send(`"${'x'.repeat(300 * 1024)}"`);
		assert.notEqual((await big.closed()).code, 1000);

		const first = await connect(page, service, 'first', '?roomId=r&peerId=same');
		const second = await connect(page, service, 'second', '?roomId=r&peerId=same');
		assert.equal((await first.closed()).code, 4000);
		assert.ok((await second.request('getRouterRtpCapabilities')).ok);
		assert.equal((await service.health()).peers, 1);
		await close();
	});
});

test('a flood of requests is answered or refused and disturbs nobody else', async () => {
	await withService({}, async (service) => {
		const { page, close } = await client(service);
		const eve = await connect(page, service, 'eve', '?roomId=eve&peerId=eve');
		const bob = await connect(page, service, 'bob', '?roomId=bob&peerId=bob');
		await page.evaluate(() => {
			for (let id = 1; id <= 3000; id++) window.eve.socket.send(JSON.stringify({ request: true, id, method: 'changeDisplayName', data: {} }));
		});
		assert.ok((await bob.request('getRouterRtpCapabilities')).ok);
		await until('every request of Eve has its answer', () => page.evaluate(() => window.eve.received.length >= 3000));
		const codes = await page.evaluate(() => [...new Set(window.eve.received.map((message) => message.errorCode))]);
		assert.ok(codes.every((code) => code === 400 || code === 429), `${codes}`);
		const ids = await page.evaluate(() => new Set(window.eve.received.map((message) => message.id)).size);
		assert.equal(ids, 3000, 'one answer for each');
		await eve.send(JSON.stringify({ request: true, id: 9999, method: 'getRouterRtpCapabilities' }));
		await eve.received((message) => message.id === 9999 && message.ok);
		await close();
	});
});

test('a full room refuses with a reason', async () => {
	await withService({ args: ['--max-peers', '1'] }, async (service) => {
		const { page, close } = await client(service);
		await connect(page, service, 'ada');
		const late = await connect(page, service, 'late');
		const told = await late.received((message) => message.method === 'error');
		assert.match(told.data.errorReason, /full/);
		assert.equal((await late.closed()).code, 4000);
		await close();
	});
});

test('each consumer is made again for each replica asked for', async () => {
	await withService({}, async (service) => {
		const { Person } = await import('./chromium.mjs');
		const params = { resolution: 'qvga' };
		const ada = await Person.join(service, 'Ada', { params });
		const grace = await Person.join(service, 'Grace', { params: { ...params, produce: 'false', consumerReplicas: '2' } });
		await until('six streams', async () => (await grace.state()).peers[0]?.streams.length === 6);
		await until('all of the pictures move', async () => {
			const videos = (await grace.stats()).consumers.filter((one) => one.kind === 'video');
			return videos.length === 3 && videos.every((one) => one.frames > 10);
		});
		for (const person of [grace, ada]) await person.leave();
	});
});

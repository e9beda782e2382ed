// Publishers and recorders without a browser: plain RTP by way of the HTTP interface.

import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { test } from 'node:test';
import { until, withService } from './service.mjs';

const SSRC = 1111;
/// Bytes of each payload.
const PAYLOAD = 40;

/// Calls the interface of a room; tells status and answer.
async function call(service, method, path, body) {
	const response = await fetch(new URL(`rooms/r${path}`, service.url), {
		method,
		headers: { 'content-type': 'application/json' },
		body: body === undefined ? undefined : JSON.stringify(body),
	});
	const text = await response.text();
	const json = response.headers.get('content-type')?.includes('json');
	return { status: response.status, body: json ? JSON.parse(text) : text };
}

async function socket() {
	const bound = dgram.createSocket('udp4');
	await new Promise((resolve) => bound.bind(0, '127.0.0.1', resolve));
	return bound;
}

function packet(sequence) {
	const bytes = Buffer.alloc(12 + PAYLOAD, sequence);
	bytes.writeUInt8(0x80, 0);
	bytes.writeUInt8(101, 1);
	bytes.writeUInt16BE(sequence, 2);
	bytes.writeUInt32BE(960 * sequence, 4);
	bytes.writeUInt32BE(SSRC, 8);
	return bytes;
}

const opus = {
	kind: 'audio',
	rtpParameters: {
		codecs: [{ mimeType: 'audio/opus', payloadType: 101, clockRate: 48000, channels: 2, parameters: {} }],
		encodings: [{ ssrc: SSRC }],
	},
};

test('a broadcaster publishes plain RTP that another one receives and has a description of', async () => {
	await withService({}, async (service) => {
		assert.equal((await call(service, 'GET', '')).status, 404, 'nobody is in the room');
		const enter = (id, rtpCapabilities) =>
			call(service, 'POST', '/broadcasters', { id, displayName: id, device: { name: 'test' }, rtpCapabilities });
		assert.deepEqual(await enter('pub'), { status: 200, body: { peers: [] } });
		assert.equal((await enter('pub')).status, 409);
		const capabilities = (await call(service, 'GET', '')).body;
		assert.equal((await enter('rec', capabilities)).body.peers[0].id, 'pub');

		const up = (await call(service, 'POST', '/broadcasters/pub/transports', { type: 'plain' })).body;
		assert.ok(up.port > 0 && up.rtcpPort > 0, 'two ports and comedia, unless told otherwise');
		const producer = (await call(service, 'POST', `/broadcasters/pub/transports/${up.id}/producers`, opus)).body;

		const recorder = await socket();
		const received = [];
		recorder.on('message', (message) => {
			// Header extensions that were negotiated stand before the payload.
			if (message[1] < 192 || message[1] > 223) received.push(message.subarray(-PAYLOAD));
		});
		const plain = { type: 'plain', rtcpMux: true, comedia: false };
		const down = (await call(service, 'POST', '/broadcasters/rec/transports', plain)).body;
		const to = `/broadcasters/rec/transports/${down.id}`;
		const consumed = await call(service, 'POST', `${to}/consume?producerId=${producer.id}`);
		assert.equal(consumed.status, 200);
		assert.equal((await call(service, 'POST', `${to}/connect`, { ip: '224.0.0.1', port: 5004 })).status, 400);
		const { port } = recorder.address();
		assert.equal((await call(service, 'POST', `${to}/connect`, { ip: '127.0.0.1', port })).status, 200);

		const publisher = await socket();
		for (let sequence = 0; sequence < 50; sequence += 1) publisher.send(packet(sequence), up.port, up.ip);
		await until('all packets arrive', async () => received.length === 50);
		assert.deepEqual(received[7], packet(7).subarray(-PAYLOAD));

		const description = (await call(service, 'GET', '/broadcasters/rec/sdp')).body;
		const type = consumed.body.rtpParameters.codecs[0].payloadType;
		assert.match(description, new RegExp(`m=audio ${port} RTP/AVP ${type}\r\n`));
		assert.match(description, new RegExp(`a=rtpmap:${type} opus/48000/2\r\n`));

		assert.equal((await call(service, 'DELETE', '/broadcasters/pub')).status, 200);
		assert.equal((await call(service, 'DELETE', '/broadcasters/rec')).status, 200);
		await until('the room closes with its last', async () => (await call(service, 'GET', '')).status === 404);
		publisher.close();
		recorder.close();
	});
});

test('a broadcaster has so many transports, producers and consumers and no more, and metrics count all routers', async () => {
	await withService({ args: ['--room-routers', '2', '--metrics-rooms', '1'] }, async (service) => {
		const enter = (id, rtpCapabilities) =>
			call(service, 'POST', '/broadcasters', { id, displayName: id, device: {}, rtpCapabilities });
		await enter('pub');
		await enter('rec', (await call(service, 'GET', '')).body);
		const plain = { type: 'plain', rtcpMux: true, comedia: true };
		const up = (await call(service, 'POST', '/broadcasters/pub/transports', plain)).body;
		const down = (await call(service, 'POST', '/broadcasters/rec/transports', plain)).body;
		const objects = async (kind) => {
			const text = await (await fetch(new URL('metrics', service.url))).text();
			return Number(new RegExp(`^sfu_room_objects\\{room="r",kind="${kind}"\\} (\\d+)$`, 'm').exec(text)?.[1]);
		};
		assert.equal(await objects('transports'), 2, 'one in each router');

		// More at once than there is room for.
		const made = await Promise.all(
			Array.from({ length: 40 }, (_, n) => {
				const parameters = { ...opus.rtpParameters, mid: String(n), encodings: [{ ssrc: SSRC + n }] };
				const body = { ...opus, rtpParameters: parameters };
				return call(service, 'POST', `/broadcasters/pub/transports/${up.id}/producers`, body);
			}),
		);
		const good = made.filter(({ status }) => status === 200);
		const refused = made.filter(({ status }) => status === 409);
		assert.deepEqual([good.length, refused.length], [32, 8]);
		assert.match(refused[0].body.error, /^producers: the broadcaster has 32, the most/);
		assert.equal(await objects('producers'), 32);

		const consume = (n) =>
			call(service, 'POST', `/broadcasters/rec/transports/${down.id}/consume?producerId=${good[n % 32].body.id}`);
		const answers = await Promise.all(Array.from({ length: 260 }, (_, n) => consume(n)));
		const told = answers.filter(({ status }) => status === 409);
		assert.deepEqual([answers.filter(({ status }) => status === 200).length, told.length], [256, 4]);
		assert.match(told[0].body.error, /^consumers: the broadcaster has 256, the most/);
		// Those whose producers go make room.
		await call(service, 'DELETE', '/broadcasters/pub');
		await until('the consumers are gone', async () => (await objects('consumers')) === 0);

		for (let n = 1; n < 16; n += 1) {
			assert.equal((await call(service, 'POST', '/broadcasters/rec/transports', plain)).status, 200);
		}
		const over = await call(service, 'POST', '/broadcasters/rec/transports', plain);
		assert.equal(over.status, 409);
		assert.match(over.body.error, /^transports: the broadcaster has 16, the most/);
	});
});

test('keys of plain transports are told and asked for, and foreign pages are refused', async () => {
	await withService({}, async (service) => {
		await call(service, 'POST', '/broadcasters', { id: 'a', displayName: 'a', device: {} });
		const suite = 'AEAD_AES_256_GCM';
		const wanted = { type: 'plain', rtcpMux: true, comedia: false, srtpCryptoSuite: suite };
		const made = (await call(service, 'POST', '/broadcasters/a/transports', wanted)).body;
		assert.equal(made.srtpParameters.cryptoSuite, suite);
		assert.equal(Buffer.from(made.srtpParameters.keyBase64, 'base64').length, 44);
		const connect = `/broadcasters/a/transports/${made.id}/connect`;
		const without = await call(service, 'POST', connect, { ip: '127.0.0.1', port: 5004 });
		assert.equal(without.status, 400);
		assert.match(without.body.error, /srtpParameters/);
		const keyBase64 = Buffer.alloc(44, 7).toString('base64');
		const remote = { ip: '127.0.0.1', port: 5004, srtpParameters: { cryptoSuite: suite, keyBase64 } };
		assert.equal((await call(service, 'POST', connect, remote)).status, 200);
		const foreign = await fetch(new URL('rooms/r/broadcasters/a', service.url), {
			method: 'DELETE',
			headers: { origin: 'https://evil.example' },
		});
		assert.equal(foreign.status, 403);
	});
});

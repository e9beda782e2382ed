// Taps of a running service, read by another maker's reader.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import dgram from 'node:dgram';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { until, withService } from './service.mjs';

const SSRC = 2222;
const PACKETS = 20;
const reader = join(import.meta.dirname, 'read_tap.py');

async function read(path) {
	const { stdout } = await promisify(execFile)(process.env.PYTHON ?? 'python3', [reader, path]);
	return JSON.parse(stdout);
}

function packet(sequence) {
	const bytes = Buffer.alloc(12 + 40, sequence);
	bytes.writeUInt8(0x80, 0);
	bytes.writeUInt8(101, 1);
	bytes.writeUInt16BE(sequence, 2);
	bytes.writeUInt32BE(960 * sequence, 4);
	bytes.writeUInt32BE(SSRC, 8);
	return bytes;
}

/// Makes a room in which one broadcaster publishes to another; calls `body` with what both have.
async function broadcast(options, body) {
	const directory = await mkdtemp(join(tmpdir(), 'sfu-taps-'));
	const sockets = [dgram.createSocket('udp4'), dgram.createSocket('udp4')];
	try {
		await withService({ ...options, args: ['--tap-directory', directory] }, async (service) => {
			const post = async (path, data = {}) => {
				const response = await fetch(new URL(`rooms/r/broadcasters${path}`, service.url), {
					method: 'POST',
					headers: { 'content-type': 'application/json' },
					body: JSON.stringify(data),
				});
				assert.equal(response.status, 200, path);
				return response.json();
			};
			for (const peer of sockets) await new Promise((resolve) => peer.bind(0, '127.0.0.1', resolve));
			const [publisher, recorder] = sockets;
			await post('', { id: 'pub', displayName: 'pub', device: { name: 'test' } });
			const rtpCapabilities = await (await fetch(new URL('rooms/r', service.url))).json();
			await post('', { id: 'rec', displayName: 'rec', device: { name: 'test' }, rtpCapabilities });
			const up = await post('/pub/transports', { type: 'plain', rtcpMux: true });
			const producer = await post(`/pub/transports/${up.id}/producers`, {
				kind: 'audio',
				rtpParameters: {
					codecs: [{ mimeType: 'audio/opus', payloadType: 101, clockRate: 48000, channels: 2, parameters: {} }],
					encodings: [{ ssrc: SSRC }],
				},
			});
			const down = await post('/rec/transports', { type: 'plain', rtcpMux: true, comedia: false });
			await post(`/rec/transports/${down.id}/consume?producerId=${producer.id}`);
			await post(`/rec/transports/${down.id}/connect`, { ip: '127.0.0.1', port: recorder.address().port });
			const received = [];
			recorder.on('message', (message) => {
				if (message[1] < 192 || message[1] > 223) received.push(message);
			});
			const send = (n) => new Promise((resolve) => publisher.send(packet(n), up.port, '127.0.0.1', resolve));
			await body({ service, directory, up, down, send, received, ports: sockets.map((peer) => peer.address().port) });
		});
	} finally {
		for (const peer of sockets) peer.close();
		await rm(directory, { recursive: true });
	}
}

test('a tapped transport leaves a file that another maker\'s reader reads', async () => {
	await broadcast({}, async ({ directory, up, down, send, ports: [publisher, recorder] }) => {
		for (let n = 1; n <= PACKETS; n++) await send(n);
		const file = (transport) => join(directory, `${transport.id}.pcapng`);
		const media = async (transport) => (await read(file(transport)).catch(() => [])).filter((one) => !one.rtcp);
		for (const [transport, from, to] of [[up, publisher, up.port], [down, down.port, recorder]]) {
			await until('all packets are in the file', async () => (await media(transport)).length === PACKETS);
			(await media(transport)).forEach((one, at) => {
				const payload = packet(at + 1).subarray(12).toString('hex');
				assert.deepEqual([one.from, one.to, one.payload], [from, to, payload]);
			});
		}
		const [first, ...rest] = await media(up);
		assert.deepEqual([first.ssrc, first.sequence, first.timestamp, first.type, first.bytes], [SSRC, 1, 960, 101, 52]);
		rest.forEach((one, at) => assert.equal(one.sequence, at + 2));
		// What the service says to the publisher is in it as well, the other way.
		await until('a report is in the file', async () => (await read(file(up))).some((one) => one.rtcp && one.to === publisher));
		assert.equal((await readdir(directory)).length, 2);
	});
});

test('a disk that is full ends the tap with its reason and costs no media', async () => {
	await broadcast({ diskBlocks: 8 }, async ({ service, directory, up, send, received }) => {
		for (let n = 1; n <= 100; n++) await send(n);
		await until('the tap has failed', async () => service.log.some((line) => line.includes(up.id) && /failed: .*too large/i.test(line)));
		await until('what was sent meanwhile has arrived', async () => received.length === 100);
		for (let n = 101; n <= 200; n++) await send(n);
		await until('and what was sent then', async () => received.length === 200);
		assert.ok((await stat(join(directory, `${up.id}.pcapng`))).size <= 4096);
		assert.equal((await service.health()).status, 'ok');
	});
});

// Plain transports with ffmpeg and GStreamer: what they publish a browser decodes, and what a browser publishes they record.
// The command lines are those of the README.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Person } from '../browser/chromium.mjs';
import { until, withService } from '../browser/service.mjs';

const SUITE = 'AES_CM_128_HMAC_SHA1_80';
/// Key and salt, as RFC 4568 has them.
const KEY = Buffer.from(Array.from({ length: 30 }, (_, at) => 7 * at + 1)).toString('base64');
/// No program runs longer.
const MOST_MS = 120_000;
const ROOM = 'atrium';

const lines = readFileSync(new URL('../../README.md', import.meta.url), 'utf8').split('\n').filter((line) => /^(ffmpeg|gst-launch-1.0|timeout) /.test(line));
/// The command line of the README that has `part`.
function documented(part) {
	const found = lines.filter((line) => line.includes(part));
	assert.equal(found.length, 1, `the README has one line with ${part}`);
	return found[0];
}

let folder;
before(() => {
	folder = mkdtempSync(join(tmpdir(), 'sfu-plain-'));
	const inputs = ['-f', 'lavfi', '-i', 'testsrc=size=160x120:rate=10', '-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000'];
	const codecs = ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '300k', '-g', '10', '-threads', '1', '-c:a', 'libopus', '-compression_level', '0', '-ac', '2'];
	run('ffmpeg', ['-nostdin', '-v', 'error', ...inputs, '-t', '25', ...codecs, 'talk.webm']);
});
after(() => rmSync(folder, { recursive: true }));

/// Runs a program to its end; it must succeed.
function run(command, args) {
	const { status, stdout, stderr } = spawnSync(command, args, { cwd: folder, encoding: 'utf8', timeout: MOST_MS });
	assert.equal(status, 0, `${command} ${args.join(' ')}: ${stderr}`);
	return { stdout, stderr };
}

/// A line of the README as a shell runs it.
class Line {
	constructor(line, env = {}) {
		this.errors = '';
		this.process = spawn('sh', ['-c', `exec ${line}`], { cwd: folder, env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'pipe'], timeout: MOST_MS, killSignal: 'SIGKILL' });
		this.process.stderr.on('data', (text) => (this.errors += text));
		this.exited = once(this.process, 'exit');
	}

	async end() {
		this.process.kill('SIGKILL');
		await this.exited;
	}
}

async function call(service, method, path, body) {
	const response = await fetch(new URL(`rooms/${ROOM}${path}`, service.url), {
		method,
		headers: { 'content-type': 'application/json' },
		body: body === undefined ? undefined : JSON.stringify(body),
	});
	const text = await response.text();
	assert.equal(response.status, 200, `${method} ${path}: ${text}`);
	return response.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text;
}

const enter = (service, id, rtpCapabilities) =>
	call(service, 'POST', '/broadcasters', { id, displayName: id, device: { name: 'ffmpeg' }, rtpCapabilities });

const published = {
	audio: {
		codecs: [{ mimeType: 'audio/opus', payloadType: 100, clockRate: 48000, channels: 2, parameters: {} }],
		encodings: [{ ssrc: 1111 }],
	},
	video: {
		codecs: [{ mimeType: 'video/VP8', payloadType: 101, clockRate: 90000, parameters: {} }],
		encodings: [{ ssrc: 2222 }],
	},
};

/// Ports to publish to, as the environment of the command line.
async function publish(service, id, srtp) {
	await enter(service, id);
	const env = { KEY, KEY_HEX: Buffer.from(KEY, 'base64').toString('hex') };
	for (const kind of ['audio', 'video']) {
		const wanted = { type: 'plain', rtcpMux: false, comedia: true, srtpCryptoSuite: srtp ? SUITE : undefined };
		const made = await call(service, 'POST', `/broadcasters/${id}/transports`, wanted);
		const at = `/broadcasters/${id}/transports/${made.id}`;
		if (srtp) await call(service, 'POST', `${at}/connect`, { srtpParameters: { cryptoSuite: SUITE, keyBase64: KEY } });
		await call(service, 'POST', `${at}/producers`, { kind, rtpParameters: published[kind] });
		env[`${kind.toUpperCase()}_PORT`] = String(made.port);
		env[`${kind.toUpperCase()}_RTCP_PORT`] = String(made.rtcpPort);
	}
	return env;
}

const PUBLISHERS = [
	{ name: 'ffmpeg', part: '"rtp://', srtp: false },
	{ name: 'ffmpeg', part: 'srtp_out_suite', srtp: true },
	{ name: 'GStreamer', part: 'rtpvp8pay pt=101 ssrc=2222 mtu=1200 ! udpsink', srtp: false },
	{ name: 'GStreamer', part: 'srtpenc', srtp: true },
];

for (const { name, part, srtp } of PUBLISHERS) {
	test(`${name} publishes by plain ${srtp ? 'SRTP' : 'RTP'} and Chromium sees and hears it`, async () => {
		await withService({}, async (service) => {
			const ada = await Person.join(service, 'Ada', { room: ROOM, params: { resolution: 'qvga' } });
			const env = await publish(service, 'film', srtp);
			const program = new Line(documented(part), env);
			try {
				await ada.sees('film', { width: 160, height: 120, codec: 'video/VP8' });
				await ada.hearsEnergy('film');
			} catch (error) {
				throw new Error(`${error.message}\n${program.errors.slice(-2000)}`);
			} finally {
				await program.end();
			}
			await call(service, 'DELETE', '/broadcasters/film');
			await ada.leave();
		});
	});
}

/// A port for RTP whose next one is for RTCP, both free a moment ago.
async function freePair() {
	return until('two free ports', async () => {
		const [first, second] = [dgram.createSocket('udp4'), dgram.createSocket('udp4')];
		try {
			await bind(first, 0);
			const { port } = first.address();
			if (port % 2 !== 0) return false;
			await bind(second, port + 1);
			return port;
		} finally {
			first.close();
			second.close();
		}
	});
}

function bind(socket, port) {
	return new Promise((resolve, reject) => {
		socket.once('error', reject);
		socket.bind(port, '127.0.0.1', resolve);
	});
}

const RECORDERS = [
	{ name: 'ffmpeg', part: 'ffmpeg -nostdin -protocol_whitelist', srtp: false },
	{ name: 'ffmpeg', part: 'ffmpeg -nostdin -protocol_whitelist', srtp: true },
	{ name: 'GStreamer', part: 'sdpdemux', srtp: false },
];

for (const { name, part, srtp } of RECORDERS) {
	test(`${name} records Chromium by plain ${srtp ? 'SRTP' : 'RTP'} from the description that the service writes`, async () => {
		await withService({}, async (service) => {
			const ada = await Person.join(service, 'Ada', { room: ROOM, params: { resolution: 'qvga' } });
			const capabilities = await call(service, 'GET', '');
			capabilities.codecs = capabilities.codecs.filter((codec) => /opus|vp8/i.test(codec.mimeType));
			await until('Ada publishes', async () => Object.keys((await ada.state()).producers).length === 2);
			const { peers } = await enter(service, 'recorder', capabilities);
			const producers = peers.find((peer) => peer.id !== 'recorder').producers;
			assert.deepEqual(producers.map((producer) => producer.kind).sort(), ['audio', 'video']);
			for (const producer of producers) {
				const wanted = { type: 'plain', rtcpMux: false, comedia: false, srtpCryptoSuite: srtp ? SUITE : undefined };
				const made = await call(service, 'POST', '/broadcasters/recorder/transports', wanted);
				const at = `/broadcasters/recorder/transports/${made.id}`;
				await call(service, 'POST', `${at}/consume?producerId=${producer.id}`);
				const port = await freePair();
				const srtpParameters = srtp ? { cryptoSuite: SUITE, keyBase64: KEY } : undefined;
				await call(service, 'POST', `${at}/connect`, { ip: '127.0.0.1', port, rtcpPort: port + 1, srtpParameters });
			}
			const sdp = await call(service, 'GET', '/broadcasters/recorder/sdp');
			assert.equal(/a=crypto:/.test(sdp), srtp, sdp);
			writeFileSync(join(folder, 'room.sdp'), sdp);
			rmSync(join(folder, 'room.webm'), { force: true });
			const program = new Line(documented(part));
			const [code] = await program.exited;
			// That of `timeout` says that it had to end the program, which then ended in order.
			assert.equal(code, name === 'GStreamer' ? 124 : 0, `${sdp}\n${program.errors.slice(-3000)}`);

			const shown = run('ffprobe', ['-v', 'error', '-count_frames', '-show_streams', '-show_format', '-of', 'json', 'room.webm']);
			assert.equal(shown.stderr, '', 'all of it is decoded to be counted');
			// Frames are numbered anew: readers of RTP step back a little when the first sender report joins their streams, and
			// this asks whether all is decoded, not when.
			const anew = ['-vf', 'setpts=N/(15*TB)', '-af', 'asetpts=N/(SR*TB)'];
			const decode = ['-nostdin', '-v', 'error', '-xerror', '-i', 'room.webm', ...anew, '-f', 'null', '-'];
			assert.equal(run('ffmpeg', decode).stderr, '', 'it plays from one end to the other');
			const { streams, format } = JSON.parse(shown.stdout);
			assert.deepEqual(streams.map((stream) => stream.codec_name).sort(), ['opus', 'vp8']);
			const frames = (codec) => Number(streams.find((stream) => stream.codec_name === codec).nb_read_frames);
			assert.ok(Number(format.duration) > 3 && Number(format.duration) < 9, format.duration);
			assert.ok(frames('vp8') > 10, `${frames('vp8')} pictures`);
			assert.ok(frames('opus') > 150, `${frames('opus')} packets of audio`);
			await call(service, 'DELETE', '/broadcasters/recorder');
			await ada.leave();
		});
	});
}

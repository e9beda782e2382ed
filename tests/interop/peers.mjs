// The peers of the table: each publishes by WHIP, watches by WHEP, or both. A peer reports what it receives by kind.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { launch } from '../browser/chromium.mjs';
import { until } from '../browser/service.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));

/// A program that speaks WHIP or WHEP by itself: `command... publish|watch URL`. It writes lines of JSON, and ends in order
/// when its standard input closes.
class Program {
	constructor(name, command, env = {}) {
		this.name = name;
		this.report = {};
		this.errors = [];
		this.process = spawn(command[0], command.slice(1), { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
		this.exited = once(this.process, 'exit');
		createInterface({ input: this.process.stdout }).on('line', (line) => {
			if (line.startsWith('{')) this.report = JSON.parse(line);
		});
		createInterface({ input: this.process.stderr }).on('line', (line) => this.errors.push(line));
	}

	async read() {
		if (this.process.exitCode !== null) throw new Error(`${this.name} ended with ${this.process.exitCode}:\n${this.errors.slice(-20).join('\n')}`);
		return this.report;
	}

	async end() {
		this.process.stdin.end();
		const timer = setTimeout(() => this.process.kill('SIGKILL'), 10_000);
		const [code, signal] = await this.exited;
		clearTimeout(timer);
		if (code !== 0) throw new Error(`${this.name} ended with ${code ?? signal}:\n${this.errors.slice(-20).join('\n')}`);
	}
}

/// ffmpeg's own muxer; it knows no reports, and ends by `q`.
class Ffmpeg {
	constructor(binary, url, log = process.env.FFLOG ?? "warning") {
		this.errors = [];
		const inputs = ['-re', '-f', 'lavfi', '-i', 'testsrc=size=320x240:rate=15', '-re', '-f', 'lavfi', '-i', 'sine=frequency=440:sample_rate=48000'];
		const video = ['-c:v', 'libx264', '-profile:v', 'baseline', '-preset', 'ultrafast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p', '-g', '30', '-bf', '0'];
		const audio = ['-c:a', 'libopus', '-ar', '48000', '-ac', '2', '-b:a', '64k'];
		this.process = spawn(binary, ['-hide_banner', '-loglevel', log, ...inputs, ...video, ...audio, '-f', 'whip', url], { stdio: ['pipe', 'ignore', 'pipe'] });
		this.exited = once(this.process, 'exit');
		createInterface({ input: this.process.stderr }).on('line', (line) => this.errors.push(line));
	}

	async read() {
		if (this.process.exitCode !== null) throw new Error(`ffmpeg ended with ${this.process.exitCode}:\n${this.errors.slice(-20).join('\n')}`);
		return {};
	}

	async end() {
		this.process.stdin.write('q');
		const timer = setTimeout(() => this.process.kill('SIGKILL'), 10_000);
		await this.exited;
		clearTimeout(timer);
	}
}

/// What runs in Chromium's page: nothing but RTCPeerConnection and fetch.
async function inPage({ role, url, simulcast, data, sections = 1 }) {
	const connection = new RTCPeerConnection();
	window.connection = connection;
	// A section that comes first, and one that comes last.
	if (data) connection.createDataChannel('chat');
	if (role === 'publish') {
		const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 480 } });
		for (const track of media.getTracks()) {
			const encodings = track.kind === 'video' && simulcast ? [{ rid: 'l', scaleResolutionDownBy: 4 }, { rid: 'm', scaleResolutionDownBy: 2 }, { rid: 'h' }] : undefined;
			connection.addTransceiver(track, { direction: 'sendonly', streams: [media], sendEncodings: encodings });
		}
	} else {
		for (let i = 0; i < sections; i++) {
			connection.addTransceiver('audio', { direction: 'recvonly' });
			connection.addTransceiver('video', { direction: 'recvonly' });
		}
	}
	connection.ontrack = ({ track }) => {
		// Without an element nothing is decoded.
		const element = document.createElement(track.kind);
		element.muted = track.kind === 'video';
		element.autoplay = true;
		element.srcObject = new MediaStream([track]);
		document.body.append(element);
	};
	await connection.setLocalDescription();
	const response = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: connection.localDescription.sdp });
	const sdp = await response.text();
	if (response.status !== 201) throw new Error(`${response.status}: ${sdp}`);
	window.resource = new URL(response.headers.get('Location'), url).toString();
	window.tag = response.headers.get('ETag');
	await connection.setRemoteDescription({ type: 'answer', sdp });
}

async function pageReport() {
	const report = { state: window.connection.connectionState, sections: [] };
	for (const transceiver of window.connection.getTransceivers()) {
		for (const stats of (await transceiver.receiver.getStats()).values()) {
			if (stats.type !== 'inbound-rtp') continue;
			const frames = stats.kind === 'audio' ? Math.round((stats.totalSamplesReceived - (stats.concealedSamples ?? 0)) / 960) : (stats.framesDecoded ?? 0);
			const one = { mid: transceiver.mid, kind: stats.kind, ssrc: stats.ssrc, frames, energy: stats.totalAudioEnergy, width: stats.frameWidth, height: stats.frameHeight };
			report.sections.push(one);
			if (!(report[one.kind]?.frames > one.frames)) report[one.kind] = one;
		}
	}
	return report;
}

/// Chromium's RTCPeerConnection.
export class Chromium {
	static async start(service, role, room, options = {}) {
		const peer = new Chromium();
		peer.context = await (await launch()).newContext({ permissions: ['camera', 'microphone'] });
		peer.page = await peer.context.newPage();
		// Any page of the service's origin will do; this one has no scripts.
		await peer.page.goto(new URL('health', service.url).toString());
		const url = new URL(`${role === 'publish' ? 'whip' : 'whep'}/${encodeURIComponent(room)}${options.query ?? ''}`, service.url).toString();
		await peer.page.evaluate(inPage, { role, url, ...options });
		return peer;
	}

	read() {
		return this.page.evaluate(pageReport);
	}

	/// One request on the peer's resource.
	request(init) {
		return this.page.evaluate(async (init) => {
			const response = await fetch(window.resource, init);
			return { status: response.status, tag: response.headers.get('ETag'), text: await response.text() };
		}, init);
	}

	async end() {
		const { status } = await this.request({ method: 'DELETE' });
		await this.context.close();
		if (status !== 200) throw new Error(`DELETE: ${status}`);
	}
}

const program = (name, ...command) => (service, role, room) =>
	new Program(name, [...command, role, new URL(`${role === 'publish' ? 'whip' : 'whep'}/${room}`, service.url).toString()]);

/// Name, what it can be, and how it is started; the video codec that it sends where that is not VP8, and those that it takes
/// where it takes not all. A peer whose program the set-up could not get is left out, and the table
/// says so.
export const PEERS = [
	{ name: 'Chromium', publishes: true, watches: true, start: (service, role, room) => Chromium.start(service, role, room) },
	{ name: 'aiortc', publishes: true, watches: true, start: program('aiortc', process.env.PYTHON ?? 'python3', join(HERE, 'aiortc_peer.py')) },
	{ name: 'GStreamer', publishes: true, watches: true, watchesOnly: ['VP8'], needs: ['GST_PYTHON'], start: program('GStreamer', process.env.GST_PYTHON, join(HERE, 'gstreamer_peer.py')) },
	{ name: 'pion', publishes: true, watches: true, needs: ['PION', 'PEER_MEDIA'], start: program('pion', process.env.PION) },
	{ name: 'werift', publishes: true, watches: true, watchesOnly: ['VP8'], needs: ['PEER_MEDIA'], start: program('werift', process.execPath, join(HERE, 'werift_peer.mjs')) },
	{ name: 'libdatachannel', publishes: true, watches: true, watchesOnly: ['VP8'], needs: ['PEER_MEDIA'], start: program('libdatachannel', process.execPath, join(HERE, 'libdatachannel_peer.mjs')) },
	{ name: 'str0m', publishes: true, watches: true, watchesOnly: ['VP8'], needs: ['STR0M', 'PEER_MEDIA'], start: program('str0m', process.env.STR0M) },
	{
		name: 'ffmpeg',
		publishes: true,
		codec: 'H264',
		needs: ['FFMPEG'],
		start: (service, _, room) => new Ffmpeg(process.env.FFMPEG, new URL(`whip/${room}`, service.url).toString()),
	},
];

/// The two have a video codec in common.
export const common = (publisher, watcher) => watcher.watchesOnly?.includes(publisher.codec ?? 'VP8') ?? true;

/// The environment names the programs that the set-up got.
export const present = ({ needs = [] }) => needs.every((name) => process.env[name] && existsSync(process.env[name]));

/// Loopback, and an address of the machine if it has one: some peers have no candidates on loopback.
export function reachable() {
	const own = Object.values(networkInterfaces()).flat().find((one) => one.family === 'IPv4' && !one.internal);
	return ['127.0.0.1', ...(own ? [own.address] : [])].join(',');
}

/// It receives audio and video, and more of both a moment later.
export async function receives(peer, what, { frames = 15, timeout = 25_000 } = {}) {
	let last;
	try {
		await until(what, async () => {
			last = await peer.read();
			return (last.audio?.frames ?? 0) > frames && (last.video?.frames ?? 0) > frames;
		}, timeout);
	} catch (error) {
		error.message += `\n${JSON.stringify(last)}\n${(peer.errors ?? []).slice(-20).join('\n')}`;
		throw error;
	}
	return last;
}

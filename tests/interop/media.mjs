// What peers in JavaScript publish: VP8 of an IVF file and Opus of an Ogg file, which PEER_MEDIA names (video.ivf,
// audio.ogg), over and over.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.env.PEER_MEDIA ?? '.';

/// Frames of an IVF file: a header of 32 bytes, then length, timestamp and data of each.
function* ivf(bytes) {
	for (let at = 32; at + 12 <= bytes.length; ) {
		const length = bytes.readUInt32LE(at);
		yield bytes.subarray(at + 12, at + 12 + length);
		at += 12 + length;
	}
}

/// Pages of an Ogg file, of one packet each; the first two are headers.
function* ogg(bytes) {
	let page = 0;
	for (let at = 0; at + 27 <= bytes.length; page++) {
		const segments = bytes[at + 26];
		const length = bytes.subarray(at + 27, at + 27 + segments).reduce((sum, one) => sum + one, 0);
		const data = at + 27 + segments;
		if (page >= 2) yield bytes.subarray(data, data + length);
		at = data + length;
	}
}

/// RFC 7741: one byte before each part of a frame, which says whether it is the first.
function packVp8(frame) {
	const parts = [];
	for (let at = 0; at < frame.length; at += 1100) {
		parts.push(Buffer.concat([Buffer.from([at === 0 ? 0x10 : 0]), frame.subarray(at, at + 1100)]));
	}
	return parts;
}

/// Hands out the packets of a stream when they are due: `send({ sequence, timestamp, marker }, payload)`.
function pace(frames, pack, every, step, send) {
	let [sequence, timestamp, at] = [0, 0, 0];
	const began = performance.now();
	const next = () => {
		const payloads = pack(frames[at % frames.length]);
		payloads.forEach((payload, index) => {
			send({ sequence, timestamp, marker: index === payloads.length - 1 }, payload);
			sequence = (sequence + 1) & 0xffff;
		});
		timestamp = (timestamp + step) >>> 0;
		at++;
		setTimeout(next, Math.max(0, began + at * every - performance.now()));
	};
	next();
}

export const sendVideo = (send) => pace([...ivf(readFileSync(join(folder, 'video.ivf')))], packVp8, 1000 / 15, 6000, send);
export const sendAudio = (send) => pace([...ogg(readFileSync(join(folder, 'audio.ogg')))], (packet) => [packet], 20, 960, send);

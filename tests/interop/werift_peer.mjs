// werift, a WebRTC stack in TypeScript, as a WHIP publisher or a WHEP watcher: werift_peer.mjs publish|watch URL.
//
// The publisher packs VP8 of an IVF file and Opus of an Ogg file, which PEER_MEDIA names (video.ivf, audio.ogg). The watcher
// counts packets and the frames that they end. A line of JSON tells of it twice a second. It ends, with a DELETE, when its
// standard input closes.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters, RtpHeader, RtpPacket } from 'werift';

const [role, url] = process.argv.slice(2);
if (!['publish', 'watch'].includes(role) || !url) throw new Error('give publish or watch, and a URL');
const folder = process.env.PEER_MEDIA ?? '.';

const codecs = {
	audio: [new RTCRtpCodecParameters({ mimeType: 'audio/opus', clockRate: 48000, channels: 2, payloadType: 96 })],
	video: [
		new RTCRtpCodecParameters({
			mimeType: 'video/VP8',
			clockRate: 90000,
			payloadType: 97,
			rtcpFeedback: [{ type: 'nack' }, { type: 'nack', parameter: 'pli' }, { type: 'goog-remb' }],
		}),
	],
};
const connection = new RTCPeerConnection({ codecs });
const report = {};

function count(kind, frame) {
	report[kind] ??= { frames: 0, packets: 0 };
	report[kind].packets++;
	if (frame) report[kind].frames++;
}

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

/// Sends frames in a circle, one each `every` milliseconds; `pack` makes payloads of a frame.
function send(track, payloadType, frames, pack, every, step) {
	let [sequence, timestamp, at] = [0, 0, 0];
	const began = performance.now();
	const next = () => {
		const payloads = pack(frames[at % frames.length]);
		payloads.forEach((payload, index) => {
			const marker = index === payloads.length - 1;
			track.writeRtp(new RtpPacket(new RtpHeader({ payloadType, sequenceNumber: sequence, timestamp, marker, ssrc: 1 }), payload));
			sequence = (sequence + 1) & 0xffff;
		});
		timestamp = (timestamp + step) >>> 0;
		at++;
		setTimeout(next, Math.max(0, began + at * every - performance.now()));
	};
	next();
}

/// RFC 7741: one byte before each part of a frame, which says whether it is the first.
function packVp8(frame) {
	const parts = [];
	for (let at = 0; at < frame.length; at += 1100) {
		parts.push(Buffer.concat([Buffer.from([at === 0 ? 0x10 : 0]), frame.subarray(at, at + 1100)]));
	}
	return parts;
}

if (role === 'publish') {
	const [audio, video] = [new MediaStreamTrack({ kind: 'audio' }), new MediaStreamTrack({ kind: 'video' })];
	connection.addTransceiver(audio, { direction: 'sendonly' });
	connection.addTransceiver(video, { direction: 'sendonly' });
	connection.connectionStateChange.subscribe((state) => {
		if (state !== 'connected') return;
		send(video, 97, [...ivf(readFileSync(join(folder, 'video.ivf')))], packVp8, 1000 / 15, 6000);
		send(audio, 96, [...ogg(readFileSync(join(folder, 'audio.ogg')))], (packet) => [packet], 20, 960);
	});
} else {
	connection.addTransceiver('audio', { direction: 'recvonly' });
	connection.addTransceiver('video', { direction: 'recvonly' });
	connection.onTrack.subscribe((track) => {
		track.onReceiveRtp.subscribe((packet) => count(track.kind, packet.header.marker || track.kind === 'audio'));
	});
}
await connection.setLocalDescription(await connection.createOffer());
const response = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: connection.localDescription.sdp });
const sdp = await response.text();
if (response.status !== 201) throw new Error(`${response.status}: ${sdp}`);
await connection.setRemoteDescription({ type: 'answer', sdp });
setInterval(() => console.log(JSON.stringify({ state: connection.connectionState, ...report })), 500);
process.stdin.resume().on('end', async () => {
	const { status } = await fetch(new URL(response.headers.get('Location'), url), { method: 'DELETE' });
	process.exit(status === 200 ? 0 : 1);
});

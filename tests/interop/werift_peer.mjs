// werift, a WebRTC stack in TypeScript, as a WHIP publisher or a WHEP watcher: werift_peer.mjs publish|watch URL.
//
// The publisher sends what media.mjs packs. The watcher counts packets and the frames that they end. A line of JSON tells of it twice a second. It ends, with a DELETE, when its
// standard input closes.

import { MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters, RtpHeader, RtpPacket } from 'werift';
import { sendAudio, sendVideo } from './media.mjs';

const [role, url] = process.argv.slice(2);
if (!['publish', 'watch'].includes(role) || !url) throw new Error('give publish or watch, and a URL');

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

/// Writes the packets of a track.
const onto = (track, payloadType) => ({ sequence, timestamp, marker }, payload) =>
	track.writeRtp(new RtpPacket(new RtpHeader({ payloadType, sequenceNumber: sequence, timestamp, marker, ssrc: 1 }), payload));

if (role === 'publish') {
	const [audio, video] = [new MediaStreamTrack({ kind: 'audio' }), new MediaStreamTrack({ kind: 'video' })];
	connection.addTransceiver(audio, { direction: 'sendonly' });
	connection.addTransceiver(video, { direction: 'sendonly' });
	connection.connectionStateChange.subscribe((state) => {
		if (state !== 'connected') return;
		sendVideo(onto(video, 97));
		sendAudio(onto(audio, 96));
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

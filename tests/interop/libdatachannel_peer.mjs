// libdatachannel, a WebRTC stack in C++, as a WHIP publisher or a WHEP watcher: libdatachannel_peer.mjs publish|watch URL.
//
// The publisher sends what media.mjs packs. The watcher counts packets and the frames that they end. A line of JSON tells of it
// twice a second. It ends, with a DELETE, when its standard input closes.

import datachannel from 'node-datachannel';
import { sendAudio, sendVideo } from './media.mjs';

const [role, url] = process.argv.slice(2);
if (!['publish', 'watch'].includes(role) || !url) throw new Error('give publish or watch, and a URL');

const connection = new datachannel.PeerConnection(role, { iceServers: [], disableAutoNegotiation: true });
const report = { state: 'new' };
const direction = role === 'publish' ? 'SendOnly' : 'RecvOnly';
const audio = new datachannel.Audio('0', direction);
audio.addOpusCodec(111);
const video = new datachannel.Video('1', direction);
video.addVP8Codec(96);
if (role === 'publish') {
	audio.addSSRC(11, 'libdatachannel', 'stream', 'audio');
	video.addSSRC(12, 'libdatachannel', 'stream', 'video');
}
const tracks = { audio: connection.addTrack(audio), video: connection.addTrack(video) };

/// Writes the packets of a track (RFC 3550, section 5.1).
const onto = (track, payloadType, ssrc) => ({ sequence, timestamp, marker }, payload) => {
	const header = Buffer.alloc(12);
	header[0] = 0x80;
	header[1] = payloadType | (marker ? 0x80 : 0);
	header.writeUInt16BE(sequence, 2);
	header.writeUInt32BE(timestamp, 4);
	header.writeUInt32BE(ssrc, 8);
	if (track.isOpen()) track.sendMessageBinary(Buffer.concat([header, payload]));
};

if (role === 'publish') {
	tracks.audio.onOpen(() => sendAudio(onto(tracks.audio, 111, 11)));
	tracks.video.onOpen(() => sendVideo(onto(tracks.video, 96, 12)));
} else {
	for (const [kind, track] of Object.entries(tracks)) {
		// It answers senders' reports, and hands on what is no RTCP.
		track.setMediaHandler(new datachannel.RtcpReceivingSession());
		track.onMessage((packet) => {
			report[kind] ??= { frames: 0, packets: 0 };
			report[kind].packets++;
			if (kind === 'audio' || packet[1] & 0x80) report[kind].frames++;
		});
	}
}
connection.onStateChange((state) => (report.state = state));
const gathered = new Promise((resolve) => connection.onGatheringStateChange((state) => state === 'complete' && resolve()));
connection.setLocalDescription('offer');
await gathered;
const response = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: connection.localDescription().sdp });
const sdp = await response.text();
if (response.status !== 201) throw new Error(`${response.status}: ${sdp}`);
connection.setRemoteDescription(sdp, 'answer');
setInterval(() => console.log(JSON.stringify(report)), 500);
process.stdin.resume().on('end', async () => {
	const { status } = await fetch(new URL(response.headers.get('Location'), url), { method: 'DELETE' });
	connection.close();
	process.exit(status === 200 ? 0 : 1);
});

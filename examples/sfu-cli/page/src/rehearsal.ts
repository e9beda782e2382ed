// A connection to nobody that receives sound and a picture, and is thrown away: what the browser does for the first time
// then, it has done before when somebody joins.

import type { Device, types } from 'mediasoup-client';

const KINDS: readonly types.MediaKind[] = ['audio', 'video'];
/// Nobody has this certificate.
const FINGERPRINT = Array.from({ length: 32 }, () => '00').join(':');

export async function rehearse(device: Device): Promise<void> {
	const transport = device.createRecvTransport({
		id: 'rehearsal',
		iceParameters: { usernameFragment: 'rehearsal', password: 'a-password-that-nobody-has', iceLite: true },
		iceCandidates: [],
		dtlsParameters: { role: 'auto', fingerprints: [{ algorithm: 'sha-256', value: FINGERPRINT }] },
	});
	transport.on('connect', (_parameters, done) => done());
	try {
		const streams = KINDS.map((kind, index) => ({ kind, rtpParameters: parametersOf(device.recvRtpCapabilities, kind, index) }));
		const wanted = streams.filter(({ rtpParameters }) => rtpParameters.codecs.length > 0);
		const consumers = await Promise.all(wanted.map(({ kind, rtpParameters }) => transport.consume({ id: kind, producerId: kind, kind, rtpParameters })));
		await look(consumers.map((consumer) => consumer.track));
	} finally {
		transport.close();
	}
}

/// Makes a player for what never plays.
async function look(tracks: MediaStreamTrack[]): Promise<void> {
	const video = document.createElement('video');
	const started = new Promise((resolve) => video.addEventListener('loadstart', resolve, { once: true }));
	video.muted = true;
	video.srcObject = new MediaStream(tracks);
	await started;
	video.srcObject = null;
}

/// Connects a transport by a picture that never comes: connecting needs one.
export async function connectAhead(transport: types.Transport, device: Device): Promise<void> {
	const rtpParameters = { ...parametersOf(device.recvRtpCapabilities, 'video', 0), mid: 'ahead' };
	await transport.handler.receive([{ trackId: 'ahead', kind: 'video', rtpParameters }]);
}

/// What a service would offer of a kind: the first codec, with what repairs it.
function parametersOf(capabilities: types.RtpCapabilities, kind: types.MediaKind, index: number): types.RtpParameters {
	const ofKind = (capabilities.codecs ?? []).filter((codec) => codec.kind === kind);
	const first = ofKind.find((codec) => !/\/(rtx|red|ulpfec|flexfec-03)$/i.test(codec.mimeType));
	const repair = ofKind.find((codec) => /\/rtx$/i.test(codec.mimeType) && codec.parameters?.['apt'] === first?.preferredPayloadType);
	const codecs = [first, repair].filter((codec) => codec !== undefined);
	return {
		mid: String(index),
		codecs: codecs.map((codec) => ({
			mimeType: codec.mimeType,
			payloadType: codec.preferredPayloadType ?? 0,
			clockRate: codec.clockRate,
			...(codec.channels ? { channels: codec.channels } : {}),
			parameters: codec.parameters ?? {},
			rtcpFeedback: codec.rtcpFeedback ?? [],
		})),
		headerExtensions: (capabilities.headerExtensions ?? [])
			.filter((extension) => extension.kind === kind)
			.map((extension) => ({ uri: extension.uri, id: extension.preferredId })),
		encodings: [{ ssrc: 1000 + 2 * index, ...(repair ? { rtx: { ssrc: 1001 + 2 * index } } : {}) }],
		rtcp: { cname: 'rehearsal', reducedSize: true },
	};
}

// Redundant audio (RFC 2198): mediasoup-client offers one codec for each track, so what it says about microphones is
// completed here. The answer to our own offer gets RED in front of opus, and so do the parameters that go to the server.

import type { types } from 'mediasoup-client';

interface Lines {
	red: number;
	opus: number;
}

/// Payload types of RED and of the opus that it repeats, in the audio section of an offer.
function find(section: string): Lines | undefined {
	const opus = /^a=rtpmap:(\d+) opus\/48000\/2/im.exec(section)?.[1];
	const red = /^a=rtpmap:(\d+) red\/48000\/2/im.exec(section)?.[1];
	return opus && red ? { red: Number(red), opus: Number(opus) } : undefined;
}

const sectionsOf = (sdp: string): string[] => sdp.split(/^(?=m=)/m);

/// The answer with RED in each audio section whose offer has it.
function withRed(answer: string, offer: string): string {
	const offered = sectionsOf(offer);
	const sections = sectionsOf(answer).map((section, index) => {
		const lines = section.startsWith('m=audio') ? find(offered[index] ?? '') : undefined;
		if (!lines || !section.includes(`a=rtpmap:${lines.opus} `) || section.includes(`a=rtpmap:${lines.red} `)) return section;
		return section
			.replace(/^(m=audio \S+ \S+ )(.*)$/m, `$1${lines.red} $2`)
			.replace(/^a=rtpmap:/m, `a=rtpmap:${lines.red} red/48000/2\r\na=fmtp:${lines.red} ${lines.opus}/${lines.opus}\r\na=rtpmap:`);
	});
	return sections.join('');
}

/// Lets every connection made from now on send RED where the browser can.
export function enableRed(): void {
	const Native = window.RTCPeerConnection;
	window.RTCPeerConnection = class extends Native {
		override async setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
			const offer = this.pendingLocalDescription?.sdp;
			if (description.type !== 'answer' || !offer || !description.sdp) return super.setRemoteDescription(description);
			return super.setRemoteDescription({ type: 'answer', sdp: withRed(description.sdp, offer) });
		}
	};
}

/// The parameters of a microphone with RED, if this browser and the room have it.
export function addRed(parameters: types.RtpParameters, capabilities: types.RtpCapabilities): types.RtpParameters {
	const opus = parameters.codecs.find((codec) => codec.mimeType.toLowerCase() === 'audio/opus');
	const red = capabilities.codecs?.find((codec) => codec.mimeType.toLowerCase() === 'audio/red');
	if (!opus || red?.preferredPayloadType === undefined) return parameters;
	const codec: types.RtpCodecParameters = {
		mimeType: 'audio/red',
		payloadType: red.preferredPayloadType,
		clockRate: opus.clockRate,
		channels: opus.channels ?? 2,
		parameters: { '': `${opus.payloadType}/${opus.payloadType}` },
		rtcpFeedback: [],
	};
	return { ...parameters, codecs: [...parameters.codecs, codec] };
}

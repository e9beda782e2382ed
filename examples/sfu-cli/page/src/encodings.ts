// How a picture is published: in which encodings and layers.

import type { types } from 'mediasoup-client';
import type { Params, Resolution } from './params';

/// Bit/s of the largest, the middle and the smallest encoding, by the size of the picture. A small one needs less, and
/// browsers send a large encoding only once there is room for it above the caps of the smaller ones.
const CAPS: Readonly<Record<Resolution | 'screen', readonly [number, number, number]>> = {
	// Screens move little; that they can be read matters more than that their small copies are good.
	screen: [5_000_000, 400_000, 150_000],
	hd: [5_000_000, 1_000_000, 500_000],
	qhd: [2_000_000, 500_000, 150_000],
	vga: [1_500_000, 400_000, 150_000],
	qvga: [400_000, 150_000, 80_000],
};

/// The most sizes that browsers make of a picture: of a smaller one they leave out the largest.
const MOST: Readonly<Record<Resolution, number>> = { hd: 3, qhd: 3, vga: 2, qvga: 1 };

/// A scalability mode of W3C webrtc-svc.
export interface Mode {
	letter: string;
	spatial: number;
	temporal: number;
	suffix: string;
}

export function parseMode(text: string | undefined): Mode {
	const found = /^([LS])([1-8])T([1-8])(h?(?:_KEY(?:_SHIFT)?)?)$/.exec(text ?? '');
	if (!found) return { letter: 'L', spatial: 1, temporal: 1, suffix: '' };
	return { letter: found[1] ?? 'L', spatial: Number(found[2]), temporal: Number(found[3]), suffix: found[4] ?? '' };
}

export function formatMode({ letter, spatial, temporal, suffix }: Mode): string {
	// With one spatial layer there is nothing that key frames could be shared among.
	return spatial > 1 ? `${letter}${spatial}T${temporal}${suffix}` : `L1T${temporal}`;
}

/// What each codec does best if nothing is asked for.
function usualMode(codec: string): string {
	if (codec === 'video/vp9') return 'L3T3_KEY';
	if (codec === 'video/av1') return 'L3T3';
	return 'L1T3';
}

/// The encodings of a camera or a screen; undefined is one without layers.
export function encodingsFor(
	source: 'webcam' | 'screen',
	params: Params,
	resolution: Resolution,
	codec: types.RtpCodecCapability | undefined,
): types.RtpEncodingParameters[] | undefined {
	const layered = source === 'webcam' ? params.enableWebcamLayers : params.enableSharingLayers;
	if (!layered || !codec) return undefined;
	const wanted = source === 'webcam' ? params.webcamScalabilityMode : params.sharingScalabilityMode;
	const size = source === 'webcam' ? resolution : 'hd';
	const mode = parseMode(wanted ?? usualMode(codec.mimeType.toLowerCase()));
	const scalabilityMode = formatMode({ ...mode, spatial: Math.min(mode.spatial, MOST[size]) });
	const caps = CAPS[source === 'screen' ? source : size];
	if (mode.spatial > 1) return [{ scalabilityMode, maxBitrate: caps[0] }];
	const count = Math.min(params.numSimulcastStreams, MOST[size]);
	// The smallest first.
	return Array.from({ length: count }, (_, index) => {
		const step = count - 1 - index;
		return { scaleResolutionDownBy: 2 ** step, maxBitrate: caps[step] ?? caps[2], scalabilityMode };
	});
}

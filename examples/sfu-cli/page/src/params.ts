// What the page's address says: who, where, and how to publish.

export type ForcedCodec = 'video/VP8' | 'video/VP9' | 'video/H264' | 'video/H265' | 'video/AV1';
export type Resolution = 'qvga' | 'vga' | 'qhd' | 'hd';

export const RESOLUTIONS: Readonly<Record<Resolution, { width: number; height: number; label: string }>> = {
	qvga: { width: 320, height: 240, label: 'Low (320 × 240)' },
	vga: { width: 640, height: 480, label: 'Standard (640 × 480)' },
	qhd: { width: 960, height: 540, label: 'Medium (960 × 540)' },
	hd: { width: 1280, height: 720, label: 'High (1280 × 720)' },
};

export interface Params {
	roomId: string;
	displayName: string;
	peerId: string;
	produce: boolean;
	consume: boolean;
	info: boolean;
	forceTcp: boolean;
	forcedCodec: ForcedCodec | undefined;
	consumerReplicas: number;
	resolution: Resolution;
	/// Several encodings, or layers in one.
	enableWebcamLayers: boolean;
	enableSharingLayers: boolean;
	webcamScalabilityMode: string | undefined;
	sharingScalabilityMode: string | undefined;
	/// Encodings where layers are not within one.
	numSimulcastStreams: number;
	/// Redundant audio.
	red: boolean;
	/// The way into a room is made while the form is shown. Not under a given id, which may be somebody's who is in it.
	ahead: boolean;
}

const NAME_KEY = 'sfu.displayName';

function flag(query: URLSearchParams, name: string, fallback: boolean): boolean {
	const value = query.get(name);
	return value === null ? fallback : value !== 'false' && value !== '0' && value !== 'no';
}

function forced(query: URLSearchParams): ForcedCodec | undefined {
	if (flag(query, 'forceVP8', false)) return 'video/VP8';
	if (flag(query, 'forceVP9', false)) return 'video/VP9';
	if (flag(query, 'forceH264', false)) return 'video/H264';
	if (flag(query, 'forceH265', false)) return 'video/H265';
	if (flag(query, 'forceAV1', false)) return 'video/AV1';
	return undefined;
}

export function randomId(length: number): string {
	const alphabet = 'abcdefghijkmnpqrstuvwxyz23456789';
	const bytes = crypto.getRandomValues(new Uint8Array(length));
	return Array.from(bytes, (byte) => alphabet[byte % alphabet.length]).join('');
}

function remembered(key: string): string {
	// Storage may be blocked by the person's settings; the page works without it.
	try {
		return localStorage.getItem(key) ?? '';
	} catch {
		return '';
	}
}

export function rememberName(name: string): void {
	try {
		localStorage.setItem(NAME_KEY, name);
	} catch {
		// As above.
	}
}

export function readParams(search: string): Params {
	const query = new URLSearchParams(search);
	const resolution = query.get('resolution');
	const replicas = Number(query.get('consumerReplicas') ?? '0');
	const streams = Number(query.get('numSimulcastStreams') ?? '3');
	return {
		roomId: query.get('roomId') ?? '',
		displayName: query.get('displayName') ?? remembered(NAME_KEY),
		peerId: query.get('peerId') ?? randomId(10),
		produce: flag(query, 'produce', true),
		consume: flag(query, 'consume', true),
		info: flag(query, 'info', false),
		forceTcp: flag(query, 'forceTcp', false),
		forcedCodec: forced(query),
		consumerReplicas: Number.isInteger(replicas) && replicas > 0 ? replicas : 0,
		resolution: resolution === 'qvga' || resolution === 'vga' || resolution === 'qhd' ? resolution : 'hd',
		enableWebcamLayers: flag(query, 'enableWebcamLayers', false),
		enableSharingLayers: flag(query, 'enableSharingLayers', false),
		webcamScalabilityMode: query.get('webcamScalabilityMode') ?? undefined,
		sharingScalabilityMode: query.get('sharingScalabilityMode') ?? undefined,
		numSimulcastStreams: Number.isInteger(streams) && streams >= 1 && streams <= 3 ? streams : 3,
		red: flag(query, 'red', false),
		ahead: flag(query, 'ahead', true) && !query.has('peerId'),
	};
}

/// The address that brings somebody else into the same room.
export function inviteLink(roomId: string): string {
	const url = new URL(location.href);
	url.search = '';
	url.searchParams.set('roomId', roomId);
	return url.toString();
}

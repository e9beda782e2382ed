// The person's own camera, microphone and screen.

import { RESOLUTIONS, type Resolution } from './params';

export interface Devices {
	cameras: MediaDeviceInfo[];
	microphones: MediaDeviceInfo[];
}

export async function listDevices(): Promise<Devices> {
	const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
	return {
		cameras: all.filter((device) => device.kind === 'videoinput'),
		microphones: all.filter((device) => device.kind === 'audioinput'),
	};
}

export async function openCamera(deviceId: string | undefined, resolution: Resolution): Promise<MediaStreamTrack> {
	const size = RESOLUTIONS[resolution];
	const stream = await media().getUserMedia({
		video: {
			...(deviceId ? { deviceId: { exact: deviceId } } : {}),
			width: { ideal: size.width },
			height: { ideal: size.height },
		},
	});
	return firstTrack(stream.getVideoTracks(), 'camera');
}

export async function openMicrophone(deviceId: string | undefined): Promise<MediaStreamTrack> {
	const stream = await media().getUserMedia({
		audio: {
			...(deviceId ? { deviceId: { exact: deviceId } } : {}),
			echoCancellation: true,
			noiseSuppression: true,
			autoGainControl: true,
		},
	});
	return firstTrack(stream.getAudioTracks(), 'microphone');
}

export async function openScreen(): Promise<MediaStreamTrack> {
	const stream = await media().getDisplayMedia({ video: { frameRate: { max: 30 } }, audio: false });
	return firstTrack(stream.getVideoTracks(), 'screen');
}

/// Whether this browser can share a screen at all (phones cannot).
export function canShareScreen(): boolean {
	return typeof navigator.mediaDevices?.getDisplayMedia === 'function';
}

/// One sentence for the person about why a device could not be opened.
export function deviceProblem(what: string, error: unknown): string {
	const name = error instanceof DOMException ? error.name : '';
	switch (name) {
		case 'NotAllowedError':
			return `${what}: permission was refused. Allow it in the browser's address bar and try again.`;
		case 'NotFoundError':
		case 'OverconstrainedError':
			return `${what}: none was found.`;
		case 'NotReadableError':
			return `${what}: another program is using it.`;
		default:
			return `${what}: ${error instanceof Error ? error.message : String(error)}`;
	}
}

function media(): MediaDevices {
	if (!navigator.mediaDevices) {
		throw new Error('the browser offers devices only on https:// or on localhost');
	}
	return navigator.mediaDevices;
}

function firstTrack(tracks: MediaStreamTrack[], what: string): MediaStreamTrack {
	const track = tracks[0];
	if (!track) throw new Error(`the ${what} gave no track`);
	return track;
}

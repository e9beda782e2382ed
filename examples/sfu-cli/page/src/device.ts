// What this browser can do in RTP, and what of it a room has. Asking costs two throwaway connections, the first of which
// also wakes the browser's whole media engine: it is asked once, while the form is shown, and the answer serves every
// join after. A room that is open by then is asked too, and a connection to it is rehearsed.

import { detectDevice, Device, type types } from 'mediasoup-client';
import { Chrome111 } from 'mediasoup-client/handlers/Chrome111';
import { Chrome74 } from 'mediasoup-client/handlers/Chrome74';
import { Firefox120 } from 'mediasoup-client/handlers/Firefox120';
import { Safari12 } from 'mediasoup-client/handlers/Safari12';
import { rehearse } from './rehearsal';

type Direction = Parameters<types.HandlerFactory['getNativeRtpCapabilities']>[0]['direction'];

const DEPENDENCY_DESCRIPTOR = 'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';
/// What mediasoup-client calls that stream.
const PROBATOR = 'probator';
const HANDLERS: Partial<Record<types.BuiltinHandlerName, typeof Chrome111 | typeof Chrome74 | typeof Firefox120 | typeof Safari12>> = {
	Chrome111,
	Chrome74,
	Firefox120,
	Safari12,
};

let factory: types.HandlerFactory | undefined;

/// A device for a room, made ahead.
interface Ready {
	roomId: string;
	device: Device;
	at: number;
}

/// So long (ms) a room is believed to be what it said: its service may be another one later.
const FRESH_MS = 60_000;
let ready: Ready | undefined;
let certificate: RTCCertificate | undefined;

/// Gets ready for joining a room, whose name may be empty, and tells the device for it, if the room is open. A browser
/// that cannot do so says why when one joins.
export async function prepareDevice(roomId: string): Promise<Device | undefined> {
	try {
		const { getNativeRtpCapabilities } = handlerFactory();
		for (const direction of ['recvonly', 'sendonly'] as const) await getNativeRtpCapabilities({ direction });
		certificate = await RTCPeerConnection.generateCertificate({ name: 'ECDSA', namedCurve: 'P-256' } as EcKeyGenParams);
		return roomId ? await prepareFor(roomId) : undefined;
	} catch (error) {
		console.warn('this browser does not get ready ahead:', error);
		return undefined;
	}
}

async function prepareFor(roomId: string): Promise<Device | undefined> {
	const answer = await fetch(`rooms/${encodeURIComponent(roomId)}`);
	// It opens with the first who joins, who has nobody to see.
	if (!answer.ok) return undefined;
	const device = await loadDevice((await answer.json()) as types.RtpCapabilities);
	await rehearse(device);
	ready = { roomId, device, at: performance.now() };
	return device;
}

/// The device that was made ready for a room, once: who comes back asks the room again.
export function takeDevice(roomId: string): Device | undefined {
	const taken = ready;
	ready = undefined;
	return taken?.roomId === roomId && performance.now() - taken.at < FRESH_MS ? taken.device : undefined;
}

export async function loadDevice(routerRtpCapabilities: types.RtpCapabilities): Promise<Device> {
	const device = new Device({ handlerFactory: handlerFactory() });
	await device.load({ routerRtpCapabilities });
	return device;
}

function handlerFactory(): types.HandlerFactory {
	if (factory) return factory;
	const name = detectDevice();
	const handler = name && HANDLERS[name];
	if (!handler) throw new Error('this browser is not supported');
	// Browsers that can describe the layers of a picture outside its payload are to do so.
	const made = handler.createFactory({ forcedRtpExtensions: { [DEPENDENCY_DESCRIPTOR]: true } });
	const known = new Map<Direction, Promise<types.RtpCapabilities>>();
	factory = {
		...made,
		factory: (options) => withoutProbator(made.factory({ ...options, additionalSettings: { ...options.additionalSettings, ...settings() } })),
		getNativeRtpCapabilities: ({ direction }) => {
			const asked = known.get(direction) ?? made.getNativeRtpCapabilities({ direction });
			known.set(direction, asked);
			// A failure is not kept: the next join asks again.
			asked.catch(() => known.delete(direction));
			return asked;
		},
	};
	return factory;
}

/// The library negotiates a stream for probing with the first video, just when its first picture comes. The service probes
/// without one.
function withoutProbator(handler: types.HandlerInterface): types.HandlerInterface {
	const receive = handler.receive.bind(handler);
	handler.receive = async (wanted) => (wanted.some((one) => one.trackId === PROBATOR) ? [] : receive(wanted));
	return handler;
}

/// Addresses are looked for as soon as a connection is made.
function settings(): Partial<RTCConfiguration> {
	return { iceCandidatePoolSize: 1, ...(certificate ? { certificates: [certificate] } : {}) };
}

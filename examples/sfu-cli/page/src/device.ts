// What this browser can do in RTP. Asking costs two throwaway connections, the first of which also wakes the browser's
// whole media engine: it is asked once, while the form is shown, and the answer serves every join after.

import { detectDevice, Device, type types } from 'mediasoup-client';
import { Chrome111 } from 'mediasoup-client/handlers/Chrome111';
import { Chrome74 } from 'mediasoup-client/handlers/Chrome74';
import { Firefox120 } from 'mediasoup-client/handlers/Firefox120';
import { Safari12 } from 'mediasoup-client/handlers/Safari12';

type Direction = Parameters<types.HandlerFactory['getNativeRtpCapabilities']>[0]['direction'];

const DEPENDENCY_DESCRIPTOR = 'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';
const HANDLERS: Partial<Record<types.BuiltinHandlerName, typeof Chrome111 | typeof Chrome74 | typeof Firefox120 | typeof Safari12>> = {
	Chrome111,
	Chrome74,
	Firefox120,
	Safari12,
};

let factory: types.HandlerFactory | undefined;

/// Asks ahead; a browser that cannot answer says so when one joins.
export async function prepareDevice(): Promise<void> {
	try {
		const { getNativeRtpCapabilities } = handlerFactory();
		for (const direction of ['recvonly', 'sendonly'] as const) await getNativeRtpCapabilities({ direction });
	} catch (error) {
		console.warn('this browser does not tell its RTP capabilities:', error);
	}
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

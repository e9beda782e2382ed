// Transports to the service: how they are asked for and connected.

import type { Device, types } from 'mediasoup-client';
import { addRed } from './red';
import type { Signalling } from './signalling';

export async function createTransport(signalling: Signalling, device: Device, direction: 'send' | 'recv', forceTcp: boolean): Promise<types.Transport> {
	const producing = direction === 'send';
	const options = await signalling.request('createWebRtcTransport', { forceTcp, producing, consuming: !producing });
	const transport = producing ? device.createSendTransport(options) : device.createRecvTransport(options);
	transport.on('connect', ({ dtlsParameters }, done) => {
		// Nothing waits for the answer: the service takes a handshake before it is told whose it is, and holds the two
		// together then.
		signalling.request('connectWebRtcTransport', { transportId: transport.id, dtlsParameters }).catch((error: unknown) => {
			if (!transport.closed) signalling.refuse(error);
		});
		done();
	});
	return transport;
}

/// Lets the service know what is published; sound with redundancy, if there are capabilities for it.
export function announceProducers(signalling: Signalling, transport: types.Transport, red: types.RtpCapabilities | undefined): void {
	transport.on('produce', ({ kind, rtpParameters, appData }, done, failed) => {
		const said = kind === 'audio' && red ? addRed(rtpParameters, red) : rtpParameters;
		signalling.request('produce', { transportId: transport.id, kind, rtpParameters: said, appData }).then(done, failed);
	});
}

// The way into a room, made while the form is shown: the connection to the service and both transports, of which the one
// that receives is connected. Whoever joins then waits for pictures only. It is made into rooms that are open (a form opens
// none), lasts a minute, and is given up at the first trouble: joining does without, and tells what is wrong.

import type { Device, types } from 'mediasoup-client';
import type { Params } from './params';
import { connectAhead } from './rehearsal';
import { Signalling } from './signalling';
import { createTransport } from './transports';

const LASTS_MS = 60_000;
const TROUBLES = ['failed', 'disconnected', 'close', 'refused'] as const;

export class Approach {
	readonly roomId: string;
	readonly device: Device;
	readonly signalling: Signalling;
	/// Done when it is made and connected, or given up.
	readonly settled: Promise<void>;
	sendTransport: types.Transport | undefined;
	recvTransport: types.Transport | undefined;
	#state: 'making' | 'made' | 'over' = 'making';
	#settle: () => void = () => undefined;
	readonly #timer: number;
	readonly #listening: (() => void)[];

	constructor(params: Params, roomId: string, device: Device) {
		this.roomId = roomId;
		this.device = device;
		this.settled = new Promise((resolve) => (this.#settle = resolve));
		this.signalling = new Signalling(roomId, params.peerId, params.consumerReplicas);
		this.#listening = [
			this.signalling.on('open', () => void this.#make(params)),
			...TROUBLES.map((trouble) => this.signalling.on(trouble, () => this.close())),
		];
		this.#timer = window.setTimeout(() => this.close(), LASTS_MS);
	}

	/// Hands all of it over, if it is made and leads to this room; else it is over.
	take(roomId: string): boolean {
		if (this.#state !== 'made' || roomId !== this.roomId) {
			this.close();
			return false;
		}
		this.#end();
		return true;
	}

	close(): void {
		if (this.#state === 'over') return;
		this.#end();
		this.#closeTransports();
		this.signalling.close();
	}

	#end(): void {
		this.#state = 'over';
		clearTimeout(this.#timer);
		for (const stop of this.#listening) stop();
		this.#settle();
	}

	#closeTransports(): void {
		this.recvTransport?.close();
		this.sendTransport?.close();
	}

	async #make(params: Params): Promise<void> {
		const { signalling, device } = this;
		try {
			[this.recvTransport, this.sendTransport] = await Promise.all([
				params.consume ? createTransport(signalling, device, 'recv', params.forceTcp) : undefined,
				params.produce ? createTransport(signalling, device, 'send', params.forceTcp) : undefined,
			]);
			if (this.#state === 'over') this.#closeTransports();
			else if (this.recvTransport) await connectAhead(this.recvTransport, device);
			if (this.#state === 'making') this.#state = 'made';
			if (this.recvTransport) await connected(this.recvTransport);
		} catch (error) {
			console.warn('nothing is made ahead:', error);
			this.close();
		}
		this.#settle();
	}
}

/// Done when it is, or cannot be.
function connected(transport: types.Transport): Promise<void> {
	return new Promise((resolve) => {
		const look = (state: types.ConnectionState): void => {
			if (state !== 'new' && state !== 'connecting') resolve();
		};
		transport.on('connectionstatechange', look);
		look(transport.closed ? 'closed' : transport.connectionState);
	});
}

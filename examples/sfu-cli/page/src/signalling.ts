// The protoo connection to the room service: typed requests out, requests and notifications in.

import { Peer, WebSocketTransport } from 'protoo-client';
import type { types } from 'mediasoup-client';
import { Emitter } from './emitter';
import type { EncodingScore, WantedLayers } from './sendlimit';

export interface DeviceInfo {
	flag: string;
	name: string;
	version: string;
}

export interface PeerInfo {
	id: string;
	displayName: string;
	device: DeviceInfo;
}

export interface NewConsumer {
	peerId: string;
	producerId: string;
	id: string;
	kind: types.MediaKind;
	rtpParameters: types.RtpParameters;
	type: string;
	appData: Record<string, unknown>;
	producerPaused: boolean;
}

export interface ConsumerScore {
	score: number;
	producerScore: number;
	producerScores: number[];
}

/// What the server sends without being asked.
export interface Notifications {
	'mediasoup-version': { version: string };
	error: { errorCode: number; errorReason: string };
	newPeer: PeerInfo;
	activeSpeaker: { peerId: string | null; volume?: number };
	peerClosed: { peerId: string };
	peerDisplayNameChanged: { peerId: string; displayName: string; oldDisplayName: string };
	consumerClosed: { consumerId: string };
	consumerPaused: { consumerId: string };
	consumerResumed: { consumerId: string };
	consumerScore: { consumerId: string; score: ConsumerScore };
	consumerLayersChanged: { consumerId: string; spatialLayer: number | null; temporalLayer: number | null };
	producerScore: { producerId: string; score: EncodingScore[] };
	producerWantedLayers: { producerId: string } & WantedLayers;
}

interface Calls {
	getRouterRtpCapabilities: [undefined, types.RtpCapabilities];
	join: [
		{ displayName: string; device: DeviceInfo; rtpCapabilities: types.RtpCapabilities | undefined },
		{ peers: PeerInfo[] },
	];
	createWebRtcTransport: [{ forceTcp: boolean; producing: boolean; consuming: boolean }, types.TransportOptions];
	connectWebRtcTransport: [{ transportId: string; dtlsParameters: types.DtlsParameters }, unknown];
	restartIce: [{ transportId: string }, types.IceParameters];
	produce: [
		{ transportId: string; kind: types.MediaKind; rtpParameters: types.RtpParameters; appData: unknown },
		{ id: string },
	];
	closeProducer: [{ producerId: string }, unknown];
	pauseProducer: [{ producerId: string }, unknown];
	resumeProducer: [{ producerId: string }, unknown];
	pauseConsumer: [{ consumerId: string }, unknown];
	resumeConsumer: [{ consumerId: string }, unknown];
	requestConsumerKeyFrame: [{ consumerId: string }, unknown];
	setConsumerPreferredLayers: [{ consumerId: string; spatialLayer?: number; temporalLayer?: number }, unknown];
	setConsumerPriority: [{ consumerId: string; priority: number }, unknown];
	/// An extension of this server: no part of the reference's protocol.
	switchConsumerProducer: [
		{ consumerId: string; producerId: string },
		{ peerId: string; producerId: string; type: string; rtpParameters: types.RtpParameters },
	];
	changeDisplayName: [{ displayName: string }, unknown];
	getTransportStats: [{ transportId: string }, StatsRow[]];
	getProducerStats: [{ producerId: string }, StatsRow[]];
	getConsumerStats: [{ consumerId: string }, StatsRow[]];
}

export type StatsRow = Record<string, string | number | boolean | null | Record<string, unknown> | undefined>;

type SignallingEvents = {
	open: undefined;
	failed: number;
	disconnected: undefined;
	close: undefined;
	/// The service refused what everything else needs.
	refused: unknown;
	newConsumer: { data: NewConsumer; accept: () => void; reject: (code: number, reason: string) => void };
	notification: { [Method in keyof Notifications]: { method: Method; data: Notifications[Method] } }[keyof Notifications];
};

export class Signalling extends Emitter<SignallingEvents> {
	readonly #peer: Peer;

	constructor(roomId: string, peerId: string, consumerReplicas: number) {
		super();
		const url = new URL(location.href);
		url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
		url.pathname = '/';
		url.hash = '';
		url.search = '';
		url.searchParams.set('roomId', roomId);
		url.searchParams.set('peerId', peerId);
		if (consumerReplicas > 0) url.searchParams.set('consumerReplicas', String(consumerReplicas));

		this.#peer = new Peer(new WebSocketTransport(url.toString()));
		this.#peer.on('open', () => this.emit('open', undefined));
		this.#peer.on('failed', (attempt) => this.emit('failed', attempt));
		this.#peer.on('disconnected', () => this.emit('disconnected', undefined));
		this.#peer.on('close', () => this.emit('close', undefined));
		this.#peer.on('request', (request, accept, reject) => {
			if (request.method === 'newConsumer') {
				this.emit('newConsumer', { data: request.data as NewConsumer, accept, reject });
			} else {
				reject(501, `${request.method}: this page does not know that request`);
			}
		});
		this.#peer.on('notification', (notification) => {
			this.emit('notification', notification as SignallingEvents['notification']);
		});
	}

	get connected(): boolean {
		return this.#peer.connected;
	}

	async request<Method extends keyof Calls>(method: Method, data: Calls[Method][0]): Promise<Calls[Method][1]> {
		return (await this.#peer.request(method, data ?? {})) as Calls[Method][1];
	}

	refuse(error: unknown): void {
		this.emit('refused', error);
	}

	close(): void {
		this.#peer.close();
	}
}

// What is known of others and of the streams that come from them.

import type { types } from 'mediasoup-client';
import { parseMode } from './encodings';
import type { ConsumerScore, DeviceInfo, NewConsumer, Notifications, PeerInfo } from './signalling';

export type Source = 'mic' | 'webcam' | 'screen';
export interface RemoteStream {
	readonly consumer: types.Consumer;
	/// In whose tile it is shown.
	peerId: string;
	readonly source: Source;
	/// This page paused it.
	paused: boolean;
	/// Its publisher paused it.
	producerPaused: boolean;
	/// What it shows right now, and whose: a switch changes both.
	producerId: string;
	publisherId: string;
	/// How many sizes and frame rates its source has.
	layers: Layers;
	/// What this page asked for; undefined is everything.
	preferred: Layers | undefined;
	/// What the server sends; null is nothing, undefined not told.
	current: Layers | null | undefined;
	priority: number;
	score: ConsumerScore | undefined;
}

export interface Layers {
	spatial: number;
	temporal: number;
}

export interface RemotePeer extends PeerInfo {
	readonly streams: Map<string, RemoteStream>;
}

type News<Method extends keyof Notifications> = { method: Method; data: Notifications[Method] };
export type ConsumerNews = News<'consumerScore'> | News<'consumerLayersChanged'>;

const SCREEN_NAMES = new Set(['screen', 'screensharing', 'share']);

export function sourceOf(kind: types.MediaKind, appData: Record<string, unknown>): Source {
	if (kind === 'audio') return 'mic';
	return SCREEN_NAMES.has(String(appData['source'])) ? 'screen' : 'webcam';
}

/// A stream that was just accepted.
export function remoteStream(consumer: types.Consumer, data: NewConsumer): RemoteStream {
	return {
		consumer,
		peerId: data.peerId,
		source: sourceOf(data.kind, data.appData),
		paused: false,
		producerPaused: data.producerPaused,
		producerId: data.producerId,
		publisherId: data.peerId,
		layers: parseMode(data.rtpParameters.encodings?.[0]?.scalabilityMode),
		preferred: undefined,
		current: undefined,
		priority: 1,
		score: undefined,
	};
}

/// Takes what the server tells of a stream.
export function takeNews(stream: RemoteStream, news: ConsumerNews): void {
	if (news.method === 'consumerScore') {
		stream.score = news.data.score;
	} else {
		const { spatialLayer: spatial, temporalLayer: temporal } = news.data;
		stream.current = spatial === null ? null : { spatial, temporal: temporal ?? 0 };
	}
}

/// This browser, as others are told of it.
export function deviceInfo(): DeviceInfo {
	const agent = navigator.userAgent;
	const known: [flag: string, name: string, pattern: RegExp][] = [
		['edge', 'Edge', /Edg\/(\d+)/],
		['firefox', 'Firefox', /Firefox\/(\d+)/],
		['chrome', 'Chrome', /Chrom(?:e|ium)\/(\d+)/],
		['safari', 'Safari', /Version\/(\d+).*Safari/],
	];
	for (const [flag, name, pattern] of known) {
		const version = pattern.exec(agent)?.[1];
		if (version) return { flag, name, version };
	}
	return { flag: 'browser', name: 'Browser', version: '' };
}

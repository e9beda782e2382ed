// One person's stay in one room: joins, publishes, receives, and finds its way back after a lost connection.

import type { Device, types } from 'mediasoup-client';
import type { Approach } from './approach';
import { Burst, Latch } from './burst';
import { loadDevice, takeDevice } from './device';
import { encodingsFor, parseMode } from './encodings';
import { Emitter } from './emitter';
import { deviceProblem, openCamera, openMicrophone, openScreen } from './media';
import type { Params, Resolution } from './params';
import { deviceInfo, remoteStream, sourceOf, takeNews, type ConsumerNews, type Layers, type RemotePeer, type RemoteStream, type Source } from './remote';
import { SendLimit } from './sendlimit';
import { Signalling, type NewConsumer, type Notifications, type PeerInfo } from './signalling';
import { announceProducers, createTransport } from './transports';

export type Phase = 'idle' | 'connecting' | 'joined' | 'reconnecting' | 'closed';
export type NoticeKind = 'info' | 'warning' | 'error';

export interface JoinChoice {
	roomId: string;
	displayName: string;
	camera: MediaStreamTrack | undefined;
	microphone: MediaStreamTrack | undefined;
}

type SessionEvents = {
	changed: undefined;
	streams: undefined; // There is more to see or to hear.
	notice: { kind: NoticeKind; text: string };
};

type News<Method extends keyof Notifications> = { method: Method; data: Notifications[Method] };
type ProducerNews = News<'producerScore'> | News<'producerWantedLayers'>;

const SOURCES: readonly Source[] = ['mic', 'webcam', 'screen'];
/// One's own media wait so long for others', who may publish nothing.
const WATCH_FIRST_MS = 300;

function reason(error: unknown): string {
	return error instanceof Error ? error.message : String(error);
}

export class Session extends Emitter<SessionEvents> {
	readonly params: Params;
	readonly peers = new Map<string, RemotePeer>();
	/// Whom the service hears speak.
	activeSpeaker: string | undefined;
	readonly tracks = new Map<Source, MediaStreamTrack>();
	readonly producers = new Map<Source, types.Producer>();
	/// How much of each of them is sent.
	readonly limits = new Map<Source, SendLimit>();
	phase: Phase = 'idle';
	roomId = '';
	displayName = '';
	serverVersion = '';
	audioOnly = false;
	/// Everybody else's sound is off, here only.
	deafened = false;
	resolution: Resolution;
	sendTransport: types.Transport | undefined;
	recvTransport: types.Transport | undefined;
	signalling: Signalling | undefined;
	#device: Device | undefined;
	#enabled = new Set<Source>();
	/// What was told of producers that are just being made: the latest of each kind.
	readonly #earlyNews = new Map<string, ProducerNews>();
	/// Offers come in bursts, each of which is taken in one negotiation.
	readonly #burst = new Burst();
	/// Open once something that others publish was taken.
	#watching = new Latch();
	/// Grows with each connection; what an older one started is dropped when it comes back.
	#attempt = 0;

	constructor(params: Params) {
		super();
		this.params = params;
		this.resolution = params.resolution;
	}

	/// `approach` is what was made ahead, perhaps for another room.
	join(choice: JoinChoice, approach?: Approach): void {
		this.roomId = choice.roomId;
		this.displayName = choice.displayName;
		this.#enabled = new Set();
		if (choice.microphone) this.#adopt('mic', choice.microphone);
		if (choice.camera) this.#adopt('webcam', choice.camera);

		this.#setPhase('connecting');
		const made = approach?.take(this.roomId) ? approach : undefined;
		const signalling = made?.signalling ?? new Signalling(this.roomId, this.params.peerId, this.params.consumerReplicas);
		this.signalling = signalling;
		signalling.on('open', () => void this.#enter());
		signalling.on('failed', () => {
			if (this.phase !== 'connecting') this.#setPhase('reconnecting');
		});
		signalling.on('disconnected', () => {
			this.#dropMedia();
			this.#setPhase('reconnecting');
		});
		signalling.on('close', () => {
			if (this.signalling === signalling) this.#notice('error', 'The server closed the connection.');
			this.#dropMedia();
			this.#stopTracks();
			this.#setPhase('closed');
		});
		signalling.on('newConsumer', (request) => {
			this.#consume(request.data).then(request.accept, (error: unknown) => request.reject(500, reason(error)));
		});
		signalling.on('notification', (notification) => this.#onNotification(notification));
		signalling.on('refused', (error) => {
			this.#notice('error', `The media connection was refused: ${reason(error)}`);
			this.leave();
		});
		if (made) void this.#enter(made);
	}

	leave(): void {
		const signalling = this.signalling;
		this.signalling = undefined;
		signalling?.close();
		this.#dropMedia();
		this.#stopTracks();
		this.#setPhase('closed');
	}

	isOn(source: Source): boolean {
		return this.#enabled.has(source);
	}

	async toggle(source: Source): Promise<void> {
		try {
			if (source === 'mic') await this.#toggleMicrophone();
			else if (this.isOn(source)) await this.#unpublish(source);
			else await this.#openAndPublish(source);
		} catch (error) {
			const names: Record<Source, string> = { mic: 'Microphone', webcam: 'Camera', screen: 'Screen' };
			this.#notice('error', deviceProblem(names[source], error));
		}
		this.#changed();
	}

	/// Another camera, or another picture size; without a new negotiation where the layers stay.
	async changeCamera(deviceId: string | undefined, resolution: Resolution): Promise<void> {
		const resized = resolution !== this.resolution;
		this.resolution = resolution;
		if (!this.isOn('webcam')) return;
		try {
			const track = await openCamera(deviceId, resolution);
			if (resized && this.params.enableWebcamLayers) {
				// Another size may have another number of layers, which is negotiated.
				await this.#unpublish('webcam');
				this.#adopt('webcam', track);
				await this.#publish('webcam', track);
			} else {
				this.tracks.get('webcam')?.stop();
				this.#adopt('webcam', track);
				await this.producers.get('webcam')?.replaceTrack({ track });
			}
		} catch (error) {
			this.#notice('error', deviceProblem('Camera', error));
		}
		this.#changed();
	}

	async changeMicrophone(deviceId: string | undefined): Promise<void> {
		try {
			const track = await openMicrophone(deviceId);
			this.tracks.get('mic')?.stop();
			this.tracks.set('mic', track);
			track.enabled = this.isOn('mic');
			await this.producers.get('mic')?.replaceTrack({ track });
		} catch (error) {
			this.#notice('error', deviceProblem('Microphone', error));
		}
		this.#changed();
	}

	async restartIce(): Promise<void> {
		const signalling = this.signalling;
		if (!signalling || this.phase !== 'joined') return;
		try {
			for (const transport of [this.sendTransport, this.recvTransport]) {
				if (!transport || transport.closed) continue;
				const iceParameters = await signalling.request('restartIce', { transportId: transport.id });
				await transport.restartIce({ iceParameters });
			}
			this.#notice('info', 'The connection was renewed.');
		} catch (error) {
			this.#notice('error', `The connection could not be renewed: ${reason(error)}`);
		}
	}

	async rename(displayName: string): Promise<void> {
		try {
			await this.signalling?.request('changeDisplayName', { displayName });
			this.displayName = displayName;
		} catch (error) {
			this.#notice('error', `The name was not changed: ${reason(error)}`);
		}
		this.#changed();
	}

	async setAudioOnly(on: boolean): Promise<void> {
		this.audioOnly = on;
		if (on && this.isOn('webcam')) await this.toggle('webcam');
		for (const stream of this.streams()) {
			if (stream.consumer.kind === 'video') await this.setPaused(stream, on);
		}
		this.#changed();
	}

	setDeafened(on: boolean): void {
		this.deafened = on;
		this.#changed();
	}

	async setPaused(stream: RemoteStream, paused: boolean): Promise<void> {
		if (stream.paused === paused || stream.consumer.closed) return;
		try {
			const data = { consumerId: stream.consumer.id };
			if (paused) {
				stream.consumer.pause();
				await this.signalling?.request('pauseConsumer', data);
			} else {
				await this.signalling?.request('resumeConsumer', data);
				stream.consumer.resume();
			}
			stream.paused = paused;
		} catch (error) {
			this.#notice('error', `That stream could not be changed: ${reason(error)}`);
		}
		this.#changed();
	}

	async requestKeyFrame(stream: RemoteStream): Promise<void> {
		try {
			await this.signalling?.request('requestConsumerKeyFrame', { consumerId: stream.consumer.id });
			this.#notice('info', 'A key frame was requested.');
		} catch (error) {
			this.#notice('error', `No key frame: ${reason(error)}`);
		}
	}

	/// Undefined layers are all there are.
	async setPreferredLayers(stream: RemoteStream, layers: Layers | undefined): Promise<void> {
		try {
			const wish = layers ? { spatialLayer: layers.spatial, temporalLayer: layers.temporal } : {};
			await this.signalling?.request('setConsumerPreferredLayers', { consumerId: stream.consumer.id, ...wish });
			stream.preferred = layers;
		} catch (error) {
			this.#notice('error', `The layers were not changed: ${reason(error)}`);
		}
		this.#changed();
	}

	async setPriority(stream: RemoteStream, priority: number): Promise<void> {
		try {
			await this.signalling?.request('setConsumerPriority', { consumerId: stream.consumer.id, priority });
			stream.priority = priority;
		} catch (error) {
			this.#notice('error', `The importance was not changed: ${reason(error)}`);
		}
		this.#changed();
	}

	/// Lets a stream show another publisher's picture, without a new negotiation.
	async switchSource(stream: RemoteStream, producerId: string): Promise<void> {
		const signalling = this.signalling;
		if (!signalling) return;
		try {
			const switched = await signalling.request('switchConsumerProducer', { consumerId: stream.consumer.id, producerId });
			stream.producerId = switched.producerId;
			stream.publisherId = switched.peerId;
			stream.layers = parseMode(switched.rtpParameters.encodings?.[0]?.scalabilityMode);
		} catch (error) {
			this.#notice('error', `The source was not switched: ${reason(error)}`);
		}
		this.#changed();
	}

	/// The highest layer of one's own picture that is sent.
	async setMaxLayer(source: Source, layer: number): Promise<void> {
		await this.limits.get(source)?.setOwn(layer);
		this.#changed();
	}

	*streams(): Generator<RemoteStream> {
		for (const peer of this.peers.values()) yield* peer.streams.values();
	}

	async #enter(made?: Approach): Promise<void> {
		const signalling = this.signalling;
		const attempt = ++this.#attempt;
		this.#watching = new Latch();
		if (!signalling) return;
		try {
			const ready = made?.device ?? takeDevice(this.roomId);
			const device = ready ?? (await loadDevice(await signalling.request('getRouterRtpCapabilities', undefined)));
			if (attempt !== this.#attempt) return;
			this.#device = device;
			// All at once: the server answers in this order. What others publish is offered after the join, so the
			// transport for it comes before, and the one for one's own media delays neither.
			await Promise.all([
				this.params.consume ? this.#takeTransport(signalling, device, 'recv', made?.recvTransport, attempt) : undefined,
				this.#register(signalling, device, attempt),
				this.params.produce ? this.#takeTransport(signalling, device, 'send', made?.sendTransport, attempt) : undefined,
			]);
			// What one sees comes first: the browser makes both connections with the same threads.
			if (this.params.consume && this.peers.size > 0) await this.#watching.open(WATCH_FIRST_MS);
			if (attempt !== this.#attempt) return;
			this.#setPhase('joined');
			const tracks = SOURCES.map((source) => ({ source, track: this.tracks.get(source) }));
			await Promise.all(tracks.map(({ source, track }) => (track?.readyState === 'live' ? this.#publish(source, track) : undefined)));
		} catch (error) {
			if (attempt !== this.#attempt) return;
			this.#notice('error', `Could not join: ${reason(error)}`);
			this.leave();
		}
	}

	async #register(signalling: Signalling, device: Device, attempt: number): Promise<void> {
		const { peers } = await signalling.request('join', {
			displayName: this.displayName,
			device: deviceInfo(),
			rtpCapabilities: this.params.consume ? device.recvRtpCapabilities : undefined,
		});
		if (attempt !== this.#attempt) return;
		for (const peer of peers) this.#addPeer(peer);
	}

	async #takeTransport(signalling: Signalling, device: Device, direction: 'send' | 'recv', made: types.Transport | undefined, attempt: number): Promise<void> {
		const transport = made ?? (await createTransport(signalling, device, direction, this.params.forceTcp));
		if (attempt !== this.#attempt) return transport.close();
		this[direction === 'send' ? 'sendTransport' : 'recvTransport'] = transport;
		transport.on('connectionstatechange', (state) => {
			if (state === 'failed' && this.phase === 'joined') void this.restartIce();
			this.#changed();
		});
		if (direction === 'send') announceProducers(signalling, transport, this.params.red ? device.sendRtpCapabilities : undefined);
	}

	async #publish(source: Source, track: MediaStreamTrack): Promise<void> {
		const transport = this.sendTransport;
		if (!transport || transport.closed || this.phase !== 'joined') return;
		const codec = source === 'mic' ? undefined : this.#forcedCodec();
		const encodings = source === 'mic' ? undefined : encodingsFor(source, this.params, this.resolution, codec ?? this.#firstVideoCodec());
		const producer = await transport.produce({
			track,
			stopTracks: false,
			disableTrackOnPause: true,
			zeroRtpOnPause: true,
			...(source === 'mic'
				? { codecOptions: { opusStereo: false, opusDtx: true, opusFec: true, opusNack: true } }
				: { codecOptions: { videoGoogleStartBitrate: 1000 } }),
			...(codec ? { codec } : {}),
			...(encodings ? { encodings } : {}),
			appData: { source },
		});
		this.producers.set(source, producer);
		if (source !== 'mic') this.#limit(source, producer);
		producer.on('trackended', () => void this.#unpublish(source).then(() => this.#changed()));
		if (source === 'mic' && !this.isOn('mic')) await this.#pauseMicrophone(producer);
		this.#changed();
	}

	#limit(source: Source, producer: types.Producer): void {
		this.limits.set(source, new SendLimit(producer));
		for (const [key, news] of this.#earlyNews) {
			if (news.data.producerId !== producer.id) continue;
			this.#earlyNews.delete(key);
			this.#onProducerNews(news);
		}
	}

	#firstVideoCodec(): types.RtpCodecCapability | undefined {
		return this.#device?.sendRtpCapabilities.codecs?.find((codec) => codec.kind === 'video');
	}

	#forcedCodec(): types.RtpCodecCapability | undefined {
		const wanted = this.params.forcedCodec;
		if (!wanted) return undefined;
		const codec = this.#device?.sendRtpCapabilities.codecs?.find(
			(candidate) => candidate.mimeType.toLowerCase() === wanted.toLowerCase(),
		);
		if (!codec) this.#notice('warning', `${wanted} was asked for, but this browser or this room lacks it.`);
		return codec;
	}

	async #openAndPublish(source: 'webcam' | 'screen'): Promise<void> {
		const track = source === 'webcam' ? await openCamera(undefined, this.resolution) : await openScreen();
		this.#adopt(source, track);
		await this.#publish(source, track);
	}

	async #unpublish(source: Source): Promise<void> {
		const producer = this.producers.get(source);
		this.producers.delete(source);
		this.limits.delete(source);
		this.tracks.get(source)?.stop();
		this.tracks.delete(source);
		this.#enabled.delete(source);
		if (!producer || producer.closed) return;
		producer.close();
		await this.signalling?.request('closeProducer', { producerId: producer.id });
	}

	async #toggleMicrophone(): Promise<void> {
		const track = this.tracks.get('mic');
		if (!track || track.readyState === 'ended') {
			const opened = await openMicrophone(undefined);
			this.#adopt('mic', opened);
			await this.#publish('mic', opened);
			return;
		}
		const producer = this.producers.get('mic');
		if (this.isOn('mic')) {
			this.#enabled.delete('mic');
			track.enabled = false;
			if (producer) await this.#pauseMicrophone(producer);
		} else {
			this.#enabled.add('mic');
			track.enabled = true;
			if (producer) {
				producer.resume();
				await this.signalling?.request('resumeProducer', { producerId: producer.id });
			}
		}
	}

	async #pauseMicrophone(producer: types.Producer): Promise<void> {
		producer.pause();
		await this.signalling?.request('pauseProducer', { producerId: producer.id });
	}

	async #consume(data: NewConsumer): Promise<void> {
		await this.#burst.end();
		const transport = this.recvTransport;
		if (!transport) throw new Error('this page does not consume');
		const source = sourceOf(data.kind, data.appData);
		const consumer = await transport.consume({
			id: data.id,
			producerId: data.producerId,
			kind: data.kind,
			rtpParameters: data.rtpParameters,
			// Sound and picture of one camera are played in step; a shared screen has its own clock.
			streamId: `${data.peerId}-${source === 'screen' ? 'screen' : 'person'}`,
			appData: data.appData,
		});
		const stream = remoteStream(consumer, data);
		const peer = this.peers.get(data.peerId);
		if (!peer) {
			consumer.close();
			throw new Error(`no such peer: ${data.peerId}`);
		}
		peer.streams.set(consumer.id, stream);
		this.#watching.release();
		this.emit('streams', undefined);
		if (this.audioOnly && data.kind === 'video') {
			// The server resumes each consumer once it is accepted; this comes after it.
			queueMicrotask(() => void this.setPaused(stream, true));
		}
	}

	#onNotification(message: { method: string; data: unknown }): void {
		const data = message.data as Record<string, string>;
		switch (message.method) {
			case 'mediasoup-version':
				this.serverVersion = data['version'] ?? '';
				break;
			case 'error':
				this.#notice('error', `The server says: ${data['errorReason']}`);
				return;
			case 'newPeer':
				this.#addPeer(message.data as PeerInfo);
				this.#notice('info', `${data['displayName']} joined.`);
				break;
			case 'activeSpeaker':
				this.activeSpeaker = data['peerId'] ?? undefined;
				break;
			case 'peerClosed':
				this.#removePeer(data['peerId'] ?? '');
				break;
			case 'peerDisplayNameChanged': {
				const peer = this.peers.get(data['peerId'] ?? '');
				if (peer) peer.displayName = data['displayName'] ?? '';
				this.#notice('info', `${data['oldDisplayName']} is now ${data['displayName']}.`);
				break;
			}
			case 'consumerClosed':
			case 'consumerPaused':
			case 'consumerResumed':
				this.#onConsumer(message.method, data['consumerId'] ?? '');
				break;
			case 'consumerScore':
			case 'consumerLayersChanged':
				this.#onConsumerNews(message as ConsumerNews);
				break;
			case 'producerScore':
			case 'producerWantedLayers':
				this.#onProducerNews(message as ProducerNews);
				break;
			default:
				// Newer servers tell more than this page shows.
				return;
		}
		this.#changed();
	}

	#onConsumer(method: string, consumerId: string): void {
		for (const peer of this.peers.values()) {
			const stream = peer.streams.get(consumerId);
			if (!stream) continue;
			if (method === 'consumerClosed') {
				stream.consumer.close();
				peer.streams.delete(consumerId);
			} else {
				stream.producerPaused = method === 'consumerPaused';
			}
		}
	}

	#onConsumerNews(news: ConsumerNews): void {
		const stream = [...this.streams()].find((one) => one.consumer.id === news.data.consumerId);
		if (stream) takeNews(stream, news);
	}

	#onProducerNews(news: ProducerNews): void {
		const source = SOURCES.find((one) => this.producers.get(one)?.id === news.data.producerId);
		const limit = source && this.limits.get(source);
		if (!limit) {
			// The server may be faster than the promise of the one who publishes.
			this.#earlyNews.set(`${news.data.producerId} ${news.method}`, news);
			return;
		}
		if (news.method === 'producerScore') limit.scores = news.data.score;
		else void limit.setWanted(news.data).then(() => this.#changed());
	}

	#addPeer(info: PeerInfo): void {
		if (info.id === this.params.peerId) return;
		this.peers.set(info.id, { ...info, streams: this.peers.get(info.id)?.streams ?? new Map() });
		this.#changed();
	}

	#removePeer(peerId: string): void {
		const peer = this.peers.get(peerId);
		if (!peer) return;
		for (const [id, stream] of peer.streams) {
			const publisher = stream.publisherId === peerId ? undefined : this.peers.get(stream.publisherId);
			if (publisher) {
				// It shows somebody else by now, and stays with them.
				stream.peerId = publisher.id;
				publisher.streams.set(id, stream);
			} else {
				stream.consumer.close();
			}
		}
		this.peers.delete(peerId);
		this.#notice('info', `${peer.displayName} left.`);
	}

	/// Takes a track as the current one of its source.
	#adopt(source: Source, track: MediaStreamTrack): void {
		this.tracks.set(source, track);
		this.#enabled.add(source);
	}

	#dropMedia(): void {
		this.#attempt++;
		this.sendTransport?.close();
		this.recvTransport?.close();
		this.sendTransport = undefined;
		this.recvTransport = undefined;
		this.producers.clear();
		this.limits.clear();
		this.#earlyNews.clear();
		this.peers.clear();
	}

	#stopTracks(): void {
		for (const track of this.tracks.values()) track.stop();
		this.tracks.clear();
		this.#enabled.clear();
	}

	#setPhase(phase: Phase): void {
		this.phase = phase;
		this.#changed();
	}

	#changed(): void {
		this.emit('changed', undefined);
	}

	#notice(kind: NoticeKind, text: string): void {
		this.emit('notice', { kind, text });
	}
}

export type { Layers, RemotePeer, RemoteStream, Source };

// Live numbers: what the browser measures, what the server measures, and bitrates made of both.

import type { types } from 'mediasoup-client';
import type { RemoteStream, Session, Source } from './session';
import type { StatsRow } from './signalling';

export interface Section {
	id: string;
	title: string;
	detail: string;
	/// Bit/s as this browser sees it, for the graph; undefined before the second look.
	bitrate: number | undefined;
	local: [name: string, value: string][];
	server: [name: string, value: string][];
}

/// What tests and the tiles' info overlay read of one stream.
export interface StreamNumbers {
	codec: string;
	bitrate: number | undefined;
	bytes: number;
	packets: number;
	packetsLost: number;
	frames: number;
	framesPerSecond: number;
	width: number;
	height: number;
	jitterMs: number;
	roundTripMs: number | undefined;
	audioLevel: number;
	totalAudioEnergy: number;
	keyFrames: number;
	nackCount: number;
	pliCount: number;
}

export interface TransportNumbers {
	bytesSent: number;
	bytesReceived: number;
	dtlsState: string;
	srtpCipher: string;
	dtlsCipher: string;
	iceState: string;
	remoteAddress: string;
	remotePort: number;
	protocol: string;
	roundTripMs: number | undefined;
	availableOutgoing: number | undefined;
}

type Report = Record<string, unknown> & { id: string; type: string };

interface Earlier {
	bytes: number;
	at: number;
}

const num = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

function byType(reports: RTCStatsReport): Map<string, Report[]> {
	const found = new Map<string, Report[]>();
	reports.forEach((report: Report) => {
		const list = found.get(report.type) ?? [];
		list.push(report);
		found.set(report.type, list);
	});
	return found;
}

export function bits(value: number | undefined): string {
	if (value === undefined) return '–';
	if (value >= 1e6) return `${(value / 1e6).toFixed(2)} Mbit/s`;
	if (value >= 1e3) return `${(value / 1e3).toFixed(0)} kbit/s`;
	return `${value.toFixed(0)} bit/s`;
}

function size(bytes: number): string {
	if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)} MB`;
	if (bytes >= 1e3) return `${(bytes / 1e3).toFixed(0)} kB`;
	return `${bytes} B`;
}

/// Long names may break after an underscore.
const breakable = (name: string): string => name.replaceAll('_', '_\u200b');

const milliseconds = (value: number | undefined): string => (value === undefined ? '–' : `${value.toFixed(0)} ms`);

export class Statistics {
	readonly #earlier = new Map<string, Earlier>();

	/// What the browser counts for a publisher's or subscriber's stream.
	async stream(object: types.Producer | types.Consumer): Promise<StreamNumbers> {
		const reports = byType(await object.getStats());
		const streams = reports.get('inbound-rtp') ?? reports.get('outbound-rtp') ?? [];
		// Of several encodings the largest that is sent tells what the picture is; bytes and packets are those of all.
		const area = (report: Report): number => (num(report['framesPerSecond']) > 0 ? num(report['frameWidth']) * num(report['frameHeight']) : 0);
		const rtp = streams.reduce<Report | undefined>((best, one) => (best && area(best) >= area(one) ? best : one), undefined);
		const sum = (name: string): number => streams.reduce((total, one) => total + num(one[name]), 0);
		const remote = (reports.get('remote-inbound-rtp') ?? reports.get('remote-outbound-rtp') ?? [])[0];
		const source = (reports.get('media-source') ?? [])[0];
		const codec = (reports.get('codec') ?? []).find((report) => report.id === rtp?.['codecId']);
		const bytes = sum('bytesReceived') + sum('bytesSent');
		const roundTrip = remote?.['roundTripTime'];
		return {
			codec: text(codec?.['mimeType']),
			bitrate: this.#rate(object.id, bytes),
			bytes,
			packets: sum('packetsReceived') + sum('packetsSent'),
			packetsLost: num(rtp?.['packetsLost']) || num(remote?.['packetsLost']),
			frames: num(rtp?.['framesDecoded']) + num(rtp?.['framesEncoded']),
			framesPerSecond: num(rtp?.['framesPerSecond']),
			width: num(rtp?.['frameWidth']),
			height: num(rtp?.['frameHeight']),
			jitterMs: 1000 * (num(rtp?.['jitter']) || num(remote?.['jitter'])),
			roundTripMs: typeof roundTrip === 'number' ? 1000 * roundTrip : undefined,
			audioLevel: num(rtp?.['audioLevel']) || num(source?.['audioLevel']),
			totalAudioEnergy: num(rtp?.['totalAudioEnergy']) || num(source?.['totalAudioEnergy']),
			keyFrames: num(rtp?.['keyFramesDecoded']) + num(rtp?.['keyFramesEncoded']),
			nackCount: num(rtp?.['nackCount']),
			pliCount: num(rtp?.['pliCount']),
		};
	}

	async transport(transport: types.Transport): Promise<TransportNumbers> {
		const reports = byType(await transport.getStats());
		const report = (reports.get('transport') ?? [])[0];
		const pairs = reports.get('candidate-pair') ?? [];
		// Firefox marks the pair itself; others name it in the transport.
		const pair = pairs.find((one) => one.id === report?.['selectedCandidatePairId'] || one['selected'] === true) ?? pairs[0];
		const remote = (reports.get('remote-candidate') ?? []).find((one) => one.id === pair?.['remoteCandidateId']);
		const roundTrip = pair?.['currentRoundTripTime'];
		const available = pair?.['availableOutgoingBitrate'];
		return {
			bytesSent: num(report?.['bytesSent']) || num(pair?.['bytesSent']),
			bytesReceived: num(report?.['bytesReceived']) || num(pair?.['bytesReceived']),
			dtlsState: text(report?.['dtlsState']) || transport.connectionState,
			srtpCipher: text(report?.['srtpCipher']),
			dtlsCipher: text(report?.['dtlsCipher']),
			iceState: text(report?.['iceState']) || transport.connectionState,
			remoteAddress: text(remote?.['address']) || text(remote?.['ip']),
			remotePort: num(remote?.['port']),
			protocol: text(remote?.['protocol']),
			roundTripMs: typeof roundTrip === 'number' ? 1000 * roundTrip : undefined,
			availableOutgoing: typeof available === 'number' ? available : undefined,
		};
	}

	/// Everything, for the panel.
	async sections(session: Session): Promise<Section[]> {
		const wanted: Promise<Section | undefined>[] = [];
		if (session.sendTransport) wanted.push(this.#transportSection(session, session.sendTransport, 'Sending'));
		if (session.recvTransport) wanted.push(this.#transportSection(session, session.recvTransport, 'Receiving'));
		for (const [source, producer] of session.producers) wanted.push(this.#producerSection(session, source, producer));
		for (const stream of session.streams()) wanted.push(this.#consumerSection(session, stream));
		// Whatever closes while it is looked at is left out this time.
		const settled = await Promise.allSettled(wanted);
		return settled.flatMap((result) => (result.status === 'fulfilled' && result.value ? [result.value] : []));
	}

	async #transportSection(session: Session, transport: types.Transport, title: string): Promise<Section | undefined> {
		if (transport.closed) return undefined;
		const numbers = await this.transport(transport);
		const server = await this.#ask(session, 'getTransportStats', { transportId: transport.id });
		return {
			id: transport.id,
			title,
			detail: `transport · ${transport.connectionState}`,
			bitrate: this.#rate(`t-${transport.id}`, title === 'Sending' ? numbers.bytesSent : numbers.bytesReceived),
			local: [
				['sent', size(numbers.bytesSent)],
				['received', size(numbers.bytesReceived)],
				['round trip', milliseconds(numbers.roundTripMs)],
				['may send', bits(numbers.availableOutgoing)],
				['server', numbers.remoteAddress ? `${numbers.remoteAddress} : ${numbers.remotePort} ${numbers.protocol}` : '–'],
				['SRTP', breakable(numbers.srtpCipher.replace(/^SRTP_/, '') || '–')],
			],
			server: this.#serverRows(server[0], [
				['sendBitrate', 'sends', bits],
				['recvBitrate', 'receives', bits],
				['rtxBytesSent', 'repeated', size],
				['iceState', 'ICE', String],
				['dtlsState', 'DTLS', String],
				['srtpProfile', 'SRTP', (value) => breakable(String(value))],
			]),
		};
	}

	async #producerSection(session: Session, source: Source, producer: types.Producer): Promise<Section | undefined> {
		if (producer.closed) return undefined;
		const names: Record<Source, string> = { mic: 'Your microphone', webcam: 'Your camera', screen: 'Your screen' };
		const numbers = await this.stream(producer);
		const server = await this.#ask(session, 'getProducerStats', { producerId: producer.id });
		return this.#streamSection(producer, names[source], 'published', numbers, server);
	}

	async #consumerSection(session: Session, stream: RemoteStream): Promise<Section | undefined> {
		if (stream.consumer.closed) return undefined;
		const names: Record<Source, string> = { mic: 'microphone', webcam: 'camera', screen: 'screen' };
		const peer = session.peers.get(stream.peerId);
		const numbers = await this.stream(stream.consumer);
		const server = await this.#ask(session, 'getConsumerStats', { consumerId: stream.consumer.id });
		return this.#streamSection(stream.consumer, `${peer?.displayName ?? '?'} · ${names[stream.source]}`, 'received', numbers, server);
	}

	#streamSection(
		object: types.Producer | types.Consumer,
		title: string,
		detail: string,
		numbers: StreamNumbers,
		server: StatsRow[],
	): Section {
		const local: [string, string][] = [
			['codec', numbers.codec.replace(/^\w+\//, '') || '–'],
			['packets', String(numbers.packets)],
			['lost', String(numbers.packetsLost)],
			['jitter', milliseconds(numbers.jitterMs)],
			['round trip', milliseconds(numbers.roundTripMs)],
		];
		if (object.kind === 'video') {
			local.push(
				['picture', numbers.width ? `${numbers.width} × ${numbers.height}` : '–'],
				['frames', `${numbers.frames} (${numbers.framesPerSecond.toFixed(0)}/s)`],
				['key frames', String(numbers.keyFrames)],
			);
		} else {
			local.push(['level', numbers.audioLevel.toFixed(3)]);
		}
		return {
			id: object.id,
			title,
			detail: `${detail}${object.paused ? ' · paused' : ''}`,
			bitrate: numbers.bitrate,
			local,
			server: this.#serverRows(server[0], [
				['bitrate', 'bitrate', bits],
				['packetCount', 'packets', String],
				['packetsLost', 'lost', String],
				['packetsRetransmitted', 'repeated', String],
				['nackCount', 'NACK', String],
				['pliCount', 'PLI', String],
				['keyFrameCount', 'key frames', String],
				['roundTripTime', 'round trip', (value) => milliseconds(value)],
				['score', 'score', (value) => `${value} of 10`],
			]),
		};
	}

	async #ask(
		session: Session,
		method: 'getTransportStats' | 'getProducerStats' | 'getConsumerStats',
		data: { transportId: string } & { producerId?: string } | { producerId: string } | { consumerId: string },
	): Promise<StatsRow[]> {
		try {
			return (await session.signalling?.request(method, data as never)) ?? [];
		} catch {
			// The object may be closing; the browser's half of the numbers is still worth showing.
			return [];
		}
	}

	#serverRows(
		row: StatsRow | undefined,
		wanted: [key: string, name: string, show: (value: number) => string][],
	): [string, string][] {
		if (!row) return [];
		return wanted.flatMap(([key, name, show]) => {
			const value = row[key];
			return value === undefined || value === null || value === '' ? [] : [[name, show(value as number)] as [string, string]];
		});
	}

	#rate(key: string, bytes: number): number | undefined {
		const at = performance.now();
		const earlier = this.#earlier.get(key);
		// Two looks within the same moment share one rate.
		if (earlier && at - earlier.at < 200) return undefined;
		this.#earlier.set(key, { bytes, at });
		if (!earlier || bytes < earlier.bytes) return undefined;
		return ((bytes - earlier.bytes) * 8000) / (at - earlier.at);
	}
}

// The page: join form, then room, then join form again. Tests look in through `window.sfu`.

import { Approach } from './approach';
import { prepareDevice } from './device';
import { JoinView } from './join';
import { audioContext, Levels } from './levels';
import { Notices } from './notices';
import { readParams } from './params';
import { enableRed } from './red';
import { RoomView, type TileSnapshot } from './room';
import { Session, type Phase, type RemoteStream } from './session';
import type { StatsRow } from './signalling';
import type { StreamNumbers, TransportNumbers } from './statistics';

interface StreamSnapshot extends Omit<RemoteStream, 'consumer' | 'peerId'> {
	id: string;
	kind: string;
}

interface Snapshot {
	phase: Phase;
	roomId: string;
	peerId: string;
	displayName: string;
	serverVersion: string;
	peers: { id: string; displayName: string; streams: StreamSnapshot[] }[];
	producers: Record<string, { id: string; kind: string; paused: boolean; layers: number; sent: number | null; wanted: number | null | undefined; scores: number[] }>;
	tiles: TileSnapshot[];
	notices: string[];
}

interface Numbers {
	send: (TransportNumbers & { server: StatsRow[] }) | undefined;
	recv: (TransportNumbers & { server: StatsRow[] }) | undefined;
	producers: Record<string, StreamNumbers>;
	consumers: ({ id: string; peerId: string; kind: string; source: string } & StreamNumbers)[];
}

declare global {
	interface Window {
		/// What tests read and do.
		sfu: {
			state: () => Snapshot;
			stats: () => Promise<Numbers>;
			session: Session;
			/// Done when what a join needs of this browser is ready.
			prepared: Promise<void>;
		};
	}
}

const params = readParams(location.search);
/// What is made while the form is shown.
let approach: Approach | undefined;
if (params.red) enableRed();
const session = new Session(params);
const notices = new Notices();
const room = new RoomView(session, (kind, text) => notices.show(kind, text));
const previewLevels = new Levels((levels) => join.setLevel(levels.get('preview') ?? 0));
const join = new JoinView(params, {
	onJoin: (choice, resolution) => {
		previewLevels.unwatch('preview');
		session.resolution = resolution;
		params.roomId = choice.roomId;
		session.join(choice, approach);
		approach = undefined;
		// The room is drawn while the service is asked.
		requestAnimationFrame(() => {
			room.show();
			if (session.phase === 'closed') backToForm();
		});
		const url = new URL(location.href);
		url.searchParams.set('roomId', choice.roomId);
		history.replaceState(null, '', url);
	},
	onMicrophone: (track) => {
		if (track) previewLevels.watch('preview', track);
		else previewLevels.unwatch('preview');
	},
});

function backToForm(): void {
	if (room.element.hidden) return;
	room.hide();
	document.title = 'libsfu';
	void join.start();
}

document.body.append(join.element, room.element, notices.element);
session.on('notice', ({ kind, text }) => notices.show(kind, text));
session.on('changed', () => {
	if (session.phase === 'closed') backToForm();
});
addEventListener('pagehide', () => {
	if (session.phase === 'joined' || session.phase === 'connecting') session.leave();
});
void join.start();
// All that a join needs of this browser is made ready while the form is read.
const prepared = prepare();

async function prepare(): Promise<void> {
	const device = await prepareDevice(params.roomId);
	audioContext();
	room.rehearse();
	// Whoever is that fast has a connection by now.
	if (!device || !params.ahead || session.phase !== 'idle') return;
	approach = new Approach(params, params.roomId, device);
	await approach.settled;
}

window.sfu = {
	session,
	prepared,
	state: () => ({
		phase: session.phase,
		roomId: session.roomId,
		peerId: params.peerId,
		displayName: session.displayName,
		serverVersion: session.serverVersion,
		peers: [...session.peers.values()].map((peer) => ({
			id: peer.id,
			displayName: peer.displayName,
			streams: [...peer.streams.values()].map((stream) => ({
				id: stream.consumer.id,
				kind: stream.consumer.kind,
				source: stream.source,
				paused: stream.paused,
				producerPaused: stream.producerPaused,
				producerId: stream.producerId,
				publisherId: stream.publisherId,
				layers: stream.layers,
				preferred: stream.preferred,
				current: stream.current,
				priority: stream.priority,
				score: stream.score,
			})),
		})),
		producers: Object.fromEntries(
			[...session.producers].map(([source, producer]) => {
				const limit = session.limits.get(source);
				const numbers = { layers: limit?.layers ?? 1, sent: limit?.sent ?? null, wanted: limit?.wanted, scores: limit?.scores.map((one) => one.score) ?? [] };
				return [source, { id: producer.id, kind: producer.kind, paused: producer.paused, ...numbers }];
			}),
		),
		tiles: room.snapshot(),
		notices: notices.history.map((notice) => `${notice.kind}: ${notice.text}`),
	}),
	stats: async () => {
		const transport = async (which: typeof session.sendTransport): Promise<Numbers['send']> => {
			if (!which || !session.signalling) return undefined;
			const server = await session.signalling.request('getTransportStats', { transportId: which.id });
			return { ...(await room.statistics.transport(which)), server };
		};
		const producers: Record<string, StreamNumbers> = {};
		for (const [source, producer] of session.producers) producers[source] = await room.statistics.stream(producer);
		const consumers: Numbers['consumers'] = [];
		for (const stream of session.streams()) {
			const numbers = await room.statistics.stream(stream.consumer);
			consumers.push({ id: stream.consumer.id, peerId: stream.peerId, kind: stream.consumer.kind, source: stream.source, ...numbers });
		}
		return { send: await transport(session.sendTransport), recv: await transport(session.recvTransport), producers, consumers };
	},
};

// Every publisher watched by every watcher, in a room of the command line's service; then each peer once as a publisher and
// once as a watcher of the Go service. The run writes its tables into README.md of this folder.

import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { until, withService } from '../browser/service.mjs';
import { common, PEERS, present, reachable, receives } from './peers.mjs';
import { writeTable } from './table.mjs';

const publishers = PEERS.filter((peer) => peer.publishes);
const watchers = PEERS.filter((peer) => peer.watches);
const roomOf = (publisher) => publisher.name.replace(/\W/g, '');
const absent = (peer) => !present(peer) && 'its program is not here';
/// Watchers at a time: the machine has few cores.
const AT_ONCE = 3;

/// Runs `body` with a publisher in its room.
async function published(publisher, options, body) {
	await withService({ rtcIp: reachable(), ...options }, async (service) => {
		const source = await publisher.start(service, 'publish', roomOf(publisher));
		await until(`${publisher.name} is in the room`, async () => (await source.read()) && (await service.health()).peers > 0);
		await body(service, source);
		await source.end();
	});
}

/// Fails unless the watcher gets what the publisher sends.
async function watched(service, source, publisher, watcher) {
	const peer = await watcher.start(service, 'watch', roomOf(publisher));
	try {
		await source.read();
		await receives(peer, `${watcher.name} receives ${publisher.name}`);
	} finally {
		await peer.end();
	}
}

const results = new Map();
for (const publisher of publishers) {
	test(`${publisher.name} publishes`, { skip: absent(publisher), concurrency: AT_ONCE }, async (t) => {
		await published(publisher, {}, async (service, source) => {
			const one = (watcher) => {
				const key = `${publisher.name}>${watcher.name}`;
				if (!common(publisher, watcher)) {
					results.set(key, 'no common codec');
					return undefined;
				}
				return t.test(`${watcher.name} watches`, { skip: absent(watcher) }, async () => {
					results.set(key, 'no');
					await watched(service, source, publisher, watcher);
					results.set(key, 'yes');
				});
			};
			await Promise.all(watchers.map(one));
		});
	});
}

const GO = process.env.SFU_GO_BIN;
const [PUBLISHES, WATCHES] = ['publishes (WHIP)', 'watches (WHEP)'];
const ofGo = new Map();

/// Each publisher with a watcher of its own, so that each watcher has one too.
function pairs() {
	const free = new Set(watchers);
	// Who has little choice comes first.
	const inOrder = [...publishers].sort((one, other) => watchers.filter((w) => common(one, w)).length - watchers.filter((w) => common(other, w)).length);
	return inOrder.map((publisher) => {
		const fits = (watcher) => watcher !== publisher && common(publisher, watcher);
		const watcher = [...free].find(fits) ?? watchers.find(fits);
		free.delete(watcher);
		return [publisher, watcher];
	});
}

for (const [publisher, watcher] of pairs()) {
	const skip = (!(GO && existsSync(GO)) && 'the Go service is not here') || absent(publisher) || absent(watcher);
	test(`in a room of the Go service ${publisher.name} publishes and ${watcher.name} watches`, { skip }, async () => {
		const keys = [`${PUBLISHES}>${publisher.name}`, `${WATCHES}>${watcher.name}`];
		for (const key of keys) ofGo.set(key, 'no');
		await published(publisher, { binary: GO }, (service, source) => watched(service, source, publisher, watcher));
		for (const key of keys) ofGo.set(key, 'yes');
	});
}

test('the tables of the README', () => {
	const names = (peers) => peers.map((peer) => peer.name);
	writeTable('sfu serve', 'publishes (WHIP) \\ watches (WHEP)', names(publishers), names(watchers), results);
	writeTable('go-signaling', '', [PUBLISHES, WATCHES], names(PEERS), ofGo, (row, column) => row === WATCHES && !names(watchers).includes(column));
});

// Every publisher watched by every watcher; the run writes its table into README.md of this folder.

import { test } from 'node:test';
import { until, withService } from '../browser/service.mjs';
import { common, PEERS, present, reachable, receives } from './peers.mjs';
import { writeTable } from './table.mjs';

const results = new Map();
const watchers = PEERS.filter((peer) => peer.watches);

for (const publisher of PEERS.filter((peer) => peer.publishes)) {
	const room = publisher.name.replace(/\W/g, '');
	test(`${publisher.name} publishes`, { skip: !present(publisher) && 'its program is not here' }, async (t) => {
		await withService({ rtcIp: reachable() }, async (service) => {
			const source = await publisher.start(service, 'publish', room);
			await until(`${publisher.name} is in the room`, async () => (await source.read()) && (await service.health()).peers > 0);
			for (const watcher of watchers) {
				if (!common(publisher, watcher)) {
					results.set(`${publisher.name}>${watcher.name}`, 'no common codec');
					continue;
				}
				await t.test(`${watcher.name} watches`, { skip: !present(watcher) && 'its program is not here' }, async () => {
					const key = `${publisher.name}>${watcher.name}`;
					results.set(key, 'no');
					const peer = await watcher.start(service, 'watch', room);
					try {
						await source.read();
						await receives(peer, `${watcher.name} receives ${publisher.name}`);
						results.set(key, 'yes');
					} finally {
						await peer.end();
					}
				});
			}
			await source.end();
		});
	});
}

test('the table of the README', () => writeTable(PEERS, watchers, results));

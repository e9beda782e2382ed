// A tap's rtpdump, read by pion: what was sent is in it, to the byte.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

/// Runs a program to its end; it must succeed. What it prints is JSON.
function told(command, args) {
	const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', timeout: 60_000 });
	assert.equal(status, 0, `${command} ${args.join(' ')}: ${error ?? ''}${stderr}`);
	return JSON.parse(stdout);
}

test('pion reads the rtpdump of a tap, whole and with headers only', { skip: process.env.PION ? false : 'pion could not be built' }, () => {
	const folder = mkdtempSync(join(tmpdir(), 'sfu-rtpdump-'));
	try {
		for (const what of ['whole', 'headers']) {
			const sent = told(process.env.PYTHON, [join(import.meta.dirname, 'write_rtpdump.py'), folder, what]);
			const read = told(process.env.PION, ['rtpdump', join(folder, `${what}.rtpdump`)]);
			assert.deepEqual([read.source, read.port], ['127.0.0.1', sent.port]);
			assert.ok(read.start > sent.began - 0.001 && read.start < sent.ended, `${read.start} within ${sent.began} and ${sent.ended}`);
			const offsets = read.packets.map((packet) => packet.offsetMs);
			assert.equal(offsets[0], 0);
			assert.ok(offsets.every((at, k) => at >= (offsets[k - 1] ?? 0) && at <= (sent.ended - sent.began) * 1000), `${offsets}`);
			// Of RTP the fixed header is left, reports are whole.
			const kept = ({ rtcp, payload }) => ({ rtcp, payload: what === 'headers' && !rtcp ? payload.slice(0, 24) : payload });
			assert.deepEqual(read.packets.map(({ rtcp, payload }) => ({ rtcp, payload })), sent.packets.map(kept));
		}
	} finally {
		rmSync(folder, { recursive: true });
	}
});

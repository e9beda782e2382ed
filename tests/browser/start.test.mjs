// Starting and stopping the service, as an operator meets it.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Aiortc } from './aiortc.mjs';
import { meet, Person } from './chromium.mjs';
import { Service, until, withService } from './service.mjs';

function sfu(...args) {
	const { status, stdout, stderr } = spawnSync(process.env.SFU_BIN, args, { encoding: 'utf8', timeout: 20_000 });
	return { status, stdout, lines: stderr.trim().split('\n') };
}

async function takenUdpPort(host) {
	const socket = createSocket('udp4');
	await new Promise((resolve) => socket.bind(0, host, resolve));
	return { port: socket.address().port, free: () => socket.close() };
}

test('row_087_taken_and_foreign_addresses_are_told_in_one_line_with_what_to_do', async () => {
	await withService({}, async (service) => {
		const { host, port } = new URL(service.url);
		const web = sfu('serve', '--listen', host, '--rtc-port', '0', '--unpinned');
		assert.notEqual(web.status, 0);
		assert.equal(web.lines.length, 1, web.lines.join('\n'));
		assert.ok(web.lines[0].includes(`127.0.0.1:${port}`), web.lines[0]);
	});

	const taken = await takenUdpPort('127.0.0.1');
	const media = sfu('serve', '--listen', '127.0.0.1:0', '--rtc-port', String(taken.port), '--unpinned');
	assert.notEqual(media.status, 0);
	assert.equal(media.lines.length, 1, media.lines.join('\n'));
	assert.ok(media.lines[0].includes(String(taken.port)), media.lines[0]);

	const doctor = sfu('doctor', '--rtc-port', String(taken.port), '--shards', '1');
	assert.notEqual(doctor.status, 0);
	assert.match(doctor.stdout, /FAIL/);
	taken.free();
	assert.equal(sfu('doctor', '--rtc-port', String(taken.port), '--shards', '1').status, 0);

	const foreign = sfu('serve', '--listen', '127.0.0.1:0', '--rtc-ip', '192.0.2.1', '--rtc-port', '0', '--unpinned');
	assert.notEqual(foreign.status, 0);
	assert.equal(foreign.lines.length, 1, foreign.lines.join('\n'));
	assert.ok(foreign.lines[0].includes('192.0.2.1'), foreign.lines[0]);
});

test('row_109_ports_are_free_at_once_after_a_kill_and_after_a_stop', async () => {
	const probe = await takenUdpPort('127.0.0.1');
	probe.free();
	const options = { rtcPort: probe.port, args: ['--shards', '1'] };
	const first = await Service.start(options);
	const port = new URL(first.url).port;
	await first.kill();
	const second = await Service.start({ port, ...options });
	await second.stop();
	const third = await Service.start({ port, ...options });
	await third.stop();
});

test('a call over https', async () => {
	const folder = mkdtempSync(join(tmpdir(), 'sfu-tls-'));
	const [certificate, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
	const make = `
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
now = datetime.datetime.now(datetime.timezone.utc)
cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
	.serial_number(1).not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
	.sign(key, hashes.SHA256()))
open(sys.argv[1], "wb").write(cert.public_bytes(serialization.Encoding.PEM))
open(sys.argv[2], "wb").write(key.private_bytes(serialization.Encoding.PEM,
	serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
`;
	const made = spawnSync(process.env.PYTHON ?? 'python3', ['-c', make, certificate, key], { encoding: 'utf8' });
	assert.equal(made.status, 0, made.stderr);
	try {
		await withService({ args: ['--tls-cert', certificate, '--tls-key', key] }, async (service) => {
			assert.match(service.url, /^https:/);
			const options = { params: { resolution: 'qvga' }, context: { ignoreHTTPSErrors: true } };
			const people = [await Person.join(service, 'Ada', options), await Person.join(service, 'Grace', options)];
			await meet(people);
			for (const person of people) await person.leave();
		});
		const swapped = sfu('serve', '--listen', '127.0.0.1:0', '--tls-cert', key, '--tls-key', certificate);
		assert.notEqual(swapped.status, 0);
		assert.match(swapped.lines[0], /--tls-cert/);
	} finally {
		rmSync(folder, { recursive: true });
	}
});

test('rooms are placed on all shards', async () => {
	await withService({ args: ['--shards', '2'] }, async (service) => {
		const clients = ['a', 'b', 'c', 'd'].map((room) => new Aiortc(service, room, { room }));
		await until('four rooms', async () => (await service.health()).rooms === 4);
		const shards = service.log.map((line) => /opened on shard (\d+)/.exec(line)?.[1]).filter((shard) => shard !== undefined);
		// Which shard is the least loaded depends on who has connected by then.
		assert.equal(shards.length, 4);
		assert.deepEqual([...new Set(shards)].sort(), ['0', '1']);
		await until('all are connected', () => clients.every((client) => client.report.profiles.length === 2));
		for (const client of clients) await client.leave();
		await until('all rooms closed', async () => (await service.health()).rooms === 0);
	});
});

test('row_106_a_peer_that_vanishes_is_dropped_when_its_consent_runs_out_and_the_others_are_told', async () => {
	await withService({}, async (service) => {
		const [ada, grace] = [new Aiortc(service, 'ada'), new Aiortc(service, 'grace')];
		await ada.sees('grace');
		// Its sockets stay open and it says nothing any more, as behind a cable that was pulled.
		grace.process.kill('SIGSTOP');
		await until('Grace is dropped', async () => (await service.health()).peers === 1, 40_000);
		assert.ok(service.log.some((line) => line.includes('grace: dropped: ICE disconnected')), service.log.join('\n'));
		await until('Ada is told', () => ada.report.streams.length === 0);
		grace.process.kill('SIGKILL');
		await ada.leave();
	});
});

test('a service that is told to stop refuses new rooms, waits for open ones for its time, and ends at once when told twice', async () => {
	const enter = async (service, room) => {
		const body = JSON.stringify({ id: 'a', displayName: 'a', device: {} });
		const headers = { 'content-type': 'application/json' };
		return (await fetch(new URL(`rooms/${room}/broadcasters`, service.url), { method: 'POST', headers, body })).status;
	};
	const draining = async (seconds) => {
		const service = await Service.start({ args: ['--drain-timeout', String(seconds)] });
		assert.equal(await enter(service, 'old'), 200);
		service.process.kill('SIGTERM');
		await until('it tells what is left', () => service.log.some((line) => line.includes('rooms 1, peers 1')));
		return service;
	};

	const emptied = await draining(600);
	assert.equal(await enter(emptied, 'new'), 503);
	const left = await fetch(new URL('rooms/old/broadcasters/a', emptied.url), { method: 'DELETE' });
	assert.equal(left.status, 200);
	assert.deepEqual(await emptied.exited, [0, null], 'it ends with its last room');

	const late = await draining(1);
	assert.deepEqual(await late.exited, [0, null]);
	assert.ok(late.log.some((line) => line.includes('still open after 1 s')), late.log.join('\n'));

	const twice = await draining(600);
	twice.process.kill('SIGTERM');
	assert.deepEqual(await twice.exited, [130, null]);
});

// Headless Chromium with fake devices, and people who use the page in it.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { until } from './service.mjs';

export const ARTIFACTS = join(dirname(fileURLToPath(import.meta.url)), '../artifacts');

const FLAGS = [
	'--no-sandbox',
	'--headless',
	'--disable-gpu',
	'--disable-quic',
	'--no-first-run',
	'--disable-background-networking',
	'--disable-component-update',
	'--disable-sync',
	'--use-fake-device-for-media-stream',
	'--use-fake-ui-for-media-stream',
	'--allow-loopback-in-peer-connection',
	// Pages that are not in front must go on as if they were.
	'--disable-background-timer-throttling',
	'--disable-backgrounding-occluded-windows',
	'--disable-renderer-backgrounding',
];

let browser;

/// The browser of all; further `flags` count where it is not running yet.
export async function launch(flags = []) {
	mkdirSync(ARTIFACTS, { recursive: true });
	browser ??= await launchOne({ args: flags });
	return browser;
}

/// A browser of its own, with more flags or started by another program; whoever asks closes it.
export function launchOne({ executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium', args = [] } = {}) {
	return chromium.launch({ executablePath, args: [...FLAGS, ...args] });
}

export async function quit() {
	await browser?.close();
	browser = undefined;
}

/// Somebody with the page open.
export class Person {
	constructor(context, page, name) {
		this.context = context;
		this.page = page;
		this.name = name;
		this.errors = [];
		page.on('pageerror', (error) => this.errors.push(String(error)));
	}

	/// Opens the page; `params` go into its address, `context` into the browser's settings; a
	/// `blank` one is opened by `go`; `browser` is another one than the tests' own.
	static async open(service, name, { room = 'atrium', viewport = { width: 1280, height: 800 }, params = {}, context: more = {}, blank = false, browser: own } = {}) {
		const context = await (own ?? (await launch())).newContext({ viewport, ...more });
		// Tests break connections by these.
		await context.addInitScript(() => {
			window.sockets = [];
			window.WebSocket = class extends WebSocket {
				constructor(...args) {
					super(...args);
					window.sockets.push(this);
				}
			};
		});
		const page = await context.newPage();
		const person = new Person(context, page, name);
		const url = new URL(service.url);
		// Small pictures keep the machines of the tests out of overload, where browsers shrink pictures by themselves.
		const all = { roomId: room, displayName: name, resolution: 'vga', ...params };
		for (const [key, value] of Object.entries(all)) url.searchParams.set(key, value);
		person.url = url.toString();
		if (!blank) await person.go();
		return person;
	}

	go() {
		return this.page.goto(this.url);
	}

	/// Waits for the preview and joins by the button.
	async join() {
		await this.page.waitForFunction(() => {
			const video = document.querySelector('.preview video');
			return video.videoWidth > 0 || video.closest('.preview-none');
		});
		await this.page.click('#join-submit');
		await until(`${this.name} joined`, async () => (await this.state()).phase === 'joined');
		return this;
	}

	static async join(service, name, options) {
		return (await Person.open(service, name, options)).join();
	}

	state() {
		return this.page.evaluate(() => window.sfu.state());
	}

	stats() {
		return this.page.evaluate(() => window.sfu.stats());
	}

	async peerId() {
		return (await this.state()).peerId;
	}

	screenshot(name) {
		return this.page.screenshot({ path: join(ARTIFACTS, `${name}.png`) });
	}

	/// Decodes the other's video, at the size that the other sends.
	async sees(peerId, { width, height, codec, frames = 15 } = {}) {
		const seen = `${this.name} sees ${peerId}`;
		const video = async () => (await this.stats()).consumers.find((one) => one.peerId === peerId && one.kind === 'video');
		const first = await until(`${seen}: a frame`, async () => {
			const stream = await video();
			return stream !== undefined && stream.frames > 0 && stream;
		});
		const later = await until(`${seen}: ${frames} more frames`, async () => {
			const stream = await video();
			return stream !== undefined && stream.frames >= first.frames + frames && stream;
		});
		if (codec) assert.equal(later.codec.toLowerCase(), codec.toLowerCase(), 'the codec that was asked for');
		if (width) {
			await until(`${seen}: ${width}×${height}`, async () => {
				const stream = await video();
				return stream.width === width && stream.height === height;
			});
			await until(`${seen}: in a tile of the page`, async () => {
				const tile = (await this.state()).tiles.find((one) => one.id === peerId);
				return tile?.hasVideo && tile.width === width && tile.height === height;
			});
		}
		return later;
	}

	/// Hears the other: decoded samples have energy, and the page's own meter moves.
	async hears(peerId) {
		await this.hearsEnergy(peerId);
		await until(`${this.name} hears ${peerId}: the page's meter`, async () => {
			const tile = (await this.state()).tiles.find((one) => one.id === peerId);
			return tile !== undefined && tile.level > 0.008;
		});
	}

	/// Decoded samples of the other have energy.
	async hearsEnergy(peerId) {
		await until(`${this.name} hears ${peerId}: energy`, async () => {
			const stream = (await this.stats()).consumers.find((one) => one.peerId === peerId && one.kind === 'audio');
			return stream !== undefined && stream.totalAudioEnergy > 0.0001;
		});
	}

	/// How the page is left; errors of its scripts fail the test.
	async leave() {
		await this.page.click('[data-tool="leave"]');
		await until(`${this.name} left`, async () => (await this.state()).phase === 'closed');
		await this.close();
	}

	async close() {
		await this.context.close();
		assert.deepEqual(this.errors, [], `errors in ${this.name}'s page`);
	}
}

/// Each of them sees and hears each other one.
export async function meet(people, options = {}) {
	for (const one of people) {
		for (const other of people) {
			if (one === other) continue;
			const peerId = await other.peerId();
			await one.sees(peerId, options);
			await one.hears(peerId);
		}
	}
}

// Headless Firefox with fake devices, driven over WebDriver BiDi.
//
// Firefox offers no loopback candidates, and a page may open devices on a loopback address only: so the service's page
// is on 127.0.0.1 and its media on an address of another interface, in a network namespace of the test (firefox.sh).

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';
import { Person } from './chromium.mjs';

const PREFERENCES = {
	// Fake devices, and no question about them.
	'media.navigator.streams.fake': true,
	'media.navigator.permission.disabled': true,
	'media.autoplay.default': 0,
	'media.autoplay.blocking_policy': 0,
	// Nothing but the page.
	'app.update.enabled': false,
	'browser.shell.checkDefaultBrowser': false,
	'datareporting.policy.dataSubmissionEnabled': false,
	'media.gmp-manager.updateEnabled': false,
	'network.captive-portal-service.enabled': false,
	'network.connectivity-service.enabled': false,
	'toolkit.telemetry.enabled': false,
};

let browser;
let profile;

async function launch() {
	profile ??= mkdtempSync(join(tmpdir(), 'sfu-firefox-'));
	browser ??= await puppeteer.launch({
		browser: 'firefox',
		executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
		headless: true,
		userDataDir: profile,
		extraPrefsFirefox: PREFERENCES,
	});
	return browser;
}

export async function quitFirefox() {
	await browser?.close();
	browser = undefined;
	if (profile) rmSync(profile, { recursive: true, force: true });
	profile = undefined;
}

/// Somebody with the page open in Firefox.
export class FirefoxPerson extends Person {
	static async join(service, name, { room = 'atrium', params = {} } = {}) {
		const context = await (await launch()).createBrowserContext();
		const page = await context.newPage();
		const person = new FirefoxPerson(context, page, name);
		const url = new URL(service.url);
		for (const [key, value] of Object.entries({ roomId: room, displayName: name, ...params })) url.searchParams.set(key, value);
		person.url = url.toString();
		await person.go();
		return person.join();
	}

	/// Without a sound card its audio contexts stand still, and the page's meter with them.
	hears(peerId) {
		return this.hearsEnergy(peerId);
	}
}

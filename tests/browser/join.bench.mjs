// From the join button to the first remote frame on the screen, in Chromium: medians over JOINS joins (20), of people who
// only watch and of people who publish too. One publisher (320 × 240 at 30/s, VP8, and sound) is in the room; service,
// publisher and newcomer share this machine.

import { launch, Person, quit } from './chromium.mjs';
import { until, withService } from './service.mjs';

const JOINS = Number(process.env.JOINS ?? 20);

/// In the page: presses the button, waits for the first frame of `peerId`'s tile, tells what came when, ms.
async function joinAndWatch(peerId) {
	const times = {};
	const note = (name) => (times[name] ??= performance.now() - start);
	const start = performance.now();
	const { session } = window.sfu;
	session.on('changed', () => {
		for (const transport of [session.sendTransport, session.recvTransport]) {
			if (transport?.connectionState === 'connected') note(transport.direction);
		}
		if (session.phase === 'joined') note('joined');
	});
	const done = new Promise((resolve) => {
		// Looked at when it comes into the page, so that no frame of it is missed.
		const tiles = new MutationObserver(() => {
			const video = document.querySelector(`[data-tile="${peerId}"] video`);
			if (!video) return;
			tiles.disconnect();
			video.addEventListener('loadstart', () => note('tile'));
			video.requestVideoFrameCallback(() => resolve(note('frame')));
			if (video.srcObject) note('tile');
		});
		tiles.observe(document.body, { childList: true, subtree: true });
	});
	document.querySelector('#join-submit').click();
	await done;
	return times;
}

function median(values) {
	const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b);
	return sorted[Math.floor(sorted.length / 2)];
}

/// `ahead`: as people meet the page, which makes its way into a room while the form is shown; otherwise all of it is made
/// after the button.
async function measure(service, peerId, produce, ahead) {
	const all = [];
	for (let n = 0; n < JOINS; n++) {
		const person = await Person.open(service, `Guest ${n}`, { params: { resolution: 'qvga', produce: String(produce), ahead: String(ahead) } });
		await person.page.waitForFunction(() => {
			const video = document.querySelector('.preview video');
			return video.videoWidth > 0 || video.closest('.preview-none');
		});
		// The join is measured from a loaded page, as people meet it, not from one that is still loading.
		await person.page.evaluate(() => window.sfu.prepared);
		all.push(await person.page.evaluate(joinAndWatch, peerId));
		await person.leave();
	}
	const names = ['joined', ...(ahead ? [] : ['recv']), 'tile', 'frame'];
	const parts = names.map((name) => `${name} ${median(all.map((one) => one[name]))?.toFixed(0)}`);
	const frames = all.map((one) => one.frame);
	const range = `${Math.min(...frames).toFixed(0)} to ${Math.max(...frames).toFixed(0)}`;
	const what = `${produce ? 'publish and watch' : 'watch only'}, ${ahead ? 'way made ahead' : 'all after the button'}`;
	console.log(`join, ${what}: ${parts.join(', ')} ms (medians of ${JOINS}; frame ${range})`);
}

// Cameras of 30 pictures in a second, as most are.
await launch(['--use-fake-device-for-media-stream=fps=30']);
await withService({}, async (service) => {
	// Her window is small: its drawing is no part of what is measured, and is done by the same cores.
	const ada = await Person.join(service, 'Ada', { params: { resolution: 'qvga' }, viewport: { width: 400, height: 300 } });
	await until('Ada publishes', async () => Object.keys((await ada.state()).producers).length >= 2);
	const peerId = await ada.peerId();
	for (const ahead of [true, false]) {
		for (const produce of [false, true]) await measure(service, peerId, produce, ahead);
	}
	await ada.leave();
});
await quit();

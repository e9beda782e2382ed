// From the join button to the first remote frame, in Chromium: medians over JOINS joins (20), of people who only watch
// and of people who publish too. One publisher is in the room; service, publisher and newcomer share this machine.

import { Person, quit } from './chromium.mjs';
import { until, withService } from './service.mjs';

const JOINS = Number(process.env.JOINS ?? 20);

/// In the page: presses the button, waits for the first frame of `peerId`'s tile, tells what came when, ms.
async function joinAndWatch(peerId) {
	const times = {};
	const note = (name) => (times[name] ??= performance.now() - start);
	const start = performance.now();
	const done = new Promise((resolve) => {
		const look = () => {
			for (const transport of [window.sfu.session.sendTransport, window.sfu.session.recvTransport]) {
				if (transport?.connectionState === 'connected') note(transport.direction);
			}
			if (window.sfu.session.phase === 'joined') note('joined');
			const video = document.querySelector(`[data-tile="${peerId}"] video`);
			if (video?.srcObject && !times.tile) {
				note('tile');
				video.requestVideoFrameCallback(() => resolve(note('frame')));
			}
			if (!times.frame) setTimeout(look, 1);
		};
		look();
	});
	document.querySelector('#join-submit').click();
	await done;
	return times;
}

function median(values) {
	const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b);
	return sorted[Math.floor(sorted.length / 2)];
}

async function measure(service, peerId, produce) {
	const all = [];
	for (let n = 0; n < JOINS; n++) {
		const person = await Person.open(service, `Guest ${n}`, { params: { resolution: 'qvga', produce: String(produce) } });
		await person.page.waitForFunction(() => {
			const video = document.querySelector('.preview video');
			return video.videoWidth > 0 || video.closest('.preview-none');
		});
		// The join is measured from a loaded page, as people meet it, not from one that is still loading.
		await person.page.evaluate(() => window.sfu.prepared);
		all.push(await person.page.evaluate(joinAndWatch, peerId));
		await person.leave();
	}
	const names = ['joined', 'recv', 'tile', 'frame'];
	const parts = names.map((name) => `${name} ${median(all.map((one) => one[name]))?.toFixed(0)}`);
	const frames = all.map((one) => one.frame);
	const range = `${Math.min(...frames).toFixed(0)} to ${Math.max(...frames).toFixed(0)}`;
	console.log(`join, ${produce ? 'publish and watch' : 'watch only'}: ${parts.join(', ')} ms (medians of ${JOINS}; frame ${range})`);
}

await withService({}, async (service) => {
	const ada = await Person.join(service, 'Ada', { params: { resolution: 'qvga' } });
	await until('Ada publishes', async () => Object.keys((await ada.state()).producers).length >= 2);
	const peerId = await ada.peerId();
	for (const produce of [false, true]) await measure(service, peerId, produce);
	await ada.leave();
});
await quit();

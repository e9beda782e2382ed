// The page itself: keyboard, names, statistics, both window sizes.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meet, Person } from './chromium.mjs';
import { until, withService } from './service.mjs';

/// What a WebSocket that is connected says.
const OPEN = 1;
const PHONE = { width: 390, height: 844 };

test('the page can be worked by the keyboard alone', async () => {
	await withService({}, async (service) => {
		const ada = await Person.open(service, '', { params: { displayName: '' } });
		const { page } = ada;
		const focused = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.getAttribute('data-tool'));
		await until('the name field has the focus', async () => (await focused()) === 'join-name');
		await page.keyboard.type('Ada');
		await page.keyboard.press('Enter');
		await until('Ada joined', async () => (await ada.state()).phase === 'joined');
		assert.equal((await ada.state()).displayName, 'Ada');

		assert.equal(await focused(), 'mic', 'the toolbar has the focus');
		const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
		assert.notEqual(outline, 'none', 'the focus is visible');
		const pressed = (tool) => page.getAttribute(`[data-tool="${tool}"]`, 'aria-pressed');
		for (const [key, tool] of [['m', 'mic'], ['v', 'webcam']]) {
			const before = await pressed(tool);
			await page.keyboard.press(key);
			await until(`${key} switches ${tool}`, async () => (await pressed(tool)) !== before);
			await page.keyboard.press(key);
			await until(`${key} switches ${tool} back`, async () => (await pressed(tool)) === before);
		}
		await page.keyboard.press('i');
		await page.waitForSelector('aside.stats:not([hidden])');
		await page.keyboard.press('Escape');
		await page.waitForSelector('aside.stats', { state: 'hidden' });

		await page.keyboard.press('.');
		await page.waitForSelector('#menu-name');
		await page.focus('#menu-name');
		await page.keyboard.press('Control+A');
		// Letters in a field are text, not commands.
		await page.keyboard.type('Milva');
		await page.keyboard.press('Tab');
		await until('the new name is taken', async () => (await ada.state()).displayName === 'Milva');
		await page.keyboard.press('Escape');
		await page.keyboard.press('?');
		await page.waitForSelector('dialog[open]');
		await page.keyboard.press('Escape');
		await page.keyboard.press('l');
		await until('Ada left', async () => (await ada.state()).phase === 'closed');
		await page.waitForSelector('.join-form');
		await ada.close();
	});
});

test('a changed name reaches the others', async () => {
	await withService({}, async (service) => {
		const params = { resolution: 'qvga' };
		const [ada, grace] = [await Person.join(service, 'Ada', { params }), await Person.join(service, 'Grace', { params })];
		await ada.page.evaluate(() => window.sfu.session.rename('Countess'));
		await until('Grace is told', async () => (await grace.state()).peers.some((peer) => peer.displayName === 'Countess'));
		for (const person of [ada, grace]) await person.leave();
	});
});

test('phone and desktop windows show the same room and nothing sticks out', async () => {
	await withService({}, async (service) => {
		const params = { resolution: 'qvga' };
		const desktop = await Person.open(service, 'Ada', { params });
		await desktop.page.waitForFunction(() => document.querySelector('.preview video').videoWidth > 0);
		await desktop.screenshot('join-desktop');
		await desktop.join();
		const phone = await Person.open(service, 'Grace', { params, viewport: PHONE });
		await phone.page.waitForFunction(() => document.querySelector('.preview video').videoWidth > 0);
		await phone.screenshot('join-phone');
		await phone.join();
		await meet([desktop, phone]);
		await desktop.screenshot('room-desktop');
		await phone.screenshot('room-phone');

		for (const person of [desktop, phone]) {
			const { width, scroll, targets } = await person.page.evaluate(() => ({
				width: innerWidth,
				scroll: document.documentElement.scrollWidth,
				targets: [...document.querySelectorAll('.toolbar button')].map((button) => {
					const box = button.getBoundingClientRect();
					return { width: box.width, height: box.height, right: box.right, left: box.left };
				}),
			}));
			assert.ok(scroll <= width, `${person.name}: no sideways scrolling`);
			for (const box of targets) {
				assert.ok(box.left >= 0 && box.right <= width, `${person.name}: the toolbar fits`);
				assert.ok(box.width >= 44 && box.height >= 44, `${person.name}: buttons are big enough for a thumb`);
			}
			await person.page.keyboard.press('i');
			await until(`${person.name}: statistics of both sides`, async () =>
				person.page.evaluate(() => {
					const cards = [...document.querySelectorAll('.stats-card')];
					return (
						cards.length >= 6 &&
						cards.every((card) => card.querySelectorAll('.stats-half dl').length === 2 && card.querySelector('.graph-line').hasAttribute('d'))
					);
				}),
			);
		}
		await desktop.screenshot('statistics-desktop');
		await phone.screenshot('statistics-phone');
		for (const person of [desktop, phone]) {
			await person.page.keyboard.press('Escape');
			await person.leave();
		}
	});
});

test('a person is shown large and small again, and the picture goes on', async () => {
	await withService({}, async (service) => {
		const params = { resolution: 'qvga' };
		const ada = await Person.join(service, 'Ada', { params });
		const phone = await Person.join(service, 'Phone', { params, viewport: PHONE });
		const others = [await Person.join(service, 'Grace', { params }), await Person.join(service, 'Mary', { params })];
		const everybody = [ada, phone, ...others];
		await meet(everybody);
		const [grace, mary] = await Promise.all(others.map((person) => person.peerId()));
		for (const person of [ada, phone]) {
			const { page } = person;
			const area = (id) => page.evaluate((tile) => {
				const box = document.querySelector(`[data-tile="${tile}"]`).getBoundingClientRect();
				return box.width * box.height;
			}, id);
			const tile = async (id) => (await person.state()).tiles.find((one) => one.id === id);
			const pin = (id) => page.evaluate((tile) => document.querySelector(`[data-tile="${tile}"] [data-pin]`).click(), id);
			await pin(grace);
			await until(`${person.name}: Grace is large`, async () => (await tile(grace)).pinned && (await area(grace)) > 2 * (await area(mary)));
			const { frames } = await tile(grace);
			await until('her picture goes on', async () => (await tile(grace)).frames > frames + 5);
			await person.screenshot(`pinned-${person.name.toLowerCase()}`);
			const { width, scroll } = await page.evaluate(() => ({ width: innerWidth, scroll: document.documentElement.scrollWidth }));
			assert.ok(scroll <= width, `${person.name}: no sideways scrolling`);
			// Another one takes the place.
			await pin(mary);
			await until('Mary is large', async () => (await tile(mary)).pinned && !(await tile(grace)).pinned);
			await pin(mary);
			await until('nobody is', async () => !(await tile(mary)).pinned && (await area(mary)) < 1.2 * (await area(grace)));
		}
		for (const person of everybody) await person.leave();
	});
});

test('every control has a name that can be read aloud', async () => {
	await withService({}, async (service) => {
		const ada = await Person.join(service, 'Ada', { params: { resolution: 'qvga' } });
		await ada.page.keyboard.press('.');
		await ada.page.waitForSelector('#menu-microphone');
		const nameless = await ada.page.evaluate(() =>
			[...document.querySelectorAll('button, input, select')]
				.filter((element) => element.checkVisibility())
				.filter((element) => {
					const label = element.labels?.[0]?.textContent ?? '';
					return !(element.getAttribute('aria-label') || element.textContent.trim() || label);
				})
				.map((element) => element.outerHTML),
		);
		assert.deepEqual(nameless, []);
		await ada.page.keyboard.press('Escape');
		await ada.leave();
	});
});

test('who looks at the form of an open room is told to nobody, opens none, and joins by the way that is made meanwhile', async () => {
	await withService({}, async (service) => {
		const params = { resolution: 'qvga' };
		const sockets = (person) => person.page.evaluate(() => window.sockets.map((socket) => socket.readyState));
		const open = async (name, more = {}) => {
			const person = await Person.open(service, name, { ...more, params });
			await person.page.evaluate(() => window.sfu.prepared);
			return person;
		};
		const early = await open('Early');
		assert.deepEqual(await sockets(early), [], 'there is no room yet');
		assert.equal((await service.health()).rooms, 0);
		const ada = await Person.join(service, 'Ada', { params });
		const [grace, mary, jean] = [await open('Grace'), await open('Mary'), await open('Jean')];
		assert.equal((await service.health()).peers, 4);
		assert.deepEqual((await ada.state()).peers, [], 'nobody is told of those who look');

		await grace.join();
		assert.deepEqual(await sockets(grace), [OPEN], 'no other connection was made');
		// A way that was lost, and one into another room, are not gone.
		await mary.page.evaluate(() => window.sockets[0].close());
		await mary.join();
		await jean.page.fill('#join-room', 'elsewhere');
		await jean.join();
		for (const person of [mary, jean]) {
			assert.equal((await sockets(person)).filter((state) => state === OPEN).length, 1, person.name);
		}
		await early.join();
		await meet([ada, grace, mary, early]);
		assert.deepEqual((await jean.state()).peers, []);
		assert.equal((await service.health()).rooms, 2);
		for (const person of [ada, grace, mary, jean, early]) {
			assert.deepEqual((await person.state()).notices.filter((text) => text.startsWith('error')), [], person.name);
			await person.leave();
		}
	});
});

test('somebody without camera and microphone joins, sees and hears', async () => {
	await withService({}, async (service) => {
		const params = { resolution: 'qvga' };
		const ada = await Person.join(service, 'Ada', { params });
		const grace = await Person.open(service, 'Grace', { params, blank: true });
		await grace.page.addInitScript(() => {
			navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('none', 'NotFoundError'));
		});
		await grace.go();
		await grace.page.getByText('Microphone: none was found.').waitFor();
		await grace.page.click('#join-submit');
		await until('Grace joined', async () => (await grace.state()).phase === 'joined');
		const adaId = await ada.peerId();
		await grace.sees(adaId);
		await grace.hears(adaId);
		const graceId = await grace.peerId();
		assert.ok((await ada.state()).tiles.some((tile) => tile.id === graceId && !tile.hasVideo && tile.label.includes('microphone off')));
		for (const person of [ada, grace]) await person.leave();
	});
});

test('a page that is refused says why', async () => {
	await withService({ args: ['--max-peers', '1'] }, async (service) => {
		const ada = await Person.join(service, 'Ada');
		const late = await Person.open(service, 'Late');
		await late.page.click('#join-submit');
		await late.page.getByText('the room is full').waitFor();
		await late.page.waitForSelector('.join-form');
		await late.close();
		await ada.leave();
	});
});

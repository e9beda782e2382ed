// The room: the grid of tiles, the bar above, the toolbar below, and the keys that work them.

import { el, icon, setIcon, setText, type IconName } from './dom';
import { Levels } from './levels';
import { canShareScreen, listDevices } from './media';
import { inviteLink, RESOLUTIONS, type Resolution } from './params';
import type { NoticeKind, RemotePeer, RemoteStream, Session, Source } from './session';
import { Statistics } from './statistics';
import { StatsPanel } from './statspanel';
import { receivedLayers, sentLayers } from './layerchoice';
import { layout, Tile, type TileActions, type TileState } from './tile';

/// Root mean square above which somebody counts as speaking (about -42 dBov).
const SPEAKING = 0.008;
const GAP = 12;
const INFO_MS = 1000;
/// What changes within this time is drawn together.
const RENDER_MS = 10;

interface Tool {
	button: HTMLButtonElement;
	label: HTMLElement;
}

interface WantedTile {
	state: TileState;
	/// What its level meter listens to.
	level?: MediaStreamTrack;
}

const isOwn = (id: string): boolean => id === 'me' || id.startsWith('me:');

export interface TileSnapshot {
	id: string;
	label: string;
	width: number;
	height: number;
	hasVideo: boolean;
	speaking: boolean;
	active: boolean;
	pinned: boolean;
	level: number;
	frames: number;
}

export class RoomView {
	readonly element: HTMLElement;
	readonly levels: Levels;
	readonly statistics = new Statistics();
	readonly stats: StatsPanel;
	readonly tiles = new Map<string, Tile>();
	readonly #session: Session;
	readonly #notify: (kind: NoticeKind, text: string) => void;
	readonly #grid = el('ul', { class: 'grid', 'aria-label': 'People in the room' });
	readonly #screens = el('ul', { class: 'grid', 'aria-label': 'Shown large' });
	readonly #stage = el('div', { class: 'stage' });
	readonly #title = el('h1', { class: 'room-name' });
	readonly #count = el('span', { class: 'room-count' });
	readonly #state = el('p', { class: 'link-state', role: 'status' });
	readonly #empty = el('p', { class: 'alone' });
	readonly #tools = new Map<string, Tool>();
	readonly #menu = el('div', { class: 'menu', role: 'group', 'aria-label': 'More', id: 'more-menu', hidden: true });
	readonly #help: HTMLDialogElement;
	readonly #watched = new Map<string, MediaStreamTrack>();
	readonly #infos = new Map<string, string>();
	#infoTimer: number | undefined;
	#renderTimer: number | undefined;
	/// The tile that is shown large.
	#pinned: string | undefined;

	constructor(session: Session, notify: (kind: NoticeKind, text: string) => void) {
		this.#session = session;
		this.#notify = notify;
		this.levels = new Levels((levels) => {
			for (const [key, level] of levels) this.tiles.get(key)?.setSpeaking(level > SPEAKING);
		});
		this.stats = new StatsPanel(session, () => this.toggleStats());
		this.#help = this.#buildHelp();
		this.element = this.#build();
		session.on('changed', () => this.#renderSoon(RENDER_MS));
		session.on('streams', () => this.#renderSoon(0));
		new ResizeObserver(() => this.#arrange()).observe(this.#stage);
		document.addEventListener('keydown', (event) => this.#onKey(event));
		document.addEventListener('pointerdown', (event) => {
			if (!this.#menu.hidden && !(event.target as Element).closest('.menu, [data-tool="more"]')) this.#setMenu(false);
		});
	}

	show(): void {
		this.element.hidden = false;
		this.levels.wake();
		if (this.#session.params.info) this.#infoTimer ??= window.setInterval(() => void this.#lookAtInfos(), INFO_MS);
		this.render();
		this.#tools.get('mic')?.button.focus({ preventScroll: true });
	}

	/// Draws the room once, between two pictures of the form: nobody sees it, and the next time costs half.
	rehearse(): void {
		if (!this.element.hidden) return;
		const { title } = document;
		this.element.hidden = false;
		this.render();
		this.element.hidden = true;
		document.title = title;
	}

	hide(): void {
		this.element.hidden = true;
		this.stats.setOpen(false);
		this.#setMenu(false);
		this.#help.close();
		clearInterval(this.#infoTimer);
		this.#infoTimer = undefined;
		for (const key of this.#watched.keys()) this.levels.unwatch(key);
		this.#watched.clear();
		for (const tile of this.tiles.values()) tile.close();
		this.tiles.clear();
		this.#pinned = undefined;
	}

	snapshot(): TileSnapshot[] {
		return [...this.tiles.values()].map((tile) => ({
			id: tile.id,
			label: tile.element.getAttribute('aria-label') ?? '',
			width: tile.video.videoWidth,
			height: tile.video.videoHeight,
			hasVideo: !tile.element.classList.contains('tile-no-video'),
			speaking: tile.speaking,
			active: tile.active,
			pinned: tile.id === this.#pinned,
			level: this.levels.level(tile.id),
			frames: tile.video.getVideoPlaybackQuality().totalVideoFrames,
		}));
	}

	render(): void {
		if (this.element.hidden) return;
		const session = this.#session;
		setText(this.#title, session.roomId);
		const people = session.peers.size + 1;
		setText(this.#count, people === 1 ? 'only you' : `${people} people`);
		this.#renderState();
		this.#renderTiles();
		this.#renderTools();
		this.#empty.hidden = session.peers.size > 0 || session.phase !== 'joined';
		setText(this.#empty, 'Nobody else is here yet. Send somebody the link.');
		document.title = `${session.roomId} · libsfu`;
	}

	/// Changes come in bursts, and each drawing of the room lays it out anew. (Not at the next frame: a page in the
	/// background has none, and is to be heard.)
	#renderSoon(within: number): void {
		if (within > 0 && this.#renderTimer !== undefined) return;
		clearTimeout(this.#renderTimer);
		this.#renderTimer = window.setTimeout(() => {
			this.#renderTimer = undefined;
			this.render();
		}, within);
	}

	toggleStats(): void {
		const open = !this.stats.open;
		this.stats.setOpen(open);
		this.element.classList.toggle('with-stats', open);
		if (!open) this.#tools.get('stats')?.button.focus();
		this.#renderTools();
	}

	#build(): HTMLElement {
		const invite = el(
			'button',
			{ type: 'button', class: 'chip', 'aria-label': 'Copy the link to this room', title: 'Copy the link to this room' },
			icon('link'),
			el('span', { class: 'chip-text' }, 'Copy link'),
		);
		invite.addEventListener('click', () => void this.#copyLink());
		this.#stage.append(this.#screens, this.#grid, this.#empty);
		const toolbar = el('div', { class: 'toolbar', role: 'toolbar', 'aria-label': 'Call controls' });
		const add = (name: string, label: string, key: string, action: () => void, extra = ''): void => {
			toolbar.append(this.#tool(name, label, key, action, extra));
		};
		if (this.#session.params.produce) {
			add('mic', 'Mic', 'M', () => void this.#session.toggle('mic'));
			add('webcam', 'Camera', 'V', () => void this.#session.toggle('webcam'));
			if (canShareScreen()) add('screen', 'Share', 'S', () => void this.#session.toggle('screen'));
		}
		add('stats', 'Statistics', 'I', () => this.toggleStats());
		add('more', 'More', '.', () => this.#setMenu(this.#menu.hidden !== false));
		add('leave', 'Leave', 'L', () => this.#session.leave(), 'tool-leave');
		return el(
			'div',
			{ class: 'room', hidden: true },
			el(
				'header',
				{ class: 'topbar' },
				el('img', { src: 'icon.svg', alt: '', width: 26, height: 26 }),
				this.#title,
				this.#count,
				this.#state,
				el('span', { class: 'spring' }),
				invite,
			),
			el('main', { class: 'content' }, this.#stage, this.stats.element),
			el('footer', { class: 'bottombar' }, this.#menu, toolbar),
			this.#help,
		);
	}

	#tool(name: string, label: string, key: string, action: () => void, extra: string): HTMLButtonElement {
		const text = el('span', { class: 'tool-label' }, label);
		const button = el(
			'button',
			{ type: 'button', class: `tool ${extra}`, 'data-tool': name, 'aria-keyshortcuts': key, title: `${label} (${key})` },
			text,
		);
		button.addEventListener('click', action);
		this.#tools.set(name, { button, label: text });
		return button;
	}

	#buildHelp(): HTMLDialogElement {
		const keys: [string, string][] = [
			['M', 'microphone on and off'],
			['V', 'camera on and off'],
			['S', 'share the screen'],
			['A', 'audio only'],
			['D', 'silence everybody, here'],
			['I', 'statistics'],
			['.', 'more'],
			['L', 'leave'],
			['?', 'this help'],
		];
		const list = el('dl', { class: 'keys' });
		for (const [key, what] of keys) list.append(el('div', {}, el('dt', {}, el('kbd', {}, key)), el('dd', {}, what)));
		const close = el('button', { type: 'button', class: 'primary' }, 'Close');
		const dialog = el('dialog', { class: 'help', 'aria-label': 'Keyboard' }, el('h2', {}, 'Keyboard'), list, close);
		close.addEventListener('click', () => dialog.close());
		return dialog;
	}

	#renderState(): void {
		const session = this.#session;
		const transports = [session.sendTransport, session.recvTransport].filter((transport) => transport !== undefined);
		const states = transports.map((transport) => transport.connectionState);
		let [text, look] = ['', ''];
		if (session.phase === 'connecting') [text, look] = ['Connecting …', 'busy'];
		else if (session.phase === 'reconnecting') [text, look] = ['Connection lost. Reconnecting …', 'bad'];
		else if (states.includes('failed')) [text, look] = ['Media failed. Renewing …', 'bad'];
		else if (states.includes('disconnected')) [text, look] = ['Media interrupted …', 'bad'];
		else if (states.includes('connecting')) [text, look] = ['Connecting media …', 'busy'];
		else if (states.includes('connected')) [text, look] = ['Connected', 'good'];
		setText(this.#state, text);
		this.#state.dataset['look'] = look;
		this.#state.hidden = text === '';
		this.element.dataset['phase'] = session.phase;
	}

	#renderTiles(): void {
		const wanted = new Map<string, WantedTile>();
		this.#wantOwnTiles(wanted);
		for (const peer of this.#session.peers.values()) this.#wantPeerTiles(wanted, peer);
		for (const [id, tile] of this.tiles) {
			if (wanted.has(id)) continue;
			tile.close();
			this.tiles.delete(id);
			this.#infos.delete(id);
			if (this.#pinned === id) this.#pinned = undefined;
		}
		for (const [id, { state, level }] of wanted) {
			let tile = this.tiles.get(id);
			if (!tile) {
				tile = new Tile(id, isOwn(id) ? this.#ownActions(id) : this.#actions(id));
				this.tiles.set(id, tile);
			}
			tile.moveTo(state.isScreen || state.pinned ? this.#screens : this.#grid);
			tile.render(state);
			tile.setActive(!state.isScreen && this.#isActive(id));
			this.#watchLevel(id, level);
		}
		for (const id of this.#watched.keys()) if (!wanted.has(id)) this.#watchLevel(id, undefined);
		this.#arrange();
	}

	#isActive(id: string): boolean {
		const speaker = this.#session.activeSpeaker;
		return speaker !== undefined && (id === speaker || (id === 'me' && speaker === this.#session.params.peerId));
	}

	#wantOwnTiles(wanted: Map<string, WantedTile>): void {
		const session = this.#session;
		const state = (label: string, source: 'webcam' | 'screen', microphoneOn: boolean | undefined): TileState => ({
			label,
			name: session.displayName,
			video: session.tracks.get(source),
			audio: undefined,
			microphoneOn,
			videoPaused: false,
			mirrored: source === 'webcam',
			silent: true,
			isScreen: source === 'screen',
			pinned: undefined,
			info: this.#infos.get(source === 'screen' ? 'me:screen' : 'me') ?? '',
			layers: sentLayers(session.limits.get(source)),
			score: undefined,
		});
		const microphone = session.isOn('mic') ? session.tracks.get('mic') : undefined;
		wanted.set('me', {
			state: state(`${session.displayName} (you)`, 'webcam', session.isOn('mic')),
			...(microphone ? { level: microphone } : {}),
		});
		if (session.tracks.has('screen')) wanted.set('me:screen', { state: state('Your screen', 'screen', undefined) });
	}

	#wantPeerTiles(wanted: Map<string, WantedTile>, peer: RemotePeer): void {
		const streams = [...peer.streams.values()];
		const cameras = streams.filter((stream) => stream.source === 'webcam');
		const microphones = streams.filter((stream) => stream.source === 'mic');
		const screens = streams.filter((stream) => stream.source === 'screen');
		const tile = (id: string, label: string, video: RemoteStream | undefined, audio: RemoteStream | undefined, isMain: boolean): void => {
			const speaks = audio !== undefined && !audio.producerPaused;
			wanted.set(id, {
				state: {
					label,
					name: peer.displayName,
					video: video && !video.producerPaused ? video.consumer.track : undefined,
					audio: audio?.consumer.track,
					microphoneOn: isMain ? speaks : undefined,
					videoPaused: video?.paused ?? false,
					mirrored: false,
					silent: this.#session.deafened,
					isScreen: video?.source === 'screen',
					pinned: video?.source === 'screen' ? undefined : this.#pinned === id,
					info: this.#infos.get(id) ?? '',
					layers: receivedLayers(video),
					score: video?.score?.score ?? audio?.score?.score,
				},
				...(audio && speaks ? { level: audio.consumer.track } : {}),
			});
		};
		tile(peer.id, peer.displayName, cameras[0], microphones[0], true);
		for (const extra of screens) tile(`${peer.id}:${extra.consumer.id}`, `${peer.displayName}'s screen`, extra, undefined, false);
		// Replicas, asked for by consumerReplicas, have tiles of their own.
		for (const [index, extra] of cameras.slice(1).entries()) {
			tile(`${peer.id}:${extra.consumer.id}`, `${peer.displayName} · copy ${index + 2}`, extra, undefined, false);
		}
		for (const extra of microphones.slice(1)) {
			if (cameras.length > 0) continue;
			tile(`${peer.id}:${extra.consumer.id}`, `${peer.displayName} · copy`, undefined, extra, false);
		}
	}

	#ownActions(id: string): TileActions {
		const source = id === 'me' ? 'webcam' : 'screen';
		return { onLayers: (spatial) => void this.#session.setMaxLayer(source, spatial), onPriority: () => undefined };
	}

	#actions(id: string): TileActions {
		const video = (): RemoteStream | undefined => {
			const [peerId, consumerId] = id.split(':');
			const streams = this.#session.peers.get(peerId ?? '')?.streams;
			if (consumerId) return streams?.get(consumerId);
			return [...(streams?.values() ?? [])].find((stream) => stream.source === 'webcam');
		};
		return {
			onPause: () => {
				const stream = video();
				if (stream) void this.#session.setPaused(stream, !stream.paused);
			},
			onKeyFrame: () => {
				const stream = video();
				if (stream) void this.#session.requestKeyFrame(stream);
			},
			onLayers: (spatial, temporal) => {
				const stream = video();
				if (stream) void this.#session.setPreferredLayers(stream, { spatial, temporal });
			},
			onPriority: (priority) => {
				const stream = video();
				if (stream) void this.#session.setPriority(stream, priority);
			},
			onPin: () => {
				this.#pinned = this.#pinned === id ? undefined : id;
				this.render();
			},
		};
	}

	#watchLevel(id: string, track: MediaStreamTrack | undefined): void {
		if (this.#watched.get(id) === track) return;
		if (track) {
			this.#watched.set(id, track);
			this.levels.watch(id, track);
		} else {
			this.#watched.delete(id);
			this.levels.unwatch(id);
			this.tiles.get(id)?.setSpeaking(false);
		}
	}

	#arrange(): void {
		const small = this.#stage.clientWidth < 600;
		const padding = small ? 4 : GAP;
		const width = this.#stage.clientWidth - 2 * padding;
		const height = this.#stage.clientHeight - 2 * padding;
		if (width <= 0 || height <= 0) return;
		const shared = this.#screens.childElementCount > 0;
		this.#screens.hidden = !shared;
		this.#stage.classList.toggle('stage-shared', shared);
		// Portrait tiles suit a phone; elsewhere faces are not cropped below 4:3.
		const narrowest = small ? 3 / 4 : 4 / 3;
		if (!shared) {
			fill(this.#grid, width, height, narrowest);
		} else if (small) {
			const part = Math.round(height * 0.5);
			fill(this.#screens, width, part, 4 / 3);
			fill(this.#grid, width, height - part - GAP, narrowest);
		} else {
			// People stand beside what is shown.
			const strip = Math.min(280, Math.max(160, Math.round(width * 0.2)));
			fill(this.#screens, width - strip - GAP, height, 4 / 3);
			fill(this.#grid, strip, height, 4 / 3);
		}
	}

	#renderTools(): void {
		const session = this.#session;
		const show = (name: string, on: boolean, iconName: IconName, label: string): void => {
			const tool = this.#tools.get(name);
			if (!tool) return;
			setIcon(tool.button, iconName);
			setText(tool.label, label);
			tool.button.setAttribute('aria-pressed', String(on));
		};
		show('mic', session.isOn('mic'), session.isOn('mic') ? 'mic' : 'micOff', 'Mic');
		show('webcam', session.isOn('webcam'), session.isOn('webcam') ? 'camera' : 'cameraOff', 'Camera');
		show('screen', session.isOn('screen'), 'screen', session.isOn('screen') ? 'Sharing' : 'Share');
		show('stats', this.stats.open, 'stats', 'Statistics');
		const more = this.#tools.get('more');
		if (more) {
			setIcon(more.button, 'more');
			setText(more.label, 'More');
			more.button.setAttribute('aria-expanded', String(!this.#menu.hidden));
			more.button.setAttribute('aria-controls', 'more-menu');
		}
		const leave = this.#tools.get('leave');
		if (leave) {
			setIcon(leave.button, 'leave');
			setText(leave.label, 'Leave');
		}
		for (const name of ['mic', 'webcam', 'screen'] as const) {
			const tool = this.#tools.get(name);
			if (tool) tool.button.classList.toggle('tool-off', !session.isOn(name) && name !== 'screen');
		}
	}

	#setMenu(open: boolean): void {
		if (open) void this.#fillMenu();
		const focused = this.#menu.contains(document.activeElement);
		this.#menu.hidden = !open;
		if (!open && focused) this.#tools.get('more')?.button.focus();
		this.#renderTools();
	}

	async #fillMenu(): Promise<void> {
		const session = this.#session;
		const item = (label: string, iconName: IconName, action: () => void, pressed?: boolean): HTMLButtonElement => {
			const attributes = { type: 'button', class: 'menu-item', ...(pressed === undefined ? {} : { 'aria-pressed': pressed ? 'true' : 'false' }) };
			const button = el('button', attributes, icon(iconName), el('span', {}, label));
			button.addEventListener('click', () => {
				this.#setMenu(false);
				action();
			});
			return button;
		};
		const name = el('input', { id: 'menu-name', value: session.displayName, maxlength: 60, autocomplete: 'off' });
		name.addEventListener('change', () => {
			if (name.value.trim()) void session.rename(name.value.trim());
		});
		this.#menu.replaceChildren(
			item('Audio only', 'cameraOff', () => void session.setAudioOnly(!session.audioOnly), session.audioOnly),
			item('Silence everybody', 'soundOff', () => session.setDeafened(!session.deafened), session.deafened),
			item('Renew the connection (ICE restart)', 'refresh', () => void session.restartIce()),
			item('Keyboard', 'help', () => this.#help.showModal()),
			el('div', { class: 'field' }, el('label', { for: 'menu-name' }, 'Your name'), name),
		);
		this.#menu.querySelector('button')?.focus();
		if (session.params.produce) this.#menu.append(...(await this.#deviceFields()));
	}

	async #deviceFields(): Promise<HTMLElement[]> {
		const session = this.#session;
		const { cameras, microphones } = await listDevices();
		const current = (source: Source): string => session.tracks.get(source)?.getSettings().deviceId ?? '';
		const select = (id: string, devices: MediaDeviceInfo[], chosen: string): HTMLSelectElement => {
			const element = el('select', { id });
			for (const [index, device] of devices.entries()) {
				element.append(el('option', { value: device.deviceId, selected: device.deviceId === chosen }, device.label || `Device ${index + 1}`));
			}
			return element;
		};
		const camera = select('menu-camera', cameras, current('webcam'));
		const microphone = select('menu-microphone', microphones, current('mic'));
		const resolution = el('select', { id: 'menu-resolution' });
		for (const [value, { label }] of Object.entries(RESOLUTIONS)) {
			resolution.append(el('option', { value, selected: value === session.resolution }, label));
		}
		const change = (): void => void session.changeCamera(camera.value || undefined, resolution.value as Resolution);
		camera.addEventListener('change', change);
		resolution.addEventListener('change', change);
		microphone.addEventListener('change', () => void session.changeMicrophone(microphone.value || undefined));
		const field = (id: string, label: string, control: HTMLElement): HTMLElement => el('div', { class: 'field' }, el('label', { for: id }, label), control);
		return [field('menu-camera', 'Camera', camera), field('menu-resolution', 'Picture size', resolution), field('menu-microphone', 'Microphone', microphone)];
	}

	#onKey(event: KeyboardEvent): void {
		if (this.element.hidden || event.ctrlKey || event.metaKey || event.altKey || this.#help.open) return;
		if (event.key === 'Escape') {
			if (!this.#menu.hidden) this.#setMenu(false);
			else if (this.stats.open) this.toggleStats();
			return;
		}
		// Letters typed into a field are not commands.
		if ((event.target as Element).closest('input, select, textarea')) return;
		const key = event.key.toLowerCase();
		const tools: Record<string, string> = { m: 'mic', v: 'webcam', s: 'screen', i: 'stats', '.': 'more', l: 'leave' };
		const tool = tools[key];
		if (tool) this.#tools.get(tool)?.button.click();
		else if (key === 'a') void this.#session.setAudioOnly(!this.#session.audioOnly);
		else if (key === 'd') this.#session.setDeafened(!this.#session.deafened);
		else if (key === '?') this.#help.showModal();
		else return;
		event.preventDefault();
	}

	async #copyLink(): Promise<void> {
		const link = inviteLink(this.#session.roomId);
		try {
			await navigator.clipboard.writeText(link);
			this.#notify('info', 'The link is on the clipboard.');
		} catch {
			this.#notify('info', link);
		}
	}

	async #lookAtInfos(): Promise<void> {
		const look = async (id: string, object: Parameters<Statistics['stream']>[0] | undefined): Promise<void> => {
			if (!object || object.closed) return;
			const numbers = await this.statistics.stream(object);
			const rate = numbers.bitrate === undefined ? '' : ` ${(numbers.bitrate / 1000).toFixed(0)} kbit/s`;
			this.#infos.set(id, `${numbers.codec.replace(/^\w+\//, '')} ${numbers.width}×${numbers.height} ${numbers.framesPerSecond.toFixed(0)}/s${rate}`);
		};
		const looks = [look('me', this.#session.producers.get('webcam')), look('me:screen', this.#session.producers.get('screen'))];
		for (const peer of this.#session.peers.values()) {
			const camera = [...peer.streams.values()].find((stream) => stream.source === 'webcam');
			looks.push(look(peer.id, camera?.consumer));
		}
		await Promise.allSettled(looks);
		this.render();
	}
}

/// Gives a list of tiles the size at which they fill a box best.
function fill(list: HTMLElement, width: number, height: number, narrowest: number): void {
	const best = layout(list.childElementCount, width, height, GAP, narrowest, 16 / 9);
	list.style.width = `${width}px`;
	list.style.setProperty('--tile-width', `${best.tileWidth}px`);
	list.style.setProperty('--tile-ratio', String(best.ratio));
}

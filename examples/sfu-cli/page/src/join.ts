// The form before the room: who, where, and a look at oneself.

import { el, setIcon } from './dom';
import { deviceProblem, listDevices, openCamera, openMicrophone } from './media';
import { randomId, rememberName, RESOLUTIONS, type Params, type Resolution } from './params';
import type { JoinChoice } from './session';

export interface JoinHooks {
	onJoin: (choice: JoinChoice, resolution: Resolution) => void;
	/// The preview's microphone, for the level bar; undefined when there is none.
	onMicrophone: (track: MediaStreamTrack | undefined) => void;
}

export class JoinView {
	readonly element: HTMLElement;
	readonly #hooks: JoinHooks;
	readonly #name: HTMLInputElement;
	readonly #room: HTMLInputElement;
	readonly #cameras = el('select', { id: 'join-camera' });
	readonly #microphones = el('select', { id: 'join-microphone' });
	readonly #resolution = el('select', { id: 'join-resolution' });
	readonly #video = el('video', { playsinline: true, autoplay: true, 'aria-label': 'Preview of your camera' });
	readonly #hint = el('p', { class: 'preview-hint' }, 'Camera is off');
	readonly #problem = el('p', { class: 'form-problem', role: 'alert' });
	readonly #level = el('span', { class: 'level-bar' });
	readonly #cameraButton: HTMLButtonElement;
	readonly #microphoneButton: HTMLButtonElement;
	#camera: MediaStreamTrack | undefined;
	#microphone: MediaStreamTrack | undefined;
	#wantCamera: boolean;
	#wantMicrophone: boolean;
	/// Each opening of devices has a number; a late one that was overtaken is closed again.
	#opening = 0;

	constructor(params: Params, hooks: JoinHooks) {
		this.#hooks = hooks;
		this.#wantCamera = params.produce;
		this.#wantMicrophone = params.produce;
		this.#name = el('input', {
			id: 'join-name', name: 'displayName', required: true, maxlength: 60, autocomplete: 'name', value: params.displayName,
			placeholder: 'How others see you',
		});
		this.#room = el('input', {
			id: 'join-room', name: 'roomId', required: true, maxlength: 60, autocomplete: 'off', spellcheck: false,
			autocapitalize: 'none', value: params.roomId || `room-${randomId(5)}`,
		});
		for (const [value, { label }] of Object.entries(RESOLUTIONS)) {
			this.#resolution.append(el('option', { value, selected: value === params.resolution }, label));
		}
		this.#cameraButton = el('button', { type: 'button', class: 'round' });
		this.#microphoneButton = el('button', { type: 'button', class: 'round' });
		this.#video.muted = true;
		this.element = this.#build(params);
		this.#wire();
		this.#renderButtons();
	}

	/// Opens the preview; the form works without it too.
	async start(): Promise<void> {
		this.element.hidden = false;
		(this.#name.value ? this.#room : this.#name).focus();
		await this.#openDevices();
		await this.#fillDevices();
	}

	showProblem(text: string): void {
		this.#problem.textContent = text;
	}

	setLevel(level: number): void {
		this.#level.style.setProperty('--level', String(Math.min(1, level * 4)));
	}

	#build(params: Params): HTMLElement {
		const field = (id: string, label: string, control: HTMLElement): HTMLElement =>
			el('div', { class: 'field' }, el('label', { for: id }, label), control);
		const submit = el('button', { type: 'submit', class: 'primary', id: 'join-submit' }, 'Join the room');
		const form = el(
			'form',
			{ class: 'join-form', 'aria-label': 'Join a room' },
			el('h1', {}, 'Ready to join?'),
			el('p', { class: 'lead' }, 'Pick a name and a room. Whoever opens the same room meets you there.'),
			field('join-name', 'Your name', this.#name),
			field('join-room', 'Room', this.#room),
			el(
				'details',
				{ class: 'devices' },
				el('summary', {}, 'Devices'),
				field('join-camera', 'Camera', this.#cameras),
				field('join-resolution', 'Picture size', this.#resolution),
				field('join-microphone', 'Microphone', this.#microphones),
			),
			this.#problem,
			submit,
		);
		form.addEventListener('submit', (event) => {
			event.preventDefault();
			this.#submit();
		});
		const preview = el(
			'section',
			{ class: 'preview', 'aria-label': 'Your preview' },
			this.#video,
			this.#hint,
			el(
				'div',
				{ class: 'preview-controls' },
				this.#microphoneButton,
				this.#cameraButton,
				el('span', { class: 'level', 'aria-hidden': 'true' }, this.#level),
			),
		);
		if (!params.produce) preview.classList.add('preview-none');
		return el(
			'main',
			{ class: 'join', hidden: true },
			el('header', { class: 'brand' }, el('img', { src: 'icon.svg', alt: '', width: 28, height: 28 }), el('span', {}, 'libsfu')),
			el('div', { class: 'join-card' }, preview, form),
			el('p', { class: 'join-foot' }, 'A call through libsfu, a WebRTC forwarding engine. Media is encrypted on the way to and from the server.'),
		);
	}

	#wire(): void {
		this.#cameraButton.addEventListener('click', () => {
			this.#wantCamera = !this.#wantCamera;
			void this.#openDevices();
		});
		this.#microphoneButton.addEventListener('click', () => {
			this.#wantMicrophone = !this.#wantMicrophone;
			void this.#openDevices();
		});
		for (const select of [this.#cameras, this.#microphones, this.#resolution]) {
			select.addEventListener('change', () => {
				if (select !== this.#microphones) this.#stopCamera();
				else this.#stopMicrophone();
				void this.#openDevices();
			});
		}
	}

	async #openDevices(): Promise<void> {
		const turn = ++this.#opening;
		this.#problem.textContent = '';
		if (!this.#wantCamera) this.#stopCamera();
		if (!this.#wantMicrophone) this.#stopMicrophone();
		this.#renderButtons();
		if (this.#wantCamera && !this.#camera) {
			await this.#open(turn, 'Camera', () => openCamera(this.#cameras.value || undefined, this.#size()));
		}
		if (this.#wantMicrophone && !this.#microphone) {
			await this.#open(turn, 'Microphone', () => openMicrophone(this.#microphones.value || undefined));
		}
		this.#renderButtons();
	}

	async #open(turn: number, what: 'Camera' | 'Microphone', open: () => Promise<MediaStreamTrack>): Promise<void> {
		try {
			const track = await open();
			if (turn !== this.#opening) {
				track.stop();
			} else if (what === 'Camera') {
				this.#camera = track;
				this.#video.srcObject = new MediaStream([track]);
				this.#renderButtons();
			} else {
				this.#microphone = track;
				this.#hooks.onMicrophone(track);
			}
		} catch (error) {
			if (turn !== this.#opening) return;
			if (what === 'Camera') this.#wantCamera = false;
			else this.#wantMicrophone = false;
			this.#problem.textContent = deviceProblem(what, error);
		}
	}

	async #fillDevices(): Promise<void> {
		const { cameras, microphones } = await listDevices();
		const fill = (select: HTMLSelectElement, devices: MediaDeviceInfo[], what: string): void => {
			select.replaceChildren(
				...devices.map((device, index) => el('option', { value: device.deviceId }, device.label || `${what} ${index + 1}`)),
			);
			if (devices.length === 0) select.append(el('option', { value: '' }, `No ${what.toLowerCase()} found`));
		};
		fill(this.#cameras, cameras, 'Camera');
		fill(this.#microphones, microphones, 'Microphone');
	}

	#submit(): void {
		const displayName = this.#name.value.trim();
		const roomId = this.#room.value.trim();
		if (!displayName || !roomId) {
			this.#problem.textContent = displayName ? 'Room: give it a name.' : 'Your name: others need something to call you.';
			return;
		}
		this.#opening++;
		const choice = { roomId, displayName, camera: this.#camera, microphone: this.#microphone };
		// The room owns the tracks from here on.
		this.#camera = undefined;
		this.#microphone = undefined;
		this.#video.srcObject = null;
		this.element.hidden = true;
		this.#hooks.onJoin(choice, this.#size());
		// The first use of the storage waits for a file.
		setTimeout(() => rememberName(displayName), 1000);
	}

	#size(): Resolution {
		return this.#resolution.value as Resolution;
	}

	#stopCamera(): void {
		this.#camera?.stop();
		this.#camera = undefined;
		this.#video.srcObject = null;
	}

	#stopMicrophone(): void {
		if (this.#microphone) this.#hooks.onMicrophone(undefined);
		this.#microphone?.stop();
		this.#microphone = undefined;
		this.setLevel(0);
	}

	#renderButtons(): void {
		const render = (button: HTMLButtonElement, on: boolean, what: 'Microphone' | 'Camera'): void => {
			setIcon(button, what === 'Camera' ? (on ? 'camera' : 'cameraOff') : on ? 'mic' : 'micOff');
			button.setAttribute('aria-label', what);
			button.setAttribute('aria-pressed', String(on));
			button.title = `${what} is ${on ? 'on' : 'off'}`;
		};
		render(this.#cameraButton, this.#wantCamera, 'Camera');
		render(this.#microphoneButton, this.#wantMicrophone, 'Microphone');
		this.#hint.hidden = this.#camera !== undefined;
		this.#hint.textContent = this.#wantCamera ? 'Starting the camera …' : 'Camera is off';
	}
}


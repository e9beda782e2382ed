// How loud each audio track is right now. The numbers stay in this browser.

const INTERVAL_MS = 100;

interface Meter {
	source: MediaStreamAudioSourceNode;
	analyser: AnalyserNode;
	samples: Float32Array<ArrayBuffer>;
	level: number;
}

let shared: AudioContext | undefined;

/// The page's one audio context. Making it takes long enough to be done ahead, while the form is shown.
export function audioContext(): AudioContext {
	return (shared ??= new AudioContext());
}

export class Levels {
	readonly #meters = new Map<string, Meter>();
	#timer: number | undefined;
	#onLevels: (levels: ReadonlyMap<string, number>) => void;

	constructor(onLevels: (levels: ReadonlyMap<string, number>) => void) {
		this.#onLevels = onLevels;
	}

	/// Starts watching a track; `key` names it. A track watched already is replaced.
	watch(key: string, track: MediaStreamTrack): void {
		this.unwatch(key);
		const context = audioContext();
		void context.resume();
		const source = context.createMediaStreamSource(new MediaStream([track]));
		const analyser = context.createAnalyser();
		analyser.fftSize = 1024;
		source.connect(analyser);
		this.#meters.set(key, { source, analyser, samples: new Float32Array(analyser.fftSize), level: 0 });
		this.#timer ??= window.setInterval(() => this.#measure(), INTERVAL_MS);
	}

	unwatch(key: string): void {
		const meter = this.#meters.get(key);
		if (!meter) return;
		meter.source.disconnect();
		this.#meters.delete(key);
		if (this.#meters.size === 0 && this.#timer !== undefined) {
			clearInterval(this.#timer);
			this.#timer = undefined;
		}
	}

	/// To be called from a person's gesture: browsers keep audio contexts asleep until one.
	wake(): void {
		void audioContext().resume();
	}

	level(key: string): number {
		return this.#meters.get(key)?.level ?? 0;
	}

	#measure(): void {
		const levels = new Map<string, number>();
		for (const [key, meter] of this.#meters) {
			meter.analyser.getFloatTimeDomainData(meter.samples);
			let sum = 0;
			for (const sample of meter.samples) sum += sample * sample;
			const rms = Math.sqrt(sum / meter.samples.length);
			// Falls slowly, so that the ring around a speaker does not flicker between words.
			meter.level = Math.max(rms, meter.level * 0.85);
			levels.set(key, meter.level);
		}
		this.#onLevels(levels);
	}
}

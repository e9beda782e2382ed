// Waiting for others: until a burst of calls is over, or until something has happened.

/// Those who ask within one turn of the event loop go on together.
export class Burst {
	#running: Promise<void> | undefined;

	end(): Promise<void> {
		this.#running ??= new Promise((resolve) => {
			setTimeout(() => {
				this.#running = undefined;
				resolve();
			}, 0);
		});
		return this.#running;
	}
}

/// Shut until it is released, once and for all.
export class Latch {
	release: () => void = () => undefined;
	readonly #released = new Promise<void>((resolve) => (this.release = resolve));

	/// Done when it is released, at the latest after so many milliseconds.
	open(patience: number): Promise<void> {
		return Promise.race([this.#released, new Promise<void>((resolve) => setTimeout(resolve, patience))]);
	}
}

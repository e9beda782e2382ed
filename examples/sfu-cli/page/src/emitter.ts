// A minimal typed event emitter: the page's parts tell each other things through it.

export class Emitter<Events extends Record<string, unknown>> {
	readonly #listeners = new Map<keyof Events, Set<(value: never) => void>>();

	on<Name extends keyof Events>(name: Name, listener: (value: Events[Name]) => void): () => void {
		const set = this.#listeners.get(name) ?? new Set();
		set.add(listener as (value: never) => void);
		this.#listeners.set(name, set);
		return () => set.delete(listener as (value: never) => void);
	}

	protected emit<Name extends keyof Events>(name: Name, value: Events[Name]): void {
		for (const listener of this.#listeners.get(name) ?? []) {
			(listener as (value: Events[Name]) => void)(value);
		}
	}
}

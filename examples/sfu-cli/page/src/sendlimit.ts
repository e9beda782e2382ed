// How much of a picture is sent: no more than its publisher allows, nor than anybody watches.
//
// The server tells the highest layers that somebody wants. Encodings above are switched off, or spatial layers of the
// one encoding left out, so that neither this machine nor its uplink works for nothing.

import type { types } from 'mediasoup-client';
import { formatMode, parseMode } from './encodings';

export interface WantedLayers {
	spatialLayer: number | null;
	temporalLayer: number | null;
}

export interface EncodingScore {
	encodingIdx: number;
	ssrc: number;
	rid: string | null;
	score: number;
}

type LayeredEncoding = RTCRtpEncodingParameters & { scalabilityMode?: string };

export class SendLimit {
	readonly #producer: types.Producer;
	readonly #mode;
	readonly #encodings: number;
	/// The highest layer that the person sends; undefined is all.
	#own: number | undefined;
	/// The highest layer that somebody wants; undefined until the server has said so, null for nobody.
	#wanted: number | null | undefined;
	#applied: string | undefined;
	#work: Promise<void> = Promise.resolve();
	scores: EncodingScore[] = [];

	constructor(producer: types.Producer) {
		this.#producer = producer;
		this.#encodings = producer.rtpParameters.encodings?.length ?? 1;
		this.#mode = parseMode(producer.rtpParameters.encodings?.[0]?.scalabilityMode);
	}

	/// How many sizes there are.
	get layers(): number {
		return this.#encodings > 1 ? this.#encodings : this.#mode.spatial;
	}

	get own(): number {
		return this.#own ?? this.layers - 1;
	}

	/// What the server says that others want; undefined if it has not said anything.
	get wanted(): number | null | undefined {
		return this.#wanted;
	}

	/// The highest layer that is sent now; null is none.
	get sent(): number | null {
		if (this.#wanted === null) return null;
		return Math.min(this.own, this.#wanted ?? this.layers - 1);
	}

	setOwn(layer: number): Promise<void> {
		this.#own = layer;
		return this.#apply();
	}

	setWanted({ spatialLayer }: WantedLayers): Promise<void> {
		this.#wanted = spatialLayer;
		return this.#apply();
	}

	/// One change after the other: a sender's parameters may be set only as they were read last.
	#apply(): Promise<void> {
		this.#work = this.#work.then(() => this.#set()).catch(() => undefined);
		return this.#work;
	}

	async #set(): Promise<void> {
		const sender = this.#producer.rtpSender;
		const sent = this.sent;
		if (!sender || this.#producer.closed || this.#applied === String(sent)) return;
		const parameters = sender.getParameters();
		parameters.encodings.forEach((encoding, index) => {
			encoding.active = sent !== null && (this.#encodings === 1 || index <= sent);
			if (this.#encodings === 1 && this.#mode.spatial > 1 && sent !== null) {
				const spatial = sent + 1;
				// Without its upper layers the picture is smaller; the lower ones stay as large as they were.
				encoding.scaleResolutionDownBy = 2 ** (this.#mode.spatial - spatial);
				(encoding as LayeredEncoding).scalabilityMode = formatMode({ ...this.#mode, spatial });
			}
		});
		await sender.setParameters(parameters);
		this.#applied = String(sent);
	}
}

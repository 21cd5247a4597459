/** Tones: what a state means, never decoration. */
export type Tone = "ok" | "warn" | "bad" | "off" | "info";

/** Text colour of a tone. */
export const toneText: Record<Tone, string> = { ok: "text-ok", warn: "text-warn", bad: "text-bad", off: "text-off", info: "text-info" };
/** Soft background of a tone. */
export const toneSoft: Record<Tone, string> = { ok: "bg-ok-soft", warn: "bg-warn-soft", bad: "bg-bad-soft", off: "bg-off-soft", info: "bg-info-soft" };
/** Solid fill of a tone, for bars. */
export const toneSolid: Record<Tone, string> = { ok: "bg-ok-solid", warn: "bg-warn-solid", bad: "bg-bad-solid", off: "bg-off-solid", info: "bg-info-solid" };

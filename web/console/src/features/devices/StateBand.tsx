/** A band that says since when what is shown is only what was last known. */
import { Band } from "@unifyit/ui";
import type { Device } from "@/api/types";
import { useNow } from "@/lib/clock";
import { clockWords, shortTime, toMs } from "@/lib/time";
import { t } from "@/strings";

export function StateBand({ device }: { device: Pick<Device, "state" | "state_since" | "last_seen" | "clock_ahead_ms"> }) {
  const now = useNow(60_000);
  const since = toMs(device.state_since) ?? toMs(device.last_seen);
  const words = since === null ? t.unknown : shortTime(since, now);
  if (device.state === "unreachable") return <Band tone="warn">{t.devices.unreachableBand(words)}</Band>;
  if (device.state === "offline") return <Band tone="off">{t.devices.offlineBand(words)}</Band>;
  if (device.state === "revoked") return <Band tone="bad">{t.devices.revokedBand}</Band>;
  const wrong = clockWords(device.clock_ahead_ms);
  if (wrong !== null) return <Band tone="warn">{t.devices.clockBand(wrong)}</Band>;
  return null;
}

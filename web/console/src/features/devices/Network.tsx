/** Network interfaces. */
import { t } from "@/strings";
import { Entries, Section } from "./inventory";

export function Network({ deviceId }: { deviceId: string }) {
  return (
    <Section deviceId={deviceId} section="interfaces" title={t.devices.tabs.network}>
      {(inventory) => <Entries inventory={inventory} keyName={t.devices.interface} first={["state", "addresses", "ipv4", "ipv6", "mac", "speed_mbit"]} />}
    </Section>
  );
}

/** Services of the operating system. */
import { t } from "@/strings";
import { Entries, Section } from "./inventory";

export function Services({ deviceId }: { deviceId: string }) {
  return (
    <Section deviceId={deviceId} section="services" title={t.devices.tabs.services}>
      {(inventory) => <Entries inventory={inventory} keyName={t.devices.service} first={["state", "status", "enabled", "description"]} search={t.devices.searchServices} />}
    </Section>
  );
}

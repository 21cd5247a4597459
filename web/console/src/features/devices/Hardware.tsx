/** Hardware: the machine's facts, disks and file systems. */
import { DeviceText, Facts, Panel } from "@unifyit/ui";
import type { DeviceDetail } from "@/api/types";
import { t } from "@/strings";
import { Entries, factName, factValue, Section } from "./inventory";

const order = Object.keys(t.devices.machine);

export function Hardware({ device }: { device: DeviceDetail }) {
  const keys = [...order.filter((key) => device.machine[key]), ...Object.keys(device.machine).filter((key) => !order.includes(key))];
  return (
    <>
      <Panel title={t.devices.hardware.system}>
        {keys.length === 0 ? (
          <p className="text-13 text-faint">{t.devices.noInventory}</p>
        ) : (
          <Facts columns={2} items={keys.map((key) => [t.devices.machine[key] ?? factName(key), <DeviceText key={key}>{factValue(key, device.machine[key] ?? "")}</DeviceText>] as const)} />
        )}
      </Panel>
      <Section deviceId={device.id} section="disks" title={t.devices.hardware.disks}>
        {(inventory) => <Entries inventory={inventory} keyName={t.devices.columns.name} first={["device", "type", "filesystem", "total_bytes", "size_bytes", "used_bytes"]} />}
      </Section>
    </>
  );
}

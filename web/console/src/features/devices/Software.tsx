/** Installed packages, searched by the server. */
import { DeviceText, EmptyState, Input, Panel, Skeleton, Table, Td, Th, Tr } from "@unifyit/ui";
import { PackageOpen, SearchX } from "lucide-react";
import { useDeferredValue, useState } from "react";
import { useSoftware } from "@/api/devices";
import { Failure } from "@/components/failure";
import { More } from "@/components/More";
import { t } from "@/strings";

export function Software({ deviceId }: { deviceId: string }) {
  const [text, setText] = useState("");
  const q = useDeferredValue(text.trim());
  const query = useSoftware(deviceId, q);
  const items = query.data?.pages.flatMap((page) => page.items);
  return (
    <Panel flush>
      <div className="border-b border-line px-4 py-2">
        <Input type="search" className="max-w-72" aria-label={t.devices.searchSoftware} placeholder={t.devices.searchSoftware} value={text} onChange={(event) => setText(event.target.value)} />
      </div>
      {query.isError && !items ? (
        <Failure error={query.error} onRetry={() => void query.refetch()} compact />
      ) : items?.length === 0 ? (
        q === "" ? <EmptyState icon={PackageOpen} title={t.devices.noInventory}>{t.devices.noInventoryDetail}</EmptyState> : <EmptyState icon={SearchX} title={t.devices.noSoftware} />
      ) : (
        <Table label={t.devices.tabs.software} head={<><Th>{t.devices.package}</Th><Th>{t.devices.version}</Th><Th>{t.devices.manager}</Th></>}>
          {!items && [0, 1, 2, 3, 4, 5].map((row) => <Tr key={row}><Td colSpan={3}><Skeleton className="h-4" /></Td></Tr>)}
          {items?.map((item) => (
            <Tr key={`${item.manager}/${item.name}/${item.version}`}>
              <Td><DeviceText className="max-w-96 font-medium">{item.name}</DeviceText></Td>
              <Td><DeviceText mono className="max-w-72">{item.version}</DeviceText></Td>
              <Td className="text-muted"><DeviceText>{item.manager}</DeviceText></Td>
            </Tr>
          ))}
        </Table>
      )}
      <More query={query} />
    </Panel>
  );
}

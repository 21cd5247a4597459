/** What was done to one device, and by whom. */
import { EmptyState, Panel } from "@unifyit/ui";
import { ScrollText } from "lucide-react";
import { useDeviceAudit } from "@/api/devices";
import { Failure } from "@/components/failure";
import { More } from "@/components/More";
import { t } from "@/strings";
import { AuditTable } from "./AuditTable";

export function DeviceAudit({ deviceId }: { deviceId: string }) {
  const query = useDeviceAudit(deviceId);
  const items = query.data?.pages.flatMap((page) => page.items);
  return (
    <Panel flush>
      {query.isError && !items ? (
        <Failure error={query.error} onRetry={() => void query.refetch()} />
      ) : items?.length === 0 ? (
        <EmptyState icon={ScrollText} title={t.audit.emptyTitle} />
      ) : (
        <AuditTable items={items} />
      )}
      <More query={query} />
    </Panel>
  );
}

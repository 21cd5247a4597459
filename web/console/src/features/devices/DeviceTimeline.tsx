/** Everything that happened on a device, newest first. */
import { Panel } from "@unifyit/ui";
import { useTimeline } from "@/api/devices";
import { Failure } from "@/components/failure";
import { More } from "@/components/More";
import { Timeline } from "@/components/timeline";
import { t } from "@/strings";

export function DeviceTimeline({ deviceId }: { deviceId: string }) {
  const query = useTimeline(deviceId);
  if (query.isError && !query.data) return <Panel><Failure error={query.error} onRetry={() => void query.refetch()} /></Panel>;
  return (
    <Panel flush>
      <Timeline items={query.data?.pages.flatMap((page) => page.items)} empty={t.devices.noTimeline} />
      <More query={query} />
    </Panel>
  );
}

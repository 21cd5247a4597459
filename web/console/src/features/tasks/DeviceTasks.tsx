/** What ran on one device. */
import { buttonClass, EmptyState, Panel } from "@unifyit/ui";
import { Link } from "@tanstack/react-router";
import { ListChecks } from "lucide-react";
import { useDeviceTasks } from "@/api/tasks";
import { Failure } from "@/components/failure";
import { More } from "@/components/More";
import { TaskTable } from "@/components/TaskTable";
import { May } from "@/components/may";
import { t } from "@/strings";

export function DeviceTasks({ deviceId }: { deviceId: string }) {
  const query = useDeviceTasks(deviceId);
  const tasks = query.data?.pages.flatMap((page) => page.items);
  return (
    <Panel flush>
      {query.isError && !tasks ? (
        <Failure error={query.error} onRetry={() => void query.refetch()} />
      ) : tasks?.length === 0 ? (
        <EmptyState icon={ListChecks} title={t.tasks.emptyTitle} action={<May what="run_tasks"><Link to="/tasks/new" search={{ devices: deviceId }} className={buttonClass("primary")}>{t.tasks.run}</Link></May>}>
          {t.tasks.emptyDetail}
        </EmptyState>
      ) : (
        <TaskTable tasks={tasks} />
      )}
      <More query={query} />
    </Panel>
  );
}

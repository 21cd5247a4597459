/** A list of tasks with their progress, for the history and for one device. */
import { Bdi, DeviceText, SegmentedBar, Skeleton, Table, Td, Th, Tr } from "@unifyit/ui";
import { Link } from "@tanstack/react-router";
import type { Task } from "@/api/types";
import { count } from "@/lib/format";
import { t } from "@/strings";
import { Age } from "./age";
import { segments, TaskStatusBadge } from "./states";

/** What a task is called. */
export function taskName(task: Pick<Task, "name" | "action">): string {
  if (task.name) return task.name;
  const interpreter = task.action.interpreter;
  return t.tasks.unnamed(t.tasks.interpreters[interpreter] ?? interpreter);
}

export function TaskTable({ tasks }: { tasks: readonly Task[] | undefined }) {
  const c = t.tasks.columns;
  return (
    <Table label={t.tasks.title} head={<><Th className="sm:min-w-44">{c.name}</Th><Th>{c.status}</Th><Th className="min-w-36 max-sm:hidden">{c.progress}</Th><Th className="text-right max-sm:hidden">{c.targets}</Th><Th className="max-lg:hidden">{c.by}</Th><Th>{c.at}</Th></>}>
      {!tasks &&
        Array.from({ length: 8 }, (_, index) => <Tr key={index}><Td colSpan={6}><Skeleton className="h-4 w-full" /></Td></Tr>)}
      {tasks?.map((task) => (
        <Tr key={task.id}>
          <Td>
            <Link to="/tasks/$taskId" params={{ taskId: task.id }} className="clip block font-medium hover:underline"><Bdi>{taskName(task)}</Bdi></Link>
          </Td>
          <Td><TaskStatusBadge task={task} /></Td>
          <Td className="max-sm:hidden"><SegmentedBar label={t.tasks.progress} segments={segments(task.counts)} className="w-full min-w-32" /></Td>
          <Td className="text-right tnum max-sm:hidden">{count(task.total)}</Td>
          <Td className="max-lg:hidden"><DeviceText className="max-w-48">{task.created_by}</DeviceText></Td>
          <Td className="text-muted"><Age at={task.created_at} /></Td>
        </Tr>
      ))}
    </Table>
  );
}

/** The history of tasks, live. */
import { buttonClass, EmptyState, PageHeader } from "@unifyit/ui";
import { Link } from "@tanstack/react-router";
import { ListChecks, Play } from "lucide-react";
import type { ReactElement } from "react";
import { useTasks } from "@/api/tasks";
import { Failure } from "@/components/failure";
import { More } from "@/components/More";
import { useScope } from "@/components/scope";
import { TaskTable } from "@/components/TaskTable";
import { May } from "@/components/may";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";

export function TasksPage(): ReactElement {
  useTitle(t.tasks.title);
  const query = useTasks(useScope());
  const tasks = query.data?.pages.flatMap((page) => page.items);
  const run = <May what="run_tasks"><Link to="/tasks/new" className={buttonClass("primary")}><Play className="size-4" aria-hidden />{t.tasks.run}</Link></May>;
  return (
    <>
      <PageHeader title={t.tasks.title} actions={run} />
      <div className="mx-4 mb-6 rounded-lg border border-line bg-surface md:mx-6">
        {query.isError && !tasks ? (
          <Failure error={query.error} onRetry={() => void query.refetch()} />
        ) : tasks?.length === 0 ? (
          <EmptyState icon={ListChecks} title={t.tasks.emptyTitle} action={run}>{t.tasks.emptyDetail}</EmptyState>
        ) : (
          <TaskTable tasks={tasks} />
        )}
        <More query={query} />
      </div>
    </>
  );
}

/** The history of tasks, searched by the server, live. */
import { buttonClass, EmptyState, Input, PageHeader, Select } from "@unifyit/ui";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { ListChecks, Play, SearchX } from "lucide-react";
import { useEffect, useState, type ReactElement } from "react";
import { useTasks } from "@/api/tasks";
import { Failure } from "@/components/failure";
import { More } from "@/components/More";
import { useScope } from "@/components/scope";
import { TaskTable } from "@/components/TaskTable";
import { May } from "@/components/may";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";

const PAUSE_MS = 200;
const STATES = ["running", "done", "cancelled"] as const;

export function TasksPage(): ReactElement {
  useTitle(t.tasks.title);
  const { q = "", status = "" } = useSearch({ from: "/shell/tasks" });
  const navigate = useNavigate();
  const [text, setText] = useState(q);
  const show = (change: { q?: string; status?: string }) => void navigate({ to: "/tasks", replace: true, search: (before) => ({ ...before, ...change }) as never });
  useEffect(() => {
    if (text === q) return;
    const timer = setTimeout(() => void navigate({ to: "/tasks", replace: true, search: (before) => ({ ...before, q: text || undefined }) as never }), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text, q, navigate]);
  const query = useTasks(useScope(), q, status);
  const filtered = q !== "" || status !== "";
  const tasks = query.data?.pages.flatMap((page) => page.items);
  const run = <May what="run_tasks"><Link to="/tasks/new" className={buttonClass("primary")}><Play className="size-4" aria-hidden />{t.tasks.run}</Link></May>;
  return (
    <>
      <PageHeader title={t.tasks.title} actions={run} />
      <div className="mx-4 mb-6 rounded-lg border border-line bg-surface md:mx-6">
        <div className="flex flex-wrap gap-2 border-b border-line px-4 py-2">
          <Input type="search" className="sm:max-w-72" aria-label={t.tasks.search} placeholder={t.tasks.search} value={text} onChange={(event) => setText(event.target.value)} />
          <Select className="sm:max-w-40" aria-label={t.tasks.state} value={status} onChange={(event) => show({ status: event.target.value || undefined })}>
            <option value="">{t.tasks.anyState}</option>
            {STATES.map((state) => <option key={state} value={state}>{t.tasks[state]}</option>)}
          </Select>
        </div>
        {query.isError && !tasks ? (
          <Failure error={query.error} onRetry={() => void query.refetch()} />
        ) : tasks?.length === 0 && filtered ? (
          <EmptyState icon={SearchX} title={t.tasks.noMatch}>{t.tasks.noMatchDetail}</EmptyState>
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

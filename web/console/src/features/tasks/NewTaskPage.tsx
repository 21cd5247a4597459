/** Run a script: who, what, for how long. Names the count, and above a threshold asks for it to be typed. */
import { Band, Button, Field, Input, PageHeader, Panel, Select, Skeleton, Textarea } from "@unifyit/ui";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { Play } from "lucide-react";
import { lazy, Suspense, useEffect, useRef, useState, type ReactElement } from "react";
import { useStartTask, useTask } from "@/api/tasks";
import type { Interpreter, NewTask } from "@/api/types";
import { Confirm } from "@/components/confirm";
import { sentence, toastFailure } from "@/components/failure";
import { useNow } from "@/lib/clock";
import { bytes, count } from "@/lib/format";
import { remember } from "@/lib/storage";
import { shortTime } from "@/lib/time";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";
import { action, again, blank, interpreters, problemOf, starters, type Form } from "./form";
import { TargetPicker } from "./TargetPicker";
import { useTargets } from "./targets";

const Editor = lazy(() => import("./Editor").then((module) => ({ default: module.Editor })));

/** Above this many devices the count must be typed. */
const TYPED_ABOVE = 20;
const timeouts = [60, 300, 900, 3600, 4 * 3600, 24 * 3600];
const expiries = [300, 3600, 8 * 3600, 24 * 3600, 7 * 24 * 3600, 30 * 24 * 3600];

/** Time limits to choose from; an earlier task's own is among them. */
function offered(own: number): number[] {
  return [...new Set([...timeouts, own])].sort((a, b) => a - b);
}

function span(seconds: number): string {
  if (seconds < 3600) return t.tasks.minutes(seconds / 60);
  return seconds < 24 * 3600 || seconds % (24 * 3600) !== 0 ? t.tasks.hours(seconds / 3600) : t.tasks.days(seconds / 24 / 3600);
}

export function NewTaskPage(): ReactElement {
  useTitle(t.tasks.newTitle);
  const search = useSearch({ from: "/shell/tasks/new" });
  return search.from ? <FromEarlier id={search.from} /> : <NewTaskForm initial={blank()} />;
}

/** "Run again": starts from an earlier task's script. */
function FromEarlier({ id }: { id: string }) {
  const { data, isError } = useTask(id);
  if (isError) return <NewTaskForm initial={blank()} notice={t.tasks.earlierUnread} />;
  if (!data) return <div className="p-6"><Skeleton className="h-96" /></div>;
  const form = again(data.name, data.action);
  return <NewTaskForm initial={form} {...(form.asked.length > 0 && { notice: t.tasks.envAsked(form.asked) })} />;
}

function NewTaskForm({ initial, notice }: { initial: Form; notice?: string }) {
  const search = useSearch({ from: "/shell/tasks/new" });
  const navigate = useNavigate();
  const targets = useTargets(search);
  const start = useStartTask();
  const [form, setForm] = useState(initial);
  const [problem, setProblem] = useState<string | null>(null);
  const [asking, setAsking] = useState(false);
  const [collected, setCollected] = useState<number | null>(null);
  const key = useRef(crypto.randomUUID());
  const now = useNow(60_000);
  const edit = (patch: Partial<Form>) => {
    key.current = crypto.randomUUID();
    setProblem(null);
    setForm((before) => ({ ...before, ...patch }));
  };
  useEffect(() => remember("task.interpreter", form.interpreter), [form.interpreter]);

  const number = targets.count;
  const check = (): string | null => {
    if (!number) return targets.kind === "gone" ? t.tasks.draftGone : t.tasks.noTargets;
    return problemOf(form);
  };
  const run = async () => {
    try {
      const ids = await targets.collect(setCollected);
      const task: NewTask = { targets: { device_ids: ids }, action: action(form), expires_in_s: form.expires, ...(form.name.trim() && { name: form.name.trim() }) };
      const { id } = await start.mutateAsync({ task, idempotencyKey: key.current });
      await navigate({ to: "/tasks/$taskId", params: { taskId: id } });
    } catch (error) {
      setAsking(false);
      setProblem(sentence(error));
      toastFailure(error);
    } finally {
      setCollected(null);
    }
  };
  const submit = () => {
    const wrong = check();
    setProblem(wrong);
    if (wrong !== null || number === null) return;
    if (number > 1) setAsking(true);
    else void run();
  };
  const busy = start.isPending || collected !== null;
  return (
    <form
      className="mx-auto max-w-5xl pb-8"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <PageHeader
        title={t.tasks.newTitle}
        actions={
          <Button type="submit" variant="primary" busy={busy} disabled={busy || number === null} icon={<Play className="size-4" aria-hidden />}>
            {collected !== null ? t.tasks.collecting(collected) : number ? t.tasks.start(number) : t.tasks.run}
          </Button>
        }
      />
      <div className="flex flex-col gap-4 px-4 md:px-6">
        {problem && <Band tone="bad">{problem}</Band>}
        {notice && <Band tone="warn">{notice}</Band>}
        <Panel title={t.tasks.target}>
          <TargetPicker targets={targets} />
          {targets.notOnline > 0 && <p className="mt-2 text-xs text-warn">{t.tasks.offlineHint(targets.notOnline, shortTime(now + form.expires * 1000, now))}</p>}
        </Panel>
        <Panel
          flush
          title={t.tasks.script}
          actions={
            <Select
              aria-label={t.tasks.interpreter}
              value={form.interpreter}
              onChange={(event) => {
                const interpreter = event.target.value as Interpreter;
                const untouched = form.body.trim() === "" || form.body === starters[form.interpreter];
                edit({ interpreter, ...(untouched && { body: starters[interpreter] }) });
              }}
            >
              {interpreters.map((each) => <option key={each} value={each}>{t.tasks.interpreters[each]}</option>)}
            </Select>
          }
        >
          <div className="h-80 overflow-hidden rounded-b-lg">
            <Suspense fallback={<div className="p-4"><Skeleton className="h-64" /></div>}>
              <Editor value={form.body} onChange={(body) => edit({ body })} interpreter={form.interpreter} label={t.tasks.script} hint={t.tasks.noBody} onSubmit={submit} />
            </Suspense>
          </div>
        </Panel>
        <Panel>
          <div className="grid gap-4 sm:grid-cols-2 lg:grid-cols-3">
            <Field label={t.tasks.name} hint={t.tasks.nameHint}>{(control) => <Input {...control} maxLength={120} value={form.name} onChange={(event) => edit({ name: event.target.value })} />}</Field>
            <Field label={t.tasks.timeout} hint={t.tasks.timeoutHint}>
              {(control) => <Select {...control} className="w-full" value={form.timeout} onChange={(event) => edit({ timeout: Number(event.target.value) })}>{offered(initial.timeout).map((value) => <option key={value} value={value}>{span(value)}</option>)}</Select>}
            </Field>
            <Field label={t.tasks.expires} hint={t.tasks.expiresHint}>
              {(control) => <Select {...control} className="w-full" value={form.expires} onChange={(event) => edit({ expires: Number(event.target.value) })}>{expiries.map((value) => <option key={value} value={value}>{span(value)}</option>)}</Select>}
            </Field>
          </div>
          <details className="mt-4" open={initial.asked.length > 0}>
            <summary className="text-13 text-muted hover:text-text">{t.tasks.advanced}</summary>
            <div className="mt-3 grid gap-4 sm:grid-cols-2">
              <Field label={t.tasks.args} hint={t.tasks.argsHint}>{(control) => <Textarea {...control} rows={3} className="font-mono" value={form.args} onChange={(event) => edit({ args: event.target.value })} />}</Field>
              <Field label={t.tasks.env} hint={t.tasks.envHint}>{(control) => <Textarea {...control} rows={3} className="font-mono" autoComplete="off" spellCheck={false} value={form.env} onChange={(event) => edit({ env: event.target.value })} />}</Field>
              <Field label={t.tasks.folder} hint={t.tasks.folderHint}>{(control) => <Input {...control} maxLength={1024} autoComplete="off" value={form.folder} onChange={(event) => edit({ folder: event.target.value })} />}</Field>
              <Field label={t.tasks.user} hint={t.tasks.userHint}>{(control) => <Input {...control} maxLength={64} autoComplete="off" value={form.user} onChange={(event) => edit({ user: event.target.value })} />}</Field>
            </div>
            {form.outputLimit && <p className="mt-3 text-xs text-muted">{t.tasks.outputLimit(bytes(form.outputLimit))}</p>}
          </details>
        </Panel>
      </div>
      <Confirm
        open={asking}
        onOpenChange={setAsking}
        title={t.tasks.confirmTitle(number ?? 0)}
        action={t.tasks.start(number ?? 0)}
        busy={busy}
        {...(number !== null && number > TYPED_ABOVE && { typed: { expected: String(number), label: t.confirm.typeCount(number) } })}
        onConfirm={() => void run()}
      >
        {collected !== null ? t.tasks.collecting(collected) : t.tasks.confirmDetail}
        <span className="sr-only">{count(number ?? 0)}</span>
      </Confirm>
    </form>
  );
}

/** The audit log, searched by the server, live when nothing is filtered. */
import { EmptyState, Input, PageHeader } from "@unifyit/ui";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { ScrollText, SearchX } from "lucide-react";
import { useEffect, useState, type ReactElement } from "react";
import { useAudit } from "@/api/admin";
import { useScope } from "@/components/scope";
import { Failure } from "@/components/failure";
import { More } from "@/components/More";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";
import { AuditTable } from "./AuditTable";

const PAUSE_MS = 200;

export function AuditPage(): ReactElement {
  useTitle(t.audit.title);
  const { q = "", actor = "" } = useSearch({ from: "/shell/audit" });
  const navigate = useNavigate();
  const [text, setText] = useState(q);
  const [who, setWho] = useState(actor);
  useEffect(() => {
    if (text === q && who === actor) return;
    const timer = setTimeout(() => void navigate({ to: "/audit", replace: true, search: (before) => ({ ...before, q: text || undefined, actor: who || undefined }) as never }), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text, who, q, actor, navigate]);
  const query = useAudit(useScope(), q, actor);
  const items = query.data?.pages.flatMap((page) => page.items);
  const filtered = q !== "" || actor !== "";
  return (
    <>
      <PageHeader title={t.audit.title}>{t.audit.intro}</PageHeader>
      <div className="mx-4 mb-6 rounded-lg border border-line bg-surface md:mx-6">
        <div className="flex flex-wrap gap-2 border-b border-line px-4 py-2">
          <Input type="search" className="sm:max-w-72" aria-label={t.audit.search} placeholder={t.audit.search} value={text} onChange={(event) => setText(event.target.value)} />
          <Input type="search" className="sm:max-w-56" aria-label={t.audit.actor} placeholder={t.audit.actorHint} value={who} onChange={(event) => setWho(event.target.value)} />
        </div>
        {query.isError && !items ? (
          <Failure error={query.error} onRetry={() => void query.refetch()} />
        ) : items?.length === 0 ? (
          <EmptyState icon={filtered ? SearchX : ScrollText} title={filtered ? t.audit.noMatch : t.audit.emptyTitle}>{filtered ? t.audit.noMatchDetail : t.audit.emptyDetail}</EmptyState>
        ) : (
          <AuditTable items={items} />
        )}
        <More query={query} />
      </div>
    </>
  );
}

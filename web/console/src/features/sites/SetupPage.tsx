/** The guided first minutes: organization, site, relay line, agent line, charts. Each step says what it waits for and goes on by itself. Where one stands lives in the address. */
import { Bdi, Band, Button, buttonClass, Field, Input, PageHeader, Select, Spinner } from "@unifyit/ui";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import clsx from "clsx";
import { Check } from "lucide-react";
import { useState, type ReactElement, type ReactNode } from "react";
import { useDevices } from "@/api/devices";
import { useCreateOrganization, useCreateSite, useOrganizations, useSite, useSites } from "@/api/tenants";
import type { NewInstallToken, Site } from "@/api/types";
import { sentence } from "@/components/failure";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";
import { CreateLine, Line } from "./InstallLine";

const words = t.sites.setup;

function Step({ number, title, done, active, children }: { number: number; title: string; done: boolean; active: boolean; children?: ReactNode }) {
  return (
    <li className="relative flex gap-4 pb-6 last:pb-0" aria-current={active ? "step" : undefined}>
      <span className={clsx("absolute top-8 bottom-1 left-3.5 w-px", done ? "bg-ok-solid" : "bg-line")} aria-hidden />
      <span className={clsx("z-1 flex size-7 shrink-0 items-center justify-center rounded-full border text-xs font-semibold tnum", done ? "border-ok-solid bg-ok-soft text-ok" : active ? "border-accent bg-accent-soft text-accent" : "border-line-strong bg-surface text-faint")}>
        {done ? <Check className="size-4" aria-hidden /> : number}
      </span>
      <div className="min-w-0 flex-1 pt-0.5">
        <h2 className={clsx("text-sm font-semibold", !active && !done && "text-faint")}><span className="sr-only">{words.step(number)}: </span>{title}</h2>
        <div className="mt-2 flex flex-col gap-3" aria-live="polite">{children}</div>
      </div>
    </li>
  );
}

export function SetupPage(): ReactElement {
  useTitle(words.title);
  const search = useSearch({ from: "/shell/sites/setup" });
  return (
    <div className="mx-auto max-w-3xl pb-10">
      <PageHeader title={words.title}>{words.intro}</PageHeader>
      <ol className="mx-4 rounded-lg border border-line bg-surface p-5 md:mx-6">
        {search.site ? <Later siteId={search.site} /> : <Earlier organization={search.organization} />}
      </ol>
    </div>
  );
}

/** Before a site is chosen: organization and site. */
function Earlier({ organization }: { organization: string | undefined }) {
  const navigate = useNavigate();
  const organizations = useOrganizations();
  const chosen = organizations.data?.find((each) => each.id === organization);
  const go = (search: { organization?: string; site?: string }) => void navigate({ to: "/sites/setup", search: (before) => ({ ...before, ...search }) as never });
  return (
    <>
      <Step number={1} title={words.organization} done={chosen !== undefined} active={chosen === undefined}>
        {chosen ? <Bdi className="text-13">{chosen.name}</Bdi> : organizations.isPending ? <Spinner label={t.loading} /> : <ChooseOrganization onChosen={(id) => go({ organization: id })} />}
      </Step>
      <Step number={2} title={words.site} done={false} active={chosen !== undefined}>
        {chosen && <ChooseSite organizationId={chosen.id} onChosen={(id) => go({ organization: chosen.id, site: id })} />}
      </Step>
      <Step number={3} title={words.relay} done={false} active={false} />
      <Step number={4} title={words.agent} done={false} active={false} />
      <Step number={5} title={words.charts} done={false} active={false} />
    </>
  );
}

function ChooseOrganization({ onChosen }: { onChosen: (id: string) => void }) {
  const { data = [] } = useOrganizations();
  const create = useCreateOrganization();
  const [choice, setChoice] = useState(data[0]?.id ?? "new");
  const [name, setName] = useState("");
  const making = choice === "new" || data.length === 0;
  return (
    <form
      className="flex flex-wrap items-end gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        if (making) create.mutate({ name: name.trim() }, { onSuccess: (made) => onChosen(made.id) });
        else onChosen(choice);
      }}
    >
      {data.length > 0 && (
        <Field label={words.choose} className="w-56">
          {(control) => (
            <Select {...control} value={choice} onChange={(event) => setChoice(event.target.value)}>
              {data.map((each) => <option key={each.id} value={each.id}>{each.name}</option>)}
              <option value="new">{words.newOrganization}</option>
            </Select>
          )}
        </Field>
      )}
      {making && (
        <Field label={words.name} hint={words.organizationHint} error={create.isError ? sentence(create.error) : null} className="w-64">
          {(control) => <Input {...control} autoFocus maxLength={120} value={name} onChange={(event) => setName(event.target.value)} />}
        </Field>
      )}
      <Button type="submit" variant="primary" className={making ? "mb-5" : undefined} busy={create.isPending} disabled={making && name.trim() === ""}>{making ? words.create : words.useThis}</Button>
    </form>
  );
}

function ChooseSite({ organizationId, onChosen }: { organizationId: string; onChosen: (id: string) => void }) {
  const create = useCreateSite();
  const { data: sites = [] } = useSites();
  const [name, setName] = useState("");
  const waiting = sites.filter((site) => site.organization_id === organizationId && site.state === "no_relay");
  return (
    <>
      <form
        className="flex flex-wrap items-end gap-2"
        onSubmit={(event) => {
          event.preventDefault();
          create.mutate({ organization_id: organizationId, name: name.trim() }, { onSuccess: (made) => onChosen(made.id) });
        }}
      >
        <Field label={words.name} hint={words.siteHint} error={create.isError ? sentence(create.error) : null} className="w-64">
          {(control) => <Input {...control} autoFocus maxLength={120} value={name} onChange={(event) => setName(event.target.value)} />}
        </Field>
        <Button type="submit" variant="primary" className="mb-5" busy={create.isPending} disabled={name.trim() === ""}>{words.create}</Button>
      </form>
      {waiting.length > 0 && (
        <p className="flex flex-wrap items-center gap-2 text-13 text-muted">
          {t.sites.states.no_relay}:
          {waiting.slice(0, 6).map((site) => <Button key={site.id} size="sm" variant="ghost" onClick={() => onChosen(site.id)}><Bdi>{site.name}</Bdi></Button>)}
        </p>
      )}
    </>
  );
}

/** With a site: relay, agent, charts. */
function Later({ siteId }: { siteId: string }) {
  const { data: site, error } = useSite(siteId);
  if (error) return <li><Band tone="bad">{sentence(error)}</Band></li>;
  if (!site) return <li><Spinner label={t.loading} /></li>;
  return <WithSite site={site} />;
}

function WithSite({ site }: { site: Site }) {
  const devices = useDevices({ site_id: site.id, sort: "name" });
  const [relayLine, setRelayLine] = useState<NewInstallToken | null>(null);
  const [agentLine, setAgentLine] = useState<NewInstallToken | null>(null);
  const device = devices.data?.pages[0]?.items[0];
  // Enrolled is not connected: only with its first contact is it known where computers reach it. Later breaks take no step back.
  const relayUp = site.relay !== null && (site.relay.online || device !== undefined || agentLine !== null);
  const measured = device?.metrics_at != null;
  return (
    <>
      <Step number={1} title={words.organization} done active={false}><Bdi className="text-13 text-muted">{site.organization_name}</Bdi></Step>
      <Step number={2} title={words.site} done active={false}><Bdi className="text-13 text-muted">{site.name}</Bdi></Step>
      <Step number={3} title={words.relay} done={relayUp} active={!relayUp}>
        {relayUp ? (
          <Bdi className="text-13 text-muted">{words.relayDone(site.relay?.hostname ?? "")}</Bdi>
        ) : relayLine || site.relay ? (
          <>
            {relayLine && <Line siteId={site.id} token={relayLine} />}
            <Spinner label={words.relayWaiting} />
          </>
        ) : (
          <CreateLine siteId={site.id} kind="relay" onCreated={setRelayLine} />
        )}
      </Step>
      <Step number={4} title={words.agent} done={device !== undefined} active={relayUp && !device}>
        {device ? (
          <Bdi className="text-13 text-muted">{words.agentDone(device.name)}</Bdi>
        ) : (
          relayUp && (agentLine ? (
            <>
              <Line siteId={site.id} token={agentLine} />
              <Spinner label={words.agentWaiting} />
            </>
          ) : (
            <CreateLine siteId={site.id} kind="agent" onCreated={setAgentLine} />
          ))
        )}
      </Step>
      <Step number={5} title={words.charts} done={measured} active={device !== undefined && !measured}>
        {device && !measured && <Spinner label={words.chartsWaiting} />}
        {measured && (
          <>
            <p className="text-13">{words.done}. {words.addMore}</p>
            <div className="flex flex-wrap gap-2">
              <Link to="/devices/$deviceId" params={{ deviceId: device.id }} className={buttonClass("primary")}>{words.openDevice}</Link>
              <Link to="/sites/$siteId" params={{ siteId: site.id }} className={buttonClass()}>{words.openSite}</Link>
            </div>
          </>
        )}
      </Step>
    </>
  );
}

/** Tokens and components with their states, in both themes by the switch at the top. */
import { CircleCheck, CircleX, CloudOff, Inbox, Play, Search, TriangleAlert } from "lucide-react";
import { useState, type ReactNode } from "react";
import {
  Badge, Band, Button, Checkbox, CircleDashed, CopyButton, DeviceText, Dialog, EmptyState, ErrorState, Facts, Field, IconButton, Input, Kbd, Menu, MenuCheckItem, MenuItem, MenuLabel, MenuLine, Meter,
  PageHeader, Panel, Popover, Segmented, SegmentedBar, Select, setTheme, SidePanel, Skeleton, Spinner, StateBadge, Table, Td, Textarea, Th, Tip, toast, Tr, useTheme, type Tone,
} from "../index";

const surfaces = ["bg", "surface", "raised", "sunken", "hover", "line", "line-strong"];
const inks = ["text", "muted", "faint", "accent", "ok", "warn", "bad", "off", "info"];
const tones: readonly Tone[] = ["ok", "warn", "bad", "off", "info"];
const words = { retry: "Try again", request: "Request", copy: "Copy request id", copied: "Copied" };

function Row({ label, children }: { label: string; children: ReactNode }) {
  return (
    <div className="grid gap-2 border-b border-line/60 py-3 last:border-0 sm:grid-cols-[9rem_minmax(0,1fr)]">
      <span className="text-xs text-faint">{label}</span>
      <div className="flex flex-wrap items-center gap-3">{children}</div>
    </div>
  );
}

function Tokens() {
  return (
    <Panel title="Tokens">
      <Row label="Surfaces">{surfaces.map((name) => <span key={name} className="flex flex-col gap-1 text-xs"><span className="h-10 w-20 rounded-md border border-line" style={{ background: `var(--${name})` }} />{name}</span>)}</Row>
      <Row label="Text">{inks.map((name) => <span key={name} style={{ color: `var(--${name})` }}>{name} 0123</span>)}</Row>
      <Row label="Type"><span className="text-lg font-semibold">Title</span><span>Base 14 px</span><span className="text-13">Dense 13 px</span><span className="text-xs">Small 12 px</span><code className="font-mono text-xs">mono 0O1lI</code></Row>
      <Row label="Charts">{[1, 2, 3, 4, 5, 6].map((index) => <span key={index} className="h-1 w-16 rounded-full" style={{ background: `var(--chart-${index})` }} />)}</Row>
    </Panel>
  );
}

function Controls() {
  const [checked, setChecked] = useState(true);
  const [choice, setChoice] = useState("1h");
  return (
    <Panel title="Controls">
      {(["primary", "secondary", "ghost", "danger"] as const).map((variant) => (
        <Row key={variant} label={`Button, ${variant}`}>
          <Button variant={variant}>Rest</Button>
          <Button variant={variant} icon={<Play className="size-4" aria-hidden />}>Icon</Button>
          <Button variant={variant} busy>Busy</Button>
          <Button variant={variant} disabled>Disabled</Button>
          <Button variant={variant} size="sm">Small</Button>
          <Button variant={variant} size="lg">Large</Button>
        </Row>
      ))}
      <Row label="Icon button"><IconButton label="Search"><Search className="size-4" aria-hidden /></IconButton><IconButton label="Pressed" pressed><Search className="size-4" aria-hidden /></IconButton><IconButton label="Disabled" disabled><Search className="size-4" aria-hidden /></IconButton><CopyButton text="text" label="Copy" done="Copied" /><CopyButton withWord text="text" label="Copy line" done="Copied" /></Row>
      <Row label="Fields">
        <Field label="Name" hint="A hint." className="w-56">{(control) => <Input {...control} placeholder="Placeholder" />}</Field>
        <Field label="With an error" error="Say what to do." className="w-56">{(control) => <Input {...control} defaultValue="wrong" />}</Field>
        <Field label="Disabled" className="w-40">{(control) => <Input {...control} disabled defaultValue="fixed" />}</Field>
        <Field label="Choice" className="w-40">{(control) => <Select {...control}><option>One</option><option>Two</option></Select>}</Field>
        <Field label="Text" className="w-56">{(control) => <Textarea {...control} rows={2} />}</Field>
      </Row>
      <Row label="Checkbox"><Checkbox label="Off" checked={false} /><Checkbox label="On" checked={checked} onCheckedChange={setChecked} /><Checkbox label="Partly" checked="indeterminate" /><Checkbox label="Disabled" disabled checked={false} /></Row>
      <Row label="Segmented"><Segmented label="Range" value={choice} onChange={setChoice} options={[{ value: "1h", label: "1 h" }, { value: "6h", label: "6 h" }, { value: "24h", label: "24 h" }]} /></Row>
      <Row label="Keys"><Kbd>Ctrl</Kbd><Kbd>K</Kbd></Row>
    </Panel>
  );
}

function States() {
  return (
    <Panel title="States">
      <Row label="Badge"><StateBadge tone="ok" icon={CircleCheck} label="Online" /><StateBadge tone="off" icon={CircleDashed} label="Offline" /><StateBadge tone="warn" icon={CloudOff} label="Unreachable" /><StateBadge tone="bad" icon={CircleX} label="Failed" /></Row>
      <Row label="Badge, soft"><StateBadge soft tone="ok" icon={CircleCheck} label="Online" /><StateBadge soft tone="warn" icon={TriangleAlert} label="Degraded" />{tones.map((tone) => <Badge key={tone} tone={tone}>{tone}</Badge>)}</Row>
      <Row label="Meter">{[8, 57, 88, 97].map((value) => <Meter key={value} value={value} label={`Load ${value} %`} className="w-32" />)}</Row>
      <Row label="Segmented bar"><SegmentedBar className="w-full" label="Run" segments={[{ key: "ok", label: "OK", count: 240, tone: "ok" }, { key: "bad", label: "Failed", count: 12, tone: "bad" }, { key: "run", label: "Running", count: 30, tone: "info" }, { key: "wait", label: "Waiting", count: 18, tone: "off", waiting: true }]} /></Row>
      <Row label="Bands"><div className="flex w-full flex-col gap-2">{tones.map((tone) => <Band key={tone} tone={tone} action={<Button size="sm">Act</Button>}>A band says what is true of everything below it.</Band>)}</div></Row>
      <Row label="Loading"><Spinner label="Waiting for the relay" /><Skeleton className="h-5 w-40" /></Row>
      <Row label="Empty"><EmptyState icon={Inbox} title="Nothing here yet" action={<Button variant="primary">Begin</Button>}>Why it is empty, and what fills it.</EmptyState></Row>
      <Row label="Error"><ErrorState title="The device cannot be read" detail="Try again; if it fails again, report the request id." requestId="01HZX3M5K7Q2" onRetry={() => undefined} words={words} /></Row>
      <Row label="Device text"><span className="w-48"><DeviceText>{"a-very-long-host-name-that-does-not-fit.example.internal"}</DeviceText></span><span className="w-48"><DeviceText>{"مرحبا <b>not bold</b>"}</DeviceText></span><DeviceText>{null}</DeviceText></Row>
    </Panel>
  );
}

function Overlays() {
  const [dialog, setDialog] = useState(false);
  const [panel, setPanel] = useState(false);
  return (
    <Panel title="Overlays and tables">
      <Row label="Overlays">
        <Button onClick={() => setDialog(true)}>Dialog</Button>
        <Button onClick={() => setPanel(true)}>Side panel</Button>
        <Menu trigger={<Button>Menu</Button>}><MenuLabel>Label</MenuLabel><MenuItem>Item</MenuItem><MenuCheckItem checked>Checked</MenuCheckItem><MenuLine /><MenuItem danger>Dangerous</MenuItem><MenuItem disabled>Disabled</MenuItem></Menu>
        <Popover trigger={<Button>Popover</Button>} className="w-48 p-3">Anything small.</Popover>
        <Tip label="A tooltip adds"><Button>Tooltip</Button></Tip>
        <Button onClick={() => toast.success("Saved", { description: "A short message." })}>Toast</Button>
      </Row>
      <Row label="Facts"><div className="w-full"><Facts columns={2} items={[["Host name", "db-01"], ["Memory", "16 GiB"], ["System", "Debian GNU/Linux 12"], ["Up for", "4 d 3 h"]]} /></div></Row>
      <Row label="Table"><Table className="w-full" label="Example" head={<><Th>Name</Th><Th>State</Th><Th className="text-right">Count</Th></>}><Tr><Td>db-01</Td><Td><StateBadge tone="ok" icon={CircleCheck} label="Online" /></Td><Td className="text-right tnum">1,204</Td></Tr><Tr><Td>db-02</Td><Td><StateBadge tone="off" icon={CircleDashed} label="Offline" /></Td><Td className="text-right tnum">17</Td></Tr></Table></Row>
      <Dialog open={dialog} onOpenChange={setDialog} title="A dialog" description="It keeps the focus." closeLabel="Close" footer={<Button variant="primary" onClick={() => setDialog(false)}>Done</Button>}>Content.</Dialog>
      <SidePanel open={panel} onClose={() => setPanel(false)} title="A panel"><div className="p-4"><Button onClick={() => setPanel(false)}>Close</Button></div></SidePanel>
    </Panel>
  );
}

export function Showcase() {
  const { choice } = useTheme();
  return (
    <main className="min-h-full bg-bg pb-10">
      <PageHeader title="UnifyIT design system" actions={<Segmented label="Theme" value={choice} onChange={setTheme} options={[{ value: "light", label: "Light" }, { value: "dark", label: "Dark" }, { value: "system", label: "System" }]} />} />
      <div className="flex flex-col gap-4 px-4 md:px-6">
        <Tokens />
        <Controls />
        <States />
        <Overlays />
      </div>
    </main>
  );
}

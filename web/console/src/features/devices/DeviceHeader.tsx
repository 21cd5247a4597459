/** Who is it, is it healthy, what can I do. */
import { Bdi, Button, buttonClass, Dialog, Field, IconButton, Input, Menu, MenuItem, PageHeader, toast } from "@unifyit/ui";
import { Link, useNavigate } from "@tanstack/react-router";
import { Ellipsis, KeyRound, Pencil, Play, SquareTerminal, Trash2 } from "lucide-react";
import { useState } from "react";
import { useAllowReenrolment, useRevokeDevice, useUpdateDevice } from "@/api/devices";
import type { DeviceDetail } from "@/api/types";
import { Age } from "@/components/age";
import { Confirm } from "@/components/confirm";
import { sentence, toastFailure } from "@/components/failure";
import { DeviceStateBadge } from "@/components/states";
import { May } from "@/components/may";
import { t } from "@/strings";

export function DeviceHeader({ device }: { device: DeviceDetail }) {
  const [editing, setEditing] = useState(false);
  const [removing, setRemoving] = useState(false);
  const allow = useAllowReenrolment(device.id);
  const gone = device.state === "revoked";
  const users = device.machine.users;
  return (
    <PageHeader
      title={<Bdi title={device.name.slice(0, 500)}>{device.name.slice(0, 400)}</Bdi>}
      actions={
        <>
          {device.state === "online" && <May what="open_terminal"><Link to="/terminal" search={{ device: device.id }} className={buttonClass("primary")}><SquareTerminal className="size-4" aria-hidden />{t.devices.actions.terminal}</Link></May>}
          {!gone && <May what="run_tasks"><Link to="/tasks/new" search={{ devices: device.id }} className={buttonClass()}><Play className="size-4" aria-hidden />{t.devices.actions.run}</Link></May>}
          <May what="manage_devices">
          <Menu label={t.more} trigger={<IconButton label={t.more}><Ellipsis className="size-4" aria-hidden /></IconButton>}>
            <MenuItem icon={<Pencil className="size-4 text-faint" aria-hidden />} onSelect={() => setEditing(true)}>{t.devices.actions.rename}</MenuItem>
            {!gone && <MenuItem icon={<KeyRound className="size-4 text-faint" aria-hidden />} onSelect={() => allow.mutate(undefined, { onSuccess: () => toast.success(t.devices.reenrolmentAllowed), onError: toastFailure })}>{t.devices.actions.reenrol}</MenuItem>}
            {!gone && <MenuItem danger icon={<Trash2 className="size-4" aria-hidden />} onSelect={() => setRemoving(true)}>{t.devices.actions.remove}</MenuItem>}
          </Menu>
          </May>
        </>
      }
    >
      <span className="flex flex-wrap items-center gap-x-4 gap-y-1">
        <DeviceStateBadge state={device.state} />
        <Age at={device.last_seen} none={t.devices.neverSeen} />
        {device.os_name && <Bdi className="clip max-w-72">{device.os_name}</Bdi>}
        {device.address && <Bdi className="clip max-w-56 font-mono text-xs">{device.address}</Bdi>}
        <Link to="/sites/$siteId" params={{ siteId: device.site_id }} className="clip max-w-56 hover:underline"><Bdi>{device.site_name}</Bdi></Link>
        {users && <span className="clip max-w-56">{t.devices.users}: <Bdi>{users}</Bdi></span>}
        {device.agent_version && <span className="text-faint">{t.devices.columns.agent} <Bdi>{device.agent_version.slice(0, 40)}</Bdi></span>}
      </span>
      {editing && <EditDialog device={device} onClose={() => setEditing(false)} />}
      <RemoveDialog device={device} open={removing} onOpenChange={setRemoving} />
    </PageHeader>
  );
}

function EditDialog({ device, onClose }: { device: DeviceDetail; onClose: () => void }) {
  const update = useUpdateDevice(device.id);
  const [name, setName] = useState(device.name);
  const [tags, setTags] = useState(device.tags.join(", "));
  const list = [...new Set(tags.split(",").map((tag) => tag.trim()).filter(Boolean))];
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title={t.devices.editTitle}
      closeLabel={t.close}
      footer={
        <>
          <Button onClick={onClose}>{t.cancel}</Button>
          <Button variant="primary" type="submit" form="device-edit" busy={update.isPending} disabled={name.trim() === ""}>{t.save}</Button>
        </>
      }
    >
      <form
        id="device-edit"
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          update.mutate({ name: name.trim(), tags: list }, { onSuccess: () => (toast.success(t.saved), onClose()) });
        }}
      >
        <Field label={t.devices.name} error={update.isError ? sentence(update.error) : null}>{(control) => <Input {...control} autoFocus maxLength={200} value={name} onChange={(event) => setName(event.target.value)} />}</Field>
        <Field label={t.devices.tags} hint={t.devices.tagsHint}>{(control) => <Input {...control} value={tags} onChange={(event) => setTags(event.target.value)} />}</Field>
      </form>
    </Dialog>
  );
}

function RemoveDialog({ device, open, onOpenChange }: { device: DeviceDetail; open: boolean; onOpenChange: (open: boolean) => void }) {
  const revoke = useRevokeDevice();
  const navigate = useNavigate();
  return (
    <Confirm
      open={open}
      onOpenChange={onOpenChange}
      title={t.devices.removeTitle(device.name.slice(0, 80))}
      action={t.devices.actions.remove}
      danger
      busy={revoke.isPending}
      onConfirm={() =>
        revoke.mutate(device.id, {
          onSuccess: () => {
            onOpenChange(false);
            toast.success(t.devices.removed);
            void navigate({ to: "/devices" });
          },
          onError: toastFailure,
        })
      }
    >
      {t.devices.removeDetail}
    </Confirm>
  );
}

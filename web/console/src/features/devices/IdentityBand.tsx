/** Several computers use one device's identity: who they are, and what becomes of each. */
import { Band, Bdi, Button, toast } from "@unifyit/ui";
import { useState } from "react";
import { useForgetComputer, useSeparateIdentity } from "@/api/devices";
import type { DeviceDetail } from "@/api/types";
import { Age } from "@/components/age";
import { Confirm } from "@/components/confirm";
import { toastFailure } from "@/components/failure";
import { May } from "@/components/may";
import { t } from "@/strings";

export function IdentityBand({ device }: { device: DeviceDetail }) {
  const separate = useSeparateIdentity(device.id);
  const forget = useForgetComputer(device.id);
  const [gone, setGone] = useState<string>();
  // Older answers of the API, and caches of them, have no such list.
  const computers = device.computers ?? [];
  if (computers.length < 2) return null;
  const d = t.devices;
  return (
    <Band tone="bad">
      <div className="flex flex-col gap-2">
        <p>{d.sharedIdentity}</p>
        <ul className="flex flex-col gap-1">
          {computers.map((computer) => (
            <li key={computer.id} className="flex flex-wrap items-center gap-x-3 gap-y-1">
              <Bdi className="clip max-w-72 font-medium">{computer.hostname || d.unnamedComputer}</Bdi>
              <Bdi className="font-mono text-xs">{computer.address}</Bdi>
              <Age at={computer.last_seen} />
              <span className="text-faint">{computer.first ? d.servedComputer : d.waitingComputer}</span>
              <May what="manage_devices">
                <Button
                  size="sm"
                  busy={separate.isPending && separate.variables === computer.id}
                  onClick={() => separate.mutate(computer.id, { onSuccess: () => toast.success(d.separating), onError: toastFailure })}
                >
                  {d.separate}
                </Button>
                <Button size="sm" onClick={() => setGone(computer.id)}>{d.forgetComputer}</Button>
              </May>
            </li>
          ))}
        </ul>
      </div>
      <Confirm
        open={gone !== undefined}
        onOpenChange={() => setGone(undefined)}
        title={d.forgetTitle}
        action={d.forgetConfirm}
        busy={forget.isPending}
        onConfirm={() => {
          if (gone === undefined) return;
          forget.mutate(gone, {
            onSuccess: () => {
              setGone(undefined);
              toast.success(d.forgetting);
            },
            onError: toastFailure,
          });
        }}
      >
        {d.forgetBody}
      </Confirm>
    </Band>
  );
}

/** Audit entries as a table; details are data from anywhere and are shown as plain text. */
import { CopyButton, DeviceText, Skeleton, Table, Td, Th, Tr } from "@unifyit/ui";
import type { AuditItem } from "@/api/types";
import { Moment } from "@/components/age";
import { shortId } from "@/lib/format";
import { t } from "@/strings";

export function AuditTable({ items }: { items: readonly AuditItem[] | undefined }) {
  const c = t.audit.columns;
  return (
    <Table label={t.audit.title} head={<><Th>{c.at}</Th><Th>{c.actor}</Th><Th>{c.action}</Th><Th>{c.target}</Th><Th>{c.detail}</Th><Th className="max-lg:hidden">{c.request}</Th></>}>
      {!items && Array.from({ length: 10 }, (_, index) => <Tr key={index}><Td colSpan={6}><Skeleton className="h-4" /></Td></Tr>)}
      {items?.map((item) => (
        <Tr key={item.id}>
          <Td className="text-muted"><Moment at={item.at} /></Td>
          <Td><DeviceText className="max-w-28 lg:max-w-56">{item.actor || t.audit.system}</DeviceText></Td>
          <Td><span title={item.action.slice(0, 200)}><DeviceText className="max-w-28 lg:max-w-56">{t.actionWords(item.action)}</DeviceText></span></Td>
          <Td><DeviceText className="max-w-28 lg:max-w-36 xl:max-w-64">{item.target}</DeviceText></Td>
          <Td className="text-muted"><DeviceText className="max-w-28 lg:max-w-40 xl:max-w-80">{item.detail}</DeviceText></Td>
          <Td className="max-lg:hidden">
            {item.request_id && (
              <span className="flex items-center">
                <code className="font-mono text-xs text-faint">{shortId(item.request_id, 6, 4)}</code>
                <CopyButton size="sm" text={item.request_id} label={t.errors.copyRequest} done={t.copied} />
              </span>
            )}
          </Td>
        </Tr>
      ))}
    </Table>
  );
}

/** Who may sign in, and to what. */
import { Badge, Bdi, DeviceText, EmptyState, PageHeader, Skeleton, Table, Td, Th, Tr } from "@unifyit/ui";
import { Users } from "lucide-react";
import type { ReactElement } from "react";
import { useUsers } from "@/api/admin";
import { Age } from "@/components/age";
import { Failure } from "@/components/failure";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";

export function UsersPage(): ReactElement {
  useTitle(t.users.title);
  const query = useUsers();
  const items = query.data?.items;
  const c = t.users.columns;
  return (
    <>
      <PageHeader title={t.users.title} />
      <div className="mx-4 mb-6 rounded-lg border border-line bg-surface md:mx-6">
        {query.isError && !items ? (
          <Failure error={query.error} onRetry={() => void query.refetch()} />
        ) : items?.length === 0 ? (
          <EmptyState icon={Users} title={t.users.emptyTitle} />
        ) : (
          <Table label={t.users.title} head={<><Th>{c.name}</Th><Th>{c.email}</Th><Th>{c.role}</Th><Th className="max-sm:hidden">{c.scope}</Th><Th>{c.signedIn}</Th></>}>
            {!items && [0, 1, 2].map((row) => <Tr key={row}><Td colSpan={5}><Skeleton className="h-4" /></Td></Tr>)}
            {items?.map((user) => (
              <Tr key={user.id}>
                <Td><DeviceText className="font-medium">{user.name}</DeviceText></Td>
                <Td><DeviceText>{user.email}</DeviceText></Td>
                <Td><span className="flex items-center gap-2">{user.role}{user.disabled && <Badge tone="warn">{t.users.disabled}</Badge>}</span></Td>
                <Td className="text-muted max-sm:hidden"><Bdi className="clip block">{[...new Set([t.users.scopes[user.scope_kind] ?? user.scope_kind, user.scope_name])].filter(Boolean).join(": ")}</Bdi></Td>
                <Td className="text-muted"><Age at={user.last_login_at} /></Td>
              </Tr>
            ))}
          </Table>
        )}
      </div>
    </>
  );
}

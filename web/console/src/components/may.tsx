/** Shows something only to who may use it. The cloud decides again on every request; this keeps dead ends off the screen. */
import type { ReactNode } from "react";
import { useMay } from "@/api/session";
import type { Capability } from "@/api/types";

export function May({ what, children }: { what: Capability; children: ReactNode }): ReactNode {
  return useMay(what) ? children : null;
}

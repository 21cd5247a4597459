/** The document's title, so that browser tabs and history can be told apart. */
import { useEffect } from "react";
import { t } from "@/strings";

export function useTitle(title: string | undefined): void {
  useEffect(() => {
    document.title = title ? `${title} · ${t.product}` : t.product;
  }, [title]);
}

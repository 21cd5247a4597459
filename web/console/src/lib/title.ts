/** The document's title, so that browser tabs and history can be told apart. */
import { tame } from "@unifyit/ui";
import { useEffect } from "react";
import { t } from "@/strings";

/** Longest part of it that comes from outside. */
const MOST = 200;

export function useTitle(title: string | undefined): void {
  useEffect(() => {
    document.title = title ? `${tame(title).slice(0, MOST)} · ${t.product}` : t.product;
  }, [title]);
}

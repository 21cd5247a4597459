/** Fetches the next page of a list when it comes into view, and by a button for keyboards. */
import { Button } from "@unifyit/ui";
import { useEffect, useRef } from "react";
import { t } from "@/strings";

export function More({ query }: { query: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => unknown } }) {
  const mark = useRef<HTMLDivElement>(null);
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = query;
  useEffect(() => {
    const element = mark.current;
    if (!element || !hasNextPage || isFetchingNextPage) return;
    const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && void fetchNextPage(), { rootMargin: "400px" });
    observer.observe(element);
    return () => observer.disconnect();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  if (!hasNextPage) return null;
  return <div ref={mark} className="flex justify-center p-3"><Button size="sm" busy={isFetchingNextPage} onClick={() => void fetchNextPage()}>{t.loadMore}</Button></div>;
}

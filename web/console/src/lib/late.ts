/** For what is said only when it lasts: a short wait says nothing. */
import { useEffect, useState } from "react";

/** Whether `on` has been so for `ms` by now. */
export function useLate(on: boolean, ms: number): boolean {
  const [late, setLate] = useState(false);
  useEffect(() => {
    if (!on) return undefined;
    const timer = setTimeout(() => setLate(true), ms);
    return () => {
      clearTimeout(timer);
      setLate(false);
    };
  }, [on, ms]);
  return on && late;
}

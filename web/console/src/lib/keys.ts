/**
 * Keyboard shortcuts. A key never fires while someone types, nor with a
 * modifier, nor while a dialog is open above the screen that bound it.
 */
import { useEffect, useRef } from "react";

/** Keys (as `KeyboardEvent.key`) and what they do. */
export type Bindings = Record<string, (event: KeyboardEvent) => void>;

/** Whether the focus is where letters are text. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [role=textbox], .xterm, .cm-editor") !== null;
}

/** Binds keys while the component is mounted and `enabled`. */
export function useKeys(bindings: Bindings, enabled = true): void {
  const latest = useRef(bindings);
  useEffect(() => {
    latest.current = bindings;
  });
  useEffect(() => {
    if (!enabled) return;
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      if (isTyping(event.target)) return;
      if (document.querySelector("[role=dialog][data-state=open]:not([data-panel]), [role=alertdialog][data-state=open], [role=menu][data-state=open]")) return;
      const binding = latest.current[event.key];
      if (!binding) return;
      binding(event);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [enabled]);
}

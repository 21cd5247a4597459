import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { intent } from "./intent";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("acts once the pointer rests or the focus stays, not for what passes by", () => {
  const acted: string[] = [];
  const first = intent(() => acted.push("first"));
  const second = intent(() => acted.push("second"));
  first.onPointerEnter();
  vi.advanceTimersByTime(40);
  first.onPointerLeave();
  second.onPointerEnter();
  vi.advanceTimersByTime(40);
  expect(acted).toEqual([]);
  vi.advanceTimersByTime(10);
  expect(acted).toEqual(["second"]);
  first.onFocus();
  first.onBlur();
  vi.advanceTimersByTime(1_000);
  first.onFocus();
  vi.advanceTimersByTime(50);
  expect(acted).toEqual(["second", "first"]);
});

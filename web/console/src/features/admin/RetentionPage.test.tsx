import { TooltipProvider } from "@unifyit/ui";
import { act } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Retention } from "@/api/types";
import { RetentionPage } from "./RetentionPage";

const kept: Retention = { tasks_days: 365, output_days: 90, audit_days: 400, metrics_minute_days: 30, metrics_quarter_days: 365, metrics_hour_days: 1825 };
const state = {
  partners: { data: undefined as { id: string; name: string }[] | undefined, isPending: true, isError: false, refetch: vi.fn() },
  retention: { data: kept, dataUpdatedAt: 1, isError: false, refetch: vi.fn() },
  mutate: vi.fn(),
};
vi.mock("@/api/session", () => ({ useUser: () => ({ scope: { kind: "platform", id: null } }) }));
vi.mock("@/api/tenants", () => ({ usePartners: () => state.partners }));
vi.mock("@/api/admin", () => ({
  useRetention: () => state.retention,
  useSetRetention: () => ({ mutate: state.mutate, isPending: false, isError: false, error: null }),
}));

let root: Root;
let page: HTMLElement;
const show = () => act(async () => root.render(<TooltipProvider><RetentionPage /></TooltipProvider>));
const first = () => page.querySelector<HTMLInputElement>("input[inputmode=numeric]");

beforeEach(() => {
  Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });
  page = document.body.appendChild(document.createElement("div"));
  root = createRoot(page);
  state.partners = { ...state.partners, data: [{ id: "p", name: "P" }], isPending: false };
  state.retention = { ...state.retention, data: kept, dataUpdatedAt: 1 };
});
afterEach(async () => {
  await act(async () => root.unmount());
  page.remove();
});

function type(input: HTMLInputElement, text: string) {
  return act(async () => {
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value")?.set?.call(input, text);
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

it("shows that partners are being loaded, and says when there is none", async () => {
  state.partners = { ...state.partners, data: undefined, isPending: true };
  await show();
  expect(page.querySelector("section, [class*=h-64]")).not.toBeNull();
  expect(page.textContent).not.toContain("No partner yet");
  state.partners = { ...state.partners, data: [], isPending: false };
  await show();
  expect(page.textContent).toContain("No partner yet");
});

it("keeps what was typed, and an open question, when the numbers are fetched anew", async () => {
  await show();
  const input = first();
  if (!input) throw new Error("no field");
  expect(input.value).toBe("365");
  await type(input, "100");
  const form = page.querySelector("form");
  await act(async () => form?.requestSubmit());
  expect(document.body.textContent).toContain("Keep less?");
  state.retention = { ...state.retention, data: { ...kept, output_days: 80 }, dataUpdatedAt: 2 };
  await show();
  expect(first()).toBe(input);
  expect(input.value).toBe("100");
  expect([...page.querySelectorAll<HTMLInputElement>("input[inputmode=numeric]")].map((each) => each.value)).toContain("80");
  expect(document.body.textContent).toContain("Keep less?");
});

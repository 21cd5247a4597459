import { beforeEach, describe, expect, it } from "vitest";
import { keepForReload, keptForReload } from "./reload";

describe("terminals over a reload", () => {
  beforeEach(() => sessionStorage.clear());
  it("come back by device and name, and by nothing else", () => {
    keepForReload([{ deviceId: "d1", name: "web-1", state: "connected" } as { deviceId: string; name: string }]);
    expect(keptForReload()).toEqual([{ deviceId: "d1", name: "web-1" }]);
  });
  it("are forgotten when the last is closed", () => {
    keepForReload([{ deviceId: "d1", name: "web-1" }]);
    keepForReload([]);
    expect(keptForReload()).toEqual([]);
  });
  it("ignore what is not theirs", () => {
    for (const text of ["{", "7", '[null,{"deviceId":3,"name":"x"}]']) {
      sessionStorage.setItem("unifyit.terminals", text);
      expect(keptForReload()).toEqual([]);
    }
  });
});

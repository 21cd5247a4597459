import { describe, expect, it } from "vitest";
import { columnOf, defaultColumns, parseColumns } from "./columns";

/** The narrowest a column may be, in rem. */
const least = (width: string) => Number(/^(?:minmax\()?([\d.]+)rem/.exec(width)?.[1]);

describe("columns of the devices list", () => {
  it("are the usual ones unless an address names others", () => {
    expect(parseColumns(undefined, false)).toEqual(defaultColumns);
    expect(parseColumns("cpu,nonsense,name,cpu", false)).toEqual(["cpu", "name"]);
    expect(parseColumns("cpu", true)).toEqual(["name", "cpu"]);
  });

  it("fit beside the navigation of a tablet when nobody chose them", () => {
    const box = 2.75;
    const needed = parseColumns(undefined, true).reduce((sum, id) => sum + least(columnOf(id)?.width ?? ""), box);
    expect(needed * 16).toBeLessThanOrEqual(768 - 48);
  });
});

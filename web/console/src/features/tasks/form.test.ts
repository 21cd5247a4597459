import { describe, expect, it } from "vitest";
import type { ScriptTold } from "@/api/types";
import { action, again, blank, problemOf } from "./form";

const old: ScriptTold = { interpreter: "sh", body: "rm -rf \"$DIR\"/cache", args: ["a", "b"], env_names: ["DIR", "TOKEN"], folder: "/srv", output_limit: 4096, timeout_s: 120, user: "www" };

describe("running an earlier script again", () => {
  it("takes over everything that is told of it", () => {
    const { env, ...rest } = action({ ...again("Clean", old), env: "DIR=/srv/a=b\nTOKEN=x" });
    expect(rest).toEqual({ kind: "script", interpreter: "sh", body: old.body, args: ["a", "b"], folder: "/srv", output_limit: 4096, timeout_s: 120, user: "www" });
    expect(env).toEqual({ DIR: "/srv/a=b", TOKEN: "x" });
  });
  it("names the variables whose values are told to nobody, and does not run without them", () => {
    const form = again(null, old);
    expect(form.asked).toEqual(["DIR", "TOKEN"]);
    expect(problemOf(form)).toContain("DIR, TOKEN");
    expect(problemOf({ ...form, env: "DIR=/srv\nTOKEN=" })).not.toContain("DIR");
    expect(problemOf({ ...form, env: "DIR=/srv" })).toBeNull();
  });
  it("refuses a line that is no variable", () => {
    expect(problemOf({ ...blank(), body: "true", env: "DIR" })).not.toBeNull();
    expect(problemOf({ ...blank(), body: "true", env: "=x" })).not.toBeNull();
    expect(problemOf({ ...blank(), body: "true", env: "EMPTY=" })).toBeNull();
  });
});

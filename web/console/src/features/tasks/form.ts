/** What the form of a new task holds, what is taken over from an earlier task, and what becomes of it. Nothing of an earlier task is left out without a word. */
import type { Interpreter, ScriptAction, ScriptTold } from "@/api/types";
import { recall } from "@/lib/storage";
import { t } from "@/strings";

export const interpreters: readonly Interpreter[] = ["bash", "sh", "python", "pwsh"];
export const starters: Record<Interpreter, string> = { bash: "#!/usr/bin/env bash\nset -euo pipefail\n\n", sh: "#!/bin/sh\nset -eu\n\n", python: "", pwsh: "$ErrorActionPreference = 'Stop'\n\n" };
const LONGEST_SCRIPT = 128 * 1024;

export interface Form {
  name: string;
  interpreter: Interpreter;
  body: string;
  args: string;
  /** Variables, NAME=value, one a line. */
  env: string;
  /** Names of variables that an earlier task had: their values are shown to nobody. */
  asked: readonly string[];
  user: string;
  folder: string;
  /** Bytes of output kept, where an earlier task said so. */
  outputLimit: number | null;
  timeout: number;
  expires: number;
}

export function blank(): Form {
  const interpreter = recall<Interpreter>("task.interpreter", "bash");
  const known = interpreters.includes(interpreter) ? interpreter : "bash";
  return { name: "", interpreter: known, body: starters[known], args: "", env: "", asked: [], user: "", folder: "", outputLimit: null, timeout: 900, expires: 3600 };
}

/** The form that runs an earlier task's script again. */
export function again(name: string | null, old: ScriptTold): Form {
  const asked = old.env_names ?? [];
  return {
    ...blank(),
    name: name ?? "",
    interpreter: old.interpreter,
    body: old.body ?? "",
    args: (old.args ?? []).join("\n"),
    env: asked.map((variable) => `${variable}=`).join("\n"),
    asked,
    user: old.user ?? "",
    folder: old.folder ?? "",
    outputLimit: old.output_limit || null,
    timeout: old.timeout_s || 3600,
  };
}

function lines(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}

function variables(form: Form): [string, string][] {
  return lines(form.env).map((line) => {
    const at = line.indexOf("=");
    return [at < 0 ? "" : line.slice(0, at), line.slice(at + 1)];
  });
}

/** What keeps the script from being run, if anything does. */
export function problemOf(form: Form): string | null {
  if (form.body.trim() === "" || form.body === starters[form.interpreter]) return t.tasks.noBody;
  if (new Blob([form.body]).size > LONGEST_SCRIPT) return t.tasks.tooLong;
  const env = variables(form);
  if (env.some(([name]) => name === "")) return t.tasks.envMalformed;
  const empty = env.filter(([name, value]) => value === "" && form.asked.includes(name)).map(([name]) => name);
  return empty.length > 0 ? t.tasks.envEmpty(empty) : null;
}

export function action(form: Form): ScriptAction {
  const args = lines(form.args);
  const env = variables(form);
  return {
    kind: "script",
    interpreter: form.interpreter,
    body: form.body,
    timeout_s: form.timeout,
    ...(args.length > 0 && { args }),
    ...(env.length > 0 && { env: Object.fromEntries(env) }),
    ...(form.user.trim() && { user: form.user.trim() }),
    ...(form.folder.trim() && { folder: form.folder.trim() }),
    ...(form.outputLimit && { output_limit: form.outputLimit }),
  };
}

/**
 * Programs of the product that the journey itself starts: a second site's relay
 * and agent, and simulated devices. Each lives in a folder of its own and ends
 * with the journey, whatever becomes of it.
 */
import { spawn } from "node:child_process";
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { must, until } from "./support.mjs";

/** The listeners of a relay; the system chooses free ports. */
const RELAY_SETTINGS = `names = ["127.0.0.1"]
[listen]
mqtt = "127.0.0.1:0"
https = "127.0.0.1:0"
ui = "127.0.0.1:0"
admin = "127.0.0.1:0"
cache = "127.0.0.1:0"
`;

/** Starts programs from `bin`, with their state and logs under `folder`. */
export function programs(bin, folder) {
  const running = new Set();

  const start = (program, args, log, env = {}) => {
    const out = openSync(join(folder, `${log}.log`), "a", 0o600);
    // The kernel ends it when the journey is gone.
    const child = spawn("setpriv", ["--pdeathsig", "TERM", "--", join(bin, program), ...args], { stdio: ["ignore", out, out], env: { ...process.env, ...env } });
    running.add(child);
    const ended = new Promise((done) => {
      child.once("error", () => done(-1));
      child.once("exit", (code) => done(code ?? -1));
    }).finally(() => running.delete(child));
    return { child, ended, log: () => readFileSync(join(folder, `${log}.log`), "utf8").trim().split("\n").slice(-8).join("\n") };
  };

  const finish = async (program, args, log) => {
    const { ended, log: tail } = start(program, args, log);
    must((await ended) === 0, `${program} ${args.at(-1)?.slice(0, 20)}: ${tail()}`);
  };

  const stop = async ({ child, ended }) => {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 20_000);
    await ended;
    clearTimeout(late);
  };

  /** The agent sets package managers up for the site's cache: not this machine's. */
  const agentSettings = (state) => {
    const root = join(state, "root");
    mkdirSync(root, { mode: 0o700 });
    return `root = ${JSON.stringify(root)}\n`;
  };

  /** A relay or an agent with its own state, as two copied lines would set it up. */
  const service = (program, name, settings) => {
    const state = join(folder, name);
    mkdirSync(state, { recursive: true, mode: 0o700 });
    const file = join(state, "settings.toml");
    writeFileSync(file, settings(state), { mode: 0o600 });
    const flags = ["--config", file, "--state", state];
    let process = null;
    return {
      state,
      enroll: (token, ...more) => finish(program, [...flags, "enroll", "--token", token, ...more], name),
      start: () => {
        process = start(program, [...flags, "run"], name);
      },
      stop: async () => {
        must(process, `${name} was not started`);
        await stop(process);
        process = null;
      },
      /** Where it listens, once it does. */
      runtime: () =>
        until(`${name} to listen`, () => {
          try {
            return JSON.parse(readFileSync(join(state, "runtime.json"), "utf8"));
          } catch {
            return null;
          }
        }),
    };
  };

  return {
    relay: (name) => service("unifyit-relay", name, () => RELAY_SETTINGS),
    agent: (name) => service("unifyit-agent", name, agentSettings),
    simulate: (token, ...args) => start("unifyit-sim", args, "simulated", { UNIFYIT_TOKEN: token }),
    stopAll: () => Promise.all([...running].map((child) => new Promise((done) => (child.once("exit", done), child.kill("SIGTERM"))))),
  };
}

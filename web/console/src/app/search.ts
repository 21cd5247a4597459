/** What each address may carry in its query string. Unknown or malformed parts are dropped, never an error. */

type Raw = Record<string, unknown>;

function text(raw: Raw, key: string): string | undefined {
  const value = raw[key];
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  return typeof value === "string" && value !== "" && value.length <= 4000 ? value : undefined;
}

function whole(raw: Raw, key: string): number | undefined {
  const value = Number(raw[key]);
  return raw[key] !== undefined && Number.isFinite(value) ? Math.trunc(value) : undefined;
}

/** Leaves undefined keys out, so that addresses stay short. */
function compact<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as never;
}

/** Only an address on this console may follow a sign-in. */
function localAddress(value: string | undefined): string | undefined {
  return value && /^\/(?![/\\])/.test(value) ? value : undefined;
}

export const signIn = (raw: Raw) => compact({ next: localAddress(text(raw, "next")) });

export const shell = (raw: Raw) => {
  const scope = text(raw, "scope");
  return compact({ scope: scope && /^(org|site|partner):[0-9a-zA-Z-]+$/.test(scope) ? scope : undefined });
};

export const devices = (raw: Raw) =>
  compact({
    q: text(raw, "q"), state: text(raw, "state"), os: text(raw, "os"), site: text(raw, "site"), tag: text(raw, "tag"),
    sort: text(raw, "sort"), cols: text(raw, "cols"), peek: text(raw, "peek"),
  });

export const device = (raw: Raw) =>
  compact({ tab: text(raw, "tab"), range: text(raw, "range"), from: whole(raw, "from"), to: whole(raw, "to"), q: text(raw, "q") });

export const newTask = (raw: Raw) =>
  compact({ devices: text(raw, "devices"), draft: text(raw, "draft"), match: text(raw, "match"), site: text(raw, "site"), from: text(raw, "from") });

export const task = (raw: Raw) => compact({ device: text(raw, "device"), view: text(raw, "view"), status: text(raw, "status") });

export const terminal = (raw: Raw) => compact({ device: text(raw, "device") });

export const setup = (raw: Raw) => compact({ organization: text(raw, "organization"), site: text(raw, "site") });

export const site = (raw: Raw) => compact({ tab: text(raw, "tab") });

export const tasks = (raw: Raw) => compact({ q: text(raw, "q"), status: text(raw, "status") });

export const audit = (raw: Raw) => compact({ q: text(raw, "q"), actor: text(raw, "actor") });

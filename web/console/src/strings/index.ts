/** Every word the console says, in one catalogue, by domain. Sentences with values are functions. */
import { actionWords } from "./actions";
import { admin } from "./admin";
import { common } from "./common";
import { devices } from "./devices";
import { metrics } from "./metrics";
import { packageCache } from "./packageCache";
import { shell } from "./shell";
import { sites } from "./sites";
import { tasks } from "./tasks";
import { terminal } from "./terminal";

export const t = { ...common, ...shell, devices, metrics, packageCache, sites, tasks, terminal, ...admin, actionWords } as const;

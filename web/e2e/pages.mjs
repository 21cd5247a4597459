/** The console's pages, and how a script signs in; shared by screenshots and axe. */

/** Debian's Chromium, as this machine runs it. */
export const launch = (chromium) =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });

/** Signs in and returns a function that reads the API as the page would. */
export async function signIn(page, url, email, password) {
  await page.goto(`${url}/sign-in`);
  await page.waitForSelector("form, #main");
  if (await page.locator("input[name=email]").count()) {
    await page.fill("input[name=email]", email);
    await page.fill("input[name=password]", password);
    await page.keyboard.press("Enter");
  }
  await page.waitForSelector("#main");
  return (path, init) => page.evaluate(async ([path, init]) => (await fetch(`/api/v1${path}`, init)).json(), [path, init]);
}

/** Pages by name and address. */
export async function pagesOf(api) {
  const devices = (await api("/devices?limit=60&sort=name")).items;
  const sites = (await api("/sites?limit=50")).items;
  const device = devices.find((each) => each.state === "online" && /^\w/.test(each.name) && each.name.length < 40) ?? devices[0];
  const lost = devices.find((each) => each.state === "unreachable");
  const site = sites.find((each) => each.state !== "no_relay") ?? sites[0];
  const tasks = (await api("/tasks?limit=5")).items;
  const task = [...tasks].sort((a, b) => b.total - a.total)[0];
  const list = [
    ["overview", "/"], ["devices", "/devices"], ["tasks", "/tasks"], ["new-task", device ? `/tasks/new?devices=${device.id}` : "/tasks/new"], ["sites", "/sites"], ["setup", "/sites/setup"],
    ["terminal", "/terminal"], ["audit", "/audit"], ["api-keys", "/admin/api-keys"], ["users", "/admin/users"], ["missing", "/devices/00000000-0000-7000-8000-000000000000"],
    ["devices-nomatch", "/devices?q=zzzzzz"],
  ];
  if (device) {
    for (const tab of ["overview", "metrics", "hardware", "software", "services", "network", "tasks", "timeline", "audit"]) list.push([`device-${tab}`, `/devices/${device.id}?tab=${tab}`]);
    list.push(["devices-peek", `/devices?peek=${device.id}`], ["terminal-open", `/terminal?device=${device.id}`]);
  }
  if (lost) list.push(["device-lost", `/devices/${lost.id}`]);
  if (site) for (const tab of ["overview", "cache", "install", "settings"]) list.push([`site-${tab}`, `/sites/${site.id}?tab=${tab}`]);
  const bare = sites.find((each) => each.state === "no_relay");
  if (bare) list.push(["site-cache-empty", `/sites/${bare.id}?tab=cache`]);
  if (task) list.push(["task", `/tasks/${task.id}`], ["task-devices", `/tasks/${task.id}?view=devices`], ["task-output", `/tasks/${task.id}?device=${(await api(`/tasks/${task.id}`)).targets[0]?.device_id}`]);
  return list;
}

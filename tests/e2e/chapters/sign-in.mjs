/** The first sign-in, and what the overview then says. */
import { hostname } from "node:os";
import { must, signInByKeys, until } from "../support.mjs";

export default async function signIn({ step, page, main, get, go, stack, found }) {
  await step("a wrong password is refused in words", page, async () => {
    await page.goto(`${stack.console}/devices`);
    await page.locator("input[name=email]").fill(stack.email);
    await page.locator("input[name=password]").fill("not the password");
    await page.keyboard.press("Enter");
    await page.getByText("Email or password is wrong.").waitFor();
  });

  await step("first sign-in, by keyboard alone", page, async () => {
    await page.goto(`${stack.console}/sign-in`);
    await signInByKeys(page, stack);
    await main.waitFor();
    found.all = await until("every device has joined", async () => {
      const { devices } = await get("/overview");
      return devices.total > Number(process.env.DEVICES ?? 0) && devices.online === devices.total && devices.total;
    }, 60_000);
    found.real = (await get(`/devices?q=${encodeURIComponent(hostname())}&limit=5`)).items.find((device) => device.hostname === hostname());
    must(found.real, "the real agent is not in the list");
  });

  await step("the overview counts the devices and says what happened in words", page, async () => {
    await go("/");
    await until("the count of devices online", async () => new RegExp(`\\b${found.all}\\s*Online`).test(await main.innerText()));
    await main.getByText(/Connected|Joined|Signed in/).first().waitFor();
    must(!/\b(user\.login|device\.enroll|device\.online)\b/.test(await main.innerText()), "a raw verb is shown");
  });
}

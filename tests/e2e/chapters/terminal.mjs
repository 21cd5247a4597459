/** The terminal: colours, the window's size, a full-screen program, leaving. */
import { must, until } from "../support.mjs";

export default async function terminal({ step, page, go, found }) {
  /** The text that the terminal shows, one line a row. */
  const screen = () => page.locator(".xterm-rows > div").evaluateAll((rows) => rows.map((row) => (row.textContent ?? "").replaceAll("\u00a0", " ").trimEnd()).join("\n"));
  const shows = (what, pattern) => until(what, async () => pattern.exec(await screen()));
  const size = async (mark) => {
    await page.keyboard.type(`echo ${mark}=$(stty size | tr ' ' x)\n`);
    return (await shows(`the size ${mark}`, new RegExp(`^${mark}=(\\d+x\\d+)`, "m")))[1];
  };

  await step("a terminal draws colours, follows the window, and runs less", page, async () => {
    await go(`/terminal?device=${found.real.id}`);
    await page.getByRole("status").getByText("Connected").waitFor();
    await page.locator(".xterm-helper-textarea").focus();
    await shows("a prompt", /[#$%>]\s*$/m);
    await page.keyboard.type("printf '\\033[31mred\\033[0m\\n'\n");
    await until("red text", () => page.locator(".xterm-rows .xterm-fg-1", { hasText: /^red$/ }).count());
    const wide = await size("before");
    await page.setViewportSize({ width: 1000, height: 620 });
    let tries = 0;
    const narrow = await until("a smaller terminal on the device", async () => {
      const now = await size(`after${(tries += 1)}`);
      return now !== wide && now;
    });
    must(Number(narrow.split("x")[1]) < Number(wide.split("x")[1]), `${wide} became ${narrow}`);
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.keyboard.type("seq 1 5000 | less\n");
    await shows("the first page of less", /^1\n2\n3\n/);
    await page.keyboard.press("G");
    await shows("the end in less", /^5000\n.*END/m);
    await page.keyboard.press("q");
    await shows("what was there before less", /after1=\d+x\d+/);
    await page.keyboard.type("exit\n");
    await page.getByRole("status").getByText(/^Closed/).waitFor();
  });
}

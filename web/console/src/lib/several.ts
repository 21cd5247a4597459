/** Several values of one filter, as the address and the API write them: separated by commas. */

/** The values; none for no filter. */
export function several(text: string | undefined): readonly string[] {
  return (text ?? "").split(",").filter((each) => each !== "");
}

/** The text with a value added, or taken out when it was there. */
export function toggled(text: string | undefined, value: string): string | undefined {
  const before = several(text);
  const after = before.includes(value) ? before.filter((each) => each !== value) : [...before, value];
  return after.length > 0 ? after.join(",") : undefined;
}

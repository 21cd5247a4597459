/** Icons that the icon library draws in many strokes: lists show hundreds at once, and each stroke is laid out by itself. */
import { createLucideIcon } from "lucide-react";

/** A circle of eight dashes, each centred on a direction of the compass, in one stroke. */
export const CircleDashed = createLucideIcon("circle-dashed", [["circle", { cx: 12, cy: 12, r: 10, pathLength: 64, strokeDasharray: "3.9 4.1", strokeDashoffset: 1.95, key: "dashes" }]]);

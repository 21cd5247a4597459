/** The page that shows every component in all its states. `npm run dev -w ui`; it is no part of the product. */
import "../styles.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { startTheme, TooltipProvider, Toaster } from "../index";
import { Showcase } from "./Showcase";

startTheme();
const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <TooltipProvider>
      <Showcase />
      <Toaster />
    </TooltipProvider>
  </StrictMode>,
);

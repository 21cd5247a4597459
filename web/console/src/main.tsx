/** Starts the console: theme, query client, session, router. */
import "./styles.css";
import { startTheme, Toaster, TooltipProvider } from "@unifyit/ui";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { startTransition, StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createClient } from "./api/client";
import { bindSession } from "./api/session";
import { createConsoleRouter } from "./app/router";
import { frequentFormats } from "./lib/format";
import { frequentTimes } from "./lib/time";

const client = createClient();
bindSession(client);
startTheme();
const router = createConsoleRouter(client);
const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");

// In slices, between which the browser answers to a person.
startTransition(() =>
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <TooltipProvider>
          <RouterProvider router={router} />
          <Toaster />
        </TooltipProvider>
      </QueryClientProvider>
    </StrictMode>,
  ),
);

// Made while the first answers are on their way: every screen that shows them needs these.
for (const make of [...frequentFormats, ...frequentTimes]) setTimeout(make);

/** Starts the console: theme, query client, session, router. */
import "./styles.css";
import { startTheme, Toaster, TooltipProvider } from "@unifyit/ui";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createClient } from "./api/client";
import { bindSession } from "./api/session";
import { createConsoleRouter } from "./app/router";

const client = createClient();
bindSession(client);
startTheme();
const router = createConsoleRouter(client);
const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");

createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <TooltipProvider>
        <RouterProvider router={router} />
        <Toaster />
      </TooltipProvider>
    </QueryClientProvider>
  </StrictMode>,
);

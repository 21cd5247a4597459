/* Sets the theme before the first paint. Served as a file: inline scripts are
   blocked. Keys and values are shared with theme.ts. */
(function () {
  var choice = "system";
  try {
    choice = localStorage.getItem("unifyit.theme") || "system";
  } catch {
    /* Storage may be forbidden; the system's theme is used then. */
  }
  var dark = choice === "dark" || (choice !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();

import js from "@eslint/js";
import globals from "globals";
import hooks from "eslint-plugin-react-hooks";
import ts from "typescript-eslint";

const noRawMarkup = [
  { selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']", message: "Devices are hostile: render text, never markup." },
  { selector: "MemberExpression[property.name=/^(innerHTML|outerHTML|insertAdjacentHTML)$/]", message: "Devices are hostile: render text, never markup." },
];

export default ts.config(
  { ignores: ["**/dist/**", "**/node_modules/**", "console/src/api/schema.gen.ts", "test-results/**"] },
  js.configs.recommended,
  ...ts.configs.recommended,
  {
    files: ["**/*.{ts,tsx}"],
    languageOptions: { globals: globals.browser },
    plugins: { "react-hooks": hooks },
    rules: {
      "react-hooks/rules-of-hooks": "error",
      "react-hooks/exhaustive-deps": "error",
      "no-restricted-syntax": ["error", ...noRawMarkup],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/consistent-type-imports": "error",
    },
  },
  {
    files: ["console/src/**/*.{ts,tsx}"],
    ignores: ["console/src/api/**"],
    rules: {
      "no-restricted-globals": [
        "error",
        { name: "fetch", message: "Screens use the hooks of src/api." },
        { name: "WebSocket", message: "Screens use the hooks of src/api." },
        { name: "EventSource", message: "Screens use the hooks of src/api." },
      ],
    },
  },
  { files: ["**/*.{js,mjs}"], languageOptions: { globals: { ...globals.node, ...globals.browser } } },
);

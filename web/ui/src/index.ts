/** The design system: tokens in `styles.css`, components here. Knows nothing of devices or of the API. */
export * from "./components/badge";
export * from "./components/bars";
export * from "./components/button";
export * from "./components/feedback";
export * from "./components/field";
export * from "./components/icons";
export * from "./components/layout";
export * from "./components/overlay";
export * from "./components/toast";
export * from "./components/tone";
export * from "./components/tooltip";
export * from "./theme";

/** Short messages at the corner. */
import { Toaster as Sonner } from "sonner";
import { useTheme } from "../theme";

export function Toaster() {
  const { resolved } = useTheme();
  return <Sonner theme={resolved} position="bottom-right" closeButton toastOptions={{ className: "!rounded-md !border-line !bg-raised !text-text !text-13 !font-sans !shadow-pop" }} />;
}
export { toast } from "sonner";

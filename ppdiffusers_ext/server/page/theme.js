// Light or dark: as chosen here before, or as the system has it.

const KEY = "studio.theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");

const show = () => {
  document.documentElement.dataset.theme = localStorage.getItem(KEY) ?? (dark.matches ? "dark" : "light");
};

/** Show the theme, and have a button switch it. */
export function startTheme(button) {
  show();
  dark.addEventListener("change", show);
  button.addEventListener("click", () => {
    localStorage.setItem(KEY, document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    show();
  });
}
